"""Score tables as text in cells, ready for any format, with the best and second-best scores marked."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from srcli.bench import published, significance
from srcli.bench.metrics import Column
from srcli.bench.results import Results, Row

Kind = Literal["name", "score", "cost"]


@dataclass(frozen=True)
class TableOptions:
    """Optional parts of tables: published scores, and the significance of differences."""

    published: bool = False
    stats: bool = False


PLAIN = TableOptions()


@dataclass(frozen=True)
class Cell:
    """A text; `rank` is 1 for the best of its column in the group, 2 for the second best, otherwise 0."""

    text: str
    rank: int = 0


@dataclass(frozen=True)
class Heading:
    """The heading of a column; those of kind `cost` move to a table of their own if space is short."""

    text: str
    kind: Kind


@dataclass(frozen=True)
class TableGroup:
    """The lines of a data set at a scale, with one cell per heading."""

    dataset: str
    scale: float
    images: int
    lines: tuple[tuple[Cell, ...], ...]

    @property
    def title(self) -> str:
        """The data set and the scale, as in `Set5 x2`."""
        return f"{self.dataset} x{self.scale}"


@dataclass(frozen=True)
class ScoreTable:
    """A table in no format yet; `notes` are printed below it."""

    title: str
    headings: tuple[Heading, ...]
    groups: tuple[TableGroup, ...]
    notes: tuple[str, ...] = ()

    def select_kinds(self, *kinds: Kind) -> "ScoreTable":
        """Return the table with only the columns of these kinds."""
        return self.select_columns(*(n for n, heading in enumerate(self.headings) if heading.kind in kinds))

    def drop_empty_columns(self) -> "ScoreTable":
        """Return the table without columns that have nothing in any line."""
        lines = [line for group in self.groups for line in group.lines]
        kept = [n for n in range(len(self.headings)) if any(line[n].text.strip("- ") for line in lines)]
        return self.select_columns(*kept)

    def select_columns(self, *numbers: int) -> "ScoreTable":
        """Return the table with only these columns, counted from 0."""
        groups = tuple(
            replace(group, lines=tuple(tuple(line[n] for n in numbers) for line in group.lines))
            for group in self.groups
        )
        return replace(self, headings=tuple(self.headings[n] for n in numbers), groups=groups)


def build_tables(results: Results, options: TableOptions = PLAIN) -> list[ScoreTable]:
    """Return the table of scores, and the table of significance if `options` ask for it."""
    tables = [build_score_table(results, options.published)]
    return [*tables, build_significance_table(results)] if options.stats else tables


def build_score_table(results: Results, with_published: bool) -> ScoreTable:
    """Return a table of all rows: scores, published scores next to them if requested, and known costs."""
    groups = results.group_rows()
    columns = [_column(Heading("Method", "name"), groups, lambda row: row.method)]
    for column in results.columns:
        columns.append((Heading(column.heading, "score"), [_rank_cells(group, column) for group in groups]))
        if with_published and column.key in ("psnr_y", "ssim_y"):
            compare = partial(_compare_with_published, results, column)
            columns.append(_column(Heading("published", "score"), groups, compare))
    columns += _list_cost_columns(groups)
    notes = _list_notes(results) + (published.list_footnotes(results) if with_published else [])
    return _transpose(f"protocol {results.protocol}", groups, columns, notes)


_Cells = tuple[Heading, list[list[Cell]]]


def _column(heading: Heading, groups: list[list[Row]], text: Callable[[Row], str]) -> _Cells:
    return heading, [[Cell(text(row)) for row in group] for group in groups]


def _list_cost_columns(groups: list[list[Row]]) -> list[_Cells]:
    rows = [row for group in groups for row in group]
    columns = [
        _column(Heading("s/image", "cost"), groups, lambda row: f"{row.seconds_per_image:.3f}"),
        _column(Heading("Parameters", "cost"), groups, lambda row: f"{row.params:,}" if row.params else "-"),
    ]
    if any(row.multiply_adds is not None for row in rows):
        columns.append(
            _column(Heading("Mult-adds", "cost"), groups, lambda row: format_giga(row.multiply_adds))
        )
    if any(row.memory is not None for row in rows):
        heading = Heading("MiB", "cost")
        columns.append(_column(heading, groups, lambda row: f"{row.memory:,.0f}" if row.memory else "-"))
    return columns


def _transpose(
    title: str, groups: list[list[Row]], columns: Sequence[_Cells], notes: Sequence[str]
) -> ScoreTable:
    """Turn columns of cells into the lines of a table."""
    lines = tuple(
        TableGroup(
            group[0].dataset,
            group[0].scale,
            group[0].images,
            tuple(zip(*(cells[number] for _, cells in columns), strict=True)),
        )
        for number, group in enumerate(groups)
    )
    return ScoreTable(title, tuple(heading for heading, _ in columns), lines, tuple(notes))


def format_giga(multiply_adds: int | None) -> str:
    """Return a count of multiply-adds as papers print it.

    >>> format_giga(222_816_000_000), format_giga(613_785_600), format_giga(None)
    ('222.8G', '0.61G', '-')
    """
    if multiply_adds is None:
        return "-"
    amount = multiply_adds / 1e9
    return f"{amount:,.1f}G" if amount >= 10 else f"{amount:.2f}G"


def _rank_cells(group: list[Row], column: Column) -> list[Cell]:
    """Return the cells of a metric; scores that are equal as printed have the same rank."""
    values = [row.figures.get(column.key) for row in group]
    texts = ["-" if value is None else column.format(value) for value in values]
    orders = {
        text: column.rank(float(text))
        for text, value in zip(texts, values, strict=True)
        if value is not None and not math.isnan(value)
    }
    best = sorted(set(orders.values()))[:2] if len(group) > 1 else []
    ranks = {text: best.index(order) + 1 for text, order in orders.items() if order in best}
    return [Cell(text, ranks.get(text, 0)) for text in texts]


def _compare_with_published(results: Results, column: Column, row: Row) -> str:
    """Return the published score and the difference to it, with a star if publications disagree."""
    score = published.find_published(results, row)
    value = score.get(column.key) if score else None
    if score is None or value is None:
        return ""
    difference = f"{row.figures[column.key] - value:+.{column.digits}f}"
    return f"{column.format(value)}{'*' if column.key in score.disputed else ''} {difference}"


def _list_notes(results: Results) -> list[str]:
    """Return what a reader must know: images left out, times measured under load, the meaning of costs."""
    notes = [
        f"{failure.image} of {failure.dataset} x{failure.scale} is left out: "
        f"{f'{failure.method}: ' if failure.method else ''}{failure.reason}"
        for failure in results.failures
    ]
    if results.conditions.workers > 1:
        notes.append(f"times were measured with {results.conditions.workers} processes in parallel")
    if any(row.multiply_adds is not None or row.memory is not None for row in results.rows):
        notes.append("multiply-adds and peak memory are for an output of 1280x720")
    return notes


def build_significance_table(results: Results) -> ScoreTable:
    """Return, for the first metric, each method's interval and its difference to the best method."""
    column = results.columns[0]
    intervals = significance.compute_intervals(results, column)
    comparisons = significance.compare_methods(results, column)
    groups = results.group_rows()
    lines = [_list_significance_lines(group, column, intervals, comparisons) for group in groups]
    headings = [Heading("Method", "name")]
    headings += [Heading(text, "score") for text in ("95 %", "vs best", "95 %", "p")]
    body = tuple(
        TableGroup(group[0].dataset, group[0].scale, group[0].images, each)
        for group, each in zip(groups, lines, strict=True)
    )
    notes = (
        "intervals: percentile bootstrap over images; p: paired sign-flip test, adjusted by Holm's method",
        *significance.list_warnings(comparisons, column),
    )
    return ScoreTable(f"{column.heading}: significance", tuple(headings), body, notes)


def _list_significance_lines(
    group: list[Row],
    column: Column,
    intervals: dict[tuple[str, float, str], significance.Interval],
    comparisons: list[significance.Comparison],
) -> tuple[tuple[Cell, ...], ...]:
    best = min(group, key=lambda row: column.rank(row.figures[column.key]))
    place = (best.dataset, best.scale)
    pairs = {(c.first, c.second): c for c in comparisons if (c.dataset, c.scale) == place}
    lines = []
    for row in group:
        own = format_interval(intervals.get((*place, row.method)), column)
        texts = [row.method, own]
        lines.append(tuple(map(Cell, [*texts, *_compare_with_best(row.method, best.method, pairs, column)])))
    return tuple(lines)


def _compare_with_best(
    method: str, best: str, pairs: dict[tuple[str, str], significance.Comparison], column: Column
) -> tuple[str, str, str]:
    """Return the difference from the best method, its interval, and p; empty for the best itself."""
    pair, sign = pairs.get((method, best)), 1
    if pair is None:
        pair, sign = pairs.get((best, method)), -1
    if pair is None:
        return "", "", ""
    low, high = sorted((sign * pair.interval.low, sign * pair.interval.high))
    return (
        f"{sign * pair.difference:+.{column.digits}f}",
        f"{low:+.{column.digits}f}..{high:+.{column.digits}f}",
        format_p(pair.p),
    )


def format_interval(interval: significance.Interval | None, column: Column) -> str:
    """Return an interval as tables show it; a dash for none."""
    return f"{column.format(interval.low)}..{column.format(interval.high)}" if interval else "-"


def format_p(p: float) -> str:
    """Return a p value as tables show it.

    >>> format_p(0.0312), format_p(0.00009)
    ('0.031', '<0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
