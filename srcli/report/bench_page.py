"""A benchmark as one self-contained HTML page: tables, significance, plots, and the scores of every image."""

from collections.abc import Iterator
from dataclasses import dataclass

from srcli import __version__
from srcli.bench import significance
from srcli.bench.results import Results
from srcli.report import bench_plots, embed
from srcli.report.table import PLAIN, TableOptions, build_tables


@dataclass(frozen=True)
class _ImageTable:
    """The first metric of every image by every method, for a data set at a scale."""

    title: str
    methods: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class _Plot:
    """`svg` is the output of matplotlib, which has escaped the names in it."""

    name: str
    svg: str


def render_bench_page(results: Results, options: TableOptions = PLAIN) -> str:
    """Return the HTML text. Without matplotlib, the page says how to get plots."""
    column = results.columns[0]
    return embed.get_template("bench.html.j2").render(
        results=results,
        tables=build_tables(results, options),
        heading=column.heading,
        digits=column.digits,
        pairs=significance.compare_methods(results, column) if options.stats else [],
        images=list(_build_image_tables(results)),
        plots=list(_render_plots(results)),
        runtimes={row.method: row.where for row in results.rows if row.params and row.where},
        can_plot=bench_plots.is_available(),
        version=__version__,
    )


def _render_plots(results: Results) -> Iterator[_Plot]:
    if bench_plots.is_available():
        for name, svg in bench_plots.render_plots(results):
            yield _Plot(name, svg)


def _build_image_tables(results: Results) -> Iterator[_ImageTable]:
    column = results.columns[0]
    texts: dict[tuple[str, float], dict[str, dict[str, str]]] = {}
    for score in results.images:
        by_image = texts.setdefault((score.dataset, score.scale), {})
        by_image.setdefault(score.image, {})[score.method] = column.format(score.figures[column.key])
    for group in results.group_rows():
        dataset, scale = group[0].dataset, group[0].scale
        methods = tuple(row.method for row in group)
        lines = tuple(
            (image, tuple(by_method.get(method, "-") for method in methods))
            for image, by_method in texts.get((dataset, scale), {}).items()
        )
        if lines:
            yield _ImageTable(f"{dataset} x{scale}", methods, lines)
