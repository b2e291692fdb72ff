"""README and docs: every `$ sr ...` line is run, links lead somewhere, and docs/index.md lists every page."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.command import Run
from helpers.paths import ROOT, SAMPLES
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import Image, read_image, write_image

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks_of(page: Path) -> list[str]:
    """Return the console sessions of a page."""
    return re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """Return the command lines of a page, without the prompt."""
    lines = "".join(blocks_of(page)).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def user_folder(in_tmp: Path) -> Path:
    """A folder with the files that the examples name: photo.jpg, photos/, truth.png and small.png."""
    whole = read_image(SAMPLES / "coffee.png").pixels
    write_image(in_tmp / "photo.jpg", Image(whole[:120, :160]))
    truth = whole[100:228, 200:328]
    write_image(in_tmp / "truth.png", Image(truth))
    write_image(in_tmp / "small.png", Image(downscale_bicubic(truth, 4)))
    for k in range(2):
        write_image(
            in_tmp / "photos" / f"{k}.png", Image(np.ascontiguousarray(whole[k * 96 : k * 96 + 96, :128]))
        )
    return in_tmp


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.stem)
def test_every_example_runs(page: Path, user_folder: Path, sr: Run) -> None:
    for command in commands_of(page):
        program, *arguments = shlex.split(command)
        assert program == "sr"
        done = sr(*arguments)
        assert done.code == 0, f"{command}\n{done.err}"
        outputs = re.findall(r"-o (\S+\.(?:png|jpg))", command)
        assert all(read_image(user_folder / name).pixels.size for name in outputs), command


def test_the_readme_has_examples_of_every_topic() -> None:
    commands = commands_of(ROOT / "README.md")
    assert {command.split()[1] for command in commands} == {
        "upscale",
        "info",
        "models",
        "bench",
        "compare",
        "train",
    }


def test_the_first_example_prints_what_the_readme_shows(user_folder: Path, sr: Run) -> None:
    command, *shown = blocks_of(ROOT / "README.md")[0].splitlines()
    done = sr(*shlex.split(command.removeprefix("$ "))[1:], "--device", "cpu")
    printed = done.err.splitlines() + done.out.splitlines()
    # The reason in parentheses and the seconds depend on the machine.
    variable = re.compile(r"\(.*?\)|\d+\.\d+ s")
    assert [variable.sub("", line) for line in printed] == [variable.sub("", line) for line in shown]


def test_the_python_example_runs(user_folder: Path) -> None:
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert read_image(user_folder / names["path"]).pixels.shape == (480, 640, 3)
    assert names["model"].info.scale == 2
    assert [row.method for row in names["rows"]] == ["nearest", "bilinear", "bicubic", "slimres"]


def read_facts(page: str) -> dict[str, list[str]]:
    """Return what a translation has in common with the original: code, links, figures, rows of tables."""
    text = (ROOT / page).read_text("utf-8")
    prose = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    plain = re.sub(r"`[^`]*`|\]\([^)]*\)", "", prose)
    return {
        "blocks": [re.sub(r" *#.*", "", block) for block in re.findall(r"```.*?```", text, re.DOTALL)],
        "code": sorted(re.findall(r"`([^`]+)`", prose)),
        "links": sorted(set(re.findall(r"\]\(([^)]+)\)", prose)) - {"README.md", "README.zh-CN.md"}),
        "figures": re.findall(r"\d+\.\d+ dB|^\| \d+ \|", plain, re.MULTILINE),
        "headings": [line.split()[0] for line in prose.splitlines() if line.startswith("#")],
        "rows": [str(line.count("|")) for line in prose.splitlines() if line.startswith("|")],
    }


def test_the_chinese_readme_says_the_same() -> None:
    chinese, english = read_facts("README.zh-CN.md"), read_facts("README.md")
    for kind, facts in english.items():
        assert chinese[kind] == facts, kind


def test_make_targets_that_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text("utf-8")):
            assert f"\n{target}:" in makefile, f"{page}: make {target}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if not re.match(r"https?:", target):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_anchors_are_headings(page: Path) -> None:
    for name, anchor in re.findall(r"\]\(([^)\s:#]*)#([^)\s]+)\)", page.read_text("utf-8")):
        headings = re.findall(
            r"^#+ (.*)$", (page.parent / name if name else page).read_text("utf-8"), re.MULTILINE
        )
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs, f"{name}#{anchor}"


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S.*\.$", index.read_text("utf-8"), re.MULTILINE)
    pages = {str(page.relative_to(index.parent)) for page in PAGES if (ROOT / "docs") in page.parents}
    assert sorted(listed) == sorted(pages - {"index.md"})


def test_paths_that_pages_name_exist() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for path in re.findall(r"`((?:srcli|tests|tools|benchmarks|docs)/[\w./-]+)`", text):
            assert "NAME" in path or (ROOT / path).exists(), f"{page}: {path}"
