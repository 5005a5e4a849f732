"""What an app counts, as OpenTelemetry's observable instruments: nothing is measured before somebody looks.

    dspex.requests          {request}    by dspex.program, dspex.engine, dspex.shadow: asked of an engine, and done
    dspex.failures          {request}    the same, and error.type
    dspex.latency           s            the same without the shadow's flag, and quantile (0.5, 0.95, 0.99): inside the engine
    dspex.native_share      1            share of the requests that the native engine served, 0 to 1
    dspex.requests.active   {request}    that somebody waits for now
    dspex.pool.workers      {worker}     by state: idle, busy, replacing
    dspex.pool.requests     {request}    by state: waiting, running
    dspex.mailbox.messages  {message}    by dspex.process, of the app's own actors: waiting to be handled

A reader looks from a thread of its own. Counts are read there, as ``AppCollector`` does; what the loop owns is read on the
loop, within ``_PATIENCE``. While the app is not running, or its loop is held up, the last five say nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from ..engine import gen_ai
from ..legacy import LegacyPool, PoolStatistics
from .app_statistics import AppStatistics
from .door import Door
from .telemetry import OpenTelemetry

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

__all__ = ["register"]

_PATIENCE: Final = 1.0
"""Seconds that a reader waits for the loop."""

_FRESH: Final = 0.1
"""Seconds for which what was read for one instrument serves the next: a reader asks all of them in a row."""

_STATE: Final = "state"
_PROCESS: Final = "dspex.process"
_QUANTILE: Final = "quantile"

Measured = Iterator[tuple[int | float, dict[str, Any]]]


def register(
    telemetry: OpenTelemetry,
    counted: Callable[[], AppStatistics | None],
    door: Callable[[], Door | None],
    *,
    processes: Iterable[str],
    pool: str,
) -> None:
    """Make the instruments of one app. ``counted`` and ``door`` give None when the app is no more, or not running."""
    view = _View(door, tuple(processes), pool)

    def observed(measure: Callable[[], Measured]) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        from opentelemetry.metrics import Observation

        return [lambda _: [Observation(value, attributes) for value, attributes in measure()]]

    def of_counts(measure: Callable[[AppStatistics], Measured]) -> Callable[[], Measured]:
        def now() -> Measured:
            counts = counted()
            if counts is not None:
                yield from measure(counts)

        return now

    meter = telemetry.meter
    meter.create_observable_counter("dspex.requests", observed(of_counts(_requests)), unit="{request}")
    meter.create_observable_counter("dspex.failures", observed(of_counts(_failures)), unit="{request}")
    meter.create_observable_gauge("dspex.latency", observed(of_counts(_latency)), unit="s")
    meter.create_observable_gauge("dspex.native_share", observed(of_counts(_native_share)), unit="1")
    meter.create_observable_gauge("dspex.requests.active", observed(view.active), unit="{request}")
    meter.create_observable_gauge("dspex.pool.workers", observed(view.workers), unit="{worker}")
    meter.create_observable_gauge("dspex.pool.requests", observed(view.pool_requests), unit="{request}")
    meter.create_observable_gauge("dspex.mailbox.messages", observed(view.mailboxes), unit="{message}")


# --- counts -------------------------------------------------------------------------------------------------------------


def _requests(counts: AppStatistics) -> Measured:
    for program, arms in counts.programs.items():
        for engine, arm in arms.items():
            labels = {gen_ai.PROGRAM: program, gen_ai.ENGINE: engine}
            yield arm.requests - arm.shadowed, {**labels, gen_ai.SHADOW: False}
            if arm.shadowed:
                yield arm.shadowed, {**labels, gen_ai.SHADOW: True}


def _failures(counts: AppStatistics) -> Measured:
    for program, arms in counts.programs.items():
        for engine, arm in arms.items():
            for error, count in arm.errors.items():
                yield count, {gen_ai.PROGRAM: program, gen_ai.ENGINE: engine, gen_ai.ERROR_TYPE: error}


def _latency(counts: AppStatistics) -> Measured:
    for program, arms in counts.programs.items():
        for engine, arm in arms.items():
            for quantile, value in ((0.5, arm.p50_s), (0.95, arm.p95_s), (0.99, arm.p99_s)):
                if value is not None:
                    yield value, {gen_ai.PROGRAM: program, gen_ai.ENGINE: engine, _QUANTILE: quantile}


def _native_share(counts: AppStatistics) -> Measured:
    share = counts.native_share
    if share is not None:
        yield share, {}


# --- what the loop owns -------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Seen:
    """One look at a running app."""

    active: int
    pool: PoolStatistics | None
    mailboxes: dict[str, int] = field(default_factory=dict[str, int])


@final
class _View:
    """Looks at the app on its loop, from any thread."""

    def __init__(self, door: Callable[[], Door | None], processes: tuple[str, ...], pool: str) -> None:
        self._door = door
        self._processes = processes
        self._pool = pool
        self._seen: _Seen | None = None
        self._at = -_FRESH

    def active(self) -> Measured:
        """See ``dspex.requests.active``."""
        seen = self._look()
        if seen is not None:
            yield seen.active, {}

    def workers(self) -> Measured:
        """See ``dspex.pool.workers``."""
        seen = self._look()
        if seen is not None and seen.pool is not None:
            states = [worker.state for worker in seen.pool.workers]
            for state in ("idle", "busy", "replacing"):
                yield states.count(state), {_STATE: state}

    def pool_requests(self) -> Measured:
        """See ``dspex.pool.requests``."""
        seen = self._look()
        if seen is not None and seen.pool is not None:
            yield seen.pool.waiting, {_STATE: "waiting"}
            yield seen.pool.running, {_STATE: "running"}

    def mailboxes(self) -> Measured:
        """See ``dspex.mailbox.messages``."""
        seen = self._look()
        if seen is not None:
            for process, messages in seen.mailboxes.items():
                yield messages, {_PROCESS: process}

    def _look(self) -> _Seen | None:
        door = self._door()
        if door is None:
            return None
        if threading.get_ident() == door.thread:
            return self._read(door)
        if time.monotonic() - self._at < _FRESH:
            return self._seen
        seen: list[_Seen] = []
        done = threading.Event()

        def read() -> None:
            try:
                seen.append(self._read(door))
            finally:
                done.set()

        if door.rt.kernel.backend.call_from_thread(read):
            done.wait(_PATIENCE)
        self._seen, self._at = seen[0] if seen else None, time.monotonic()
        return self._seen

    def _read(self, door: Door) -> _Seen:
        mailboxes: dict[str, int] = {}
        pool: PoolStatistics | None = None
        for name in self._processes:
            ref = door.rt.whereis(name)
            if ref is None:
                continue
            mailboxes[name] = ref.statistics().messages
            if name == self._pool and isinstance(ref.process.host, LegacyPool):
                pool = ref.process.host.statistics()
        return _Seen(door.inside, pool, mailboxes)
