"""Writing the results of a benchmark as JSON, CSV, LaTeX, HTML and plots."""

import sys
from dataclasses import dataclass
from pathlib import Path

from srcli.bench import Results
from srcli.report import bench_page, bench_plots, formatters
from srcli.report.table import TableOptions
from srcli.storage.files import replace_atomically

STDOUT = Path("-")


@dataclass(frozen=True)
class ResultFiles:
    """Paths to write each format to, None to skip it; `plots` is a folder. A path of - is stdout."""

    json: Path | None = None
    csv: Path | None = None
    latex: Path | None = None
    html: Path | None = None
    plots: Path | None = None


def write_results(results: Results, options: TableOptions, files: ResultFiles) -> list[Path]:
    """Write all requested files; return the paths of the plots, which the user does not name."""
    texts = (
        (files.json, formatters.to_json),
        (files.csv, formatters.to_csv),
        (files.latex, formatters.format_latex),
        (files.html, bench_page.render_bench_page),
    )
    for path, render in texts:
        if path == STDOUT:
            sys.stdout.write(render(results, options).rstrip("\n") + "\n")
        elif path:
            with replace_atomically(path) as temporary:
                temporary.write_text(render(results, options), "utf-8")
    return bench_plots.write_plots(results, files.plots) if files.plots else []
