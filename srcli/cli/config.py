"""Defaults of options from `sr.toml`, the user's and the folder's, and from the environment; `sr config`."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from srcli.cli import console
from srcli.errors import UsageError
from srcli.storage.text import decode_text

FILE = "sr.toml"
_FALSE = ("", "0", "no", "off", "false")


@dataclass(frozen=True)
class Setting:
    """A default that differs from the program's: a command, its option, and where the value comes from."""

    command: str
    option: str
    value: Any
    source: str


def list_files() -> list[Path]:
    """Return the files that may set defaults; later ones win."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [Path(home) / "sr" / FILE, Path(FILE)]


def read_settings(options: dict[str, dict[str, Any]]) -> list[Setting]:
    """Return all settings; `options` maps commands to option names to parameters.

    In `[tool.sr]` a name applies to every command that has it, in `[tool.sr.upscale]` to that command;
    likewise SR_MODEL and SR_UPSCALE_MODEL in the environment, which wins over files.
    """
    found: dict[tuple[str, str], Setting] = {}
    for path in list_files():
        if path.is_file():
            for setting in _read_file(path, options):
                found[setting.command, setting.option] = setting
    for setting in _read_environment(options):
        found[setting.command, setting.option] = setting
    return list(found.values())


def _read_file(path: Path, options: dict[str, dict[str, Any]]) -> list[Setting]:
    table = _load_table(path)
    out = [
        Setting(command, name, value, str(path))
        for name, value in table.items()
        if not isinstance(value, dict)
        for command in _find_commands(name, options, path)
    ]
    for command, inner in table.items():
        if isinstance(inner, dict):
            known = options.get(command) or _raise_unknown(command, list(options), f"{path}: no command")
            for name in inner:
                if name not in known:
                    _raise_unknown(name, list(known), f"{path}: {command} has no option")
            out += [Setting(command, name, value, str(path)) for name, value in inner.items()]
    return out


def _load_table(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        text = decode_text(path.read_bytes()).replace("\r\n", "\n")
        table = tomllib.loads(text).get("tool", {}).get("sr", {})
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "fix it, or move it away") from error
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.sr] is not a table", 'write [tool.sr], then model = "edsr"')
    return table


def _find_commands(name: str, options: dict[str, dict[str, Any]], path: Path) -> list[str]:
    commands = [command for command, known in options.items() if name in known]
    every = sorted({name for known in options.values() for name in known})
    return commands or _raise_unknown(name, every, f"{path}: no option")


def _raise_unknown(name: str, known: list[str], what: str) -> Any:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else "see `sr upscale --help`"
    raise UsageError(f"{what} called '{name}'", hint)


def _read_environment(options: dict[str, dict[str, Any]]) -> list[Setting]:
    """Return settings from SR_OPTION, for every command that has it, then from SR_COMMAND_OPTION."""
    out = []
    for pattern in ("SR_{option}", "SR_{command}_{option}"):
        for command, known in options.items():
            for option, parameter in known.items():
                name = pattern.format(command=command, option=option).upper().replace("-", "_")
                if name in os.environ:
                    out.append(Setting(command, option, _parse(os.environ[name], parameter), name))
    return out


def _parse(text: str, parameter: Any) -> Any:
    if getattr(parameter, "is_flag", False):
        return text.lower() not in _FALSE
    return text.split(",") if getattr(parameter, "multiple", False) else text


def list_options(group: Any) -> dict[str, dict[str, Any]]:
    """Return the options of each command by their long names without dashes."""
    return {
        name: {flag.lstrip("-"): p for p in command.params for flag in p.opts if flag.startswith("--")}
        for name, command in group.commands.items()
    }


def make_default_map(group: Any) -> dict[str, dict[str, Any]]:
    """Return the defaults in Click's form: by command and parameter name."""
    options = list_options(group)
    out: dict[str, dict[str, Any]] = {}
    for setting in read_settings(options):
        parameter = options[setting.command][setting.option]
        out.setdefault(setting.command, {})[parameter.name] = setting.value
    return out


def config(context: typer.Context) -> None:
    """Show the defaults set in sr.toml and in the environment."""
    group = context.parent.command if context.parent else context.command
    found = read_settings(list_options(group))
    for setting in found:
        shown = f"{setting.command} --{setting.option} = {setting.value}"
        console.out.print(f"{shown:45} {setting.source}", markup=False)
    for path in list_files():
        state = "read" if path.is_file() else "does not exist"
        console.err.print(f"{path}: {state}", markup=False)
    if not found:
        console.err.print("no defaults are set", markup=False)
