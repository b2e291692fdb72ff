"""`sr upscale`: files, folders, patterns or stdin in, enlarged files out."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import console, options, pipes, resumable, untrained
from srcli.cli import dry_run as forecast
from srcli.cli.reporters import ConsoleReporter, JsonReporter, Reporter
from srcli.cli.runner import one_by_one, outcomes
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import ExitCode, SrError, UsageError
from srcli.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from srcli.batch.planning import Layout
    from srcli.batch.runner import Batch, Became
    from srcli.imaging.codecs.base import EncodingOptions
    from srcli.imaging.size import TargetSize
    from srcli.storage.locations import Location
    from srcli.upscaling.postprocess import Postprocess
    from srcli.upscaling.task import UpscaleTask
    from srcli.workers.config import PoolConfig

_DEFAULT_MAX_PIXELS = 2**29


def upscale(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders, patterns, URLs as s3://bucket/folder, or - for stdin.", show_default=False
        ),
    ] = None,
    scale: options.Scale = None,
    model: options.Model = None,
    width: options.Width = None,
    height: options.Height = None,
    size: options.Size = None,
    long_edge: options.LongEdge = None,
    megapixels: options.Megapixels = None,
    output: options.Output = None,
    suffix: options.Suffix = None,
    prefix: options.Prefix = "",
    name: options.Name = None,
    flat: options.Flat = False,
    format_: options.Format = None,
    quality: options.Quality = None,
    lossless: options.Lossless = False,
    subsampling: options.Subsampling = None,
    depth: options.Depth = None,
    strip: options.Strip = False,
    recursive: options.Recursive = False,
    files_from: options.FilesFrom = None,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    watch: options.Watch = False,
    job: options.JobName = None,
    rescan: options.Rescan = False,
    max_pixels: options.MaxPixels = _DEFAULT_MAX_PIXELS,
    json: options.JsonLines = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    weights: options.OneWeights = None,
    arch: options.Arch = None,
    device: options.Devices = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    vram: options.Vram = None,
    self_ensemble: options.SelfEnsemble = False,
    uncertainty: options.Uncertainty = None,
    consistent: options.Consistent = False,
    strength: options.Strength = 1.0,
    color_fix: options.ColorFix = False,
    stream: options.Stream = None,
    seed: options.Seed = 0,
    within: options.Within = None,
    kernel: options.BlurKernel = None,
    dry_run: options.DryRun = False,
) -> None:
    """Enlarge images with a network or an interpolator."""
    from srcli.batch.planning import PIPE, Layout, plan
    from srcli.batch.runner import Batch, work_of
    from srcli.engine.memory import amount
    from srcli.engine.slots import resolved
    from srcli.engine.slots import team as team_of
    from srcli.imaging.codecs.base import EncodingOptions
    from srcli.imaging.size import parse_target_size
    from srcli.methods import MethodOptions
    from srcli.storage.locations import is_many, parse_location
    from srcli.upscaling.fingerprint import Fingerprint
    from srcli.upscaling.postprocess import Postprocess

    aim = parse_target_size(scale, width, height, size, long_edge, megapixels)
    named = _named(inputs, files_from)
    into = parse_location(output) if output else None
    _check_job(job, rescan, {"--watch": watch, "--dry-run": dry_run, "--within": bool(within)})
    _check_watch(watch, ahead=dry_run or bool(within))
    if within and not weights:
        every = plan(named, Layout(into, recursive=recursive, flat=flat))
        model = forecast.within(
            within, model, every, aim, MethodOptions(resolved(device), tile, self_ensemble, runtime=runtime)
        )
    made_for = _check_method(model, weights, arch, aim)
    coding = EncodingOptions(quality, lossless, subsampling, depth, strip)
    finish = Postprocess(consistent, color_fix, strength, uncertainty)
    _check(coding, finish)
    called = weights.stem if weights else model or DEFAULT_MODEL
    alone = untrained.settings([] if weights else [called], seed, within, kernel)
    named_so = name or f"{_literal(prefix)}{{stem}}{_literal(_tail(suffix, aim))}"
    layout = replace(
        _layout(into, aim, called, suffix, format_), name=named_so, recursive=recursive, flat=flat
    )
    lasts = bool(job) or (not dry_run and any(map(is_many, named)))
    jobs = _planned(named, layout, uncertainty, watch, lasts)
    voice = _voice(json, quiet, verbose, any(job.target == PIPE for job in jobs))
    _check_map(uncertainty, jobs, overwrite)
    running = MethodOptions(
        resolved(device), tile, self_ensemble and not uncertainty,  # for the map all eight are looked at here
        runtime=runtime, untrained=alone, vram=amount(vram) if vram else None,
    )  # fmt: skip
    drawn = {} if weights else untrained.choices(called, seed, within, kernel)
    choices = _choices(coding, finish, self_ensemble) | drawn
    recipe = Fingerprint(called, aim.label, choices, weights)
    batch = Batch(
        aim,
        recipe,
        running,
        made_for,
        coding,
        finish,
        max_pixels,
        stream,
        overwrite,
        skip_existing or watch or bool(job),
    )
    if dry_run:
        forecast.tell(jobs, work_of(batch, voice), as_json=json)
        return
    team = team_of(device, workers, ray, None if watch or lasts else len(jobs))
    _check_together(team, watch, jobs)
    with pipes.through_files(jobs, layout.suffix) as files, console.terminate_as_interrupt():
        voice.called(pipes.called(jobs, files))
        if watch:
            code = _watch(named, layout, batch, voice)
        elif lasts:
            code = resumable.run(resumable.Lasting(job, named, layout, batch, rescan), team, voice)
        else:
            code = _run(files, batch, voice, team)
    raise typer.Exit(code)  # here, as what is for stdout is sent at the end of the block above


def _check(coding: "EncodingOptions", finish: "Postprocess") -> None:
    coding.check()
    finish.check()


def _tail(suffix: str | None, aim: "TargetSize") -> str:
    return f"_{aim.label}" if suffix is None else suffix


def _layout(
    into: "Location | None", aim: "TargetSize", called: str, suffix: str | None, format_: str | None
) -> "Layout":
    """What names are made of, and the folder beside an input that is one itself."""
    from srcli.batch.planning import Layout
    from srcli.imaging.codecs.registry import find_suffix

    return Layout(
        into,
        label=aim.label.removeprefix("x"),
        model=called,
        suffix=find_suffix(format_) if format_ else None,
        tail=_tail(suffix, aim) or f"_{aim.label}",
    )


def _named(inputs: list[str] | None, files_from: Path | None) -> "list[Location]":
    from srcli.storage.locations import parse_location

    named = [*(inputs or []), *(pipes.names_from(files_from) if files_from else [])]
    if not named:
        raise UsageError("no input is named", "as in `sr upscale photo.jpg`")
    return [parse_location(name) for name in named]


def _check_job(job: str | None, rescan: bool, others: dict[str, bool]) -> None:
    """Raise `UsageError` for what does not go with `--job`."""
    if rescan and not job:
        raise UsageError("--rescan looks for what is new since a job was begun", "give --job too")
    for option, given in others.items():
        if job and given:
            raise UsageError(f"{option} does not go with --job", "leave out one of them")


def _check_watch(watch: bool, *, ahead: bool) -> None:
    if watch and ahead:
        raise UsageError("what will come into a folder is not known ahead", "leave out --watch")


def _planned(
    named: "list[Location]", layout: "Layout", uncertainty: Path | None, watch: bool, lasts: bool
) -> "list[UpscaleTask]":
    """What is to be done; nothing yet where that is found as it goes."""
    from srcli.batch.planning import check_watchable, plan
    from srcli.storage.locations import check_bucket

    if layout.output:
        check_bucket(layout.output)
    if watch:
        check_watchable(named, layout)
    if watch or lasts:
        _check_one(uncertainty)
    return [] if watch or lasts else plan(named, layout)


def _literal(text: str) -> str:
    """As part of a template, whatever braces are in it."""
    return text.replace("{", "{{").replace("}", "}}")


def _check_map(target: Path | None, jobs: "list[UpscaleTask]", overwrite: bool) -> None:
    from srcli.imaging.codecs.writing import check_writable

    if target is None:
        return
    if len(jobs) > 1:
        _check_one(target)
    if target.exists() and not overwrite:
        raise SrError(f"{target} exists", "give --overwrite, or another --uncertainty")
    check_writable(target)


def _check_one(target: Path | None) -> None:
    if target:
        raise UsageError("--uncertainty is one map, the input is several", "upscale them one by one")


def _choices(coding: "EncodingOptions", finish: "Postprocess", self_ensemble: bool) -> dict[str, str]:
    """What differs from the defaults and changes pixels or files, for the record."""
    chosen = asdict(coding) | asdict(replace(finish, uncertainty=None))
    chosen |= {"self_ensemble": self_ensemble or finish.uncertainty is not None}
    return {key: str(value) for key, value in chosen.items() if value and (key, value) != ("strength", 1.0)}


def _voice(json: bool, quiet: bool, verbose: bool, piped: bool) -> Reporter:
    if json and piped:
        raise UsageError("--json and the image both want stdout", "name a file with --output")
    return JsonReporter() if json else ConsoleReporter(0 if quiet else 2 if verbose else 1, piped)


def _check_method(model: str | None, weights: Path | None, arch: str | None, aim: "TargetSize") -> str | None:
    """Bad names are told at once. The network that a weight file is for, where that is said."""
    from srcli.methods import check_model, check_scale, find_arch

    scale = 2 if aim.scale is None else aim.scale
    if weights is None:
        if arch:
            raise UsageError("--arch says what --weights is for", "give --weights too, or --model instead")
        check_model(model or DEFAULT_MODEL, scale)
        return None
    check_scale(scale)
    said = arch or model
    return find_arch(said) if said else None


def _check_together(team: "PoolConfig", watch: bool, jobs: "list[UpscaleTask]") -> None:
    """Raise `UsageError` for what other processes can't do."""
    from srcli.batch.planning import PIPE

    if watch and not team.is_single:
        raise UsageError("--watch is done by one process", "leave out --workers, --ray and further devices")
    if team.ray is not None and any(PIPE in (job.source, job.target) for job in jobs):
        raise UsageError("Ray's workers read and write files", "name files instead of -")


@dataclass
class _Tally:
    """What became of the jobs so far; of one done twice, as when its file has grown, the last time counts."""

    became: "dict[UpscaleTask, SrError | None]" = field(default_factory=dict)

    def note(self, outcome: "Became") -> None:
        self.became.pop(outcome.job, None)
        self.became[outcome.job] = outcome.error

    @property
    def failed(self) -> "list[UpscaleTask]":
        return [job for job, error in self.became.items() if error]

    @property
    def done(self) -> int:
        return len(self.became) - len(self.failed)

    @property
    def code(self) -> int:
        if not self.failed:
            return ExitCode.OK
        if self.done:
            return ExitCode.PARTLY
        last = list(self.became.values())[-1]
        return last.exit_code if last and last.affects_all else ExitCode.FAILED


def _run(jobs: "list[UpscaleTask]", batch: "Batch", voice: Reporter, team: "PoolConfig") -> int:
    """Every job, in turn or side by side; the exit code."""
    from srcli.batch.runner import Places
    from srcli.storage.locations import canonicalize

    tally, places = _Tally(), Places({canonicalize(job.source) for job in jobs})
    try:
        with voice, closing(outcomes(jobs, batch, voice, team, places, len(jobs))) as became:
            for outcome in became:
                tally.note(outcome)
                voice.outcome(outcome)
    except KeyboardInterrupt:
        if len(jobs) > 1:
            console.err.print(f"stopped; {tally.done} of {len(jobs)} done, --skip-existing goes on")
        raise
    voice.end(tally.failed, len(jobs), len(jobs) - tally.done - len(tally.failed))
    return tally.code


def _watch(named: "Sequence[Location]", layout: "Layout", batch: "Batch", voice: Reporter) -> int:
    """What is in the folders and what comes into them, until a signal; the exit code.

    The first signal lets the image in hand be finished, the second does not.
    """
    from srcli.batch.planning import now_in
    from srcli.batch.runner import Places
    from srcli.batch.watch import Looking, arriving
    from srcli.workers import run_jobs

    tally = _Tally()
    folders = [folder for folder in named if isinstance(folder, Path)]
    with console.stop_on_signal() as stopped, voice:
        voice.watching(folders)
        looking = Looking(partial(now_in, folders, layout), stopped.is_set, voice.idle, voice.trouble)
        for outcome in run_jobs(arriving(looking), one_by_one(batch, voice, Places())):
            tally.note(outcome)
            voice.outcome(outcome)
    voice.end(tally.failed, tally.done + len(tally.failed), 0)
    return tally.code
