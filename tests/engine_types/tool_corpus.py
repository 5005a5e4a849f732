"""Functions of many shapes, and calls of them, on which the tools of both engines are compared. No tests here.

No `from __future__ import annotations`: the hints must be types, whatever scope they are read in.
"""

import enum
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, Optional, Union

import pydantic
import typing_extensions


class Unit(enum.Enum):
    METRE = "m"
    FOOT = "ft"


class Place(pydantic.BaseModel):
    """A place."""

    name: str
    lat: float = 0.0
    tags: list[str] = []


class Trip(pydantic.BaseModel):
    start: Place
    stops: dict[str, Place] = {}
    unit: Unit = Unit.METRE


class Options(typing_extensions.TypedDict):
    depth: int
    names: list[str]


@dataclass
class Pair:
    a: int
    b: str = "x"


def nothing() -> str:
    return "nothing"


def untyped(a, b=3):
    """No hints."""
    return [a, b]


def plain(a: int, b: str, c: list[str]) -> str:
    """Plain arguments.

    Over lines."""
    return f"{a}{b}{c}"


def numbers(i: int = 1, f: float = 2.5, b: bool = True, d: Decimal = Decimal("1.5"), n: None = None) -> Any:
    return [i, f, b, d, n]


def unions(a: int | str, b: Optional[list[int]] = None, c: Union[Place, None] = None) -> Any:  # noqa: UP007, UP045
    return [a, b, c]


def choices(kind: Literal["a", "b", 1], unit: Unit = Unit.FOOT) -> Any:
    return [kind, unit]


def models(place: Place, trip: Trip | None = None, more: list[Place] = []) -> Any:  # noqa: B006
    return [place, trip, more]


def containers(m: dict[str, list[int]], t: tuple[int, str], s: set[int], o: Options, p: Pair) -> Any:
    return [m, t, s, o, p]


def constrained(a: Annotated[int, pydantic.Field(ge=0)], b: Annotated[str, "note"] = "x") -> Any:
    return [a, b]


def anything(a: Any, *rest: int, key: str = "k", **more: float) -> Any:
    return [a, rest, key, more]


def failing(a: int) -> None:
    raise KeyError("gone")


async def fetch(url: str, retries: int = 0) -> str:
    """Fetch."""
    return f"{url}{retries}"


class Counter:
    """Counts."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __call__(self, by: int = 1) -> int:
        """Counts on."""
        return self.start + by

    def method(self, by: float) -> float:
        return self.start * by


FUNCTIONS: list[Any] = [
    nothing,
    untyped,
    plain,
    numbers,
    unions,
    choices,
    models,
    containers,
    constrained,
    anything,
    failing,
    fetch,
    Counter(3),
    Counter(4).method,
    lambda x: x,
    partial(plain, 1),
]

VALUES: list[Any] = [
    1,
    0,
    -5,
    True,
    1.0,
    1.5,
    "1",
    "m",
    "a",
    "METRE",
    None,
    [],
    [1, 2],
    ["x", "y"],
    ["x", 1],
    [[1]],
    {},
    {"a": [1]},
    {"a": ["x"]},
    {"name": "x"},
    {"name": "x", "lat": 1, "tags": ["t"]},
    {"name": "x", "extra": 1},
    {"lat": 1},
    {"start": {"name": "x"}, "stops": {"y": {"name": "z"}}, "unit": "ft"},
    {"start": {"name": "x"}, "unit": "mile"},
    {"depth": 1, "names": ["x"]},
    {"depth": "1", "names": ["x"]},
    {"a": 1, "b": "y"},
    (1, "x"),
    [1, "x"],
    {1, 2},
    Unit.METRE,
    Place(name="P"),
    [Place(name="P")],
    Decimal("2.5"),
    b"bytes",
]
