"""`sr compare`: the same place of one image by several methods, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import console, options
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import UsageError
from srcli.manifest import DEFAULT_MODEL
from srcli.scales import plain

if TYPE_CHECKING:
    from srcli.bench import Score
    from srcli.imaging.pixels import Pixels
    from srcli.methods import Method
    from srcli.report.pictures import Panel, Region

_MODELS = ["nearest", "bicubic", DEFAULT_MODEL]


def compare(
    image: Annotated[Path, typer.Argument(help="The image to enlarge.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The sheet to write.")] = Path("compare.png"),
    scale: options.CompareScale = 4,
    model: options.Models = None,
    weights: options.Weights = None,
    truth: Annotated[
        Path | None, typer.Option(help="The true image, SCALE times as large: adds scores and error maps.")
    ] = None,
    hr: Annotated[
        bool, typer.Option("--hr", help="The image is the truth itself: reduce it by bicubic first.")
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option(help="Place to show, X,Y,WIDTH,HEIGHT in input pixels; the most detailed by default."),
    ] = None,
    device: options.Device = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    self_ensemble: options.SelfEnsemble = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Show enlarged crops of the same place side by side, with scores where the truth is known."""
    from srcli.imaging.image import Image, write
    from srcli.methods import Options, check_scale, find_all
    from srcli.report.pictures import sheet

    check_scale(scale)
    scale = plain(scale)
    _check_output(output, overwrite, [path for path in (image, truth) if path])
    lr, true, grey = _images(image, truth, hr, scale)
    region = _region(crop, lr)
    methods = find_all(
        model or ([] if weights else _MODELS),
        weights or [],
        scale,
        Options(device, tile, self_ensemble, runtime=runtime),
    )
    console.tell_taken(methods)
    panels = []
    with console.bar() as bar:
        for method in bar.track(methods, description="comparing"):
            panel, score = _panel(method, lr, true, grey, scale, region)
            panels.append(panel)
            console.result.print(f"{method.name:20} {_figures(score)}".rstrip(), markup=False)
    if true is not None:
        panels.append(_truth_panel(true, region, lr))
    write(output, Image(sheet(panels)))
    console.result.print(f"{output}", markup=False)


def _check_output(output: Path, overwrite: bool, inputs: list[Path]) -> None:
    from srcli.imaging.writing import check_writable

    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise UsageError(f"{output} is an input itself", "choose another --output")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", "give --overwrite, or another --output")
    check_writable(output)


def _images(path: Path, truth: Path | None, hr: bool, scale: float) -> "tuple[Pixels, Pixels | None, bool]":
    """The low-resolution pixels, the true ones if known, and whether the truth is a one-channel file."""
    from srcli.imaging.degrade import bicubic_lr
    from srcli.imaging.image import read
    from srcli.imaging.pixels import crop_to_multiple
    from srcli.methods import target_size

    if hr and truth:
        raise UsageError("--hr and --truth exclude each other", "--hr takes the image itself as the truth")
    given = read(path)
    if hr:
        true = crop_to_multiple(given.pixels, scale)
        return bicubic_lr(true, scale), true, given.grey
    if truth is None:
        return given.pixels, None, given.grey
    true_image = read(truth)
    true = crop_to_multiple(true_image.pixels, scale)
    wanted = target_size(given.pixels, scale)
    if true.shape[:2] != wanted:
        size = "x".join(map(str, true_image.size))
        raise UsageError(f"{truth} is {size}, not {wanted[1]}x{wanted[0]}", "check --scale, or use --hr")
    return given.pixels, true, true_image.grey


def _region(crop: str | None, lr: "Pixels") -> "Region":
    from srcli.report.pictures import Region, busiest

    if crop is None:
        return busiest(lr, 64)
    try:
        x, y, width, height = map(int, crop.split(","))
    except ValueError as error:
        raise UsageError(
            f"--crop {crop} is not X,Y,WIDTH,HEIGHT", "for instance --crop 10,20,64,64"
        ) from error
    inside = 0 <= x < x + width <= lr.shape[1] and 0 <= y < y + height <= lr.shape[0]
    if not inside:
        raise UsageError(f"--crop {crop} is outside the image", f"it is {lr.shape[1]}x{lr.shape[0]} pixels")
    return Region(y, x, height, width)


def _panel(
    method: "Method", lr: "Pixels", true: "Pixels | None", grey: bool, scale: float, region: "Region"
) -> "tuple[Panel, Score | None]":
    from srcli.bench import border_of, score
    from srcli.report.pictures import Panel, error_map

    sr = method(lr, scale).clip(0, 1)
    crop = region.of(sr, lr.shape[0])
    if true is None:
        return Panel(method.name, crop), None
    figures = score(sr, true, border_of(scale), grey)
    error = error_map(crop, region.of(true, lr.shape[0]))
    return Panel(method.name, crop, _figures(figures), error), figures


def _truth_panel(true: "Pixels", region: "Region", lr: "Pixels") -> "Panel":
    from srcli.report.pictures import Panel

    return Panel("truth", region.of(true, lr.shape[0]), "the original")


def _figures(score: "Score | None") -> str:
    return "" if score is None else f"{score.psnr_y:.2f} dB  SSIM {score.ssim_y:.4f}"
