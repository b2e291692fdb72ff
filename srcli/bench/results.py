"""Benchmark results: scores of single images, rows of means over them, and the file that holds both."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np

from srcli.bench.metrics import PSNR_Y, SSIM_Y, Column
from srcli.errors import SrError, UsageError
from srcli.storage.json_text import read_json
from srcli.storage.typed import check_fields

PROTOCOL = "y-crop"
# Limits on what a result file may say.
_MOST_DIGITS, _LARGEST_SCALE, _LONGEST_REASON = 12, 1000, 200
Figures = Mapping[str, float]


@dataclass(frozen=True)
class ImageScore:
    """One method on one image."""

    dataset: Annotated[str, "data set"]
    scale: Annotated[float, "scale factor"]
    method: Annotated[str, "model or other method"]
    image: Annotated[str, "name of the image"]
    figures: Annotated[Figures, "scores by the key of their column"]
    seconds: Annotated[float, "wall time of the method alone"]

    @property
    def psnr_y(self) -> float:
        """PSNR of luma in dB."""
        return self.figures["psnr_y"]

    @property
    def ssim_y(self) -> float:
        """SSIM of luma."""
        return self.figures["ssim_y"]


@dataclass(frozen=True)
class Failure:
    """An image that is left out of all means."""

    dataset: Annotated[str, "data set"]
    scale: Annotated[float, "scale factor"]
    method: Annotated[str, "method that failed on it; empty if it cannot be read"]
    image: Annotated[str, "name of the image"]
    reason: Annotated[str, "why it is left out"]


@dataclass(frozen=True)
class Row:
    """One method on one data set at one scale: means over its images."""

    dataset: Annotated[str, "data set"]
    scale: Annotated[float, "scale factor"]
    method: Annotated[str, "model or other method"]
    images: Annotated[int, "number of images"]
    figures: Annotated[Figures, "mean scores by the key of their column"]
    seconds_per_image: Annotated[float, "mean wall time of the method alone"]
    params: Annotated[int, "number of weights; 0 without a network"]
    multiply_adds: Annotated[int | None, "multiply-adds for an output of 1280x720, with `--costs`"] = None
    memory: Annotated[
        float | None,
        "peak in MiB for an output of 1280x720, of the GPU or of a process of its own, with `--costs`",
    ] = None
    where: Annotated[str, "device and library that ran the method, and why"] = ""

    @property
    def psnr_y(self) -> float:
        """PSNR of luma in dB."""
        return self.figures["psnr_y"]

    @property
    def ssim_y(self) -> float:
        """SSIM of luma."""
        return self.figures["ssim_y"]


@dataclass(frozen=True)
class Conditions:
    """The conditions of the times."""

    version: Annotated[str, "version of sr"] = ""
    machine: Annotated[str, "processor or GPU"] = ""
    threads: Annotated[int, "threads of the CPU"] = 0
    workers: Annotated[int, "parallel processes"] = 1
    day: Annotated[str, "date, as 2026-11-30"] = ""


@dataclass(frozen=True)
class Results:
    """Rows and the image scores that they are means of."""

    rows: Annotated[tuple[Row, ...], "means of each method on each data set at each scale"]
    images: Annotated[tuple[ImageScore, ...], "scores of single images"]
    protocol: Annotated[str, "protocol, and the degradation if it is not the protocol's own"] = PROTOCOL
    columns: Annotated[tuple[Column, ...], "metrics to show, the most important one first"] = (
        PSNR_Y.column,
        SSIM_Y.column,
    )
    failures: Annotated[tuple[Failure, ...], "images that were left out"] = ()
    conditions: Annotated[Conditions, "conditions of the times"] = field(default_factory=Conditions)

    def group_rows(self) -> list[list[Row]]:
        """Return the rows of each data set and scale, in the order in which they were measured."""
        groups: dict[tuple[str, float], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.dataset, row.scale), []).append(row)
        return list(groups.values())


def average_scores(scores: Sequence[ImageScore], params: int, where: str = "") -> Row:
    """Return the row of one method on one data set at one scale: the means over its images."""
    first = scores[0]
    figures = {key: float(np.mean([s.figures[key] for s in scores])) for key in first.figures}
    seconds = float(np.mean([s.seconds for s in scores]))
    return Row(first.dataset, first.scale, first.method, len(scores), figures, seconds, params, where=where)


def to_json(results: Results) -> str:
    """Return the results as JSON, rows and scores flat; infinite values (of equal images) become null."""
    raw = {
        "protocol": results.protocol,
        "columns": [asdict(column) for column in results.columns],
        "conditions": asdict(results.conditions),
        "rows": [flatten(row) for row in results.rows],
        "images": [flatten(image) for image in results.images],
        "failures": [asdict(failure) for failure in results.failures],
    }
    return json.dumps(replace_nonfinite(raw), indent=1, allow_nan=False)


def flatten(item: Row | ImageScore) -> dict[str, Any]:
    """Return the fields of `item`, with each metric as a field of its own; empty fields are left out."""
    out: dict[str, Any] = {}
    for each in fields(item):
        value = getattr(item, each.name)
        out |= dict(value) if each.name == "figures" else {each.name: value}
    return {key: value for key, value in out.items() if value is not None and value != ""}


def replace_nonfinite(value: object) -> object:
    """Return `value` with null for infinity and NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_results(path: Path) -> Results:
    """Read a file that `to_json` wrote, in this version or an older one. Raises `SrError` for others."""
    try:
        raw = read_json(path)
        columns = tuple(Column(**each) for each in raw.get("columns", ()))
        results = Results(
            tuple(unflatten(Row, each) for each in raw["rows"]),
            tuple(unflatten(ImageScore, each) for each in raw.get("images", ())),
            str(raw["protocol"]),
            columns or (PSNR_Y.column, SSIM_Y.column),
            tuple(Failure(**each) for each in raw.get("failures", ())),
            Conditions(**raw.get("conditions", {})),
        )
        _check_values(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} holds no results: {_explain(error)}"
        raise SrError(message, "create it with `sr bench --json FILE`") from error
    return results


def _explain(error: Exception) -> str:
    """Return why a file cannot be read, without the names of Python's functions."""
    if isinstance(error, KeyError):
        return f"no {error}"
    if isinstance(error, TypeError | AttributeError):
        return "a field is missing, unknown or of the wrong type"
    return str(error)[:_LONGEST_REASON]


def _check_values(results: Results) -> None:
    """Raise `ValueError` for values that no run can have written: a result file may come from anyone."""
    if not results.rows:
        raise ValueError("it has no rows")
    for item in (*results.rows, *results.images, *results.columns, *results.failures, results.conditions):
        check_fields(item)
    first = results.columns[0].key
    scored: tuple[Row | ImageScore, ...] = (*results.rows, *results.images)
    for each in scored:
        if not 0 < each.scale <= _LARGEST_SCALE:
            raise ValueError(f"a scale of {each.scale}")
        if first not in each.figures:
            raise ValueError(f"no {first} of {each.method}")
    for row in results.rows:
        if row.images < 0 or row.params < 0:
            raise ValueError(f"{row.method} with {row.images} images and {row.params} parameters")
    for column in results.columns:
        if not 0 <= column.digits <= _MOST_DIGITS:
            raise ValueError(f"{column.key} with {column.digits} digits")


_T = TypeVar("_T", Row, ImageScore)


def unflatten(kind: type[_T], raw: dict[str, Any]) -> _T:
    """Undo `flatten`; a metric of null becomes infinity. Raises `TypeError` for missing fields."""
    if not isinstance(raw, dict):
        raise TypeError(f"{str(raw)[:40]!r} in place of a {kind.__name__}")
    names = {each.name for each in fields(kind)} - {"figures"}
    figures = {
        key: math.inf if value is None else float(value) for key, value in raw.items() if key not in names
    }
    return kind(figures=figures, **{key: value for key, value in raw.items() if key in names})


def read_runs(files: Sequence[Path]) -> Results:
    """Read the results of several runs as one table, each run named after its file.

    Raises `SrError` for files without results, `UsageError` if they followed different protocols.
    """
    stems = Counter(file.stem for file in files)
    return merge_runs(
        {file.stem if stems[file.stem] == 1 else str(file): read_results(file) for file in files}
    )


def merge_runs(named: Mapping[str, Results]) -> Results:
    """Merge several runs, given by name, into one table.

    If several runs have a method on the same set at the same scale, it is labelled with the run, unless the
    runs agree to the last digit on the same machine: then only the first one is kept. Raises `UsageError`
    if the runs followed different protocols.
    """
    runs = list(named.values())
    protocols = dict.fromkeys(run.protocol for run in runs)
    if len(protocols) > 1:
        names = " and ".join(f"'{protocol}'" for protocol in protocols)
        raise UsageError(f"results of {names} are not comparable", "make one table for each protocol")
    labels = _label_methods(named)
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
    machines = "; ".join(dict.fromkeys(run.conditions.machine for run in runs))
    conditions = replace(runs[0].conditions, machine=machines)
    merged = Results(tuple(rows), tuple(images), runs[0].protocol, tuple(columns), failures, conditions)
    sets = list(dict.fromkeys(row.dataset for row in rows))
    groups = sorted(merged.group_rows(), key=lambda group: (sets.index(group[0].dataset), group[0].scale))
    return replace(merged, rows=tuple(row for group in groups for row in group))


_Key = tuple[str, float, str]


def _key(item: Row | ImageScore) -> _Key:
    return item.dataset, item.scale, item.method


def _label_methods(named: Mapping[str, Results]) -> dict[tuple[str, _Key], str]:
    """Return the name of each run's methods in the merged table; an empty one if it is left out."""
    holders: dict[_Key, list[tuple[str, Row]]] = {}
    for name, run in named.items():
        for row in run.rows:
            holders.setdefault(_key(row), []).append((name, row))
    labels = {}
    for key, rows in holders.items():
        distinct = {(named[name].conditions.machine, *sorted(row.figures.items())) for name, row in rows}
        for number, (name, row) in enumerate(rows):
            single = row.method if number == 0 else ""
            labels[name, key] = single if len(distinct) == 1 else f"{row.method} ({name})"
    return labels
