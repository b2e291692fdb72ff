"""The plan of a benchmark: which images are scored at which scales, checked before the long work starts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from srcli import __version__, datasets
from srcli.bench import metrics, protocols
from srcli.bench.lineup import Lineup, build_lineup
from srcli.bench.metrics import Metric
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.bench.request import BASELINES, BenchRequest
from srcli.bench.results import Failure
from srcli.datasets import Dataset
from srcli.engine.limits import read_within_limit
from srcli.engine.slots import list_devices
from srcli.errors import DatasetError, ImageError, UsageError
from srcli.imaging.pixels import max_multiple
from srcli.manifest import DEFAULT_MODEL
from srcli.scales import simplify_scale

# Every row has these, whether shown or not: the self-check needs the first, training both.
_ALWAYS = ("psnr-y", "ssim-y")


@dataclass(frozen=True)
class ImageTask:
    """An image at a scale, and the file of its low resolution if it has one."""

    dataset: str
    scale: float
    image: str
    file: Path
    lr: Path | None

    def __str__(self) -> str:
        return f"{self.image} of {self.dataset}"


@dataclass(frozen=True)
class Plan:
    """Images, methods and metrics of a run; `lr_folder` and `sr_folder` are for images that are kept."""

    datasets: tuple[Dataset, ...]
    scales: tuple[float, ...]
    lineup: Lineup
    reduction: Reduction = Y_CROP
    metrics: tuple[str, ...] = ()
    lr_folder: Path | None = None
    sr_folder: Path | None = None
    max_pixels: int | None = None

    @property
    def shown_metrics(self) -> tuple[Metric, ...]:
        """The protocol's metrics and the requested ones. Raises `UsageError` for unknown ones."""
        names = (*self.reduction.protocol.metrics, *self.metrics)
        listed = [each for name in names for each in metrics.find_metrics(name, self.lineup.options.device)]
        return tuple({metric.key: metric for metric in listed}.values())

    @property
    def measured_metrics(self) -> tuple[Metric, ...]:
        """The metrics that every row has, followed by those that are shown."""
        listed = [*(metrics.BUILT_IN[name] for name in _ALWAYS), *self.shown_metrics]
        return tuple({metric.key: metric for metric in listed}.values())

    @property
    def identity(self) -> str:
        """Everything that all scores depend on, as text."""
        options, untrained = self.lineup.options, self.lineup.options.untrained
        parts = (
            __version__, self.reduction.identity, [metric.key for metric in self.measured_metrics],
            options.device, options.tile, options.self_ensemble, options.realism, options.runtime,
            self.lr_folder, self.sr_folder, untrained.seed, untrained.within, untrained.kernel,
        )  # fmt: skip
        return repr(parts)

    def list_tasks(self) -> Iterator[ImageTask]:
        """Yield the images scale by scale, so that networks are loaded once."""
        for scale in self.scales:
            for dataset in self.datasets:
                lrs = dataset.find_partners(scale) or (None,) * len(dataset.files)
                for name, file, lr in zip(dataset.names, dataset.files, lrs, strict=True):
                    yield ImageTask(dataset.name, scale, name, file, lr)


def build_plan(request: BenchRequest) -> Plan:
    """Find the data sets, methods and protocol of a request; data sets are downloaded if needed.

    Raises `SrError` for anything that does not exist.
    """
    measurement = request.measurement
    models = request.models or (() if request.weights else (DEFAULT_MODEL,))
    # Methods are described in this process, on the first device; workers have devices of their own.
    device = next(iter(list_devices(request.execution.device)), None)
    reduction = Reduction(
        protocols.find_protocol(measurement.protocol), measurement.degrade, measurement.seed
    )
    reduction.check(request.scales)
    plan = Plan(
        tuple(datasets.find_dataset(name) for name in dict.fromkeys(request.datasets)),
        tuple(dict.fromkeys(map(simplify_scale, request.scales))),
        build_lineup([*BASELINES, *models], request.weights, replace(request.options, device=device)),
        reduction,
        measurement.metrics,
        request.save_lr,
        request.save_sr,
        request.execution.max_pixels,
    )
    options = plan.lineup.options
    untrained = options.untrained.divide_time(sum(1 for _ in plan.list_tasks()))
    return replace(plan, lineup=replace(plan.lineup, options=replace(options, untrained=untrained)))


def check_plan(
    plan: Plan, on_checked: Callable[[], object] = lambda: None
) -> tuple[list[ImageTask], list[Failure]]:
    """Read every image once; return the tasks, and the failures of images that cannot be read.

    `on_checked` is called after each image. Raises `DatasetError` for images that are too small or of another
    size than their partner, `UsageError` for data sets of one name and output folders inside a data set.
    """
    _check_names(plan.datasets)
    _check_folders(plan)
    min_side = max(metric.min_side for metric in plan.measured_metrics)
    tasks, failures = [], []
    sizes: dict[Path, _SizeOrReason] = {}
    for task in plan.list_tasks():
        files = [file for file in (task.file, task.lr) if file]
        sizes |= {file: _read_size(file, plan.max_pixels) for file in files if file not in sizes}
        reasons = [size for file in files if isinstance(size := sizes[file], str)]
        if reasons:
            failures.append(Failure(task.dataset, task.scale, "", task.image, reasons[0]))
        else:
            _check_task(task, sizes, min_side)
            tasks.append(task)
        on_checked()
    return tasks, failures


# Width and height of a readable image, or why it cannot be read.
_SizeOrReason = tuple[int, int] | str


def _read_size(file: Path, max_pixels: int | None) -> _SizeOrReason:
    try:
        return read_within_limit(file, max_pixels).size
    except ImageError as error:
        return error.message


def _check_names(sets: Iterable[Dataset]) -> None:
    seen: dict[str, Dataset] = {}
    for dataset in sets:
        if seen.setdefault(dataset.name, dataset) != dataset:
            hint = "rename one of them: --dataset NAME=FOLDER"
            raise UsageError(f"two data sets are called {dataset.name}", hint)


def _check_folders(plan: Plan) -> None:
    """Refuse output folders inside a data set: a later run would take the outputs for images of the set."""
    for folder in filter(None, (plan.lr_folder, plan.sr_folder)):
        for dataset in plan.datasets:
            if folder.resolve().is_relative_to(dataset.root.resolve()):
                hint = "choose a folder outside of it"
                raise UsageError(f"{folder} is inside {dataset.name}, whose images are measured", hint)


def _check_task(task: ImageTask, sizes: dict[Path, _SizeOrReason], min_side: int) -> None:
    width, height = (int(side) for side in sizes[task.file])
    scale = task.scale
    low = (max_multiple(width, scale), max_multiple(height, scale))
    try:
        if 0 in low:
            raise DatasetError(
                f"an image of {width}x{height} is too small to downscale by {scale}", "use a larger image"
            )
        metrics.check_size(height, width, metrics.compute_border(scale), min_side)
    except DatasetError as error:
        raise DatasetError(f"{task}: {error.message}", error.hint) from error
    if task.lr and sizes[task.lr] != low:
        size = "x".join(map(str, sizes[task.lr]))
        message = f"{task}: {task.lr} is {size}, but {width}x{height} at x{scale} needs {low[0]}x{low[1]}"
        raise DatasetError(message, "check the low-resolution folder and the scale")
