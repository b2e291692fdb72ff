"""Plots of benchmark results: quality against time, size and computation, and per image."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.bench.results import ImageScore, Results, Row
from srcli.errors import SrError
from srcli.report.escape import make_slug
from srcli.storage.control_characters import escape_controls
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The x axis by file name: the field of `Row`, its label and its unit.
_AGAINST = {
    "time": ("seconds_per_image", "time per image", "s"),
    "parameters": ("params", "parameters", ""),
    "multiply-adds": ("multiply_adds", "multiply-adds for 1280x720", ""),
}
# Characters; a longer label would leave no room for the plot.
_LONGEST_LABEL = 30


def is_available() -> bool:
    """Return whether matplotlib can be found, without importing it."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def write_plots(results: Results, folder: Path) -> list[Path]:
    """Write all plots that the results allow, as SVG in `folder`. Raises `SrError` without matplotlib."""
    paths = []
    for name, svg in render_plots(results):
        path = folder / f"{name}.svg"
        with replace_atomically(path) as temporary:
            temporary.write_text(svg, "utf-8")
        paths.append(path)
    return paths


def render_plots(results: Results) -> Iterator[tuple[str, str]]:
    """Yield names and SVG texts of the plots. Raises `SrError` without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SrError("plots need matplotlib", "`pip install 'sr-cli[plots]'`") from error
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sr", "font.size": 9}):
        for group in results.group_rows():
            place = f"{make_slug(group[0].dataset)}-x{group[0].scale}"
            for name, figure in _plot_group(results, group, Figure):
                yield f"{place}-{name}", _render_svg(figure)


def _plot_group(results: Results, group: list[Row], new: "type[Figure]") -> "Iterator[tuple[str, Figure]]":
    column = results.columns[0]
    for name, (field, label, unit) in _AGAINST.items():
        points = [(getattr(row, field), row.figures[column.key], row.method) for row in group]
        shown = [point for point in points if point[0]]
        if len(shown) > 1:
            line = next((row for row in group if row.method == "bicubic" and not getattr(row, field)), None)
            level = line.figures[column.key] if line else None
            yield name, _plot_against(new, shown, (label, unit), column.heading, level)
    scores = _group_by_method(results, group)
    if any(len(column_scores) > 1 for column_scores in scores.values()):
        yield "images", _plot_boxes(new, scores, column.key, column.heading)
        pair = _pick_two_best(group, column)
        if pair:
            yield "scatter", _plot_images(new, scores, pair, column.key, column.heading)


def _plot_against(
    new: "type[Figure]",
    points: list[tuple[Any, float, str]],
    label: tuple[str, str],
    heading: str,
    bicubic: float | None,
) -> "Figure":
    """Plot methods as named points over a logarithmic x axis, labelled by name and unit.

    `bicubic` is drawn as a line, as an interpolator has no position on some axes.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

    figure = new(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for number, (x, y, name) in enumerate(points):
        axes.plot(x, y, "o", color=f"C{number % 10}")
        axes.annotate(_escape(name), (x, y), textcoords="offset points", xytext=(5, 4))
    axes.set(xscale="log", xlabel=label[0], ylabel=heading)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(label[1]))
    if bicubic is not None:
        axes.axhline(bicubic, color="grey", linestyle="--", linewidth=0.8)
        axes.annotate("bicubic", (0.01, bicubic), xycoords=("axes fraction", "data"), va="bottom")
    axes.margins(x=0.25, y=0.15)
    axes.grid(alpha=0.3)
    return figure


def _plot_boxes(
    new: "type[Figure]", scores: dict[str, dict[str, ImageScore]], key: str, heading: str
) -> "Figure":
    """Plot the distribution of each method's scores over the images."""
    figure = new(figsize=(4.6, 0.5 + 0.4 * len(scores)), layout="constrained")
    axes = figure.subplots()
    values = [[score.figures[key] for score in by_image.values()] for by_image in scores.values()]
    axes.boxplot(values, orientation="horizontal", tick_labels=list(map(_escape, scores)))
    axes.invert_yaxis()
    axes.set(xlabel=f"{heading} of each image")
    axes.grid(alpha=0.3, axis="x")
    return figure


def _plot_images(
    new: "type[Figure]",
    scores: dict[str, dict[str, ImageScore]],
    pair: tuple[str, str],
    key: str,
    heading: str,
) -> "Figure":
    """Plot one method's score of each image against another's; above the line, the second is higher."""
    figure = new(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    first, second = (scores[name] for name in pair)
    x = [first[image].figures[key] for image in first if image in second]
    y = [second[image].figures[key] for image in first if image in second]
    axes.plot(x, y, ".")
    axes.axline((x[0], x[0]), slope=1, color="grey", linewidth=0.8)
    axes.set(xlabel=f"{heading} of {_escape(pair[0])}", ylabel=f"{heading} of {_escape(pair[1])}")
    axes.grid(alpha=0.3)
    return figure


def _group_by_method(results: Results, group: list[Row]) -> dict[str, dict[str, ImageScore]]:
    place = (group[0].dataset, group[0].scale)
    scores: dict[str, dict[str, ImageScore]] = {row.method: {} for row in group}
    for score in results.images:
        if (score.dataset, score.scale) == place and score.method in scores:
            scores[score.method][score.image] = score
    return {method: by_image for method, by_image in scores.items() if by_image}


def _pick_two_best(group: list[Row], column: Any) -> tuple[str, str] | None:
    """Return the second best and the best method."""
    ranked = sorted(group, key=lambda row: column.rank(row.figures[column.key]))
    return (ranked[1].method, ranked[0].method) if len(ranked) > 1 else None


def _escape(text: str) -> str:
    """Escape dollar signs, between which matplotlib would read formulas, and control characters."""
    line = escape_controls(text)
    shown = line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 3]}..."
    return shown.replace("$", r"\$")


def _render_svg(figure: "Figure") -> str:
    """Return the figure as an SVG element for a page: without the XML header and without a date."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", out.getvalue(), count=1, flags=re.DOTALL)
