"""`sr upscale`: files or folders in, enlarged files out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from srcli.cli import console, options
from srcli.errors import ExitCode, SrError, UsageError

if TYPE_CHECKING:
    from srcli.fleet import Job
    from srcli.methods import Method


def upscale(
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    scale: options.Scale = 4,
    model: options.Model = "fsrcnn",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File, or folder; beside the input as NAME_x4 by default."),
    ] = None,
    weights: options.OneWeights = None,
    device: options.Device = None,
    tile: options.Tile = 512,
    self_ensemble: options.SelfEnsemble = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Enlarge images with a network or an interpolator."""
    from srcli.fleet import each_image
    from srcli.methods import Options, find

    jobs = plan(inputs, output, scale)
    with console.bar() as bar:
        task = bar.add_task("loading", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        settings = Options(device, tile, self_ensemble, weights, tell)
        method = find(model, scale, settings)
        console.talk.print(f"{method.name} on {method.where}")

        def work(job: "Job") -> str:
            bar.update(task, description=escape(job.source.name), completed=0)
            return _upscale_one(job, method, scale, overwrite)

        failed = []
        for outcome in each_image(jobs, work):
            if outcome.error:
                failed.append(outcome.job.source)
                console.complain(outcome.error)
            else:
                console.result.print(outcome.summary, markup=False)
    if failed:
        if len(jobs) > 1:
            console.talk.print(f"{len(failed)} of {len(jobs)} failed: {', '.join(map(str, failed))}")
        raise typer.Exit(ExitCode.FAILED)


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
        folder = source.with_name(f"{source.resolve().name}_x{scale:g}") if source.is_dir() else None
        jobs += [
            Job(file, output if to_file and output else _target(file, output or folder, scale))
            for file in files
        ]
    _check_distinct(jobs)
    return jobs


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


def _upscale_one(job: "Job", method: "Method", scale: float, overwrite: bool) -> str:
    """Read, enlarge, write; the line to print."""
    from srcli.imaging.image import check_writable, read, write
    from srcli.methods import enlarge

    start = time.perf_counter()
    if job.target.exists():
        if job.target.samefile(job.source) if job.source.exists() else False:
            raise SrError(f"{job.target} is the input itself", "choose another --output")
        if not overwrite:
            raise SrError(f"{job.target} exists", "give --overwrite, or another --output")
    image = read(job.source)
    check_writable(job.target, image)
    result = enlarge(image, method, scale)
    write(job.target, result)
    seconds = time.perf_counter() - start
    old, new = ("x".join(map(str, i.size)) for i in (image, result))
    return f"{job.target}  {old} -> {new}  {seconds:.1f} s"
