"""The request that a batch carries out: what to upscale and how."""

from srcli.dataclass import dataclass
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import UsageError
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.size import TargetSize
from srcli.methods.choice import ModelChoice
from srcli.storage.locations import Location, parse_location
from srcli.upscaling.postprocess import Postprocess, can_remove_noise

_DEVICES = ("cpu", "cuda", "mps", "xpu", "vulkan", "all", "auto")


@dataclass(frozen=True)
class Naming:
    """The location and the names of outputs.

    `output` is a file, a folder or a URL; None puts outputs next to their inputs. `name` is a template of
    {stem}, {ext}, {parent}, {model} and {scale} that replaces `prefix` and `suffix`; `suffix` is `_x4` (the
    scale) by default. `flat` does not mirror the input tree. `format` is the input's if None. `in_place`
    replaces the inputs.
    """

    output: str | Location | None = None
    suffix: str | None = None
    prefix: str = ""
    name: str | None = None
    flat: bool = False
    format: str | None = None
    in_place: bool = False

    def check(self) -> None:
        """Raise `UsageError` for names that `in_place` leaves no choice of."""
        names = ("output", "suffix", "prefix", "name", "flat", "format")
        for name in names if self.in_place else ():
            if getattr(self, name):
                raise UsageError(f"--{name} cannot be used with --in-place", "leave out one of them")


@dataclass(frozen=True)
class Execution:
    """Which devices and processes do the work.

    `device` and `workers` as in `sr upscale`; `ray` is the address of a cluster; `vram` in bytes; `stream`
    keeps few rows in memory, None for large outputs only.
    """

    device: str | None = None
    workers: int | None = None
    ray: str | None = None
    runtime: str = "auto"
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    realism: float = 0.0
    vram: int | None = None
    stream: bool | None = None

    def check(self) -> None:
        """Raise `UsageError` for a device of no known kind, even if the method needs none."""
        for name in (self.device or "all").split(","):
            if name.strip().partition(":")[0] not in _DEVICES:
                raise UsageError(
                    f"no device called '{name}'", "use cpu, cuda, cuda:1, mps, vulkan, all or auto"
                )


@dataclass(frozen=True)
class UntrainedChoice:
    """Parameters of the methods without a training set; `kernel` is a file, "auto", or None for bicubic."""

    seed: int = 0
    kernel: str | None = None


@dataclass(frozen=True)
class BatchPolicy:
    """Which inputs are taken and which outputs are kept.

    `skip_existing` leaves outputs that are up to date. `watch` waits for new images in folders. `job` is the
    name or file of a job that can be resumed, and `rescan` looks for inputs added since it started. `within`
    is the time for all images in seconds. Inputs with more than `max_pixels` over all frames are refused; by
    default, the size of the file and the free memory decide. `again` upscales outputs of `sr` that are in
    folders, too; `only_enlarge` leaves images that are large enough; `keep_dates` gives outputs the times of
    their inputs. `salvage` upscales what is left of files that were cut off.
    """

    recursive: bool = False
    overwrite: bool = False
    skip_existing: bool = False
    watch: bool = False
    job: str | None = None
    rescan: bool = False
    within: float | None = None
    max_pixels: int | None = None
    again: bool = False
    only_enlarge: bool = False
    keep_dates: bool = False
    salvage: bool = False

    def check(self) -> None:
        """Raise `UsageError` for combinations that mean nothing."""
        if self.rescan and not self.job:
            raise UsageError("--rescan needs --job", "it looks for images added since a job started")
        for option, is_given in {"--watch": self.watch, "--within": self.within is not None}.items():
            if self.job and is_given:
                raise UsageError(f"{option} cannot be used with --job", "leave out one of them")
        if self.watch and self.within is not None:
            raise UsageError("--within cannot be used with --watch", "the images are not known in advance")


@dataclass(frozen=True)
class UpscaleRequest:
    """Images to upscale, and everything that decides how.

    `inputs` are files, folders, patterns, or URLs of stores.
    """

    inputs: tuple[str | Location, ...]
    size: TargetSize = TargetSize(scale=4)
    model: ModelChoice = ModelChoice()
    naming: Naming = Naming()
    encoding: EncodingOptions = EncodingOptions()
    postprocess: Postprocess = Postprocess()
    execution: Execution = Execution()
    untrained: UntrainedChoice = UntrainedChoice()
    policy: BatchPolicy = BatchPolicy()

    def check(self) -> None:
        """Raise `UsageError` if the request contradicts itself."""
        if not self.inputs:
            raise UsageError("no input given", "for example: sr upscale photo.jpg")
        for part in (self.policy, self.model, self.naming, self.execution, self.encoding, self.postprocess):
            part.check()
        self._check_denoise()
        self.model.check_realism(self.execution.realism)
        policy = self.policy
        for option in ("job", "watch", "skip_existing") if self.naming.in_place else ():
            if getattr(policy, option):
                raise UsageError(
                    f"--{option.replace('_', '-')} cannot be used with --in-place", "leave out one of them"
                )

    def _check_denoise(self) -> None:
        """Raise `UsageError` if the model is named and removes no noise."""
        name = None if self.model.weights or self.model.is_auto else self.model.label
        if self.postprocess.denoise < 1 and name is not None and not can_remove_noise(name):
            hint = "use -m photo, or leave the choice to sr"
            raise UsageError(f"--denoise is for models that remove noise, and {name} does not", hint)

    @property
    def locations(self) -> list[Location]:
        """The inputs as locations."""
        return [parse_location(given) if isinstance(given, str) else given for given in self.inputs]

    @property
    def output(self) -> Location | None:
        """The output as a location."""
        given = self.naming.output
        return parse_location(given) if isinstance(given, str) else given
