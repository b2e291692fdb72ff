"""Names, docstrings and sizes of functions: what style.md asks for and ruff cannot check."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from helpers.paths import ROOT

FOLDERS = ("srcli", "tools", "benchmarks")
# Past participles that do not end in -ed, except those that are also the base form of a verb.
IRREGULAR = re.compile(
    r"(became|become|begun|beside|bought|broken|built|chosen|done|drawn|fallen|forgotten|found|given|gone|grown|hidden|kept|known|laid|"
    r"lain|left|lent|lost|made|meant|met|paid|said|seen|sent|shown|sold|spent|spoilt|taken|taught|thought|thrown|told|won|worn|written)"
)
VERBS_IN_ED = {"bleed", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed"}
OPENERS = re.compile(r"(What|Whether|Of|As|How)\b")
# Sentences of the old dialect, from the table in style.md.
DIALECT = (
    "stdin and stdout are none",
    "so that reduced again it is the input",
    "All into one folder; else",
    "Of all that is drawn at random",
    "shows nothing before its end",
    "a loss that leaves the numbers",
    "Told once, waited for",
    "in a second of late",
)


@dataclass(frozen=True)
class Definition:
    """A module, class or function; `lines` and `parameters` are 0 unless it is a function."""

    place: str
    name: str
    docstring: str
    is_property: bool = False
    is_arch_constructor: bool = False
    lines: int = 0
    parameters: int = 0


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    names = (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in node.decorator_list)
    return set(names)


def _read_definitions(path: Path) -> Iterator[Definition]:
    module = ast.parse(path.read_text("utf-8"))
    yield Definition(str(path.relative_to(ROOT)), path.stem, ast.get_docstring(module) or "")
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield Definition(place, node.name, ast.get_docstring(node) or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            arguments = node.args
            yield Definition(
                place,
                node.name,
                ast.get_docstring(node) or "",
                bool(_decorators(node) & {"property", "cached_property", "setter"}),
                path.parent.name == "archs" and node.name == "__init__",
                (node.end_lineno or node.lineno) - node.lineno + 1,
                len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs),
            )


@cache
def definitions() -> tuple[Definition, ...]:
    """Return every module, class and function outside of the tests."""
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(definition for path in paths for definition in _read_definitions(path))


def functions() -> list[Definition]:
    """Return every function."""
    return [definition for definition in definitions() if definition.lines]


def is_participle(name: str) -> bool:
    """Return whether a function's name starts with a past participle, or a class's name ends with one."""
    words = re.findall(r"[A-Z]?[a-z]+", name)
    word = words[-1 if name.lstrip("_")[:1].isupper() else 0].lower() if words else ""
    return bool(IRREGULAR.fullmatch(word)) or (
        word.endswith("ed") and len(word) > 3 and word not in VERBS_IN_ED
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loaded", True),
        ("_made", True),
        ("Became", True),
        ("feed", False),
        ("load_weights", False),
        ("Found", True),
        ("LoadedModel", False),
    ],
)
def test_participles_are_recognised(name: str, expected: bool) -> None:
    assert is_participle(name) == expected


def test_names_are_no_participles() -> None:
    named = [each for each in definitions() if not each.is_property]
    bad = [each.place for each in named if is_participle(each.name)]
    assert len(bad) <= 0.02 * len(named), "\n".join(bad)


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    bad = [
        f"{each.place}: {each.docstring.splitlines()[0]}"
        for each in definitions()
        if OPENERS.match(each.docstring)
    ]
    assert not bad, "\n".join(bad)


def test_functions_are_short() -> None:
    lines = sorted(each.lines for each in functions())
    assert lines[int(0.9 * len(lines))] <= 25
    bad = [
        f"{each.place}: {each.lines}"
        for each in functions()
        if each.lines > 60 and not each.is_arch_constructor
    ]
    assert not bad, "\n".join(bad)


def test_functions_have_few_parameters() -> None:
    parameters = sorted(each.parameters for each in functions())
    assert parameters[int(0.99 * len(parameters))] <= 8


def test_the_old_dialect_is_gone() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "srcli").rglob("*.py")]
    bad = []
    for page in pages:
        # Strings that a line break splits are joined first.
        text = " ".join(re.sub(r'"\s*\n\s*f?"', "", page.read_text("utf-8")).split()).lower()
        bad += [f"{page.relative_to(ROOT)}: {sentence}" for sentence in DIALECT if sentence.lower() in text]
    assert not bad, "\n".join(bad)
