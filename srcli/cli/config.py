"""Defaults of options: from `sr.toml`, the user's or the folder's, and from the environment; `sr config`."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from srcli.cli import console
from srcli.errors import UsageError

FILE = "sr.toml"
_NO = ("", "0", "no", "off", "false")


@dataclass(frozen=True)
class Setting:
    """A default that is not the program's own: of an option of a command, and where it comes from."""

    command: str
    option: str
    value: Any
    source: str


def files() -> list[Path]:
    """Where defaults are looked for; what comes later wins."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [Path(home) / "sr" / FILE, Path(FILE)]


def settings(options: dict[str, dict[str, Any]]) -> list[Setting]:
    """What holds in place of the program's defaults; `options` by command and name, with their parameters.

    In `[tool.sr]` a name is for every command that has it, in `[tool.sr.upscale]` for that one; likewise
    SR_MODEL and SR_UPSCALE_MODEL in the environment, which wins over files.
    """
    found: dict[tuple[str, str], Setting] = {}
    for path in files():
        if path.is_file():
            for setting in _of_file(path, options):
                found[setting.command, setting.option] = setting
    for setting in _of_environment(options):
        found[setting.command, setting.option] = setting
    return list(found.values())


def _of_file(path: Path, options: dict[str, dict[str, Any]]) -> list[Setting]:
    table = _table(path)
    out = [
        Setting(command, name, value, str(path))
        for name, value in table.items()
        if not isinstance(value, dict)
        for command in _having(name, options, path)
    ]
    for command, inner in table.items():
        if isinstance(inner, dict):
            known = options.get(command) or _unknown(command, list(options), f"{path}: no command")
            for name in inner:
                if name not in known:
                    _unknown(name, list(known), f"{path}: {command} has no option")
            out += [Setting(command, name, value, str(path)) for name, value in inner.items()]
    return out


def _table(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("sr", {})
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "mend it, or move it away") from error
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.sr] is no table", 'as in [tool.sr], then model = "edsr"')
    return table


def _having(name: str, options: dict[str, dict[str, Any]], path: Path) -> list[str]:
    commands = [command for command, known in options.items() if name in known]
    every = sorted({name for known in options.values() for name in known})
    return commands or _unknown(name, every, f"{path}: no option")


def _unknown(name: str, known: list[str], what: str) -> Any:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else "see `sr upscale --help`"
    raise UsageError(f"{what} called '{name}'", hint)


def _of_environment(options: dict[str, dict[str, Any]]) -> list[Setting]:
    """SR_OPTION for every command that has it, then SR_COMMAND_OPTION."""
    out = []
    for pattern in ("SR_{option}", "SR_{command}_{option}"):
        for command, known in options.items():
            for option, parameter in known.items():
                name = pattern.format(command=command, option=option).upper().replace("-", "_")
                if name in os.environ:
                    out.append(Setting(command, option, _from_text(os.environ[name], parameter), name))
    return out


def _from_text(text: str, parameter: Any) -> Any:
    if getattr(parameter, "is_flag", False):
        return text.lower() not in _NO
    return text.split(",") if getattr(parameter, "multiple", False) else text


def options_of(group: Any) -> dict[str, dict[str, Any]]:
    """The options of each command by their long names, without dashes in front."""
    return {
        name: {flag.lstrip("-"): p for p in command.params for flag in p.opts if flag.startswith("--")}
        for name, command in group.commands.items()
    }


def default_map(group: Any) -> dict[str, dict[str, Any]]:
    """For Click: parameters by command, as they are called inside."""
    options = options_of(group)
    out: dict[str, dict[str, Any]] = {}
    for setting in settings(options):
        parameter = options[setting.command][setting.option]
        out.setdefault(setting.command, {})[parameter.name] = setting.value
    return out


def config(context: typer.Context) -> None:
    """Show the defaults that are set in sr.toml and in the environment, and where."""
    group = context.parent.command if context.parent else context.command
    found = settings(options_of(group))
    for setting in found:
        shown = f"{setting.command} --{setting.option} = {setting.value}"
        console.out.print(f"{shown:45} {setting.source}", markup=False)
    for path in files():
        there = "read" if path.is_file() else "not there"
        console.err.print(f"{path}: {there}", markup=False)
    if not found:
        console.err.print("nothing is set: every option has the program's default", markup=False)
