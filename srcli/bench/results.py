"""What a bench found: scores of images, rows that are their means, and the file that holds both."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from srcli.bench.scoring import PSNR_Y, SSIM_Y, Column
from srcli.errors import SrError, UsageError

PROTOCOL = "y-crop"
Figures = Mapping[str, float]


@dataclass(frozen=True)
class ImageScore:
    """One method on one image: figures by their keys; `seconds` is the wall time of the method alone."""

    dataset: str
    scale: int
    method: str
    image: str
    figures: Figures
    seconds: float

    @property
    def psnr_y(self) -> float:
        """In dB."""
        return self.figures["psnr_y"]

    @property
    def ssim_y(self) -> float:
        """Of luma."""
        return self.figures["ssim_y"]


@dataclass(frozen=True)
class Failure:
    """A method that could not do an image, and why."""

    dataset: str
    scale: int
    method: str
    image: str
    reason: str


@dataclass(frozen=True)
class Row:
    """One method on one data set at one scale: means over its images.

    `params` counts weights. For an output of 1280x720: `multiply_adds`, and `memory`, the peak in MiB of a
    process that does only this, or of the GPU; None where not measured. `where` says what ran it.
    """

    dataset: str
    scale: int
    method: str
    images: int
    figures: Figures
    seconds_per_image: float
    params: int
    multiply_adds: int | None = None
    memory: float | None = None
    where: str = ""

    @property
    def psnr_y(self) -> float:
        """In dB."""
        return self.figures["psnr_y"]

    @property
    def ssim_y(self) -> float:
        """Of luma."""
        return self.figures["ssim_y"]


@dataclass(frozen=True)
class Conditions:
    """What the times hold for: version of sr, machine, processor cores used, processes side by side, day."""

    version: str = ""
    machine: str = ""
    threads: int = 0
    workers: int = 1
    day: str = ""


@dataclass(frozen=True)
class Results:
    """Rows and the scores they are means of, under the protocol that made them.

    `protocol` names it, with the degradation where it is not the protocol's own; `columns` are the figures
    to show, the first one the most important.
    """

    rows: tuple[Row, ...]
    images: tuple[ImageScore, ...]
    protocol: str = PROTOCOL
    columns: tuple[Column, ...] = (PSNR_Y.column, SSIM_Y.column)
    failures: tuple[Failure, ...] = ()
    conditions: Conditions = field(default_factory=Conditions)

    def groups(self) -> list[list[Row]]:
        """Rows of the same data set and scale, in the order in which they were measured."""
        found: dict[tuple[str, int], list[Row]] = {}
        for row in self.rows:
            found.setdefault((row.dataset, row.scale), []).append(row)
        return list(found.values())


def mean_row(scores: Sequence[ImageScore], params: int, where: str = "") -> Row:
    """The row of one method on one data set at one scale."""
    first = scores[0]
    figures = {key: float(np.mean([s.figures[key] for s in scores])) for key in first.figures}
    seconds = float(np.mean([s.seconds for s in scores]))
    return Row(first.dataset, first.scale, first.method, len(scores), figures, seconds, params, where=where)


def to_json(results: Results) -> str:
    """All of it as JSON, rows and scores flat; infinite values (equal images) as null."""
    raw = {
        "protocol": results.protocol,
        "columns": [asdict(column) for column in results.columns],
        "conditions": asdict(results.conditions),
        "rows": [flat(row) for row in results.rows],
        "images": [flat(image) for image in results.images],
        "failures": [asdict(failure) for failure in results.failures],
    }
    return json.dumps(finite(raw), indent=1, allow_nan=False)


def flat(item: Row | ImageScore) -> dict[str, Any]:
    """Its fields, each figure in the place of all figures."""
    out: dict[str, Any] = {}
    for each in fields(item):
        value = getattr(item, each.name)
        out |= dict(value) if each.name == "figures" else {each.name: value}
    return {key: value for key, value in out.items() if value is not None and value != ""}


def finite(value: object) -> object:
    """JSON has no infinity and no NaN: null stands for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> Results:
    """What `to_json` wrote, or an older version's. Raises `SrError` for other files."""
    try:
        raw = json.loads(path.read_text("utf-8"))
        columns = tuple(Column(**each) for each in raw.get("columns", ()))
        return Results(
            tuple(unflat(Row, each) for each in raw["rows"]),
            tuple(unflat(ImageScore, each) for each in raw.get("images", ())),
            str(raw["protocol"]),
            columns or (PSNR_Y.column, SSIM_Y.column),
            tuple(Failure(**each) for each in raw.get("failures", ())),
            Conditions(**raw.get("conditions", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SrError(f"{path} holds no results: {error}", "make it with `sr bench --json FILE`") from error


_T = TypeVar("_T", Row, ImageScore)


def unflat(kind: type[_T], raw: dict[str, Any]) -> _T:
    """The inverse of `flat`; null among the figures is infinity. Raises `TypeError` for what is missing."""
    names = {each.name for each in fields(kind)} - {"figures"}
    figures = {
        key: math.inf if value is None else float(value) for key, value in raw.items() if key not in names
    }
    return kind(figures=figures, **{key: value for key, value in raw.items() if key in names})


def merged(named: Mapping[str, Results]) -> Results:
    """One table of several runs, each under the name of its file.

    A method that several runs have on the same set at the same scale is labelled with its run, unless it is
    the same to the last digit on the same machine: then the first one stands for all. Raises `UsageError`
    where the runs followed different protocols.
    """
    runs = list(named.values())
    protocols = dict.fromkeys(run.protocol for run in runs)
    if len(protocols) > 1:
        told = " and ".join(f"'{protocol}'" for protocol in protocols)
        raise UsageError(f"results of {told} are not comparable", "make a table of each")
    labels = _labels(named)
    rows = [
        replace(row, method=label)
        for name, run in named.items()
        for row in run.rows
        if (label := labels[name, _key(row)])
    ]
    images = [
        replace(image, method=label)
        for name, run in named.items()
        for image in run.images
        if (label := labels.get((name, _key(image)), ""))
    ]
    columns = dict.fromkeys(column for run in runs for column in run.columns)
    failures = tuple(failure for run in runs for failure in run.failures)
    together = Results(tuple(rows), tuple(images), runs[0].protocol, tuple(columns), failures)
    machines = dict.fromkeys(run.conditions.machine for run in runs)
    conditions = replace(runs[0].conditions, machine="; ".join(machines))
    sets = list(dict.fromkeys(row.dataset for row in rows))
    groups = sorted(together.groups(), key=lambda group: (sets.index(group[0].dataset), group[0].scale))
    in_order = tuple(row for group in groups for row in group)
    return replace(together, rows=in_order, conditions=conditions)


_Key = tuple[str, int, str]


def _key(item: Row | ImageScore) -> _Key:
    return item.dataset, item.scale, item.method


def _labels(named: Mapping[str, Results]) -> dict[tuple[str, _Key], str]:
    """What a method of a run is called in the table of all; nothing where it is left out."""
    holders: dict[_Key, list[tuple[str, Row]]] = {}
    for name, run in named.items():
        for row in run.rows:
            holders.setdefault(_key(row), []).append((name, row))
    labels = {}
    for key, held in holders.items():
        same = {(named[name].conditions.machine, *sorted(row.figures.items())) for name, row in held}
        for number, (name, row) in enumerate(held):
            alone = row.method if number == 0 else ""
            labels[name, key] = alone if len(same) == 1 else f"{row.method} ({name})"
    return labels
