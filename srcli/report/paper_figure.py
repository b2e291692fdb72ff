"""Figures for papers, as PDF or SVG: an overview with a marked box, and that box by each method."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.bench import Score
from srcli.errors import SrError
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.resize import resize
from srcli.report.comparisons import Comparison, MethodResult
from srcli.report.pictures import Region, magnify
from srcli.scales import format_scale
from srcli.storage.control_characters import escape_controls
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg")
# Inches: the width of a page of two columns, gaps, and a line of text, which has 7 points.
_WIDTH, _GAP, _LINE, _POINTS = 6.9, 0.05, 0.125, 7
_CHARACTER = 0.058
# The largest share of the width for the overview, and of the width for a crop.
_OVERVIEW, _CROP = 0.42, 0.26
_COLUMNS = 5
_OVERVIEW_SIDE, _CROP_SIDE = 1200, 360  # pixels
_BOX = "#e3120b"
_DPI = 150  # of PNG, for docs
# Dates would make each run another file.
_METADATA: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {}}


@dataclass(frozen=True)
class FigurePanel:
    """One crop, what it is called, and a line below that."""

    label: str
    crop: Pixels
    note: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class FigureScene:
    """One image of a figure: the whole `overview`, the part of it that is marked, and that by each method.

    `box` is left, top, width and height as shares of the overview.
    """

    caption: str
    overview: Pixels
    box: tuple[float, float, float, float]
    panels: tuple[FigurePanel, ...]


def is_figure(path: Path) -> bool:
    """Return whether an output is a figure for a paper."""
    return path.suffix.lower() in SUFFIXES


def check_can_draw() -> None:
    """Raise `SrError` if matplotlib is missing, without importing it."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise SrError("figures as PDF or SVG need matplotlib", "`pip install 'sr-cli[plots]'`")


def build_figure_scene(
    comparison: Comparison, results: list[MethodResult], region: Region, scale: float
) -> FigureScene:
    """Return the scene of an image; the truth comes last, and the note below it says what the figures are."""
    height, width = comparison.lr.shape[:2]
    best = max((one.score.psnr_y for one in results if one.score), default=None)
    panels = [
        FigurePanel(
            one.method,
            region.crop(one.pixels, height),
            _format_score(one.score),
            one.score is not None and one.score.psnr_y == best,
        )
        for one in results
    ]
    if comparison.truth is None:
        overview, kind = comparison.lr, f"input of {format_scale(scale)}"
    else:
        overview, kind = comparison.truth, format_scale(scale)
        panels.append(FigurePanel("truth", region.crop(overview, height), "PSNR / SSIM"))
    box = (region.x / width, region.y / height, region.width / width, region.height / height)
    return FigureScene(f"{comparison.name}, {kind}", overview, box, tuple(panels))


def _format_score(score: Score | None) -> str:
    return "" if score is None else f"{score.psnr_y:.2f} / {score.ssim_y:.4f}"


def write_figure(path: Path, scenes: list[FigureScene]) -> None:
    """Write a figure, one image below the other. Text stays text, and pixels are not smoothed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    layouts = [_plan_scene(scene) for scene in scenes]
    height = sum(layout.height for layout in layouts) + _GAP * (len(layouts) - 1)
    suffix = path.suffix.lower()
    with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "sr"}):
        figure = Figure(figsize=(max(layout.width for layout in layouts), height))
        top = 0.0
        for scene, layout in zip(scenes, layouts, strict=True):
            _draw_scene(figure, scene, layout, top)
            top += layout.height + _GAP
        data = BytesIO()  # on a full disk, matplotlib's writer of PDF fails in its own way
        figure.savefig(data, format=suffix[1:], dpi=_DPI, metadata=_METADATA[suffix])
        with replace_atomically(path) as temporary:
            temporary.write_bytes(data.getbuffer())


@dataclass(frozen=True)
class _Layout:
    """The sizes of a scene in inches: overview and crops as (width, height), and the height of captions."""

    overview: tuple[float, float]
    crop: tuple[float, float]
    columns: int
    rows: int
    caption: float

    @property
    def width(self) -> float:
        return self.overview[0] + self.columns * (self.crop[0] + _GAP)

    @property
    def height(self) -> float:
        crops = self.rows * (self.crop[1] + self.caption) + (self.rows - 1) * _GAP
        return max(crops, self.overview[1] + self.caption)


def _plan_scene(scene: FigureScene) -> _Layout:
    """Make the crops as large as the width allows, and the overview as high as all rows of them."""
    count = len(scene.panels)
    rows = 1 if count < _COLUMNS else -(-count // _COLUMNS) if count > 2 * _COLUMNS else 2
    columns = -(-count // rows)
    crop_height, crop_width = scene.panels[0].crop.shape[:2]
    tall = crop_height / crop_width
    wide = scene.overview.shape[1] / scene.overview.shape[0]
    caption = (2 if any(panel.note for panel in scene.panels) else 1) * _LINE + _GAP
    between = (rows - 1) * (caption + _GAP)
    side = (_WIDTH - wide * between - columns * _GAP) / (wide * rows * tall + columns)
    across = wide * (rows * side * tall + between)
    if across > _OVERVIEW * _WIDTH:
        across = _OVERVIEW * _WIDTH
        side = (_WIDTH - across) / columns - _GAP
    side = min(side, _CROP * _WIDTH)
    across = min(across, wide * (rows * side * tall + between))
    return _Layout((across, across / wide), (side, side * tall), columns, rows, caption)


def _draw_scene(figure: "Figure", scene: FigureScene, layout: _Layout, top: float) -> None:
    from matplotlib.patches import Rectangle

    axes = _add_picture(figure, _shrink(scene.overview), (0, top), layout.overview)
    left, upper, width, height = scene.box
    style = {"transform": axes.transAxes, "fill": False, "edgecolor": _BOX, "linewidth": 1}
    axes.add_patch(Rectangle((left, 1 - upper - height), width, height, **style))
    _add_text(figure, scene.caption, (0, top + layout.overview[1]), layout.overview[0])
    for number, panel in enumerate(scene.panels):
        row, column = divmod(number, layout.columns)
        x = layout.overview[0] + _GAP + column * (layout.crop[0] + _GAP)
        y = top + row * (layout.crop[1] + layout.caption + _GAP)
        _add_picture(figure, to_uint8(magnify(panel.crop, _CROP_SIDE)), (x, y), layout.crop)
        for line, text in enumerate((panel.label, panel.note)):
            is_bold = panel.is_best and line == 1
            _add_text(figure, text, (x, y + layout.crop[1] + line * _LINE), layout.crop[0], is_bold=is_bold)


def _add_picture(
    figure: "Figure", samples: Any, place: tuple[float, float], size: tuple[float, float]
) -> Any:
    """Add an image; `place` is its left upper corner in inches from that of the figure."""
    width, height = figure.get_size_inches()
    bottom = height - place[1] - size[1]
    axes = figure.add_axes((place[0] / width, bottom / height, size[0] / width, size[1] / height))
    axes.imshow(samples, interpolation="none", aspect="auto")
    axes.set_axis_off()
    return axes


def _add_text(
    figure: "Figure", text: str, place: tuple[float, float], room: float, *, is_bold: bool = False
) -> None:
    """Add a line centred below a picture that is `room` inches wide."""
    width, height = figure.get_size_inches()
    longest = max(8, int(room / _CHARACTER))
    line = escape_controls(text if len(text) <= longest else f"{text[: longest - 1]}…")
    figure.text(
        (place[0] + room / 2) / width,
        1 - (place[1] + 0.03) / height,
        line,
        fontsize=_POINTS,
        fontweight="bold" if is_bold else "normal",
        ha="center",
        va="top",
        parse_math=False,
    )


def _shrink(pixels: Pixels) -> Any:
    """Return 8-bit samples of an overview that is no larger than a print can show."""
    height, width = pixels.shape[:2]
    factor = _OVERVIEW_SIDE / max(height, width)
    if factor < 1:
        pixels = resize(pixels, round(height * factor), round(width * factor), "bicubic")
    return to_uint8(pixels)
