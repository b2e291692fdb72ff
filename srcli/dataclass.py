"""A `dataclass` that starts faster: only the constructor is compiled for each class, all else is shared.

The standard library compiles up to seven functions for each class, a sixth of the start-up of `sr upscale`.
`fields`, `replace`, `asdict` and `match` work as always. For `slots` or `order`, take the standard library's.
"""

import dataclasses
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, kw_only: bool = False
    ) -> Any:
        """Do what `dataclasses.dataclass` does with the same arguments."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, kw_only=kw_only)
        own = frozenset(vars(cls))
        dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        methods = {"__init__": _compile_init(cls), "__repr__": _show}
        if eq:
            methods |= {"__eq__": _is_equal, "__hash__": _hash if frozen else None}
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        for name, method in methods.items():
            # Python itself sets `__hash__` to None in a class that defines `__eq__`.
            if name not in own or (name == "__hash__" and cls.__hash__ is None):
                setattr(cls, name, method)
        return cls


def _compile_init(cls: type[Any]) -> Any:
    """Return the constructor. It writes into `__dict__`, as attributes of frozen classes cannot be set."""
    names: dict[str, Any] = {"_UNSET": dataclasses.MISSING}
    positional, keyword = ["self"], ["*"]
    lines = ["_state = self.__dict__"]
    for field in dataclasses.fields(cls):
        name = parameter = value = field.name
        if field.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_UNSET"
            value = f"_make_{name}() if {name} is _UNSET else {name}"
        if field.init:
            (keyword if field.kw_only else positional).append(parameter)
            lines.append(f"_state[{name!r}] = {value}")
    if len(keyword) > 1:
        positional += keyword
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n  ".join(lines)
    exec(f"def __init__({', '.join(positional)}):\n  {body}", names)
    return names["__init__"]


@recursive_repr()
def _show(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _list_compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, each.name) for each in dataclasses.fields(self) if each.compare)


def _is_equal(self: Any, other: object) -> Any:
    return _list_compared(self) == _list_compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_list_compared(self))


def _refuse_to_set(self: Any, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
