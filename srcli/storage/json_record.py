"""JSON records: the objects that commands print, made of dataclasses that document every field.

The documentation of a field is the text in its `Annotated` type; docs/json.md and docs/schema.json are made
from it. A field called `from_` is `from` in JSON.
"""

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any


def to_record(item: Any) -> dict[str, Any]:
    """Return the fields of a dataclass for JSON; an optional field without a value is left out."""
    values = [(field, getattr(item, field.name)) for field in fields(item)]
    return {
        find_json_name(field): _convert(value)
        for field, value in values
        if not (is_optional(field) and value == field.default)
    }


def find_json_name(field: "Field[Any]") -> str:
    """Return the name of a field in JSON."""
    return field.name.rstrip("_")


def is_optional(field: "Field[Any]") -> bool:
    """Return whether a field is left out if it has no value: those with None or an empty text as default."""
    return field.default is None or field.default == ""


def _convert(value: Any) -> Any:
    if is_dataclass(value):
        return to_record(value)
    if isinstance(value, Mapping):
        return {str(key): _convert(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_convert(each) for each in value]
    return value
