"""The template language of `--name`: text and fields in braces, and nothing that leaves the output folder."""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePath

from srcli.dataclass import dataclass
from srcli.errors import UsageError

LONGEST_NAME = 255  # bytes, on all common file systems
FIELDS = ("stem", "ext", "parent", "model", "scale")
_EXAMPLE = 'for example: --name "{stem}_{model}"'
_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|[^{}]+|[{}]")


@dataclass(frozen=True)
class NameTemplate:
    """Pieces of a name: text, and names of fields, which are None for text."""

    pieces: tuple[tuple[str, str | None], ...]

    @cached_property
    def fields(self) -> set[str]:
        """The names of the fields that are used."""
        return {field for _, field in self.pieces if field}

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the name for the values of the fields; a value never names another folder."""
        name = "".join([values[field] if field else text for text, field in self.pieces])
        if "/" not in name:
            return name
        *folders, last = name.split("/")
        return "/".join([*("_" if folder in ("", ".", "..") else folder for folder in folders), last])


def parse_template(text: str) -> NameTemplate:
    """Return the template; `{{` and `}}` stand for braces. Raises `UsageError` for what has no meaning."""
    pieces: list[tuple[str, str | None]] = []
    for token in _TOKEN.finditer(text):
        field = token["field"]
        if field is None:
            if token[0] in ("{", "}"):
                hint = f"write {token[0] * 2} for the character itself"
                raise UsageError(f"--name {text}: a single {token[0]}", hint)
            pieces.append(({"{{": "{", "}}": "}"}.get(token[0], token[0]), None))
        elif field in FIELDS:
            pieces.append(("", field))
        else:
            known = " ".join(f"{{{name}}}" for name in FIELDS)
            raise UsageError(f"--name has no field {{{field}}}", f"fields: {known}")
    _check_path("".join("x" if field else literal for literal, field in pieces), text)
    return NameTemplate(tuple(pieces))


def _check_path(example: str, text: str) -> None:
    """Raise `UsageError` for a template whose names are empty or not inside the output folder."""
    if "\0" in example:
        raise UsageError("--name contains a NUL character", _EXAMPLE)
    if not example or example.endswith("/"):
        raise UsageError(f"--name '{text}' has no file name", _EXAMPLE)
    path = PurePath(example)
    if path.anchor or ".." in path.parts or path.name in ("", "."):
        raise UsageError(f"--name {text} leaves the output folder", "name the folder with --output")
    for part in path.parts:
        _check_length("--name", part)


def check_affix(option: str, text: str) -> None:
    """Raise `UsageError` if a prefix or suffix of names is more than a part of a name."""
    if "/" in text or "\0" in text or Path(text).anchor:
        raise UsageError(f"{option} takes part of a name, not a path", "name the folder with --output")
    _check_length(option, text)


def _check_length(option: str, name: str) -> None:
    """Raise `UsageError` for a text that no file can have in its name; long stems are cut instead."""
    count = len(os.fsencode(name))
    if count > LONGEST_NAME:
        raise UsageError(f"{option} has a name of {count} bytes", f"use {LONGEST_NAME} or fewer")
