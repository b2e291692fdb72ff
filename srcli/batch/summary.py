"""The result of a batch, and the exit code that follows from it."""

from srcli.batch.events import ImageFailed, ImageFinished
from srcli.dataclass import dataclass
from srcli.errors import ExitCode, SrError
from srcli.upscaling.task import UpscaleTask


@dataclass(frozen=True)
class Summary:
    """The number of images that succeeded, failed and were not tried.

    `done` includes images whose output was up to date already. `failures` names the failed ones; it is empty
    for jobs, which may have millions and record them on disk. `error` is what ended the batch early, if any.
    `unlisted` counts folders that could not be listed.
    """

    done: int = 0
    failed: int = 0
    untried: int = 0
    failures: tuple[ImageFailed, ...] = ()
    error: SrError | None = None
    unlisted: int = 0

    @property
    def images(self) -> int:
        """All images there are."""
        return self.done + self.failed + self.untried

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of the process; that of `error` if it left nothing done."""
        if not self.failed and not self.untried and not self.unlisted:
            return ExitCode.OK
        if self.done:
            return ExitCode.PARTLY
        return self.error.exit_code if self.error else ExitCode.FAILED


class Tally:
    """The outcomes of images so far. If a file is upscaled twice, because it changed, the last one counts."""

    def __init__(self) -> None:
        self._outcomes: dict[UpscaleTask, ImageFinished] = {}

    def add(self, event: ImageFinished) -> None:
        """Count the outcome of one image."""
        self._outcomes.pop(event.task, None)
        self._outcomes[event.task] = event

    def summarize(self, images: int | None = None, unlisted: int = 0) -> Summary:
        """Return the summary so far; of `images` those without an outcome are untried."""
        finished = self._outcomes.values()
        failures = tuple(event for event in finished if isinstance(event, ImageFailed))
        last = failures[-1].error if failures else None
        return Summary(
            done=len(self._outcomes) - len(failures),
            failed=len(failures),
            untried=0 if images is None else images - len(self._outcomes),
            failures=failures,
            error=last if last and last.affects_all else None,
            unlisted=unlisted,
        )
