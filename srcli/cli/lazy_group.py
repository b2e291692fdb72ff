"""A group of commands, each of which is imported when it is first used."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


class CommandTable(Mapping[str, Any]):
    """Commands by name, one for each of `summaries`.

    A command is the function or the `typer.Typer` of its name, in the module of its name.
    """

    def __init__(self, package: str, summaries: Mapping[str, str]) -> None:
        self._package = package
        self._summaries = summaries
        self._imported: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._imported:
            if name not in self._summaries:
                raise KeyError(name)
            command = getattr(import_module(f"{self._package}.{name}"), name)
            if not isinstance(command, typer.Typer):
                single = typer.Typer(add_completion=False)
                single.command(name)(command)
                command = single
            self._imported[name] = typer.main.get_command(command)
            self._imported[name].name = name
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._summaries)

    def __len__(self) -> int:
        return len(self._summaries)


class LazyGroup(TyperGroup):
    """A group whose help lists `summaries`, without importing any command."""

    package: ClassVar[str]
    summaries: ClassVar[Mapping[str, str]]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Typer reads it and never adds to it.
        self.commands: Any = CommandTable(self.package, self.summaries)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help with a line for each command."""
        commands = self.commands
        self.commands = {name: TyperCommand(name, help=text) for name, text in self.summaries.items()}
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = commands
