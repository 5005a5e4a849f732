"""Are two answers the same? By a metric of the user's, or field by field.

A metric is given the answer that was served and the shadow's, and returns a bool, a number from 0 to 1, or one of these
for each field. It may be async, to ask a model for its judgement:

    async def judged(served, shadow):
        verdict = await judge.acall(first=served.answer, second=shadow.answer)
        return verdict.same
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

from ..engine import Prediction

Score = bool | float
Metric = Callable[[Prediction, Prediction], Score | Mapping[str, Score] | Awaitable[Score | Mapping[str, Score]]]

TOLERANCE: Final = 1e-6
"""Relative difference up to which two numbers are the same."""


class BadMetric(ValueError):
    """A metric returned what is no score."""


@final
@dataclass(frozen=True, slots=True)
class Scores:
    """0 to 1 for the whole, and for each field that the metric spoke of."""

    score: float
    fields: Mapping[str, float] = field(default_factory=dict[str, float])


def fields_equal(*, tolerance: float = TOLERANCE, ignore: Sequence[str] = ("reasoning",)) -> Metric:
    """The default: each output is equal or not; numbers may differ by ``tolerance``, relative to the larger.

    ``ignore``: outputs that are allowed to differ, as free text does.
    """

    def metric(served: Prediction, shadow: Prediction) -> dict[str, bool]:
        names = [name for name in dict.fromkeys([*served.keys(), *shadow.keys()]) if name not in ignore]
        return {
            name: name in served and name in shadow and _same(plain(served[name]), plain(shadow[name]), tolerance)
            for name in names
        }

    return metric


def plain(value: Any) -> Any:
    """A value as the legacy engine sends it over: models as dicts, enums as their values, tuples as lists."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=str)


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance) or (one != one and other != other)
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[Any, Any]", one), cast("dict[Any, Any]", other)
        return left.keys() == right.keys() and all(_same(value, right[key], tolerance) for key, value in left.items())
    if isinstance(one, list) and isinstance(other, list):
        here, there = cast("list[Any]", one), cast("list[Any]", other)
        return len(here) == len(there) and all(_same(a, b, tolerance) for a, b in zip(here, there, strict=True))
    return bool(one == other)


async def scores_of(metric: Metric, served: Prediction, shadow: Prediction) -> Scores:
    """What the metric says. Raises BadMetric for what is no score, and what the metric raises."""
    said: Any = metric(served, shadow)
    if inspect.isawaitable(said):
        said = await said
    if isinstance(said, Mapping):
        by_field = {str(name): _score(value) for name, value in cast("Mapping[object, object]", said).items()}
        whole = sum(by_field.values()) / len(by_field) if by_field else 1.0
        return Scores(whole, by_field)
    return Scores(_score(said))


def _score(value: object) -> float:
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise BadMetric(f"a metric returns True, False, or a number from 0 to 1 (or these by field), not {value!r}")
