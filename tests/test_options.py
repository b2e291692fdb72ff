"""Option groups: dataclasses of options, seen by Typer as one flat signature."""

import inspect
from dataclasses import dataclass, field
from typing import Annotated

import typer
from typer.testing import CliRunner

from srcli.cli import options

Number = Annotated[int, typer.Option("--number", "-n")]


@dataclass(frozen=True)
class Group:
    number: Number = 3
    words: Annotated[list[str], typer.Option("--word")] = field(default_factory=lambda: ["a"])


def test_a_command_is_called_with_its_groups() -> None:
    seen: list[tuple[str, Group, bool]] = []

    def command(
        name: Annotated[str, typer.Argument()] = "nobody",
        *,
        group: Group,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> int:
        """Do nothing."""
        seen.append((name, group, loud))
        return 7

    expanded = options.with_option_groups(command)
    assert list(inspect.signature(expanded).parameters) == ["name", "number", "words", "loud"]
    assert expanded.__doc__ == "Do nothing."
    app = typer.Typer()
    app.command()(expanded)
    for words in ([], ["me", "-n4", "--word", "b", "--word", "c", "--loud"]):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert seen == [("nobody", Group(), False), ("me", Group(4, ["b", "c"]), True)]
    assert expanded(name="x", number=1, words=[], loud=False) == 7
