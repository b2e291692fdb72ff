"""`sr compare`: images by several methods side by side, as a sheet, a figure, a page or in the terminal."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from srcli.cli import options
from srcli.cli.compare_reporter import CompareReporter
from srcli.cli.stage_bar import StageBar
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.report.rating_page import RatingTask

_RATING = "Blind rating"


@dataclass(frozen=True)
class TruthGroup:
    """The ground truth that results are scored against."""

    truth: Annotated[
        Path | None,
        typer.Option(help="Ground truth, SCALE times as large, or a folder of such images; adds scores."),
    ] = None
    hr: Annotated[
        bool, typer.Option("--hr", help="Treat the images as ground truth: downscale them by bicubic first.")
    ] = False


@dataclass(frozen=True)
class RatingGroup:
    """Pages on which people rate methods."""

    rate: Annotated[
        bool,
        typer.Option("--rate", help="Write a page for blind rating of the methods.", rich_help_panel=_RATING),
    ] = False
    pairs: Annotated[
        bool,
        typer.Option(
            "--pairs", help="Choose the better of two instead of scoring 1 to 5.", rich_help_panel=_RATING
        ),
    ] = False

    def build(self, seed: int) -> "RatingTask | None":
        """Return the task of raters, None without `--rate`. Raises `UsageError` for `--pairs` alone."""
        from srcli.report.rating_page import RatingTask

        if self.pairs and not self.rate:
            raise UsageError("--pairs is only for --rate", "use both, or neither")
        return RatingTask("pairs" if self.pairs else "scores", seed) if self.rate else None


@options.with_option_groups
def compare(
    images: Annotated[
        list[Path], typer.Argument(help="Images, or folders of images, to upscale.", show_default=False)
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="Sheet (.png ...), figure for a paper (.pdf, .svg) or page (.html); may be repeated;"
            " compare.png and .html by default.",
        ),
    ] = None,
    scale: options.OneScale = 4,
    *,
    lineup: options.LineupGroup,
    truth: TruthGroup,
    crop: Annotated[
        str | None,
        typer.Option(
            help="Region to show, X,Y,WIDTH,HEIGHT in input pixels; where methods differ most by default."
        ),
    ] = None,
    preview: Annotated[
        Literal["auto", "none", "blocks", "kitty", "sixel"],
        typer.Option(help="Pictures in the terminal; auto is the best that it supports."),
    ] = "auto",
    rating: RatingGroup,
    device: options.Device = None,
    engine: options.EngineGroup,
    training_free: options.UntrainedGroup,
    overwrite: options.Overwrite = False,
    max_pixels: options.MaxPixelsWhole = None,
) -> None:
    """Show images upscaled by several methods, with scores if the truth is known.

    A sheet shows the regions where the methods differ most; a figure also marks them in the image. A page
    shows everything, in one file that works offline. With --rate the page hides which method is which;
    `sr bench --ratings` reads people's answers.
    """
    from srcli import report
    from srcli.report.pictures import parse_region

    models = lineup.list_models()
    request = report.CompareRequest(
        tuple(images),
        tuple(output or ()),
        scale,
        models,
        tuple(lineup.weights or ()),
        truth.truth,
        truth.hr,
        parse_region(crop) if crop else None,
        rating.build(training_free.seed),
        engine.build(training_free.build_settings(models), device),
        overwrite,
        max_pixels,
    )
    with StageBar() as bar:
        report.compare(request, CompareReporter(bar, preview, hides_methods=rating.rate))
