"""Reports of results: ranks, published scores, significance, LaTeX, the page, plots."""

import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import bootstrap, permutation_test

from helpers.command import Run
from srcli import datasets, manifest
from srcli.bench import published, significance
from srcli.bench.metrics import BUILT_IN, PSNR_Y
from srcli.bench.results import ImageScore, Results, Row, average_scores
from srcli.errors import SrError
from srcli.report import bench_page, bench_plots, formatters
from srcli.report.table import PLAIN, Cell, Heading, TableOptions, build_score_table, build_tables

EVERYTHING = TableOptions(published=True, stats=True)


def made(values: dict[str, list[float]], dataset: str = "Set5", scale: int = 2) -> Results:
    """Results of these PSNR values per image."""
    images = [
        ImageScore(dataset, scale, method, f"image {n}", {"psnr_y": v, "ssim_y": 0.9 + v / 1000}, 0.5)
        for method, column in values.items()
        for n, v in enumerate(column)
    ]
    rows = [
        average_scores([image for image in images if image.method == method], 100 * number)
        for number, method in enumerate(values)
    ]
    return Results(tuple(rows), tuple(images))


THREE = made(
    {
        "bicubic": [33.0, 34, 33, 34, 34.37],
        "fsrcnn": [36.0, 37, 37, 38, 36.05],
        "edsr": [38.0, 38, 38, 38, 38],
    }
)


def test_the_best_is_bold_and_the_second_underlined() -> None:
    marks = [
        [cell.rank for cell in line[:3]]
        for line in build_score_table(THREE, with_published=False).groups[0].lines
    ]
    assert marks == [[0, 0, 0], [0, 2, 2], [0, 1, 1]]
    text = formatters.format_markdown(THREE)
    assert "| Set5 | x2 | edsr | **38.00** | **0.9380** |" in text
    assert "| Set5 | x2 | fsrcnn | <u>36.81</u> | <u>0.9368</u> |" in text


def test_what_reads_alike_is_marked_alike() -> None:
    even = made({"a": [30.001], "b": [30.002], "c": [29.0]})
    assert [line[1].rank for line in build_tables(even)[0].groups[0].lines] == [1, 1, 2]
    assert [line[1].rank for line in build_tables(made({"a": [30.0]}))[0].groups[0].lines] == [0]
    errors = replace(even, columns=(BUILT_IN["mse-y"].column,))
    rows = tuple(replace(row, figures={"mse_y": n}) for n, row in enumerate(even.rows, 1))
    assert [line[1].rank for line in build_tables(replace(errors, rows=rows))[0].groups[0].lines] == [
        1,
        2,
        0,
    ]


def test_published_figures_are_beside_ours() -> None:
    lines = build_score_table(THREE, with_published=True).groups[0].lines
    assert [line[2].text for line in lines] == ["33.66 +0.01", "37.00* -0.19", "38.11 -0.11"]
    notes = build_score_table(THREE, with_published=True).notes
    assert "* FSRCNN on Set5 x2: other sources report 37.05 / 0.9560 (RCAN)" in notes
    assert any(note.startswith("CARN: ") for note in notes)


def test_nothing_is_published_for_other_ways_and_other_images() -> None:
    for other in (
        replace(THREE, protocol="pil"),
        replace(THREE, protocol="y-crop, noise, seed 0"),
        made({"bicubic": [33.7] * 4}),
        made({"bicubic": [33.7] * 5}, "photos"),
        made({"nearest": [33.7] * 5}),
        made({"bicubic": [33.7] * 5}, scale=7),
    ):
        assert published.find_published(other, other.rows[0]) is None
        assert "no published scores to compare with" in published.list_footnotes(other)[0]


def test_published_figures_have_sources_and_are_of_our_models() -> None:
    book = published.load_published()
    assert len(book.scores) > 700
    assert {figure.source for figure in book.scores.values()} <= set(book.sources)
    networks = {figure.network.lower() for figure in book.scores.values()}
    assert {network.lower() for network in book.models.values()} <= networks
    assert {dataset for _, _, dataset in book.scores} <= set(datasets.SIZES)
    for figure in book.scores.values():
        assert 15 < figure.psnr_y < 45
        assert figure.ssim_y is None or 0.5 < figure.ssim_y < 1
    assert book.find("edsr-x2", 2, "Set5") == book.find("edsr (a)", 2, "Set5") != None  # noqa: E711


def test_published_figures_agree_with_the_manifest() -> None:
    book = published.load_published()
    for entry in manifest.load():
        figure = book.find(entry.model, entry.scale, "Set5")
        if figure and "Set5" in entry.published:
            assert figure.psnr_y == pytest.approx(entry.published["Set5"], abs=0.02), entry.name


@pytest.mark.parity
def test_published_figures_are_those_that_were_gathered(shared: Path) -> None:
    import csv

    with (shared / "reference" / "published.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = published.load_published().scores
    assert len(figures) == len(rows)
    for row in rows:
        figure = figures[row["model"].lower(), int(row["scale"][1:]), row["dataset"]]
        assert figure.psnr_y == float(row["psnr"])
        assert figure.ssim_y == (float(row["ssim"]) if row["ssim"] else None)


def test_intervals_are_those_of_scipy(rng: np.random.Generator) -> None:
    values = rng.normal(30, 2, 20)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    ours = significance.bootstrap_interval(list(values))
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)
    assert significance.bootstrap_interval([1.0]) is None
    assert significance.bootstrap_interval([1.0, float("inf")]) is None


@pytest.mark.parametrize("count", [5, 9, 30])
def test_the_paired_test_is_that_of_scipy(count: int, rng: np.random.Generator) -> None:
    differences = rng.normal(0.4, 1, count)
    theirs = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10_000, rng=1, vectorized=True,
    ).pvalue if count > 13 else _exact(differences)  # fmt: skip
    assert significance.sign_flip_test(list(differences)) == pytest.approx(
        theirs, abs=0.02 if count > 13 else 1e-12
    )


def _exact(differences: np.ndarray) -> float:
    zeros = np.zeros_like(differences)

    def mean(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return (a - b).mean(axis=axis)

    found = permutation_test(
        (differences, zeros), mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    return float(found.pvalue)


@given(st.lists(st.floats(-9, 9).filter(lambda v: abs(v) > 1e-3), min_size=2, max_size=10))
def test_laws_of_the_paired_test(differences: list[float]) -> None:
    p = significance.sign_flip_test(differences)
    assert 2.0 ** (1 - len(differences)) <= p <= 1
    assert p == significance.sign_flip_test([-d for d in differences])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_makes_nothing_smaller(values: list[float]) -> None:
    adjusted = significance.adjust_holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    order = np.argsort(values, kind="stable")
    assert list(np.sort(adjusted)) == [adjusted[n] for n in order]


def test_methods_that_cannot_be_told_apart_are_named(rng: np.random.Generator) -> None:
    base = rng.normal(30, 3, 20)
    noise = rng.normal(0, 0.2, 20)
    results = made({"a": list(base), "b": list(base + noise - noise.mean()), "c": list(base + 1 + noise / 9)})
    compared = significance.compare_methods(results, PSNR_Y)
    assert [(c.first, c.second, c.is_significant) for c in compared] == [
        ("a", "b", False), ("a", "c", True), ("b", "c", True),
    ]  # fmt: skip
    assert significance.list_warnings(compared, PSNR_Y) == [
        "Set5 x2: no significant difference in PSNR-Y: a and b"
    ]
    few = significance.compare_methods(THREE, PSNR_Y)
    (line,) = significance.list_warnings(few, PSNR_Y)
    assert line == "Set5 x2: 5 images are too few for a significant difference at the 5 % level"


def test_latex_has_whole_lines_and_balanced_braces() -> None:
    odd = made({"a_b & 50%": [30.0, 31], "#1 {x} \\y ~^$": [32.0, 33]}, "my_set")
    text = formatters.format_latex(odd, EVERYTHING)
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    for environment in re.findall(r"\\begin\{tabular\}\{(l(?:r+))\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns, body = environment
        lines = [line for line in body.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
        assert len(lines) == 3
        for line in lines:
            assert re.sub(r"\\&", "", line).count("&") == len(columns) - 1
    assert text.count("\\begin{") == text.count("\\end{") == 4
    assert "\\textbf{32.50}" in text
    assert "my\\_set $\\times2$" in text
    assert "\\#1 \\{x\\} \\textbackslash{}y \\textasciitilde{}\\textasciicircum{}\\$" in text


def test_a_table_longer_than_a_page_is_several() -> None:
    rows = tuple(replace(row, scale=scale) for scale in range(2, 15) for row in THREE.rows)
    text = formatters.format_latex(replace(THREE, rows=rows), TableOptions(published=True))
    assert text.count("\\begin{tabular}") == 2
    assert text.count("\\textbf{38.00}") == 13
    assert text.count("\\footnotesize") == len(published.list_footnotes(THREE))


def test_latex_has_no_empty_columns() -> None:
    table = build_score_table(made({"a": [30.0, 31]}, "Set5"), with_published=True)
    empty = replace(
        table,
        headings=(*table.headings, Heading("nothing", "cost")),
        groups=tuple(
            replace(group, lines=tuple((*line, Cell("-" * n)) for n, line in enumerate(group.lines)))
            for group in table.groups
        ),
    )
    kept = empty.drop_empty_columns()
    assert "nothing" not in [heading.text for heading in kept.headings]
    assert kept.headings[0].text == "Method"
    assert all(len(line) == len(kept.headings) for group in kept.groups for line in group.lines)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs a TeX")
def test_latex_compiles(tmp_path: Path) -> None:
    table = formatters.format_latex(THREE, EVERYTHING)
    head = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}"
    whole = f"{head}{table}\\end{{document}}"
    (tmp_path / "t.tex").write_text(whole)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


class Reader(HTMLParser):
    """What a browser would fetch, run, and show as tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]


def test_the_page_needs_nothing_else_and_escapes_names() -> None:
    evil = "<script>alert(1)</script>"
    text = bench_page.render_bench_page(
        made({evil: [30.0, 31, 32], "b$x$": [31.0, 33, 33]}, "<b>set</b>"), EVERYTHING
    )
    found = Reader(text)
    assert "script" not in found.tags
    assert "b" not in found.tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert all(link.startswith("#") for link in found.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert found.tags.count("svg") == 3  # parameters, boxes, image by image: seconds are alike, too


def test_the_page_shows_every_figure() -> None:
    text = bench_page.render_bench_page(THREE, EVERYTHING)
    for shown in (
        "<strong>38.00</strong>",
        "37.00* -0.19",
        "other sources report 37.05",
        "image 4",
        "too few for a significant difference",
    ):
        assert shown in text
    assert "95 %" not in bench_page.render_bench_page(THREE, PLAIN)


def test_plots_of_every_kind(tmp_path: Path) -> None:
    rows = tuple(replace(row, multiply_adds=10 ** (n + 6)) for n, row in enumerate(THREE.rows))
    written = bench_plots.write_plots(replace(THREE, rows=rows), tmp_path)
    names = {path.name.removeprefix("Set5-x2-") for path in written}
    assert names == {"time.svg", "parameters.svg", "multiply-adds.svg", "images.svg", "scatter.svg"}
    for path in written:
        assert path.read_text().startswith("<svg")
    assert "fsrcnn" in (tmp_path / "Set5-x2-multiply-adds.svg").read_text()


def test_without_matplotlib_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SrError, match="plots need matplotlib") as caught:
        bench_plots.write_plots(THREE, tmp_path)
    assert "pip install 'sr-cli[plots]'" in caught.value.hint
    monkeypatch.setattr(bench_plots, "is_available", lambda: False)
    assert "sr-cli[plots]" in bench_page.render_bench_page(THREE)


def test_everything_is_written_in_one_command(photos: Path, in_tmp: Path, sr: Run) -> None:
    files = ["--json", "r.json", "--csv", "r.csv", "--latex", "t.tex", "--html", "r.html", "--plots", "drawn"]
    done = sr("bench", "-d", photos, "-x2", "-m", "bicubic", "--published", "--stats", *files)
    assert done.code == 0, done.err
    assert all(Path(name).stat().st_size > 0 for name in ("r.json", "r.csv", "t.tex", "r.html"))
    assert {path.suffix for path in Path("drawn").iterdir()} == {".svg"}
    assert "3 images are too few" in done.out


def test_rows_without_a_figure_of_another_run() -> None:
    """Runs with different metrics in one table: what was not measured is a dash."""
    row = Row("Set5", 2, "other", 5, {"psnr_y": 30.0, "ssim_y": 0.9}, 0.1, 0)
    columns = (*THREE.columns, BUILT_IN["niqe"].column)
    found = replace(THREE, rows=(*THREE.rows, row), columns=columns)
    assert [line[3].text for line in build_tables(found)[0].groups[0].lines] == ["-"] * 4


def test_a_wide_table_becomes_several() -> None:
    every = {name.replace("-", "_"): 0.123456 for name in BUILT_IN}
    rows = tuple(replace(row, figures=every) for row in THREE.rows)
    wide = replace(THREE, rows=rows, columns=tuple(metric.column for metric in BUILT_IN.values()))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(formatters.format_terminal(wide, PLAIN, 80))
    text = console.export_text()
    assert "…" not in text
    assert all(text.count(metric.heading) >= 1 for metric in BUILT_IN.values())
    assert text.count("bicubic") > 2
