"""Routing by what a request may cost: a bound of seconds or dollars, and which engine keeps it, by what was measured.

    Requirement(latency_s=2.0, percentile=95)      # or Requirement.parse("p95<2s")
    Requirement(usd=0.002)                         # "usd<0.002"; both: "p95<2s and usd<0.002"

The rule, for one request:

1. The engine that the flags choose is kept if it meets the bound, or if too little of it has been measured (fewer than
   ``min_samples`` answers): an engine is left only on evidence.
2. If it does not meet the bound and the other does, the other serves.
3. If neither meets it, the one nearer to it serves; the reason says so.
4. Of the other engine too little is known, and the flags' choice does not meet the bound: ``explore`` of the keys
   (5 %) are sent there until enough is measured.
5. When a request was sent away from the flags' choice, ``explore`` of the keys go on being served by it, so that an
   engine that has recovered is found out. ``explore=0``: nobody is, and it is not.

So at most ``explore`` of the requests are ever sent to an engine that is unknown, or known to miss the bound, while
another would have met it. Who explores is a stable hash of program and key; without a key it is drawn for the request.
Latencies are those of the last answers (failures are the rollback's affair); dollars are the mean of the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, cast, final

from .request import Engine

_LATENCY: Final = re.compile(r"p(\d+(?:\.\d+)?)\s*<\s*(\d*\.?\d+)\s*(ms|s)?")
_COST: Final = re.compile(r"usd\s*<\s*(\d*\.?\d+)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A bound on latency, on cost, or on both. Raises ValueError for values that cannot hold."""

    latency_s: float | None = None
    """Seconds inside the engine, at the percentile."""
    percentile: float = 95.0
    """Of the last answers, so many percent are within ``latency_s``; 0 to 100."""
    usd: float | None = None
    """US dollars for a request, in the mean."""
    min_samples: int = 20
    """Answers of an engine before its figures count."""
    explore: float = 5.0
    """Percent of the keys that may be spent on finding out about the engine not chosen; 0 to 50."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} is a number > 0, not {value!r}"
            for name in ("latency_s", "usd")
            if (value := getattr(self, name)) is not None and not (_number(value) and value > 0)
        ]
        if self.latency_s is None and self.usd is None:
            problems.append("a requirement bounds latency_s, usd, or both")
        if not (_number(self.percentile) and 0 < self.percentile <= 100):
            problems.append(f"percentile is from 0 to 100, not {self.percentile!r}")
        if (
            isinstance(self.min_samples, bool)
            or not isinstance(cast(object, self.min_samples), int)
            or self.min_samples < 1
        ):
            problems.append(f"min_samples counts answers, at least 1, not {self.min_samples!r}")
        if not (_number(self.explore) and 0 <= self.explore <= 50):
            problems.append(f"explore is a percentage from 0 to 50, not {self.explore!r}")
        if problems:
            raise ValueError("; ".join(problems))

    @classmethod
    def parse(cls, said: Requirement | Mapping[str, Any] | str) -> Requirement:
        """From a text ("p95<2s", "p99<800ms and usd<0.01") or a mapping of the fields. Raises ValueError."""
        if isinstance(said, Requirement):
            return said
        if isinstance(said, Mapping):
            known = [each.name for each in fields(cls)]
            unknown = [name for name in said if name not in known]
            if unknown:
                raise ValueError(f"a requirement has {', '.join(known)}, not {', '.join(map(str, unknown))}")
            return cls(**said)
        if not isinstance(cast(object, said), str):
            raise ValueError(f'a requirement is a text such as "p95<2s", or a table of its fields, not {said!r}')
        found: dict[str, Any] = {}
        for part in said.split(" and "):
            if latency := _LATENCY.fullmatch(part.strip()):
                found["percentile"] = float(latency[1])
                found["latency_s"] = float(latency[2]) / (1000 if latency[3] == "ms" else 1)
            elif cost := _COST.fullmatch(part.strip()):
                found["usd"] = float(cost[1])
            else:
                raise ValueError(f'{part.strip()!r} is no bound; write "p95<2s", "usd<0.002", or both with " and "')
        return cls(**found)

    def __str__(self) -> str:
        bounds: list[str] = []
        if self.latency_s is not None:
            bounds.append(f"p{self.percentile:g}<{self.latency_s:g}s")
        if self.usd is not None:
            bounds.append(f"usd<{self.usd:g}")
        return " and ".join(bounds)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of one engine with one program: the last answers, failures left out."""

    samples: int
    latency_s: float | None = None
    """At the percentile asked for."""
    usd: float | None = None
    """Mean; None: no answer told what it cost."""
    priced: int = 0
    """Answers that told what they cost."""


MeasuredBy = Callable[[str, Engine, float], Measured]
"""(program, engine, percentile): what is known."""


@final
@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine, and in words why."""

    engine: Engine
    reason: str


def meet(
    requirement: Requirement,
    preferred: Engine,
    why: str,
    measured: Mapping[Engine, Measured],
    place: float,
) -> Chosen:
    """The engine for one request, by the rule above. A pure function.

    ``preferred``: what the flags choose, and ``why`` in words. ``measured``: of each engine that the program has.
    ``place``: where the key stands, 0 to 100; the ``explore`` first explore.
    """
    other: Engine = "legacy" if preferred == "native" else "native"
    asked = f"require {requirement}"
    if other not in measured or preferred not in measured:
        return Chosen(preferred, f"{asked}: it has no {other} side; {why}")
    mine, theirs = _ratio(requirement, measured[preferred]), _ratio(requirement, measured[other])
    if mine is None:
        samples = _counted(requirement, measured[preferred])
        return Chosen(preferred, f"{asked}: only {samples} of {requirement.min_samples} samples of {preferred}; {why}")
    if mine <= 1:
        return Chosen(preferred, f"{asked}: {preferred} meets it ({_figures(requirement, measured[preferred])}); {why}")
    explores = place < requirement.explore
    missed = f"{preferred} does not ({_figures(requirement, measured[preferred])})"
    if theirs is None:
        samples = _counted(requirement, measured[other])
        known = f"only {samples} of {requirement.min_samples} samples of {other}"
        if explores:
            return Chosen(other, f"{asked}: {missed}, {known}: exploring")
        return Chosen(preferred, f"{asked}: {missed}, {known}; {why}")
    if theirs > 1 and mine <= theirs:
        return Chosen(preferred, f"{asked}: neither meets it, {preferred} is nearer; {why}")
    if explores:
        return Chosen(preferred, f"{asked}: {missed}: exploring whether it does again")
    figures = _figures(requirement, measured[other])
    if theirs > 1:
        return Chosen(other, f"{asked}: neither meets it, {other} is nearer ({figures})")
    return Chosen(other, f"{asked}: {missed}, {other} does ({figures})")


def _counted(requirement: Requirement, measured: Measured) -> int:
    return measured.samples if requirement.usd is None else min(measured.samples, measured.priced)


def _ratio(requirement: Requirement, measured: Measured) -> float | None:
    """The worst of what was measured, in parts of its bound; None: too little was."""
    if _counted(requirement, measured) < requirement.min_samples:
        return None
    ratios: list[float] = []
    for bound, found in ((requirement.latency_s, measured.latency_s), (requirement.usd, measured.usd)):
        if bound is not None and found is not None:
            ratios.append(found / bound)
    return max(ratios)


def _figures(requirement: Requirement, measured: Measured) -> str:
    said: list[str] = []
    if requirement.latency_s is not None and measured.latency_s is not None:
        said.append(f"p{requirement.percentile:g} {measured.latency_s:.3g}s")
    if requirement.usd is not None and measured.usd is not None:
        said.append(f"{measured.usd:.3g} USD")
    return ", ".join(said)
