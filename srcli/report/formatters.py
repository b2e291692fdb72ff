"""Benchmark results as Rich tables, Markdown, LaTeX, CSV or JSON."""

import csv
import io
import json
import re
from dataclasses import asdict, replace
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from srcli.bench import published, significance
from srcli.bench import results as bench_results
from srcli.bench.results import Results, Row
from srcli.report.escape import escape_markdown
from srcli.report.table import PLAIN, Cell, ScoreTable, TableGroup, TableOptions, build_tables
from srcli.storage.control_characters import escape_controls
from srcli.storage.spreadsheet import defuse_row

_STYLES = ("", "bold", "underline")


def format_terminal(results: Results, options: TableOptions, width: int) -> RenderableType:
    """Return tables of at most `width` columns; one that is wider is split, with its costs apart."""
    parts: list[RenderableType] = []
    for table in build_tables(results, options):
        if _fits(table, width):
            parts.append(build_rich_table(table))
        else:
            costs = replace(table.select_kinds("name", "cost"), title="costs")
            halves = [*_split(table.select_kinds("name", "score"), width), *_split(costs, width)]
            parts += map(build_rich_table, halves)
        parts += [Text(note, style="dim") for note in table.notes]
        parts.append("")
    return Group(*parts[:-1])


def _fits(table: ScoreTable, width: int) -> bool:
    return Console(width=10_000).measure(build_rich_table(table)).maximum <= width


def _split(table: ScoreTable, width: int) -> list[ScoreTable]:
    """Split a table into parts that fit, each with the first column and at least one other."""
    parts: list[ScoreTable] = []
    start, count = 1, len(table.headings)
    while start < count:
        ends = range(start + 1, count + 1)
        fitting = [end for end in ends if _fits(table.select_columns(0, *range(start, end)), width)]
        end = max(fitting, default=start + 1)
        parts.append(table.select_columns(0, *range(start, end)))
        start = end
    return parts


def build_rich_table(table: ScoreTable) -> Table:
    """Return a table for the terminal, with the data set and scale on a line above its methods."""
    out = Table(
        title=Text(table.title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for heading in table.headings:
        out.add_column(
            Text(heading.text), justify="left" if heading.kind == "name" else "right", no_wrap=True
        )
    for group in table.groups:
        out.add_row(Text(group.title, style="italic"))
        for number, line in enumerate(group.lines, 1):
            cells = [Text(cell.text, style=_STYLES[cell.rank]) for cell in line]
            out.add_row(*cells, end_section=number == len(group.lines))
    return out


def format_markdown(results: Results, options: TableOptions = PLAIN) -> str:
    """Return Markdown tables, the best in bold and the second underlined, followed by the protocol."""
    parts = [_format_markdown_table(table) for table in build_tables(results, options)]
    return "\n\n".join([*parts, f"Protocol: {escape_markdown(results.protocol)}."])


def _format_markdown_table(table: ScoreTable) -> str:
    headings = ["Dataset", "Scale", *(escape_markdown(heading.text) for heading in table.headings)]
    lines = [_line(headings), "|---|---:|---|" + "---:|" * (len(table.headings) - 1)]
    for group in table.groups:
        lines += [
            _line([escape_markdown(group.dataset), f"x{group.scale}", *map(_mark_markdown, line)])
            for line in group.lines
        ]
    notes = [f"- {escape_markdown(note)}" for note in table.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _mark_markdown(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return (text, f"**{text}**", f"<u>{text}</u>")[cell.rank]


def format_latex(results: Results, options: TableOptions = PLAIN) -> str:
    """Return LaTeX tables, the best in bold and the second underlined; they need booktabs and graphicx.

    A table that is wider than the text is scaled down; one that is longer than a page is split.
    """
    head = "% Made by `sr bench --latex`. Needs \\usepackage{booktabs,graphicx}."
    parts = [
        _format_latex_table(part)
        for table in build_tables(results, options)
        for part in _split_for_page(table.drop_empty_columns())
    ]
    return "\n\n".join([head, *parts]) + "\n"


# The largest table that fits on a page.
_COLUMNS, _LINES = 7, 40


def _split_for_page(table: ScoreTable) -> list[ScoreTable]:
    """Split a table by kinds of columns if it is too wide, then by groups if too long; notes go last."""
    if len(table.headings) <= _COLUMNS:
        parts = [table]
    else:
        parts = [
            table.select_kinds("name", "score"),
            replace(table.select_kinds("name", "cost"), title="costs"),
        ]
    pages = [page for part in parts for page in _split_by_groups(part)]
    return [replace(page, notes=()) for page in pages[:-1]] + pages[-1:]


def _split_by_groups(table: ScoreTable) -> list[ScoreTable]:
    chunks: list[list[TableGroup]] = [[]]
    for group in table.groups:
        if sum(len(each.lines) + 1 for each in [*chunks[-1], group]) > _LINES and chunks[-1]:
            chunks.append([])
        chunks[-1].append(group)
    return [replace(table, groups=tuple(chunk)) for chunk in chunks]


# The natural width, or the width of the text if that is less.
_FIT_TO_TEXT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"


def _format_latex_table(table: ScoreTable) -> str:
    count = len(table.headings)
    lines = [
        "\\begin{table}",
        "\\centering\\small",
        f"\\caption{{{escape_latex(table.title[:1].upper() + table.title[1:])}}}",
        _FIT_TO_TEXT,
        f"\\begin{{tabular}}{{l{'r' * (count - 1)}}}",
        "\\toprule",
        _latex_line([escape_latex(heading.text) for heading in table.headings]),
    ]
    for group in table.groups:
        title = f"{escape_latex(group.dataset)} $\\times{group.scale}$"
        lines += ["\\midrule", f"\\multicolumn{{{count}}}{{l}}{{\\textit{{{title}}}}} \\\\"]
        lines += [_latex_line([_mark_latex(cell) for cell in line]) for line in group.lines]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += [f"\\\\ \\footnotesize {escape_latex(note)}" for note in table.notes]
    return "\n".join([*lines, "\\end{table}"])


def _latex_line(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _mark_latex(cell: Cell) -> str:
    text = escape_latex(cell.text)
    return (text, f"\\textbf{{{text}}}", f"\\underline{{{text}}}")[cell.rank]


_ESCAPES = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}",
    ">": "\\textgreater{}", "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def escape_latex(text: str) -> str:
    """Escape special characters for LaTeX in one line; hyphens before numbers become minus signs."""
    line = escape_controls(" ".join(text.split()))
    return _MINUS.sub("$-$", "".join(_ESCAPES.get(sign, sign) for sign in line))


def to_csv(results: Results, options: TableOptions = PLAIN) -> str:
    """Return one CSV line per row in full precision; published scores and intervals have own columns."""
    lines = [
        {"protocol": results.protocol, **bench_results.flatten(row), **_list_published(results, row, options)}
        for row in results.rows
    ]
    if options.stats:
        column = results.columns[0]
        intervals = significance.compute_intervals(results, column)
        for line, row in zip(lines, results.rows, strict=True):
            interval = intervals.get((row.dataset, row.scale, row.method))
            line |= {
                f"{column.key}_low": interval and interval.low,
                f"{column.key}_high": interval and interval.high,
            }
    lines = [defuse_row(line) for line in lines]
    names = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _list_published(results: Results, row: Row, options: TableOptions) -> dict[str, Any]:
    score = published.find_published(results, row) if options.published else None
    if score is None:
        return {}
    return {
        "psnr_y_published": score.psnr_y,
        "ssim_y_published": score.ssim_y,
        "published_in": score.source,
        "published_otherwise": score.conflict,
    }


def to_json(results: Results, options: TableOptions = PLAIN) -> str:
    """Return JSON that `read_results` reads, with published scores and significance if requested."""
    raw = json.loads(bench_results.to_json(results))
    if options.published:
        raw["published"] = [
            {"dataset": row.dataset, "scale": row.scale, "method": row.method, **asdict(score)}
            for row in results.rows
            if (score := published.find_published(results, row))
        ]
    if options.stats:
        column = results.columns[0]
        raw["intervals"] = [
            {"dataset": dataset, "scale": scale, "method": method, "metric": column.key, **asdict(each)}
            for (dataset, scale, method), each in significance.compute_intervals(results, column).items()
        ]
        raw["comparisons"] = [
            {"metric": column.key, **asdict(each)} for each in significance.compare_methods(results, column)
        ]
    return json.dumps(bench_results.replace_nonfinite(raw), indent=1, allow_nan=False)
