"""What a bench measures, and what could not be measured, told before the long work starts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli import __version__
from srcli.bench import scoring
from srcli.bench.lineup import Lineup
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.bench.results import Failure
from srcli.bench.scoring import Metric
from srcli.datasets import Dataset
from srcli.errors import DatasetError, ImageError, UsageError
from srcli.imaging.image import read_image
from srcli.imaging.pixels import max_multiple

# What every row has, whatever is shown: the self-check needs the one, training the other.
_ALWAYS = ("psnr-y", "ssim-y")


@dataclass(frozen=True)
class Plan:
    """What is measured. `lr_folder` and `sr_folder` take the images, where they are to be kept."""

    datasets: tuple[Dataset, ...]
    scales: tuple[float, ...]
    field: Lineup
    reduction: Reduction = Y_CROP
    metrics: tuple[str, ...] = ()
    lr_folder: Path | None = None
    sr_folder: Path | None = None

    @property
    def shown(self) -> tuple[Metric, ...]:
        """The protocol's metrics and those asked for. Raises `UsageError` for unknown ones."""
        names = (*self.reduction.protocol.metrics, *self.metrics)
        found = [metric for name in names for metric in scoring.find(name, self.field.options.device)]
        return tuple({metric.key: metric for metric in found}.values())

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What is shown, and before it what every row has."""
        found = [*(scoring.BUILT_IN[name] for name in _ALWAYS), *self.shown]
        return tuple({metric.key: metric for metric in found}.values())

    @property
    def identity(self) -> str:
        """All that every score depends on, as text."""
        options, alone = self.field.options, self.field.options.untrained
        parts = (
            __version__, self.reduction.identity, [metric.key for metric in self.measured], options.device,
            options.tile, options.self_ensemble, options.runtime, self.lr_folder, self.sr_folder,
            alone.seed, alone.within, alone.kernel,
        )  # fmt: skip
        return repr(parts)

    def units(self) -> "Iterator[Unit]":
        """Images at scales, in the order of the work: scale by scale, so that networks are loaded once."""
        for scale in self.scales:
            for dataset in self.datasets:
                lrs = dataset.find_partners(scale) or (None,) * len(dataset.files)
                for name, file, lr in zip(dataset.names, dataset.files, lrs, strict=True):
                    yield Unit(dataset.name, scale, name, file, lr)


@dataclass(frozen=True)
class Unit:
    """An image at a scale, and the file of its low resolution where that is given."""

    dataset: str
    scale: float
    image: str
    file: Path
    lr: Path | None

    def __str__(self) -> str:
        return f"{self.image} of {self.dataset}"


def check(plan: Plan, told: Callable[[], None] = lambda: None) -> tuple[list[Unit], list[Failure]]:
    """The units of a plan, and those whose files can't be read; `told` is called once for each.

    Raises `DatasetError` for images that are too small or have another size than their partner, `UsageError`
    for names and folders that would be confused.
    """
    _check_names(plan.datasets)
    _check_folders(plan)
    least = max(metric.least for metric in plan.measured)
    units, failures = [], []
    sizes: dict[Path, _Size] = {}
    for unit in plan.units():
        files = [file for file in (unit.file, unit.lr) if file]
        sizes |= {file: _size(file) for file in files if file not in sizes}
        unsound = [size for file in files if isinstance(size := sizes[file], str)]
        if unsound:
            failures.append(Failure(unit.dataset, unit.scale, "", unit.image, unsound[0]))
        else:
            _check_unit(unit, sizes, least)
            units.append(unit)
        told()
    return units, failures


# Width and height of an image that can be read to its end, or why it can't.
_Size = tuple[int, int] | str


def _size(file: Path) -> _Size:
    try:
        return read_image(file).size
    except ImageError as error:
        return error.message


def _check_names(sets: Iterable[Dataset]) -> None:
    seen: dict[str, Dataset] = {}
    for dataset in sets:
        if seen.setdefault(dataset.name, dataset) != dataset:
            hint = "give one of them another name: --dataset NAME=FOLDER"
            raise UsageError(f"two data sets are called {dataset.name}", hint)


def _check_folders(plan: Plan) -> None:
    """Refuse to put images where a later run would take them for images of the set."""
    for folder in filter(None, (plan.lr_folder, plan.sr_folder)):
        for dataset in plan.datasets:
            if folder.resolve().is_relative_to(dataset.root.resolve()):
                hint = "choose a folder beside it"
                raise UsageError(f"{folder} is inside {dataset.name}, whose images are measured", hint)


def _check_unit(unit: Unit, sizes: dict[Path, _Size], least: int) -> None:
    width, height = (int(side) for side in sizes[unit.file])
    scale = unit.scale
    low = (max_multiple(width, scale), max_multiple(height, scale))
    try:
        if 0 in low:
            raise DatasetError(
                f"an image of {width}x{height} cannot be reduced by {scale}", "take a larger one"
            )
        scoring.check_size(height, width, scoring.border_of(scale), least)
    except DatasetError as error:
        raise DatasetError(f"{unit}: {error.message}", error.hint) from error
    if unit.lr and sizes[unit.lr] != low:
        found = "x".join(map(str, sizes[unit.lr]))
        message = f"{unit}: {unit.lr} is {found}, x{scale} of it is {low[0]}x{low[1]}"
        raise DatasetError(message, f"its truth is {width}x{height}: check the folders and the scale")
