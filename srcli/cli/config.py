"""Defaults of options from `sr.toml`, the user's and the folder's, and from the environment; `sr config`."""

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from srcli.cli import console
from srcli.dataclass import dataclass
from srcli.errors import UsageError
from srcli.storage.files import get_state_folder
from srcli.storage.json_text import read_json
from srcli.storage.text import decode_text

FILE = "sr.toml"
_PREFIX = "SR_"  # of variables in the environment
_MAX_BYTES = 2**20
# A file that came with a folder may not decide where outputs go, whether they replace files, which weights
# are loaded, where images are sent, and how large an image may be; nor set any option that names a file.
_REDIRECTING = (
    "output", "name", "prefix", "suffix", "overwrite", "in-place", "job", "weights", "ray", "max-pixels",
)  # fmt: skip
_TRUST_HINT = "`sr config trust` allows them in this folder"

config = typer.Typer(
    help="Show the defaults set in sr.toml and in the environment.",
    invoke_without_command=True,
    add_completion=False,
)
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


def read_settings(options: dict[str, dict[str, Any]]) -> tuple[list[Setting], list[Setting]]:
    """Return all settings, and those of a folder's file that are ignored because nobody trusts it.

    `options` maps commands to option names to parameters. In `[tool.sr]` a name applies to every command that
    has it, in `[tool.sr.upscale]` to that command; likewise SR_MODEL and SR_UPSCALE_MODEL in the environment,
    which wins over files. Raises `UsageError` for files that cannot be read and for values of another type.
    """
    found: dict[tuple[str, str], Setting] = {}
    ignored: list[Setting] = []
    own, folder = list_files()
    for path in (own, folder):
        if not _exists(path):
            continue
        data = _read_bytes(path)
        is_trusted = path == own or is_file_trusted(path, data)
        for setting in _parse_file(path, data, options):
            parameter = options[setting.command][setting.option]
            if is_trusted or not _can_redirect(setting.option, parameter):
                found[setting.command, setting.option] = setting
            else:
                ignored.append(setting)
    for setting in _read_environment(options):
        found[setting.command, setting.option] = setting
    return list(found.values()), ignored


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that may not be entered
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "fix it, or move it away") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path} is larger than {_MAX_BYTES:,} bytes", "fix it, or move it away")
    return data


def _can_redirect(option: str, parameter: Any) -> bool:
    """Return whether an option decides what is written, or to whom images are sent."""
    return option in _REDIRECTING or parameter.type.name in ("path", "file", "directory")


def is_file_trusted(path: Path, data: bytes) -> bool:
    """Return whether `sr config trust` was run for this file with this content."""
    return _read_trusted().get(str(path.absolute())) == hashlib.sha256(data).hexdigest()


def _find_trusted() -> Path:
    return get_state_folder() / "trusted.json"


def _read_trusted() -> dict[str, str]:
    """Return SHA-256 by path of the trusted files; nothing if the list is damaged."""
    try:
        trusted = read_json(_find_trusted(), _MAX_BYTES)
    except (OSError, ValueError):
        return {}
    return trusted if isinstance(trusted, dict) else {}


def _parse_file(path: Path, data: bytes, options: dict[str, dict[str, Any]]) -> list[Setting]:
    table = _load_table(path, data)
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
    return [replace(each, value=_check_type(each, options[each.command][each.option])) for each in out]


def _check_type(setting: Setting, parameter: Any) -> Any:
    """Return the value, as a list if the option may be repeated. Raises `UsageError` for another type."""
    value, kind = setting.value, parameter.type.name
    expected = "a text"
    types: tuple[type, ...] = (str, int, float)
    if getattr(parameter, "is_flag", False):
        expected, types = "true or false", (bool,)
    elif kind.startswith("int"):
        expected, types = "a whole number", (int,)
    elif kind.startswith("float"):
        expected, types = "a number", (int, float)
    if "\0" in str(value):
        raise UsageError(f"{setting.source}: --{setting.option} contains a NUL character", "remove it")
    if value == "" and setting.option not in ("prefix", "suffix", "degrade"):
        raise UsageError(f"{setting.source}: --{setting.option} is empty", "give it a value, or remove it")
    items = value if parameter.multiple and isinstance(value, list) else [value]
    if all(isinstance(item, types) and isinstance(item, bool) == (bool in types) for item in items):
        return items if parameter.multiple else value
    if parameter.multiple:
        expected += " or a list of them"
    raise UsageError(
        f"{setting.source}: {setting.command} --{setting.option} takes {expected}, not {value!r}",
        f"see `sr {setting.command} --help`",
    )


def _load_table(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        table = tomllib.loads(decode_text(data).replace("\r\n", "\n")).get("tool", {}).get("sr", {})
    except (ValueError, AttributeError, RecursionError) as error:
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
    for pattern in (_PREFIX + "{option}", _PREFIX + "{command}_{option}"):
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


def list_options(commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options of each command by their long names without dashes."""
    return {
        name: {flag.lstrip("-"): p for p in command.params for flag in p.opts if flag.startswith("--")}
        for name, command in commands.items()
    }


def make_default_map(group: Any, command: str | None) -> dict[str, dict[str, Any]]:
    """Return the defaults in Click's form: by command and parameter name; at least those of `command`.

    Only files are checked against the options of all commands, which are imported for it.
    """
    if not any(map(_exists, list_files())):
        if command is None or not any(name.startswith(_PREFIX) for name in os.environ):
            return {}
        options = list_options({command: group.commands[command]})
    else:
        options = list_options(group.commands)
    out: dict[str, dict[str, Any]] = {}
    settings, ignored = read_settings(options)
    if ignored:
        names = ", ".join(dict.fromkeys(f"--{setting.option}" for setting in ignored))
        console.err.print(f"{ignored[0].source}: {names} ignored; {_TRUST_HINT}", markup=False)
    for setting in settings:
        parameter = options[setting.command][setting.option]
        out.setdefault(setting.command, {})[parameter.name] = setting.value
    return out


@config.callback()
def show(context: typer.Context) -> None:
    """Show the defaults set in sr.toml and in the environment."""
    if context.invoked_subcommand is not None:
        return
    group: Any = context.find_root().command
    found, ignored = read_settings(list_options(group.commands))
    for setting in [*found, *ignored]:
        shown = f"{setting.command} --{setting.option} = {setting.value}"
        state = " (ignored: not trusted)" if setting in ignored else ""
        console.out.print(f"{shown:45} {setting.source}{state}", markup=False)
    for path in list_files():
        state = "read" if _exists(path) else "does not exist"
        console.err.print(f"{path}: {state}", markup=False)
    if not found and not ignored:
        console.err.print("no defaults are set", markup=False)


@config.command()
def trust(
    undo: Annotated[bool, typer.Option("--undo", help="Trust it no longer.")] = False,
) -> None:
    """Let the sr.toml of this folder decide what is written and where, until it changes."""
    path = Path(FILE).absolute()
    trusted = _read_trusted()
    if undo:
        trusted.pop(str(path), None)
    elif not _exists(path):
        raise UsageError(f"there is no {FILE} in this folder", "change to the folder that has it")
    else:
        trusted[str(path)] = hashlib.sha256(_read_bytes(path)).hexdigest()
    console.save_text(_find_trusted(), json.dumps(trusted, indent=1))
    console.err.print(f"{path} is {'no longer ' if undo else ''}trusted", markup=False)
