"""Bench results as Rich tables, Markdown, LaTeX, CSV or JSON."""

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
from srcli.bench import results as found
from srcli.bench.results import Results, Row
from srcli.report.table import PLAIN, Cell, ScoreTable, TableOptions, sheets
from srcli.report.table import Group as Lines

_STYLES = ("", "bold", "underline")


def format_terminal(results: Results, show: TableOptions, width: int) -> RenderableType:
    """Tables that fit into `width` columns; where one doesn't, it is several, and costs have their own."""
    parts: list[RenderableType] = []
    for sheet in sheets(results, show):
        if _fits(sheet, width):
            parts.append(rich_table(sheet))
        else:
            costs = replace(sheet.only("name", "cost"), title="costs")
            halves = [*_split(sheet.only("name", "score"), width), *_split(costs, width)]
            parts += map(rich_table, halves)
        parts += [Text(note, style="dim") for note in sheet.notes]
        parts.append("")
    return Group(*parts[:-1])


def _fits(sheet: ScoreTable, width: int) -> bool:
    return Console(width=10_000).measure(rich_table(sheet)).maximum <= width


def _split(sheet: ScoreTable, width: int) -> list[ScoreTable]:
    """The sheet in as many parts as fit, each with the first column; one column at least in each."""
    found: list[ScoreTable] = []
    start, count = 1, len(sheet.headings)
    while start < count:
        ends = range(start + 1, count + 1)
        fitting = [end for end in ends if _fits(sheet.columns(0, *range(start, end)), width)]
        end = max(fitting, default=start + 1)
        found.append(sheet.columns(0, *range(start, end)))
        start = end
    return found


def rich_table(sheet: ScoreTable) -> Table:
    """For a terminal; a line with the name of each data set and scale stands above its methods."""
    table = Table(
        title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False
    )
    for heading in sheet.headings:
        table.add_column(heading.text, justify="left" if heading.kind == "name" else "right", no_wrap=True)
    for group in sheet.groups:
        table.add_row(Text(group.title, style="italic"))
        for number, line in enumerate(group.lines, 1):
            cells = [Text(cell.text, style=_STYLES[cell.place]) for cell in line]
            table.add_row(*cells, end_section=number == len(group.lines))
    return table


def format_markdown(results: Results, show: TableOptions = PLAIN) -> str:
    """Markdown tables, the best in bold and the second underlined; below them the protocol and notes."""
    parts = [_markdown(sheet) for sheet in sheets(results, show)]
    return "\n\n".join([*parts, f"Protocol: {results.protocol}."])


def _markdown(sheet: ScoreTable) -> str:
    headings = ["Dataset", "Scale", *(heading.text for heading in sheet.headings)]
    lines = [_line(headings), "|---|---:|---|" + "---:|" * (len(sheet.headings) - 1)]
    for group in sheet.groups:
        lines += [_line([group.dataset, f"x{group.scale}", *map(_marked, line)]) for line in group.lines]
    notes = [f"- {note}" for note in sheet.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _marked(cell: Cell) -> str:
    return (cell.text, f"**{cell.text}**", f"<u>{cell.text}</u>")[cell.place]


def format_latex(results: Results, show: TableOptions = PLAIN) -> str:
    """Tables for LaTeX, the best in bold and the second underlined; needs booktabs and graphicx.

    What is wider than a line of text is made smaller; what is longer than a page becomes several tables.
    """
    head = "% Made by `sr bench --latex`. Needs \\usepackage{booktabs,graphicx}."
    parts = [_latex(part) for sheet in sheets(results, show) for part in _for_a_page(sheet)]
    return "\n\n".join([head, *parts]) + "\n"


# How many columns and lines a table has that is as large as a page.
_COLUMNS, _LINES = 7, 40


def _for_a_page(sheet: ScoreTable) -> list[ScoreTable]:
    """The sheet, or costs apart, or several after each other; notes below the last."""
    if len(sheet.headings) <= _COLUMNS:
        parts = [sheet]
    else:
        parts = [sheet.only("name", "score"), replace(sheet.only("name", "cost"), title="costs")]
    pages = [page for part in parts for page in _pages(part)]
    return [replace(page, notes=()) for page in pages[:-1]] + pages[-1:]


def _pages(sheet: ScoreTable) -> list[ScoreTable]:
    chunks: list[list[Lines]] = [[]]
    for group in sheet.groups:
        if sum(len(each.lines) + 1 for each in [*chunks[-1], group]) > _LINES and chunks[-1]:
            chunks.append([])
        chunks[-1].append(group)
    return [replace(sheet, groups=tuple(chunk)) for chunk in chunks]


# The width of what is inside, or of a line where that is less.
_AT_MOST_A_LINE = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"


def _latex(sheet: ScoreTable) -> str:
    count = len(sheet.headings)
    lines = [
        "\\begin{table}",
        "\\centering\\small",
        f"\\caption{{{escape_latex(sheet.title[:1].upper() + sheet.title[1:])}}}",
        _AT_MOST_A_LINE,
        f"\\begin{{tabular}}{{l{'r' * (count - 1)}}}",
        "\\toprule",
        _latex_line([escape_latex(heading.text) for heading in sheet.headings]),
    ]
    for group in sheet.groups:
        title = f"{escape_latex(group.dataset)} $\\times{group.scale}$"
        lines += ["\\midrule", f"\\multicolumn{{{count}}}{{l}}{{\\textit{{{title}}}}} \\\\"]
        lines += [_latex_line([_latex_marked(cell) for cell in line]) for line in group.lines]
    lines += ["\\bottomrule", "\\end{tabular}}"]
    lines += [f"\\\\ \\footnotesize {escape_latex(note)}" for note in sheet.notes]
    return "\n".join([*lines, "\\end{table}"])


def _latex_line(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _latex_marked(cell: Cell) -> str:
    text = escape_latex(cell.text)
    return (text, f"\\textbf{{{text}}}", f"\\underline{{{text}}}")[cell.place]


_ESCAPES = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}",
    ">": "\\textgreater{}", "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


_MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def escape_latex(text: str) -> str:
    """What LaTeX would take for commands, written so that it is printed; signs of numbers as minus signs."""
    return _MINUS.sub("$-$", "".join(_ESCAPES.get(sign, sign) for sign in text))


def to_csv(results: Results, show: TableOptions = PLAIN) -> str:
    """One line per row, every figure in full; what is published and the intervals in columns of their own."""
    lines = [
        {"protocol": results.protocol, **found.flatten(row), **_published(results, row, show)}
        for row in results.rows
    ]
    if show.stats:
        column = results.columns[0]
        spread = significance.compute_intervals(results, column)
        for line, row in zip(lines, results.rows, strict=True):
            interval = spread.get((row.dataset, row.scale, row.method))
            line |= {
                f"{column.key}_low": interval and interval.low,
                f"{column.key}_high": interval and interval.high,
            }
    names = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _published(results: Results, row: Row, show: TableOptions) -> dict[str, Any]:
    figure = published.find_published(results, row) if show.published else None
    if figure is None:
        return {}
    return {
        "psnr_y_published": figure.psnr_y,
        "ssim_y_published": figure.ssim_y,
        "published_in": figure.source,
        "published_otherwise": figure.conflict,
    }


def to_json(results: Results, show: TableOptions = PLAIN) -> str:
    """What `bench.results.read` reads, and beside it what is published and how sure the differences are."""
    raw = json.loads(found.to_json(results))
    if show.published:
        raw["published"] = [
            {"dataset": row.dataset, "scale": row.scale, "method": row.method, **asdict(figure)}
            for row in results.rows
            if (figure := published.find_published(results, row))
        ]
    if show.stats:
        column = results.columns[0]
        raw["intervals"] = [
            {"dataset": dataset, "scale": scale, "method": method, "metric": column.key, **asdict(each)}
            for (dataset, scale, method), each in significance.compute_intervals(results, column).items()
        ]
        raw["comparisons"] = [
            {"metric": column.key, **asdict(each)} for each in significance.compare_methods(results, column)
        ]
    return json.dumps(found.replace_nonfinite(raw), indent=1, allow_nan=False)
