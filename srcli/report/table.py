"""Results as sheets of text: what every kind of table shows, and which figures are the best."""

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
    """What tables have besides what was measured: `published` figures, and how sure differences are."""

    published: bool = False
    stats: bool = False


PLAIN = TableOptions()


@dataclass(frozen=True)
class Cell:
    """`place`: 1 for the best of its column in the group, 2 for the second best, else 0."""

    text: str
    place: int = 0


@dataclass(frozen=True)
class Heading:
    """Of a column; one of `cost` may stand in a table of its own where there is little room."""

    text: str
    kind: Kind


@dataclass(frozen=True)
class Group:
    """The lines of a data set at a scale, a cell for each heading."""

    dataset: str
    scale: float
    images: int
    lines: tuple[tuple[Cell, ...], ...]

    @property
    def title(self) -> str:
        """As in `Set5 x2`."""
        return f"{self.dataset} x{self.scale}"


@dataclass(frozen=True)
class ScoreTable:
    """A table before it is drawn; `notes` stand below it."""

    title: str
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    def only(self, *kinds: Kind) -> "ScoreTable":
        """Its columns of these kinds."""
        return self.columns(*(n for n, heading in enumerate(self.headings) if heading.kind in kinds))

    def columns(self, *numbers: int) -> "ScoreTable":
        """Its columns of these numbers, from 0 on."""
        groups = tuple(
            replace(group, lines=tuple(tuple(line[n] for n in numbers) for line in group.lines))
            for group in self.groups
        )
        return replace(self, headings=tuple(self.headings[n] for n in numbers), groups=groups)


def sheets(results: Results, show: TableOptions = PLAIN) -> list[ScoreTable]:
    """The scores, then what is sure about them if that is asked for."""
    return [scores(results, show.published), *([sureness(results)] if show.stats else [])]


def scores(results: Results, with_published: bool) -> ScoreTable:
    """Every row: figures, published ones beside them if asked for, and costs as far as they are known."""
    groups = results.group_rows()
    columns = [_column(Heading("Method", "name"), groups, lambda row: row.method)]
    for column in results.columns:
        columns.append((Heading(column.heading, "score"), _ranked(groups, column)))
        if with_published and column.key in ("psnr_y", "ssim_y"):
            beside = partial(_beside, results, column)
            columns.append(_column(Heading("published", "score"), groups, beside))
    columns += _costs(groups)
    notes = _notes(results) + (published.list_footnotes(results) if with_published else [])
    return _sheet(f"protocol {results.protocol}", groups, columns, notes)


_Cells = tuple[Heading, list[list[Cell]]]


def _column(heading: Heading, groups: list[list[Row]], text: Callable[[Row], str]) -> _Cells:
    return heading, [[Cell(text(row)) for row in group] for group in groups]


def _costs(groups: list[list[Row]]) -> list[_Cells]:
    rows = [row for group in groups for row in group]
    columns = [
        _column(Heading("s/image", "cost"), groups, lambda row: f"{row.seconds_per_image:.3f}"),
        _column(Heading("Parameters", "cost"), groups, lambda row: f"{row.params:,}" if row.params else "-"),
    ]
    if any(row.multiply_adds is not None for row in rows):
        columns.append(_column(Heading("Mult-adds", "cost"), groups, lambda row: giga(row.multiply_adds)))
    if any(row.memory is not None for row in rows):
        heading = Heading("MiB", "cost")
        columns.append(_column(heading, groups, lambda row: f"{row.memory:,.0f}" if row.memory else "-"))
    return columns


def _sheet(
    title: str, groups: list[list[Row]], columns: Sequence[_Cells], notes: Sequence[str]
) -> ScoreTable:
    """Columns of cells turned into lines."""
    made = tuple(
        Group(
            group[0].dataset,
            group[0].scale,
            group[0].images,
            tuple(zip(*(cells[number] for _, cells in columns), strict=True)),
        )
        for number, group in enumerate(groups)
    )
    return ScoreTable(title, tuple(heading for heading, _ in columns), made, tuple(notes))


def giga(multiply_adds: int | None) -> str:
    """As papers print it.

    >>> giga(222_816_000_000), giga(613_785_600), giga(None)
    ('222.8G', '0.61G', '-')
    """
    if multiply_adds is None:
        return "-"
    amount = multiply_adds / 1e9
    return f"{amount:,.1f}G" if amount >= 10 else f"{amount:.2f}G"


def _ranked(groups: list[list[Row]], column: Column) -> list[list[Cell]]:
    """A metric's cells; what reads alike is of equal rank."""
    return [_ranked_group(group, column) for group in groups]


def _ranked_group(group: list[Row], column: Column) -> list[Cell]:
    values = [row.figures.get(column.key) for row in group]
    texts = ["-" if value is None else column.format(value) for value in values]
    ranks = {
        text: column.rank(float(text))
        for text, value in zip(texts, values, strict=True)
        if value is not None and not math.isnan(value)
    }
    best = sorted(set(ranks.values()))[:2] if len(group) > 1 else []
    places = {text: best.index(rank) + 1 for text, rank in ranks.items() if rank in best}
    return [Cell(text, places.get(text, 0)) for text in texts]


def _beside(results: Results, column: Column, row: Row) -> str:
    """The published figure and ours less it; starred where publications disagree."""
    figure = published.find_published(results, row)
    value = figure.get(column.key) if figure else None
    if figure is None or value is None:
        return ""
    difference = f"{row.figures[column.key] - value:+.{column.digits}f}"
    return f"{column.format(value)}{'*' if column.key in figure.disputed else ''} {difference}"


def _notes(results: Results) -> list[str]:
    """What a reader has to know: images left out, times taken under load, costs."""
    notes = [
        f"{failure.image} of {failure.dataset} x{failure.scale} is left out: "
        f"{f'{failure.method}: ' if failure.method else ''}{failure.reason}"
        for failure in results.failures
    ]
    if results.conditions.workers > 1:
        notes.append(f"times are of {results.conditions.workers} processes side by side")
    if any(row.multiply_adds is not None or row.memory is not None for row in results.rows):
        notes.append("multiply-adds and peak memory are for an output of 1280x720")
    return notes


def sureness(results: Results) -> ScoreTable:
    """Of the first column: each method's interval, and how sure it is that it is behind the best."""
    column = results.columns[0]
    spread = significance.compute_intervals(results, column)
    compared = significance.compare_methods(results, column)
    groups = results.group_rows()
    lines = [_sure_lines(group, column, spread, compared) for group in groups]
    headings = [Heading("Method", "name")]
    headings += [Heading(text, "score") for text in ("95 %", "to the best", "95 %", "p")]
    made = tuple(
        Group(group[0].dataset, group[0].scale, group[0].images, found)
        for group, found in zip(groups, lines, strict=True)
    )
    notes = (
        "intervals: percentile bootstrap over images; p: paired sign-flip test, adjusted for pairs by Holm",
        *significance.list_warnings(compared, column),
    )
    return ScoreTable(f"{column.heading}: how sure it is", tuple(headings), made, notes)


def _sure_lines(
    group: list[Row],
    column: Column,
    spread: dict[tuple[str, float, str], significance.Interval],
    compared: list[significance.Comparison],
) -> tuple[tuple[Cell, ...], ...]:
    best = min(group, key=lambda row: column.rank(row.figures[column.key]))
    place = (best.dataset, best.scale)
    pairs = {(c.first, c.second): c for c in compared if (c.dataset, c.scale) == place}
    lines = []
    for row in group:
        own = between(spread.get((*place, row.method)), column)
        texts = [row.method, own]
        lines.append(tuple(map(Cell, [*texts, *_against(row.method, best.method, pairs, column)])))
    return tuple(lines)


def _against(
    method: str, best: str, pairs: dict[tuple[str, str], significance.Comparison], column: Column
) -> tuple[str, str, str]:
    """Difference to the best, its interval, and p; empty for the best itself."""
    found, sign = pairs.get((method, best)), 1
    if found is None:
        found, sign = pairs.get((best, method)), -1
    if found is None:
        return "", "", ""
    low, high = sorted((sign * found.interval.low, sign * found.interval.high))
    return (
        f"{sign * found.difference:+.{column.digits}f}",
        f"{low:+.{column.digits}f}..{high:+.{column.digits}f}",
        small(found.p),
    )


def between(interval: significance.Interval | None, column: Column) -> str:
    """As tables show it."""
    return f"{column.format(interval.low)}..{column.format(interval.high)}" if interval else "-"


def small(p: float) -> str:
    """A p value.

    >>> small(0.0312), small(0.00009)
    ('0.031', '<0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
