"""A request from acceptance to answer, and a worker as the pool sees it."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Mapping

from ..runtime import Monitor, Ref, Reply, Timer
from .messages import Streaming
from .specs import LMSettings
from .tracing import RequestTracer
from .worker import wire
from .worker_actor import WorkerActor

__all__ = ["Request", "Seat"]

_numbers = itertools.count(1)


class Request:
    """Accepted and not answered."""

    __slots__ = (
        "attempts", "expiry", "fingerprint", "idempotent", "inputs", "kills", "lm", "number", "permit",
        "program", "reply", "seat", "session", "since", "streaming", "timeout", "tracer",
    )  # fmt: skip

    def __init__(
        self,
        program: str,
        inputs: Mapping[str, object],
        *,
        lm: LMSettings | None,
        idempotent: bool,
        reply: Reply,
        since: float,
        timeout: float | None,
        session: str | None,
        streaming: Streaming | None,
        fingerprint: bytes | None,
        tracer: RequestTracer | None = None,
    ) -> None:
        self.number = next(_numbers)
        self.program = program
        self.inputs = inputs
        self.lm = lm
        self.idempotent = idempotent
        self.reply = reply
        self.since = since
        self.timeout = timeout
        self.session = session
        self.streaming = streaming
        self.fingerprint = fingerprint
        self.tracer = tracer
        self.expiry: Timer | None = None
        self.seat: Seat | None = None
        self.permit = False
        """Holds a permit of a half-open breaker."""
        self.attempts = 0
        self.kills = 0


class Seat:
    """One incarnation of a worker, as far as the pool was told. Its counts belong to this incarnation."""

    __slots__ = (
        "_scopes", "dspy", "failures", "forked", "held", "idle_since", "incarnation", "load_s", "monitor", "orphaned",
        "pid", "preparing", "ready", "ref", "requests", "retiring", "rss_bytes", "since", "worker",
    )  # fmt: skip

    def __init__(self, worker: str, ref: Ref[WorkerActor], monitor: Monitor, now: float) -> None:
        self.worker = worker
        self.ref = ref
        self.monitor = monitor
        self.held: OrderedDict[int, Request | None] = OrderedDict()
        """What it has in hand, in order; None for a request that nobody waits for any more."""
        self.ready = False
        self.renew("", "", now)

    def renew(self, incarnation: str, dspy: str, now: float) -> None:
        """Another process sits here now."""
        self.incarnation = incarnation
        self.dspy = dspy
        self.pid = 0
        self.forked = False
        self.load_s = 0.0
        self.since = self.idle_since = now
        self.requests = self.failures = self.rss_bytes = 0
        self.preparing = self.retiring = self.orphaned = False
        self._scopes: OrderedDict[str, int] = OrderedDict()
        """Sessions that this process was told of and still remembers, with the version of their programs."""
        self.held.clear()

    def told(self, session: str, version: int, definition: Mapping[str, object]) -> Mapping[str, object] | None:
        """The `definition`, if this process has to be told of it; it counts as told then."""
        if self._scopes.get(session) == version:
            return None
        self._scopes[session] = version
        self._scopes.move_to_end(session)
        while len(self._scopes) > wire.SCOPES - 1:  # as the worker does
            self._scopes.popitem(last=False)
        return definition

    def untold(self, session: str) -> None:
        """The process does not know this session after all."""
        self._scopes.pop(session, None)

    def room(self, max_in_flight: int) -> int:
        """Requests that it can still take."""
        return max_in_flight - len(self.held) if self.ready and not self.retiring else 0
