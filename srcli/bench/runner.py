"""Running a benchmark: from a request to rows, with scores kept on disk until the end."""

import platform
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from srcli import __version__
from srcli.bench import events, scoring
from srcli.bench.costs import add_costs
from srcli.bench.events import Emit
from srcli.bench.lineup import MethodFacts, describe_lineup
from srcli.bench.plan import ImageTask, Plan, build_plan, check_plan
from srcli.bench.request import BenchRequest
from srcli.bench.results import Conditions, Failure, ImageScore, Results, Row, average_scores
from srcli.bench.score_cache import ScoreCache
from srcli.bench.scoring import ScoreOrFailure, WorkItem
from srcli.bench.self_check import check_protocol, check_set5
from srcli.engine import device, slots
from srcli.errors import DatasetError, FileError, SrError
from srcli.storage.hashing import sha256
from srcli.workers.config import PoolConfig
from srcli.workers.distribute import Pool, distribute
from srcli.workers.progress import ignore

# Scores by method and image.
_Group = dict[str, dict[str, ImageScore]]


def run(request: BenchRequest, emit: Emit = ignore) -> Results:
    """Measure every method on every image, and return the scores and their means.

    Raises `SrError` for anything in the request that does not exist, for images that cannot be read (unless
    they are to be skipped) and if nothing could be scored; `ProtocolError` if bicubic on the samples or on
    Set5 does not score what the protocol says.
    """
    plan, execution = build_plan(request), request.execution
    count = sum(1 for _ in plan.list_tasks())
    pool = slots.configure_pool(execution.device, execution.workers, execution.ray, count)
    for note in plan.lineup.check_scales(plan.scales):
        emit(events.Note(note))
    emit(events.CheckStarted(count))
    tasks, unreadable = check_plan(plan, lambda: emit(events.ImageChecked()))
    _report_unreadable(unreadable, skip=execution.skip_unreadable and bool(tasks), emit=emit)
    results = run_plan(plan, tasks, pool, execution.resume, emit)
    if request.measurement.costs:
        emit(events.CostsStarted())
        results = add_costs(results, plan.lineup)
    emit(events.Finished(results.failures))
    if not results.rows:
        raise SrError("no image could be scored", "the errors above say why")
    return replace(results, failures=(*unreadable, *results.failures))


def _report_unreadable(failures: list[Failure], *, skip: bool, emit: Emit) -> None:
    reasons = list(dict.fromkeys(failure.reason for failure in failures))
    if reasons and not skip:
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        hint = "repair or remove it, or leave out such images with --keep-going"
        raise DatasetError(f"{reasons[0]}{more}", hint)
    for reason in reasons:
        emit(events.ImageUnreadable(reason))


def run_plan(
    plan: Plan,
    tasks: list[ImageTask],
    pool: PoolConfig = PoolConfig(),
    resume: bool = True,
    emit: Emit = ignore,
) -> Results:
    """Score `tasks`, as `check_plan` returns them, in this process or in a pool of workers.

    With `resume`, scores are written to disk as they come, and those of an interrupted run are used again.
    Raises `ProtocolError` if bicubic on the samples or on Set5 does not score what the protocol says.
    """
    cache = ScoreCache(plan.identity) if resume else None
    cached = cache.read() if cache else {}
    if cached and (count := count_cached_scores(plan, tasks)):
        emit(events.Resumed(count))
    _report_identified(plan, emit)
    check_protocol(plan.scales, plan.reduction.protocol, plan.datasets)
    emit(events.ScoringStarted(sum(len(plan.lineup.at_scale(task.scale)) for task in tasks)))
    keys = {task: _list_keys(plan, task) for task in tasks} if cache else {}
    known = {task: _pick_cached(names, cached) for task, names in keys.items()}
    scores: list[ScoreOrFailure] = [score for by_method in known.values() for score in by_method.values()]
    for score in scores:
        emit(events.ImageScored(score))
    items = _list_items(plan, tasks, {task: frozenset(by_method) for task, by_method in known.items()})
    workers = None if pool.is_single or not items else pool.start(partial(scoring.start_worker, plan))
    try:
        # Closed as soon as it is left: the workers would otherwise finish everything they were given.
        with closing(_score_items(plan, items, workers)) as results:
            for task, score in results:
                if cache and isinstance(score, ImageScore):
                    cache = _keep(cache, keys[task][score.method], score)
                scores.append(score)
                emit(events.ImageScored(score))
    except KeyboardInterrupt:
        if resume:
            emit(events.Interrupted())
        raise
    collected = collect_results(plan, tasks, scores)
    for row in collected.rows:
        check_set5(row, plan.reduction)
    ScoreCache(plan.identity).delete()
    return replace(collected, conditions=_describe_conditions(workers.size if workers else 1))


def _report_identified(plan: Plan, emit: Emit) -> None:
    facts = [each for scale in plan.scales for each in describe_lineup(plan.lineup, scale)]
    for method, network in {each.name: each.identified_as for each in facts}.items():
        if network:
            emit(events.WeightsIdentified(method, network))


def _keep(cache: ScoreCache, key: str, score: ImageScore) -> ScoreCache | None:
    """Write a score; return None if the disk is full, which is no reason to stop measuring."""
    try:
        cache.add(key, score)
    except FileError:
        return None
    return cache


def count_cached_scores(plan: Plan, tasks: Iterable[ImageTask]) -> int:
    """Return how many scores an interrupted run of this plan has left."""
    cached = ScoreCache(plan.identity).read()
    return sum(key in cached for task in tasks for key in _list_keys(plan, task).values()) if cached else 0


def _list_keys(plan: Plan, task: ImageTask) -> dict[str, str]:
    """Return, for each method, everything that its score on an image depends on."""
    files = " ".join(sha256(file) for file in (task.file, task.lr) if file)
    return {
        facts.name: f"{task.dataset} x{task.scale} {task.image} {files} {facts.name} {facts.digest}"
        for facts in describe_lineup(plan.lineup, task.scale)
    }


def _pick_cached(keys: Mapping[str, str], cached: Mapping[str, ImageScore]) -> dict[str, ImageScore]:
    return {method: cached[key] for method, key in keys.items() if key in cached}


def _list_items(
    plan: Plan, tasks: list[ImageTask], done: Mapping[ImageTask, frozenset[str]]
) -> list[WorkItem]:
    """Return the images that some method was not scored on."""
    items = [WorkItem(task, done.get(task, frozenset())) for task in tasks]
    return [
        item for item in items if not {m.name for m in plan.lineup.at_scale(item.task.scale)} <= item.done
    ]


def _score_items(
    plan: Plan, items: list[WorkItem], workers: Pool[WorkItem, list[ScoreOrFailure]] | None
) -> Generator[tuple[ImageTask, ScoreOrFailure]]:
    """Yield the missing scores as they come; without workers, this process does the work."""
    if workers is None:
        for item in items:
            for score in scoring.score_task(plan, item.task, item.done):
                yield item.task, score
        return
    with closing(distribute(items, workers)) as outcomes:
        for outcome in outcomes:
            error = outcome.error
            if error and error.affects_all:
                raise error
            scores = scoring.fail_item(plan, outcome.job, error.message) if error else outcome.result
            for score in scores or ():
                yield outcome.job.task, score


def _describe_conditions(workers: int) -> Conditions:
    day = datetime.now(UTC).date().isoformat()
    return Conditions(__version__, _name_processor(), device.count_threads(), workers, day)


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def collect_results(plan: Plan, tasks: Iterable[ImageTask], scores: Iterable[ScoreOrFailure]) -> Results:
    """Return rows in the order of data sets, scales and methods.

    All rows of a data set are means over the same images: an image that one method failed on counts for none.
    A method that failed on every image has no row.
    """
    tasks = list(tasks)
    groups: dict[tuple[str, float], _Group] = {}
    failures = []
    for score in scores:
        if isinstance(score, Failure):
            failures.append(score)
        else:
            group = groups.setdefault((score.dataset, score.scale), {})
            group.setdefault(score.method, {})[score.image] = score
    rows: list[Row] = []
    images: list[ImageScore] = []
    for dataset in plan.datasets:
        for scale in plan.scales:
            names = [task.image for task in tasks if (task.dataset, task.scale) == (dataset.name, scale)]
            for facts, column in _list_columns(plan, scale, groups.get((dataset.name, scale), {}), names):
                rows.append(average_scores(column, facts.params, facts.description))
                images += column
    columns = tuple(metric.column for metric in plan.shown_metrics)
    return Results(tuple(rows), tuple(images), plan.reduction.label, columns, tuple(failures))


def _list_columns(
    plan: Plan, scale: float, group: _Group, names: list[str]
) -> Iterable[tuple[MethodFacts, list[ImageScore]]]:
    """Yield the scores of each method on the images that no method failed on."""
    common = [name for name in names if group and all(name in scores for scores in group.values())]
    for facts in describe_lineup(plan.lineup, scale):
        if common and facts.name in group:
            yield facts, [group[facts.name][name] for name in common]
