"""A bench as one page of HTML that needs nothing else: tables, what is sure, plots, every image's scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli import __version__
from srcli.bench import significance
from srcli.bench.results import Results
from srcli.report import plots
from srcli.report.table import PLAIN, ScoreTable, TableOptions, sheets

_TEMPLATE = "bench_page.html"


@dataclass(frozen=True)
class _Images:
    """The first metric of every image by every method, of a data set at a scale."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class _Plot:
    """`svg` is matplotlib's own output, in which names are escaped already."""

    name: str
    svg: str


def render_bench_page(results: Results, show: TableOptions = PLAIN) -> str:
    """The page; plots are left out, and that is said, where matplotlib is not installed."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown: list[ScoreTable] = sheets(results, show)
    column = results.columns[0]
    pairs = significance.compare_methods(results, column) if show.stats else []
    return environment.get_template(_TEMPLATE).render(
        results=results,
        sheets=shown,
        heading=column.heading,
        digits=column.digits,
        pairs=pairs,
        images=list(_images(results)),
        plots=list(_plots(results)),
        places={row.method: row.where for row in results.rows if row.params and row.where},
        can_plot=plots.is_available(),
        version=__version__,
    )


def _plots(results: Results) -> Iterator[_Plot]:
    if plots.is_available():
        for name, svg in plots.render_plots(results):
            yield _Plot(name, svg)


def _images(results: Results) -> Iterator[_Images]:
    column = results.columns[0]
    found: dict[tuple[str, float], dict[str, dict[str, str]]] = {}
    for score in results.images:
        group = found.setdefault((score.dataset, score.scale), {})
        group.setdefault(score.image, {})[score.method] = column.format(score.figures[column.key])
    for group_rows in results.group_rows():
        place = (group_rows[0].dataset, group_rows[0].scale)
        methods = tuple(row.method for row in group_rows)
        lines = tuple(
            (image, tuple(texts.get(method, "-") for method in methods))
            for image, texts in found.get(place, {}).items()
        )
        if lines:
            yield _Images(f"{place[0]} x{place[1]}", methods, lines)
