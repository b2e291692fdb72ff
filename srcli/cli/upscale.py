"""`sr upscale`: files, folders, patterns or stdin in, enlarged files out."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import console, forecast, lasting, options, pipes, untrained
from srcli.cli.voices import Lines, Records, Voice
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import ExitCode, SrError, UsageError
from srcli.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from srcli.enlarge import Done, Finish, Work
    from srcli.fleet import Outcome
    from srcli.imaging.size import Wanted
    from srcli.imaging.writing import Output
    from srcli.jobs import Job, Layout
    from srcli.methods import Method, Options
    from srcli.places import Place

    Finder = Callable[[float, Options], Method]

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
    device: options.Device = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
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
    from srcli.enlarge import Finish, Work
    from srcli.imaging.size import wanted
    from srcli.imaging.writing import Output
    from srcli.jobs import PIPE, Layout, plan
    from srcli.methods import Options
    from srcli.places import is_many, place
    from srcli.records import Recipe

    aim = wanted(scale, width, height, size, long_edge, megapixels)
    named = _named(inputs, files_from)
    into = place(output) if output else None
    if watch and (dry_run or within):
        raise UsageError("what will come into a folder is not known ahead", "leave out --watch")
    _check_job(job, rescan, {"--watch": watch, "--dry-run": dry_run, "--within": bool(within)})
    if within and not weights:
        every = plan(named, Layout(into, recursive=recursive, flat=flat))
        model = forecast.within(
            within, model, every, aim, Options(device, tile, self_ensemble, runtime=runtime)
        )
    finder = _finder(model, weights, arch, aim)
    coding = Output(quality, lossless, subsampling, depth, strip)
    finish = Finish(consistent, color_fix, strength, uncertainty)
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
    once = self_ensemble and not uncertainty  # for the map all eight are looked at here
    running = Options(device, tile, once, voice.progress, runtime, alone, voice.seam)
    find = _remembered(finder, running, voice)
    choices = _choices(coding, finish, self_ensemble)
    if not weights:
        choices |= untrained.choices(called, seed, within, kernel)
    recipe = Recipe(called, aim.label, choices, weights)
    work = Work(find, aim, recipe, coding, max_pixels, tile, finish, stream)
    if dry_run:
        forecast.tell(jobs, work, as_json=json)
        return
    with pipes.through_files(jobs, layout.suffix) as files, console.terminated_as_interrupted():
        voice.called(pipes.called(jobs, files))
        if watch:
            code = _watch(named, layout, work, voice, overwrite)
        elif lasts:
            do = _doing(work, voice, None, overwrite, skip_existing or bool(job))
            code = lasting.run(lasting.Batch(job, named, layout, work, rescan), do, voice)
        else:
            code = _run(files, work, voice, overwrite, skip_existing)
    raise typer.Exit(code)


def _check(coding: "Output", finish: "Finish") -> None:
    coding.check()
    finish.check()


def _tail(suffix: str | None, aim: "Wanted") -> str:
    return f"_{aim.label}" if suffix is None else suffix


def _layout(
    into: "Place | None", aim: "Wanted", called: str, suffix: str | None, format_: str | None
) -> "Layout":
    """What names are made of, and the folder beside an input that is one itself."""
    from srcli.imaging.formats import suffix_of
    from srcli.jobs import Layout

    return Layout(
        into,
        label=aim.label.removeprefix("x"),
        model=called,
        suffix=suffix_of(format_) if format_ else None,
        tail=_tail(suffix, aim) or f"_{aim.label}",
    )


def _named(inputs: list[str] | None, files_from: Path | None) -> "list[Place]":
    from srcli.places import place

    named = [*(inputs or []), *(pipes.names_from(files_from) if files_from else [])]
    if not named:
        raise UsageError("no input is named", "as in `sr upscale photo.jpg`")
    return [place(name) for name in named]


def _check_job(job: str | None, rescan: bool, others: dict[str, bool]) -> None:
    """Raise `UsageError` for what does not go with `--job`."""
    if rescan and not job:
        raise UsageError("--rescan looks for what is new since a job was begun", "give --job too")
    for option, given in others.items():
        if job and given:
            raise UsageError(f"{option} does not go with --job", "leave out one of them")


def _planned(
    named: "list[Place]", layout: "Layout", uncertainty: Path | None, watch: bool, lasts: bool
) -> "list[Job]":
    """What is to be done; nothing yet where that is found as it goes."""
    from srcli.jobs import check_watchable, plan
    from srcli.places import check_root

    if layout.output:
        check_root(layout.output)
    if watch:
        check_watchable(named, layout)
    if watch or lasts:
        _check_one(uncertainty)
    return [] if watch or lasts else plan(named, layout)


def _literal(text: str) -> str:
    """As part of a template, whatever braces are in it."""
    return text.replace("{", "{{").replace("}", "}}")


def _check_map(target: Path | None, jobs: "list[Job]", overwrite: bool) -> None:
    from srcli.imaging.writing import check_writable

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


def _choices(coding: "Output", finish: "Finish", self_ensemble: bool) -> dict[str, str]:
    """What differs from the defaults and changes pixels or files, for the record."""
    chosen = asdict(coding) | asdict(replace(finish, uncertainty=None))
    chosen |= {"self_ensemble": self_ensemble or finish.uncertainty is not None}
    return {key: str(value) for key, value in chosen.items() if value and (key, value) != ("strength", 1.0)}


def _voice(json: bool, quiet: bool, verbose: bool, piped: bool) -> Voice:
    if json and piped:
        raise UsageError("--json and the image both want stdout", "name a file with --output")
    return Records() if json else Lines(0 if quiet else 2 if verbose else 1, piped)


def _finder(model: str | None, weights: Path | None, arch: str | None, aim: "Wanted") -> "Finder":
    """How methods are found, once there is work for them; bad names are told at once."""
    from srcli.methods import arch_of, check_model, check_scale, find, find_file

    scale = 2 if aim.scale is None else aim.scale
    if weights is None:
        if arch:
            raise UsageError("--arch says what --weights is for", "give --weights too, or --model instead")
        name = model or DEFAULT_MODEL
        check_model(name, scale)
        return partial(find, name)
    check_scale(scale)
    said = arch or model
    named = arch_of(said) if said else None
    return lambda scale, settings: find_file(weights, scale, settings, named)


def _remembered(finder: "Finder", settings: "Options", voice: Voice) -> "Callable[[float], Method]":
    """Methods loaded when first asked for. Scales between two whole numbers take the same networks."""
    loaded: dict[int, Method] = {}

    def find(scale: float) -> "Method":
        key = math.ceil(scale)
        if key not in loaded:
            voice.loading()
            try:
                loaded[key] = finder(scale, settings)
            except SrError as error:
                error.for_all = True
                raise
            voice.method(loaded[key])
        return loaded[key]

    return find


@dataclass
class _Tally:
    """What became of the jobs so far; of one done twice, as when its file has grown, the last time counts."""

    became: "dict[Job, SrError | None]" = field(default_factory=dict)

    def note(self, outcome: "Outcome[Done | None]") -> None:
        self.became.pop(outcome.job, None)
        self.became[outcome.job] = outcome.error

    @property
    def failed(self) -> "list[Job]":
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
        return last.exit_code if last and last.for_all else ExitCode.FAILED


def _run(jobs: "list[Job]", work: "Work", voice: Voice, overwrite: bool, skip_existing: bool) -> int:
    """Every job in turn; the exit code."""
    from srcli.fleet import each_image
    from srcli.places import key

    tally = _Tally()
    sources = {key(job.source) for job in jobs}
    try:
        with voice:
            for outcome in each_image(jobs, _doing(work, voice, sources, overwrite, skip_existing)):
                tally.note(outcome)
                voice.outcome(outcome)
    except KeyboardInterrupt:
        if len(jobs) > 1:
            console.talk.print(f"stopped; {tally.done} of {len(jobs)} done, --skip-existing goes on")
        raise
    voice.end(tally.failed, len(jobs), len(jobs) - tally.done - len(tally.failed))
    return tally.code


def _watch(named: "list[Place]", layout: "Layout", work: "Work", voice: Voice, overwrite: bool) -> int:
    """What is in the folders and what comes into them, until a signal; the exit code.

    The first signal lets the image in hand be finished, the second does not.
    """
    from srcli.fleet import each_image
    from srcli.jobs import now_in
    from srcli.watch import Looking, arriving

    tally, sources = _Tally(), set[str]()
    folders = [folder for folder in named if isinstance(folder, Path)]
    with console.until_signal() as stopped, voice:
        voice.watching(folders)
        looking = Looking(partial(now_in, folders, layout), stopped.is_set, voice.idle, voice.trouble)
        for outcome in each_image(
            arriving(looking), _doing(work, voice, sources, overwrite, skip_existing=True)
        ):
            tally.note(outcome)
            voice.outcome(outcome)
    voice.end(tally.failed, tally.done + len(tally.failed), 0)
    return tally.code


def _doing(
    work: "Work", voice: Voice, sources: set[str] | None, overwrite: bool, skip_existing: bool
) -> "Callable[[Job], Done | None]":
    """What is done with each job; `sources` are the inputs so far, none of which may be written to.

    None where that is seen to already, and they may be too many to be held.
    """
    from srcli.enlarge import enlarge_file

    claimed: dict[Place, Place] = {}

    def do(job: "Job") -> "Done | None":
        voice.begin(job)
        if sources is not None:
            _claim(job, sources, claimed)
        if _is_there(job, work, sources or set(), overwrite or job.again, skip_existing):
            return None
        return enlarge_file(job, work)

    return do


def _claim(job: "Job", sources: set[str], claimed: "dict[Place, Place]") -> None:
    """Remember an input and its output. Raises `SrError` where that is another's output too."""
    from srcli.places import key

    sources.add(key(job.source))
    if claimed.setdefault(job.target, job.source) != job.source:
        both = f"{claimed[job.target]} and {job.source}"
        raise SrError(f"{both} would both become {job.target}", "rename one of them")


def _is_there(job: "Job", work: "Work", sources: set[str], overwrite: bool, skip_existing: bool) -> bool:
    """Whether the output is done already. Raises `SrError` for what can be known to fail before the work."""
    from srcli.places import exists, key
    from srcli.records import is_done

    _check_ends(job, work)
    if not exists(job.target):
        return False
    if key(job.target) == key(job.source):
        raise SrError(f"{job.target} is the input itself", "choose another --output")
    if key(job.target) in sources:
        raise SrError(f"{job.target} is an input too", "choose another --output")
    if skip_existing and is_done(job.source, job.target, work.recipe.digest):
        return True
    if not overwrite:
        other = ", made of other content or with other settings" if skip_existing else ""
        raise SrError(f"{job.target} exists{other}", "give --overwrite, or another --output")
    return False


def _check_ends(job: "Job", work: "Work") -> None:
    """Raise `SrError` for what can't be read or written; of what is in a store only its name is looked at."""
    from srcli.imaging.reading import check_readable
    from srcli.imaging.writing import check_holds, check_writable

    if isinstance(job.source, Path):
        check_readable(job.source)
    if isinstance(job.target, Path):
        check_writable(job.target, output=work.output)
    else:
        check_holds(job.target, output=work.output)
