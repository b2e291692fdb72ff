"""A bench from its plan to its rows: self-check, the work, kept as it comes, and the means."""

import platform
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from srcli import __version__
from srcli.bench import lineup, scoring, work, workers
from srcli.bench.plan import Plan, Unit, check
from srcli.bench.protocols import TOLERANCE, Y_CROP, Protocol, Reduction
from srcli.bench.results import Conditions, Failure, ImageScore, Results, Row, mean_row
from srcli.bench.score_cache import ScoreCache
from srcli.bench.scoring import Pair
from srcli.bench.work import Scored
from srcli.datasets import Dataset, load_samples
from srcli.engine import device
from srcli.errors import FileError, ProtocolError
from srcli.imaging.pixels import crop_to_multiple
from srcli.methods import interpolator
from srcli.storage.hashing import sha256
from srcli.workers.config import PoolConfig

Progress = Callable[[Scored], None]
# Scores by their method and image.
_Group = dict[str, dict[str, ImageScore]]


def run(
    plan: Plan,
    progress: Progress = lambda score: None,
    team: PoolConfig = PoolConfig(),
    keep: bool = True,
    units: list[Unit] | None = None,
) -> Results:
    """All of it. Raises `ProtocolError` where bicubic on the samples or on Set5 is not the protocol's.

    With `keep`, scores are on disk as they come, and those of a run that was killed are taken over.
    `team` shares the images. `units` are those of `check`, where that was done before.
    """
    todo = check(plan)[0] if units is None else units
    self_check(plan.scales, plan.reduction.protocol, plan.datasets)
    for scale in plan.scales:
        lineup.described(plan.field, scale)
    ledger = ScoreCache(plan.identity)
    keys = {unit: _keys(plan, unit) for unit in todo} if keep else {}
    kept = ledger.read() if keep else {}
    found: list[Scored] = []
    done = dict.fromkeys(todo, frozenset[str]())
    for unit, names in keys.items():
        done[unit] = frozenset(name for name, key in names.items() if key in kept)
        found += [kept[names[name]] for name in done[unit]]
    for score in found:
        progress(score)
    # Closed at once where it is left: processes would go on with all that is planned.
    shares = workers.left_of(plan, todo, done)
    crew = None if team.is_single or not shares else team.start(partial(work.begin, plan))
    with closing(workers.all_scores(plan, shares, crew)) as scores:
        for unit, score in scores:
            if keep and isinstance(score, ImageScore):
                keep = _kept(ledger, keys[unit][score.method], score)
            found.append(score)
            progress(score)
    results = gathered(plan, todo, found)
    for row in results.rows:
        check_set5(row, plan.reduction)
    ledger.close()
    size = crew.size if crew else 1
    day = datetime.now(UTC).date().isoformat()
    return replace(results, conditions=Conditions(__version__, _machine(), device.threads(), size, day))


def _kept(ledger: ScoreCache, key: str, score: ImageScore) -> bool:
    """Whether it could be: a full disk is no reason to stop what is measured in memory."""
    try:
        ledger.add(key, score)
    except FileError:
        return False
    return True


def kept_scores(plan: Plan, units: Iterable[Unit]) -> int:
    """How many scores a run that was killed has left."""
    kept = ScoreCache(plan.identity).read()
    return sum(key in kept for unit in units for key in _keys(plan, unit).values()) if kept else 0


def _keys(plan: Plan, unit: Unit) -> dict[str, str]:
    """For each method, what its score on an image depends on."""
    files = " ".join(sha256(file) for file in (unit.file, unit.lr) if file)
    return {
        about.name: f"{unit.dataset} x{unit.scale} {unit.image} {files} {about.name} {about.digest}"
        for about in lineup.described(plan.field, unit.scale)
    }


def _machine() -> str:
    """The processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def gathered(plan: Plan, units: Iterable[Unit], found: Iterable[Scored]) -> Results:
    """Rows in the order of data sets, scales and methods.

    An image that one method failed on counts for none, so that all rows are means over the same images; a
    method that failed on every image has no row.
    """
    groups: dict[tuple[str, float], _Group] = {}
    failures = []
    for score in found:
        if isinstance(score, Failure):
            failures.append(score)
        else:
            group = groups.setdefault((score.dataset, score.scale), {})
            group.setdefault(score.method, {})[score.image] = score
    rows: list[Row] = []
    images: list[ImageScore] = []
    for dataset in plan.datasets:
        for scale in plan.scales:
            names = [unit.image for unit in units if (unit.dataset, unit.scale) == (dataset.name, scale)]
            for about, column in _columns(plan, scale, groups.get((dataset.name, scale), {}), names):
                rows.append(mean_row(column, about.params, about.where))
                images += column
    columns = tuple(metric.column for metric in plan.shown)
    return Results(tuple(rows), tuple(images), plan.reduction.label, columns, tuple(failures))


def _columns(
    plan: Plan, scale: float, group: _Group, names: list[str]
) -> Iterable[tuple[lineup.About, list[ImageScore]]]:
    """The scores of each method on the images that every method did."""
    common = [name for name in names if group and all(name in scored for scored in group.values())]
    for about in lineup.described(plan.field, scale):
        if common and about.name in group:
            yield about, [group[about.name][name] for name in common]


def self_check(
    scales: Collection[float], protocol: Protocol = Y_CROP.protocol, sets: Iterable[Dataset] = ()
) -> None:
    """Raise `ProtocolError` where bicubic on the bundled samples is not what it was when Set5's was right.

    So it does for Set5, if it is among `sets`, before any other image is touched.
    """
    hint = "this installation computes wrongly: reinstall sr"
    for scale in sorted(protocol.samples.keys() & set(scales)):
        value = _bicubic(load_samples(), protocol, scale)
        _compare(value, protocol.samples[scale], f"x{scale} on the samples", protocol, hint)
    for dataset in sets:
        if (dataset.name, len(dataset.files), dataset.lr) == ("Set5", 5, ""):
            for scale in sorted(protocol.set5.keys() & set(scales)):
                value = _bicubic(dataset, protocol, scale)
                _compare(value, protocol.set5[scale], f"x{scale} on Set5", protocol, _NOT_SET5)


_NOT_SET5 = "these are not the images of the papers: re-download Set5, or rename the folder"


def _bicubic(dataset: Dataset, protocol: Protocol, scale: float) -> float:
    """Its mean by the protocol's first metric."""
    method, metric = interpolator("bicubic"), scoring.BUILT_IN[protocol.metrics[0]]
    values = []
    for each in dataset.pictures():
        hr = crop_to_multiple(each.pixels, scale)
        sr = method(protocol.reduce(hr, scale), scale)
        values.append(metric.measure(Pair(sr, hr, scoring.border_of(scale), each.grey)))
    return float(np.mean(values))


def check_set5(row: Row, reduction: Reduction = Y_CROP) -> None:
    """Raise `ProtocolError` where a row is bicubic on Set5 and not the protocol's."""
    protocol = reduction.protocol
    known = row.scale in protocol.set5 and not reduction.degrade
    if known and (row.dataset, row.method, row.images) == ("Set5", "bicubic", 5):
        value = row.figures[scoring.BUILT_IN[protocol.metrics[0]].key]
        _compare(value, protocol.set5[row.scale], f"x{row.scale} on Set5", protocol, _NOT_SET5)


def _compare(value: float, expected: float, place: str, protocol: Protocol, hint: str) -> None:
    if abs(value - expected) > TOLERANCE:
        found = f"bicubic {place} gives {value:.3f} dB"
        raise ProtocolError(f"{found}, protocol {protocol.name}: {expected:.3f}", hint)
