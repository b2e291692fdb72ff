"""Methods without a training set as methods among others."""

from dataclasses import field, replace
from typing import ClassVar, Self

from srcli.dataclass import dataclass
from srcli.engine import device
from srcli.imaging import rows
from srcli.imaging.rows import Rows
from srcli.methods import classical
from srcli.methods.base import Method, MethodOptions
from srcli.methods.classical import UntrainedSettings
from srcli.methods.scaling import compute_output_size
from srcli.workers.progress import Progress


@dataclass(frozen=True)
class Untrained(Method):
    """A method of `methods.classical`, which learns from the image in hand alone."""

    settings: UntrainedSettings = field(kw_only=True)
    runs_on: str = "cpu"
    streams: ClassVar[bool] = False

    @property
    def description(self) -> str:
        """The device, with the reason for it."""
        return self.runs_on

    def stream(self, source: Rows, scale: float) -> Rows:
        """Solve for the whole image at once."""
        from srcli.methods.classical import solver

        size = compute_output_size(source, scale)
        return rows.of(solver.enlarge(self.name, source.whole(), size, self.settings))

    def with_progress(self, progress: Progress) -> Self:
        """Return the same method that reports its steps, in hundredths, to `progress`."""
        return replace(self, settings=replace(self.settings, progress=progress))


def prepare_untrained(name: str, options: MethodOptions) -> Untrained:
    """Return the method of that name. Raises `SrError` if a package it needs is missing."""
    classical.check_installed(name)
    settings = replace(options.untrained, progress=options.progress)
    if name not in classical.TRAINED:
        return Untrained(name, settings=settings)
    # One image cannot be shared among devices: the first does all of it.
    chosen = device.select_device(options.device.partition(",")[0] if options.device else None)
    return Untrained(name, settings=replace(settings, device=chosen.name), runs_on=str(chosen))
