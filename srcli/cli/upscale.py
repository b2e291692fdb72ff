"""`sr upscale`: files or folders in, enlarged files out."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from srcli.cli import console, options
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import ExitCode, SrError, UsageError
from srcli.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from srcli.fleet import Job, Outcome
    from srcli.methods import Method, Options

    Finder = Callable[[Options], Method]


def upscale(
    inputs: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images.", show_default=False, readable=False)
    ],
    scale: options.Scale = 4,
    model: options.Model = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File, or folder; beside the input as NAME_x4 by default."),
    ] = None,
    weights: options.OneWeights = None,
    arch: options.Arch = None,
    device: options.Device = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    self_ensemble: options.SelfEnsemble = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Enlarge images with a network or an interpolator."""
    from srcli.fleet import each_image
    from srcli.methods import Options

    find = _finder(model, weights, arch, scale)
    jobs = plan(inputs, output, scale)
    failed = list(_reported(each_image(jobs, lambda job: _check(job, overwrite))))
    sound = [job for job in jobs if job not in failed]
    if sound:
        failed += _upscale_all(sound, find, scale, Options(device, tile, self_ensemble, runtime=runtime))
    if failed:
        if len(jobs) > 1:
            names = ", ".join(str(job.source) for job in failed)
            console.talk.print(f"{len(failed)} of {len(jobs)} failed: {names}", markup=False)
        raise typer.Exit(ExitCode.FAILED)


def _finder(model: str | None, weights: Path | None, arch: str | None, scale: float) -> "Finder":
    """How the method is found, once there is work for it; bad names are told at once."""
    from srcli.methods import arch_of, check_model, find, find_file

    if weights is None:
        if arch:
            raise UsageError("--arch says what --weights is for", "give --weights too, or --model instead")
        name = model or DEFAULT_MODEL
        check_model(name, scale)
        return lambda settings: find(name, scale, settings)
    said = arch or model
    named = arch_of(said) if said else None
    return lambda settings: find_file(weights, scale, settings, named)


def _upscale_all(jobs: "list[Job]", find: "Finder", scale: float, settings: "Options") -> "list[Job]":
    """Every job in turn, with a bar over its tiles; the jobs that failed."""
    from srcli.fleet import each_image

    bar = console.bar()
    task = bar.add_task("upscaling")

    def tell(done: int, total: int) -> None:
        if done == 1:
            bar.reset(task)
        bar.update(task, completed=done, total=total)

    method = find(replace(settings, progress=tell))
    taken = f", taken for {method.about}," if method.about else ""
    console.talk.print(f"{method.name}{taken} on {method.where}", markup=False)

    def work(job: "Job") -> str:
        bar.update(task, description=escape(job.source.name), completed=0)
        return _upscale_one(job, method, scale)

    with bar:
        return list(_reported(each_image(jobs, work)))


def _reported(outcomes: "Iterable[Outcome]") -> "Iterator[Job]":
    """Print what became of each job; the jobs that failed."""
    for outcome in outcomes:
        if outcome.error:
            console.complain(outcome.error)
            yield outcome.job
        elif outcome.summary:
            console.result.print(outcome.summary, markup=False)


def plan(inputs: list[Path], output: Path | None, scale: float) -> "list[Job]":
    """Which file goes where. Raises `SrError` where the command line can't be carried out as a whole."""
    from srcli.datasets import images_in
    from srcli.fleet import Job

    to_file = output is not None and bool(output.suffix) and not output.is_dir()
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UsageError(f"{output} is one file, the input is several", "name a folder with --output")
    jobs: list[Job] = []
    for source in inputs:
        files = images_in(source) if source.is_dir() else [source]
        if not files:
            raise UsageError(f"no images in {source}", "give a folder that holds image files")
        folder = _folder_beside(source, scale) if source.is_dir() else None
        jobs += [
            Job(file, output if to_file and output else _target(file, output or folder, scale))
            for file in files
        ]
    _check_distinct(jobs)
    return jobs


def _folder_beside(source: Path, scale: float) -> Path:
    """`photos_x4` for `photos`, so that a second run does not find the first one's results."""
    named = source if source.name not in ("", "..") else source.resolve()
    return named.parent / f"{named.name}_x{scale:g}"


def _target(file: Path, folder: Path | None, scale: float) -> Path:
    from srcli.imaging.image import writable_suffix

    name = f"{file.stem}_x{scale:g}{writable_suffix(file.suffix)}"
    return (folder or file.parent) / name


def _check_distinct(jobs: "list[Job]") -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            both = f"{seen[job.target]} and {job.source}"
            raise UsageError(f"{both} would both become {job.target}", "upscale them one by one")
        seen[job.target] = job.source


def _check(job: "Job", overwrite: bool) -> str:
    """Raise `SrError` for what can be known to fail before a network is loaded."""
    from srcli.imaging.image import check_readable, check_writable

    check_readable(job.source)
    check_writable(job.target)
    if job.target.exists():
        if job.target.samefile(job.source):
            raise SrError(f"{job.target} is the input itself", "choose another --output")
        if not overwrite:
            raise SrError(f"{job.target} exists", "give --overwrite, or another --output")
    return ""


def _upscale_one(job: "Job", method: "Method", scale: float) -> str:
    """Read, enlarge, write; the line to print."""
    from srcli.imaging.image import check_writable, read, write
    from srcli.methods import enlarge

    start = time.perf_counter()
    image = read(job.source)
    check_writable(job.target, image)
    result = enlarge(image, method, scale)
    write(job.target, result)
    seconds = time.perf_counter() - start
    old, new = ("x".join(map(str, i.size)) for i in (image, result))
    return f"{job.target}  {old} -> {new}  {seconds:.1f} s"
