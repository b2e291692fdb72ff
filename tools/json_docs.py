"""docs/json.md and docs/schema.json, made from the dataclasses of what `--json` prints."""

import functools
import json
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from srcli.bench.results import Results
from srcli.cli.records import EstimatedImage, EventRecord, ExportedImage, ImageRecord
from srcli.report.doctor import Diagnosis
from srcli.report.image_report import ReadableImage, UnreadableImage
from srcli.report.model_tables import ListedModel
from srcli.report.ratings import Summary
from srcli.storage.json_record import find_json_name, is_optional

SCHEMA = Path(__file__).parent.parent / "docs" / "schema.json"
# The field whose entries are fields of the record itself, see `srcli.bench.results.flatten`.
_FLAT = "figures"
_NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", NoneType: "null"}
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


@dataclass(frozen=True)
class Output:
    """The JSON objects of a command: their kinds, and how many there are and where, as `shape` says."""

    command: str
    shape: str
    kinds: tuple[type, ...]


OUTPUTS = (
    Output("sr upscale --json", "An object per image, one per line on stdout", get_args(ImageRecord)),
    Output("sr upscale --json, events", "An object per event, one per line on stderr", get_args(EventRecord)),
    Output("sr upscale --dry-run --json", "An object per image, one per line", (EstimatedImage,)),
    Output("sr jobs export --json", "A list of objects, one per line", (ExportedImage,)),
    Output("sr info --json", "An object per image, one per line", (ReadableImage, UnreadableImage)),
    Output("sr models list --json", "A list of objects", (ListedModel,)),
    Output("sr doctor --json", "One object", (Diagnosis,)),
    Output("sr bench --json FILE", "One object; also on stdout, with -", (Results,)),
    Output("sr bench --ratings ... --json FILE", "One object", (Summary,)),
)


@dataclass(frozen=True)
class _DocumentedField:
    name: str
    hint: Any
    text: str
    optional: bool


def _list_fields(kind: type) -> list[_DocumentedField]:
    """Return the fields of a dataclass. Raises `TypeError` for one without documentation."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in fields(kind):
        hint = hints[field.name]
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{kind.__name__}.{field.name} is not documented")
        inner, text = get_args(hint)[:2]
        optional = is_optional(field)
        if optional and get_origin(inner) in (Union, UnionType):  # it is left out, never null
            inner = functools.reduce(operator.or_, [each for each in get_args(inner) if each is not NoneType])
        found.append(_DocumentedField(find_json_name(field), inner, text, optional))
    return found


def _find_nested(hint: Any) -> Iterator[type]:
    if is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for inner in get_args(hint):
        yield from _find_nested(inner)


def _list_kinds(kinds: tuple[type, ...]) -> list[type]:
    """Return the kinds, and after them all that their fields hold."""
    found = list(kinds)
    for kind in found:
        nested = [each for field in _list_fields(kind) for each in _find_nested(field.hint)]
        found += [each for each in dict.fromkeys(nested) if each not in found]
    return found


def build_schema(*, strict: bool = False) -> dict[str, Any]:
    """Return the JSON schema of every object that a command prints; with `strict`, no others may have fields.

    A list, and each line of several objects, is to be checked object by object.
    """
    kinds = list(dict.fromkeys(kind for output in OUTPUTS for kind in _list_kinds(output.kinds)))
    roots = [kind for output in OUTPUTS for kind in output.kinds]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Objects that sr prints with --json",
        "anyOf": [_refer(kind) for kind in roots],
        "$defs": {kind.__name__: _describe_kind(kind, strict) for kind in kinds},
    }


def _refer(kind: type) -> dict[str, str]:
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _describe_kind(kind: type, strict: bool) -> dict[str, Any]:
    own = [field for field in _list_fields(kind) if field.name != _FLAT]
    described: dict[str, Any] = {
        "type": "object",
        "description": _read_docstring(kind),
        "properties": {
            field.name: {**_describe_hint(field.hint), "description": field.text} for field in own
        },
        "required": [field.name for field in own if not field.optional],
    }
    if len(own) < len(fields(kind)):
        described["additionalProperties"] = {"type": ["number", "null"]}
    elif strict:
        described["additionalProperties"] = False
    return described


def _read_docstring(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _describe_hint(hint: Any) -> dict[str, Any]:
    """Return the schema of a type of Python."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return {"anyOf": [_describe_hint(each) for each in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _describe_hint(inner[1])}
    if origin is list or (origin is tuple and inner[1:] == (Ellipsis,)):
        return {"type": "array", "items": _describe_hint(inner[0])}
    if origin is tuple:
        sides = {"minItems": len(inner), "maxItems": len(inner)}
        return {"type": "array", "prefixItems": [_describe_hint(each) for each in inner], **sides}
    return {"type": _TYPES[hint]} if hint in _TYPES else _refer(hint)


def render_page() -> str:
    """Return the sections of docs/json.md: for each output, a table of the fields of each kind of object."""
    parts, seen = [], set[type]()
    for output in OUTPUTS:
        parts.append(f"## `{output.command}`\n{output.shape}.")
        for kind in _list_kinds(output.kinds):
            if kind not in seen:
                parts.append(_render_kind(kind))
            seen.add(kind)
    return "\n\n".join(parts)


def _render_kind(kind: type) -> str:
    lines = [f"### {kind.__name__}", _read_docstring(kind), "", "| field | type | meaning |", "|---|---|---|"]
    for field in _list_fields(kind):
        name = "*key of a column*" if field.name == _FLAT else f"`{field.name}`"
        hint = "number or null" if field.name == _FLAT else _name_hint(field.hint)
        lines.append(f"| {name} | {hint}{', optional' if field.optional else ''} | {field.text} |")
    return "\n".join(lines)


def _name_hint(hint: Any) -> str:
    """Return a type of Python in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_name_hint, inner))
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in inner)
    if origin in (dict, Mapping):
        return f"object with values of {_name_hint(inner[1])}"
    if origin is list or (origin is tuple and inner[1:] == (Ellipsis,)):
        return f"list of {_name_hint(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_name_hint, inner))}]"
    return _NAMES.get(hint) or f"[{hint.__name__}](#{hint.__name__.lower()})"


def main() -> None:
    """Write docs/schema.json."""
    SCHEMA.write_text(json.dumps(build_schema(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
