"""Checks that what was read from a file has the types which a dataclass states."""

import math
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_LONGEST_TEXT = 10_000  # characters
_LARGEST_NUMBER = 2**63


def check_fields(item: Any) -> None:
    """Raise `ValueError` if a field of a dataclass has a value of another type, or an absurd one.

    NaN is refused, infinity is not; a whole number may stand for a float.
    """
    hints = get_type_hints(type(item))
    for field in fields(item):
        value = getattr(item, field.name)
        if not _fits(value, hints[field.name]):
            raise ValueError(f"{field.name} cannot be {str(value)[:40]!r}")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(each, inner[1]) for key, each in value.items()
        )
    if hint is str:
        return isinstance(value, str) and len(value) <= _LONGEST_TEXT
    if hint in (int, float):
        return _is_number(value) and (hint is float or isinstance(value, int))
    return isinstance(value, NoneType if hint is None else hint)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return value in (math.inf, -math.inf) or abs(value) < _LARGEST_NUMBER
