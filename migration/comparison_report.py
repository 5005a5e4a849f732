"""What a comparison found, as data: parity, and what each engine took. `to_json` has the schema "dspex.compare"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from ..router import Engine
from .interval import Interval, quantile

SCHEMA: Final = "dspex.compare"
SCHEMA_VERSION: Final = 1
"""Grows by new names only; a change of what is there is a new version."""

ENGINES: Final[tuple[Engine, Engine]] = ("native", "legacy")


@final
@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; None where the system does not tell."""

    native_rss_before: int | None
    """Of this process, before the native program was made."""
    native_rss_after: int | None
    """After the last answer: it has grown by the program, its clients, and by what drives the pool."""
    worker_rss: int | None
    """Of all workers together; pages that they share are counted once for each."""
    worker_pss: int | None
    """Of all workers together, shared pages divided among those who share them."""
    warden_rss: int | None
    """Of the process that they are forked from; None also where there is none."""
    workers: int

    @property
    def native_delta(self) -> int | None:
        """What the native engine added to this process."""
        if self.native_rss_before is None or self.native_rss_after is None:
            return None
        return self.native_rss_after - self.native_rss_before

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "native_rss_before": self.native_rss_before,
            "native_rss_after": self.native_rss_after,
            "native_delta": self.native_delta,
            "worker_rss": self.worker_rss,
            "worker_pss": self.worker_pss,
            "warden_rss": self.warden_rss,
            "workers": self.workers,
        }


@final
@dataclass(frozen=True, slots=True)
class EngineFigures:
    """One engine's side."""

    answered: int
    errors: Mapping[str, int]
    """By class, as the engine calls it; of a worker's program, by the class that it raised."""
    examples: Mapping[str, str]
    """The first message of each class."""
    latencies_s: tuple[float, ...] = field(repr=False)
    """Of what was answered, in the order it was asked; the warm-up is not in it."""
    lm_calls: int | None
    """Answers of language models that it took; None: the worker's dspy does not tell."""
    tokens: Mapping[str, Mapping[str, float]]
    """By model: prompt_tokens, completion_tokens, total_tokens."""
    accuracy: Interval | None
    """Against what the data expects; None: they expect nothing."""
    accuracy_fields: Mapping[str, Interval]
    agrees_with_itself: Interval | None
    """Its answers to the same question, compared as the engines are: no engine can agree better with the other than with
    itself. None: each was asked once."""

    @property
    def failed(self) -> int:
        """Requests that ended with an error."""
        return sum(self.errors.values())

    def latency(self, percent: float) -> float | None:
        """Seconds that ``percent`` of the answers did not exceed."""
        return quantile(self.latencies_s, percent)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "answered": self.answered,
            "failed": self.failed,
            "errors": dict(self.errors),
            "error_examples": dict(self.examples),
            "latency_s": {
                "p50": self.latency(50),
                "p95": self.latency(95),
                "mean": sum(self.latencies_s) / len(self.latencies_s) if self.latencies_s else None,
                "all": [round(each, 6) for each in self.latencies_s],
            },
            "lm_calls": self.lm_calls,
            "tokens": {model: dict(counts) for model, counts in self.tokens.items()},
            "accuracy": None if self.accuracy is None else self.accuracy.to_json(),
            "accuracy_fields": {name: each.to_json() for name, each in self.accuracy_fields.items()},
            "agrees_with_itself": None if self.agrees_with_itself is None else self.agrees_with_itself.to_json(),
        }


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """A row that the engines did not answer alike."""

    row: int
    score: float
    """0 to 1, as the metric has it."""
    fields: Mapping[str, float]
    inputs: Mapping[str, Any] = field(repr=False)
    native: Mapping[str, Any] | str = field(repr=False)
    """Its outputs as plain data; or, as text, its error."""
    legacy: Mapping[str, Any] | str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "row": self.row,
            "score": self.score,
            "fields": dict(self.fields),
            "inputs": dict(self.inputs),
            "native": self.native if isinstance(self.native, str) else {"outputs": dict(self.native)},
            "legacy": self.legacy if isinstance(self.legacy, str) else {"outputs": dict(self.legacy)},
        }


@final
@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """Both engines on the same rows and model."""

    program: str
    model: str | None
    rows: int
    repeat: int
    concurrency: int
    confidence: float
    parity: Interval
    """How far the engines agree, over the rows that at least one of them answered: one that failed alone disagrees."""
    fields: Mapping[str, Interval]
    """The same, by output field, over the rows that both answered."""
    failed_on_both: int
    """Rows that neither answered: they say nothing of parity."""
    engines: Mapping[Engine, EngineFigures]
    memory: Memory
    differences: tuple[Difference, ...] = field(repr=False)
    """The first of them, see `different`."""
    different: int
    """Rows in which the engines differ."""
    seconds: float
    versions: Mapping[str, str]
    """dspex, dspy, python."""

    @property
    def speedup(self) -> float | None:
        """How many times as long the legacy engine takes as the native one, by the medians; None if one has no answer."""
        native, legacy = (self.engines[engine].latency(50) for engine in ENGINES)
        return legacy / native if native and legacy else None

    def is_at_least(self, bound: float) -> bool:
        """Whether the parity's lower bound is at least ``bound`` (0 to 1). Never, where nothing was compared."""
        return self.parity.mean is not None and self.parity.low >= bound

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "program": self.program,
            "model": self.model,
            "rows": self.rows,
            "repeat": self.repeat,
            "concurrency": self.concurrency,
            "confidence": self.confidence,
            "parity": self.parity.to_json(),
            "fields": {name: each.to_json() for name, each in self.fields.items()},
            "failed_on_both": self.failed_on_both,
            "speedup_p50": self.speedup,
            "engines": {engine: self.engines[engine].to_json() for engine in ENGINES},
            "memory_bytes": self.memory.to_json(),
            "different": self.different,
            "differences": [each.to_json() for each in self.differences],
            "seconds": self.seconds,
            "versions": dict(self.versions),
        }
