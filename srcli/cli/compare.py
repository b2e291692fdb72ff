"""`sr compare`: images by several methods side by side: a sheet, a page, the terminal, or to be rated."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from srcli.cli import console, options, untrained
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import UsageError
from srcli.manifest import DEFAULT_MODEL
from srcli.scales import simplify_scale

if TYPE_CHECKING:
    from srcli.bench import Score
    from srcli.methods import Method
    from srcli.report.comparisons import Comparison, ComparisonSource, Outcome
    from srcli.report.page import About
    from srcli.report.pictures import Panel, Region

_MODELS = ["nearest", "bicubic", DEFAULT_MODEL]
_RATING = "Blind rating"
_PLACES = 4


def compare(
    images: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images, to enlarge.", show_default=False)
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="A sheet (.png ...) or a page (.html); may repeat. compare.png and compare.html by default.",
        ),
    ] = None,
    scale: options.OneScale = 4,
    model: options.Models = None,
    weights: options.Weights = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="The true image, SCALE times as large, or a folder of them: adds scores."),
    ] = None,
    hr: Annotated[
        bool, typer.Option("--hr", help="The image is the truth itself: reduce it by bicubic first.")
    ] = False,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Place to show, X,Y,WIDTH,HEIGHT in input pixels; where methods differ by default."
        ),
    ] = None,
    preview: Annotated[
        Literal["auto", "none", "blocks", "kitty", "sixel"],
        typer.Option(help="Pictures in the terminal; auto is the best that it can show."),
    ] = "auto",
    rate: Annotated[
        bool,
        typer.Option("--rate", help="Write a page to rate methods unseen.", rich_help_panel=_RATING),
    ] = False,
    pairs: Annotated[
        bool,
        typer.Option("--pairs", help="Choose of two, instead of scores 1 to 5.", rich_help_panel=_RATING),
    ] = False,
    device: options.Device = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    self_ensemble: options.SelfEnsemble = False,
    seed: options.Seed = 0,
    within: options.Within = None,
    kernel: options.BlurKernel = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Show images enlarged by several methods, with scores where the truth is known.

    A sheet has the places where the methods differ most, a page has all, in one file that needs no network.
    With --rate the page hides which method is which; `sr bench --ratings` reads what people answer.
    """
    from srcli.engine.slots import resolved
    from srcli.methods import MethodOptions, check_own_scale, check_scale, load_methods
    from srcli.report import comparisons, page, rating

    check_scale(scale)
    scale = simplify_scale(scale)
    outputs = _outputs(output, rate, pairs)
    _check_outputs(outputs, overwrite, [*images, *([truth] if truth else [])])
    region = _region(crop)
    named = list(dict.fromkeys(model or ([] if weights else _MODELS)))
    for name in named:
        check_own_scale(name, scale)
    found = comparisons.sources(images, truth, hr)
    pixels = comparisons.check(found, scale, region)
    alone = untrained.settings(named, seed, within, kernel)
    settings = MethodOptions(resolved(device), tile, self_ensemble, runtime=runtime, untrained=alone)
    methods = _distinct(load_methods(named, weights or [], scale, settings))
    paged = any(map(_is_page, outputs))
    if paged:
        page.check_size(pixels * (len(methods) + bool(hr or truth)))
    if rate:
        rating.check_count(len(methods))
    console.print_identified(methods)
    shown, scenes = [], []
    for one, outcomes in _outcomes(found, methods, scale):
        places = [region] if region else comparisons.places(one, outcomes, _PLACES)
        shown.append((one.name, _panels(one, outcomes, places[0])))
        if paged:
            scenes.append(page.scene(one, outcomes, places, scale, charts=not rate))
        if not rate:
            _tell(one, outcomes, len(found) > 1)
    _preview("none" if rate else preview, shown)
    abouts = _abouts(methods, named, scale)
    for path in outputs:
        if rate:
            console.save_text(
                path, rating.page(scenes, abouts, scale, rating.Task("pairs" if pairs else "scores", seed))
            )
        elif _is_page(path):
            console.save_text(path, page.page(scenes, abouts, scale, hr))
        else:
            _write_sheet(path, shown)
        console.out.print(f"{path}", markup=False)


def _is_page(path: Path) -> bool:
    return path.suffix.lower() in (".html", ".htm")


def _outputs(given: list[Path] | None, rate: bool, pairs: bool) -> list[Path]:
    """What to write; a sheet would tell raters which method is which."""
    if pairs and not rate:
        raise UsageError("--pairs is for --rate", "give both")
    if rate and not all(map(_is_page, given or [])):
        raise UsageError("--rate writes a page", "give an --output that ends in .html")
    usual = [Path("rating.html")] if rate else [Path("compare.png"), Path("compare.html")]
    return list(dict.fromkeys(given)) if given else usual


def _check_outputs(outputs: list[Path], overwrite: bool, inputs: list[Path]) -> None:
    from srcli.imaging.codecs.writing import check_writable
    from srcli.storage.files import check_can_write

    for output in outputs:
        if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
            raise UsageError(f"{output} is an input itself", "choose another --output")
        if output.exists() and not overwrite:
            raise UsageError(f"{output} exists", "give --overwrite, or another --output")
        (check_can_write if _is_page(output) else check_writable)(output)


def _region(crop: str | None) -> "Region | None":
    from srcli.report.pictures import Region

    if crop is None:
        return None
    try:
        x, y, width, height = map(int, crop.split(","))
    except ValueError as error:
        raise UsageError(
            f"--crop {crop} is not X,Y,WIDTH,HEIGHT", "for instance --crop 10,20,64,64"
        ) from error
    return Region(y, x, height, width)


def _distinct(methods: "list[Method]") -> "list[Method]":
    """The methods under names of their own: two weight files may have the same."""
    seen: Counter[str] = Counter()
    out = []
    for method in methods:
        seen[method.name] += 1
        number = seen[method.name]
        out.append(method if number == 1 else replace(method, name=f"{method.name} ({number})"))
    return out


def _abouts(methods: "list[Method]", named: list[str], scale: float) -> "list[About]":
    from srcli.methods import find_licence
    from srcli.report.page import About

    licences = [find_licence(name, scale) for name in named]
    licences += ["unknown"] * (len(methods) - len(named))
    return [About(m.name, text, m.params, m.description) for m, text in zip(methods, licences, strict=True)]


def _outcomes(
    found: "list[ComparisonSource]", methods: "list[Method]", scale: float
) -> "Iterator[tuple[Comparison, list[Outcome]]]":
    """Every method on every image, with a bar that is away while results are told."""
    from srcli.report import comparisons

    for number, source in enumerate(found, 1):
        one = comparisons.load(source, scale)
        count = f" ({number} of {len(found)})" if len(found) > 1 else ""
        with console.make_progress_bar() as bar:
            tracked = bar.track(methods, description=f"{one.name}{count}")
            outcomes = [comparisons.outcome(method, one, scale) for method in tracked]
        yield one, outcomes


def _tell(one: "Comparison", outcomes: "list[Outcome]", several: bool) -> None:
    if several:
        console.out.print(one.name, markup=False)
    for outcome in outcomes:
        console.out.print(f"{outcome.method:20} {_figures(outcome.score)}".rstrip(), markup=False)


def _panels(one: "Comparison", outcomes: "list[Outcome]", region: "Region") -> "list[Panel]":
    from srcli.report.pictures import Panel, error_map

    height = one.lr.shape[0]
    crops = [region.of(outcome.pixels, height) for outcome in outcomes]
    if one.truth is None:
        return [Panel(outcome.method, crop) for outcome, crop in zip(outcomes, crops, strict=True)]
    true = region.of(one.truth, height)
    panels = [
        Panel(outcome.method, crop, _figures(outcome.score), error_map(crop, true))
        for outcome, crop in zip(outcomes, crops, strict=True)
    ]
    return [*panels, Panel("truth", true, "the original")]


def _write_sheet(path: Path, shown: "list[tuple[str, list[Panel]]]") -> None:
    from srcli.imaging.image import Image, write_image
    from srcli.report.pictures import sheet, stacked

    several = len(shown) > 1
    write_image(path, Image(stacked([sheet(panels, name if several else "") for name, panels in shown])))


def _preview(wanted: str, shown: "list[tuple[str, list[Panel]]]") -> None:
    from srcli.report import terminal
    from srcli.report.pictures import sheet

    kind = terminal.best(os.environ) if wanted == "auto" else wanted
    for _, panels in shown if kind != "none" else []:
        if kind == "blocks":
            console.out.print(terminal.blocks(panels, console.out.width))
        else:
            typer.echo((terminal.kitty if kind == "kitty" else terminal.sixel)(sheet(panels)), nl=False)


def _figures(score: "Score | None") -> str:
    return "" if score is None else f"{score.psnr_y:.2f} dB  SSIM {score.ssim_y:.4f}"
