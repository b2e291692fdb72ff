"""Command-line options: each one written once, and the groups that several commands share."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from srcli import scales
from srcli.cli import completion
from srcli.dataclass import dataclass
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.batch.request import BatchPolicy, Execution, Naming, UntrainedChoice
    from srcli.imaging.codecs.base import EncodingOptions
    from srcli.imaging.size import TargetSize
    from srcli.methods import MethodOptions
    from srcli.methods.choice import ModelChoice
    from srcli.methods.classical import UntrainedSettings
    from srcli.upscaling.postprocess import Postprocess

SIZE, NAMING, FORMAT, BATCH = "Size", "Output names", "Output format", "Batch"
UNTRAINED = "Untrained methods"

R = TypeVar("R")


def with_option_groups(command: Callable[..., R]) -> Callable[..., R]:
    """Return `command` for Typer: each parameter that is an option group becomes the group's options.

    An option group is a dataclass whose fields are annotated options with defaults. Typer sees one flat
    signature; the command is called with the groups, built from the values on the command line.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        if is_dataclass(hint) and isinstance(hint, type):
            groups[parameter.name] = hint
            parameters += _list_parameters(hint)
        else:
            parameters.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**values: Any) -> R:
        built = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**values, **built)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _list_parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default_factory is MISSING else field.default_factory(),
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def parse_scale(text: object) -> float:
    """Return the scale factor that `-x` is given: 2, 2.5 or x2. Raises `typer.BadParameter`."""
    try:
        return scales.parse_scale(str(text))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not a number such as 2, 2.5 or x3.") from None


def require_whole_scale(scale: float) -> int:
    """Return the scale as an integer. Raises `UsageError` if it is not whole."""
    if not float(scale).is_integer():
        raise UsageError(
            f"no network has scale {scales.format_scale(scale)}", "use a whole number for --scale"
        )
    return int(scale)


Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        "-x",
        parser=parse_scale,
        metavar="NUMBER",
        help="Scale factor, such as 2, 2.5 or x3; 4 by default.",
        rich_help_panel=SIZE,
    ),
]
Width = Annotated[int | None, typer.Option(help="Output width in pixels.", rich_help_panel=SIZE)]
Height = Annotated[int | None, typer.Option(help="Output height in pixels.", rich_help_panel=SIZE)]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="WxH",
        help="Fit into a box, such as 1920x1080; 1920x1080! for exactly that size.",
        rich_help_panel=SIZE,
    ),
]
LongEdge = Annotated[int | None, typer.Option(help="Longer output side in pixels.", rich_help_panel=SIZE)]
Megapixels = Annotated[float | None, typer.Option(help="Output size in megapixels.", rich_help_panel=SIZE)]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File, folder, URL, or - for stdout; NAME_x4 next to the input by default.",
        rich_help_panel=NAMING,
    ),
]
Suffix = Annotated[
    str | None, typer.Option(help="Text after the input's name; _x4 by default.", rich_help_panel=NAMING)
]
Prefix = Annotated[str, typer.Option(help="Text before the input's name.", rich_help_panel=NAMING)]
Name = Annotated[
    str | None,
    typer.Option(
        help='Template for the whole name, such as "{stem}_{model}_x{scale}"; also {ext} and {parent}.',
        rich_help_panel=NAMING,
    ),
]
InPlace = Annotated[
    bool,
    typer.Option(
        "--in-place", help="Replace each input by its output, once that is complete.", rich_help_panel=NAMING
    ),
]
Flat = Annotated[
    bool,
    typer.Option(
        "--flat",
        help="Put all outputs in one folder instead of mirroring the input tree.",
        rich_help_panel=NAMING,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="png, jpg, webp, tif ...; the input's by default.",
        rich_help_panel=FORMAT,
        autocompletion=completion.formats,
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="JPEG, WebP or AVIF quality; that of a JPEG input, else 90 or 95.",
        rich_help_panel=FORMAT,
    ),
]
PngLevel = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=9,
        help="Compression of PNG: 1 is fast, 9 is slow and about a tenth smaller; fast by default.",
        rich_help_panel=FORMAT,
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless", help="Write lossless WebP, as for lossless WebP inputs.", rich_help_panel=FORMAT
    ),
]
Subsampling = Annotated[
    str | None,
    typer.Option(
        metavar="RATIO",
        help="Chroma subsampling of JPEG and AVIF: 4:4:4, 4:2:2 or 4:2:0; the input's if that has one.",
        rich_help_panel=FORMAT,
    ),
]
Depth = Annotated[
    int | None,
    typer.Option(
        help="Bits per sample: 1, 8, 16, or 32 for float; the input's by default.", rich_help_panel=FORMAT
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip", help="Write no EXIF, XMP, text or record of how it was made.", rich_help_panel=FORMAT
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="COLOUR",
        help="Colour behind transparent pixels in formats without transparency, such as white or #336699.",
        rich_help_panel=FORMAT,
    ),
]
KeepDates = Annotated[
    bool,
    typer.Option("--keep-dates", help="Give outputs the file times of their inputs.", rich_help_panel=FORMAT),
]
Salvage = Annotated[
    bool,
    typer.Option(
        "--salvage",
        help="Upscale what is left of JPEGs that were cut off, and say how much.",
        rich_help_panel=BATCH,
    ),
]
LinearLight = Annotated[
    bool,
    typer.Option(
        "--linear-light",
        help="Reduce in linear light, which keeps the brightness of fine patterns; stored values by default,"
        " as in the papers and most programs.",
        rich_help_panel=SIZE,
    ),
]
Wrap = Annotated[
    bool, typer.Option("--wrap", help="Treat the image as a texture that repeats without seams.")
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Search folders recursively.", rich_help_panel=BATCH)
]
FilesFrom = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read input names from a file, or - for stdin.", rich_help_panel=BATCH),
]
Null = Annotated[
    bool,
    typer.Option(
        "--null", "-0", help="Names in --files-from are separated by NUL bytes.", rich_help_panel=BATCH
    ),
]
Again = Annotated[
    bool,
    typer.Option(
        "--again", help="Upscale files in folders that were made by sr, too.", rich_help_panel=BATCH
    ),
]
OnlyEnlarge = Annotated[
    bool,
    typer.Option("--only-enlarge", help="Leave out images that are large enough.", rich_help_panel=SIZE),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Skip outputs made from the same input with the same settings.",
        rich_help_panel=BATCH,
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Wait for new images in folders until Ctrl-C; implies --skip-existing.",
        rich_help_panel=BATCH,
    ),
]
JobName = Annotated[
    str | None,
    typer.Option(
        "--job",
        metavar="NAME",
        help="Record progress on disk, so that the same command resumes after a crash; a name or a file.db.",
        rich_help_panel=BATCH,
        autocompletion=completion.jobs,
    ),
]
Rescan = Annotated[
    bool,
    typer.Option(
        "--rescan",
        help="Look for images added since --job started, and for deleted outputs.",
        rich_help_panel=BATCH,
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=2**63 - 1,
        help="Refuse inputs with more pixels over all frames; by default, 8 to 64 for each byte of the "
        "file, by format and depth, at least 16,777,216, at most 536,870,912 or what half of the free memory "
        "holds.",
        rich_help_panel=BATCH,
        show_default=False,
    ),
]
MaxPixelsWhole = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        max=2**63 - 1,
        help="Refuse images with more pixels over all frames; by default 3,000,000, and 10 more for each "
        "byte of the file over 1 MB, within the limit of `sr upscale`.",
        show_default=False,
    ),
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON record per image to stdout, events to stderr.", rich_help_panel=BATCH
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=BATCH)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more.", rich_help_panel=BATCH)]
Scales = Annotated[
    list[float],
    typer.Option(
        "--scale",
        "-x",
        parser=parse_scale,
        metavar="NUMBER",
        help="Scale factor to test, such as 2, 2.5 or x3; may be repeated.",
    ),
]
OneScale = Annotated[
    float,
    typer.Option(
        "--scale",
        "-x",
        parser=parse_scale,
        metavar="NUMBER",
        help="Scale factor, such as 2 or x3.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="auto, which suits the picture, by default; or a network, interpolator or other method:"
        " `sr models` lists them.",
        autocompletion=completion.models_or_auto,
    ),
]
Prefer = Annotated[
    Literal["quality", "speed"] | None,
    typer.Option(
        help="What -m auto prefers: the best models at hand, or the fastest; by default in between."
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="Network, interpolator or other method; may be repeated.",
        autocompletion=completion.models,
    ),
]
Weights = Annotated[
    list[Path] | None,
    typer.Option(
        "--weights", "-w", help="Weight file of any make, or folder of ncnn pairs; may be repeated."
    ),
]
OneWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        help="Weight file of any make, or folder of ncnn pairs, instead of --model.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        help="Network that --weights belongs to, if the file does not say.",
        autocompletion=completion.archs,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:1, mps or vulkan; the fastest by default.", autocompletion=completion.devices
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:1, mps or vulkan; several as cuda:0,cuda:1, or all; the fastest by default.",
        autocompletion=completion.devices,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Worker processes, which share the cores or GPUs; one per device by default.",
        rich_help_panel=BATCH,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Run on a Ray cluster: auto for the one this machine is in, local for a new one, or HOST:PORT.",
        rich_help_panel=BATCH,
    ),
]
Runtime = Annotated[
    Literal["auto", "torch", "ncnn", "openvino", "opencv", "onnxruntime"],
    typer.Option(
        metavar="NAME",
        help="Runtime for networks: auto (the fastest), torch, ncnn, opencv, onnxruntime or openvino.",
    ),
]
Tile = Annotated[int, typer.Option(min=16, help="Tile side in input pixels; smaller tiles need less memory.")]
Vram = Annotated[str | None, typer.Option(metavar="SIZE", help="Limit on GPU memory, such as 6G.")]
SelfEnsemble = Annotated[
    bool, typer.Option("--self-ensemble", help="Average 8 orientations: better, but 8 times slower.")
]
Realism = Annotated[
    float, typer.Option(min=0, max=1, help="Makes up less detail, for photo: from 0 to 1, the least.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed.", rich_help_panel=UNTRAINED)]
Within = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time for all images, such as 30s or 2m; untrained methods stop when their share is over.",
        rich_help_panel=UNTRAINED,
    ),
]
WithinOrBest = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Time for all images, such as 30s or 2m: picks the best model that finishes, or checks --model;"
        " untrained methods stop when their share is over.",
    ),
]
BlurKernel = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="auto|FILE",
        help="Blur kernel of the input: a .npy, an image or a text file; auto estimates it.",
        rich_help_panel=UNTRAINED,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only print what would be done, and the time and memory it would take."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
Consistent = Annotated[
    bool,
    typer.Option("--consistent", help="Make the result match the input when downscaled (back-projection)."),
]
Sharpen = Annotated[float, typer.Option(help="Sharpen the result: 0 to 2, 0.5 is moderate.")]
Faithful = Annotated[
    bool | None,
    typer.Option(
        help="Blend with bicubic where the result contradicts the input, as in small faces; on for networks"
        " that make up detail in photographs.",
        show_default=False,
    ),
]
Denoise = Annotated[
    float,
    typer.Option(help="How much noise photo and other restoring networks remove: 0 to 1, all of it."),
]
Grain = Annotated[
    float, typer.Option(help="Add artificial grain, as a share of the noise in the input: 0 to 2.")
]
Strength = Annotated[float, typer.Option(help="Blend between bicubic (0) and the network (1).")]
ColorFix = Annotated[
    bool | None,
    typer.Option(
        help="Take the coarse colours from the input; on for networks that shift them.", show_default=False
    ),
]
Uncertainty = Annotated[
    Path | None,
    typer.Option(
        help="Write a map of where 8 orientations disagree (white: 25 levels or more); implies"
        " --self-ensemble; one image only.",
    ),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream",
        help="Keep only a few rows in memory at a time; by default for outputs from 4 megapixels.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class SizeGroup:
    """The size of the output; at most one of these is given."""

    scale: Scale = None
    width: Width = None
    height: Height = None
    size: Size = None
    long_edge: LongEdge = None
    megapixels: Megapixels = None

    def build(self, model: "ModelChoice") -> "TargetSize":
        """Return the requested size: by default that of the model's weight file, else x4.

        Raises `UsageError` if several options set it.
        """
        from srcli.imaging.size import parse_target_size

        given = (self.scale, self.width, self.height, self.size, self.long_edge, self.megapixels)
        default = 4 if any(value is not None for value in given) else model.find_default_scale()
        return parse_target_size(*given, default)


@dataclass(frozen=True)
class ModelGroup:
    """The method: a model by name, or a weight file and the network it belongs to."""

    model: Model = None
    weights: OneWeights = None
    arch: Arch = None
    prefer: Prefer = None

    def build(self) -> "ModelChoice":
        """Return the choice for a request, which is left to the pictures if nothing is given."""
        from srcli.methods.auto import AUTO
        from srcli.methods.choice import ModelChoice

        name = self.model or (None if self.weights else AUTO)
        return ModelChoice(name, self.weights, self.arch, self.prefer)


@dataclass(frozen=True)
class LineupGroup:
    """The methods to compare: models by name and weight files."""

    model: Models = None
    weights: Weights = None

    def list_models(self) -> tuple[str, ...]:
        """Return the names of the models as they are here, without duplicates."""
        from srcli.methods import resolve_name

        return tuple(dict.fromkeys(map(resolve_name, self.model or ())))


@dataclass(frozen=True)
class NamingGroup:
    """The location and the names of outputs."""

    output: Output = None
    suffix: Suffix = None
    prefix: Prefix = ""
    name: Name = None
    flat: Flat = False
    in_place: InPlace = False

    def build(self, output: str | None, format_: str | None) -> "Naming":
        """Return the naming for a request, with an output that may replace stdout."""
        from srcli.batch.request import Naming

        return Naming(output, self.suffix, self.prefix, self.name, self.flat, format_, self.in_place)


@dataclass(frozen=True)
class EncodingGroup:
    """The file format of outputs and its parameters."""

    format_: Format = None
    quality: Quality = None
    lossless: Lossless = False
    subsampling: Subsampling = None
    depth: Depth = None
    strip: Strip = False
    background: Background = None
    png_level: PngLevel = None

    def build(self) -> "EncodingOptions":
        """Return the encoding for a request."""
        from srcli.imaging.codecs.base import EncodingOptions

        return EncodingOptions(
            self.quality,
            self.lossless,
            self.subsampling,
            self.depth,
            self.strip,
            self.background,
            self.png_level,
        )


@dataclass(frozen=True)
class BatchGroup:
    """Which inputs are taken, which are skipped, and whether the batch can be resumed."""

    recursive: Recursive = False
    files_from: FilesFrom = None
    null: Null = False
    again: Again = False
    only_enlarge: OnlyEnlarge = False
    keep_dates: KeepDates = False
    salvage: Salvage = False
    overwrite: Overwrite = False
    skip_existing: SkipExisting = False
    watch: Watch = False
    job: JobName = None
    rescan: Rescan = False
    max_pixels: MaxPixels = None

    def build(self, within: str | None) -> "BatchPolicy":
        """Return the policy for a request, with the time for all images."""
        from srcli.batch.request import BatchPolicy
        from srcli.methods.classical import parse_duration

        return BatchPolicy(
            self.recursive,
            self.overwrite,
            self.skip_existing,
            self.watch,
            self.job,
            self.rescan,
            parse_duration(within) if within is not None else None,
            self.max_pixels,
            self.again,
            self.only_enlarge,
            self.keep_dates,
            self.salvage,
        )


@dataclass(frozen=True)
class ReportGroup:
    """The amount and the form of what is printed."""

    json: JsonLines = False
    quiet: Quiet = False
    verbose: Verbose = False


@dataclass(frozen=True)
class EngineGroup:
    """The way networks are run."""

    runtime: Runtime = "auto"
    tile: Tile = DEFAULT_TILE
    self_ensemble: SelfEnsemble = False
    realism: Realism = 0.0

    def build(self, untrained: "UntrainedSettings", device: str | None = None) -> "MethodOptions":
        """Return the options of methods for `sr bench` and `sr compare`."""
        from srcli.methods import MethodOptions

        return MethodOptions(
            device, self.tile, self.self_ensemble, self.realism, runtime=self.runtime, untrained=untrained
        )


@dataclass(frozen=True)
class WorkersGroup:
    """Which devices and worker processes share the images."""

    device: Devices = None
    workers: Workers = None
    ray: Ray = None


@dataclass(frozen=True)
class MemoryGroup:
    """Limits on memory."""

    vram: Vram = None
    stream: Stream = None

    def build(self, workers: WorkersGroup, engine: EngineGroup) -> "Execution":
        """Return the execution for a request."""
        from srcli.batch.request import Execution
        from srcli.engine.memory import parse_vram

        return Execution(
            workers.device,
            workers.workers,
            workers.ray,
            engine.runtime,
            engine.tile,
            engine.self_ensemble,
            engine.realism,
            None if self.vram is None else parse_vram(self.vram),
            self.stream,
        )


@dataclass(frozen=True)
class PostprocessGroup:
    """Postprocessing of an image after the method."""

    uncertainty: Uncertainty = None
    consistent: Consistent = False
    strength: Strength = 1.0
    color_fix: ColorFix = None
    faithful: Faithful = None
    denoise: Denoise = 1.0
    sharpen: Sharpen = 0.0
    grain: Grain = 0.0
    linear_light: LinearLight = False
    wrap: Wrap = False

    def build(self) -> "Postprocess":
        """Return the postprocessing for a request."""
        from srcli.upscaling.postprocess import Postprocess

        return Postprocess(**asdict(self))


@dataclass(frozen=True)
class UntrainedGroup:
    """Parameters of the methods without a training set."""

    seed: Seed = 0
    within: Within = None
    kernel: BlurKernel = None

    def build_settings(self, models: Sequence[str]) -> "UntrainedSettings":
        """Return the settings for these models. Raises `SrError` if the kernel is bad or no model uses it."""
        from srcli.imaging.degrade.kernels import load_kernel
        from srcli.methods import classical

        if self.kernel:
            classical.check_kernel(models)
        within = classical.parse_duration(self.within) if self.within is not None else None
        if self.kernel in (None, classical.AUTO):
            return classical.UntrainedSettings(self.seed, within, classical.AUTO if self.kernel else None)
        return classical.UntrainedSettings(self.seed, within, load_kernel(Path(self.kernel)))


@dataclass(frozen=True)
class UpscaleUntrainedGroup(UntrainedGroup):
    """The same for `sr upscale`, where the time also decides on the model."""

    within: WithinOrBest = None

    def build(self) -> "UntrainedChoice":
        """Return the choice for a request; the time is part of its policy."""
        from srcli.batch.request import UntrainedChoice

        return UntrainedChoice(self.seed, self.kernel)
