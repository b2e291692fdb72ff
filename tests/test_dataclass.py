"""Our `dataclass` against the standard library's."""

import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from srcli import dataclass as ours

Decorator = Callable[..., Any]


def build_point(dataclass: Decorator, **options: bool) -> Any:
    @dataclass(**options)
    class Point:
        """A point."""

        x: float
        y: float = 0.0
        names: list[str] = dataclasses.field(default_factory=list)
        secret: int = dataclasses.field(default=7, repr=False, compare=False)
        unit: str = dataclasses.field(default="mm", kw_only=True)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("left of all")

    return Point


def observe(make: Callable[[Any], object], point: Any) -> object:
    """Return what `make` gives for the class `point`, or the kind of its error."""
    try:
        return make(point)
    except Exception as error:
        return type(error)


def set_field(point: Any) -> float:
    point.x = 3.0
    return float(point.x)


def delete_field(point: Any) -> bool:
    del point.x
    return hasattr(point, "x")


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"kw_only": True}, {"eq": False}], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda point: repr(point(x=1.5, names=["a"])),
        lambda point: point(1.5, 2.0, ["a"], 3, unit="m").unit,
        lambda point: point(1.5, 2.0, ["a"], 3, "m"),
        lambda point: point(),
        lambda point: point(x=1.0, z=2.0),
        lambda point: point(x=-1.0),
        lambda point: point(x=1.0) == point(x=1.0, secret=8),
        lambda point: point(x=1.0) != point(x=2.0),
        lambda point: point(x=1.0) == 1.0,
        lambda point: point(x=1.0).names is point(x=1.0).names,
        lambda point: hash(point(x=1.0, names=())) == hash(point(x=1.0, names=(), secret=8)),  # type: ignore[misc]
        lambda point: isinstance(hash(point(x=1.0)), int),
        lambda point: set_field(point(x=1.0)),
        lambda point: delete_field(point(x=1.0)),
        lambda point: dataclasses.asdict(point(x=1.0)),
        lambda point: dataclasses.replace(point(x=1.0), y=2.0).y,
        lambda point: point.__match_args__,
        lambda point: list(inspect.signature(point).parameters),
    ],
)
def test_our_dataclass_does_what_the_standard_librarys_does(
    make: Callable[[Any], object], options: dict[str, bool]
) -> None:
    expected = observe(make, build_point(dataclasses.dataclass, **options))
    assert observe(make, build_point(ours.dataclass, **options)) == expected


@ours.dataclass(frozen=True)
class Base:
    """A class with a field."""

    x: int


@ours.dataclass(frozen=True)
class Derived(Base):
    """A class with one more, and an order of its own of what is equal."""

    y: int = 2

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Derived) and self.x == other.x

    def __hash__(self) -> int:
        return self.x


def test_fields_and_methods_are_inherited_and_written_ones_are_kept() -> None:
    item = Derived(1)
    assert (item.x, item.y) == (1, 2)
    assert item == Derived(1, 3)
    assert hash(item) == 1
    assert item != Base(1)
    assert pickle.loads(pickle.dumps(item)).y == 2
