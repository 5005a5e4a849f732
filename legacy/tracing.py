"""What a worker tells of a request while it runs: where its program is, call by call, for whoever traces the request.

    class Print:                                            # a RequestTracer
        traceparent = None
        def began(self, span): print(span.kind, span.name)
        ...

    await pool.call(LegacyPool.run, "qa", {"question": "Why?"}, tracer=Print())

A worker sends two small frames a call: `span` when it begins, `span_end` when it is over; with the worker's clock, names,
options and counts, and no content. It sends them only for requests that are traced, at most `SPANS` calls of each, and
counts the rest. This room knows nothing of telemetry: it checks the frames' shape and hands them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast, get_args

from .errors import ProtocolError
from .worker.wire import SPANS

__all__ = ["RequestTracer", "SpanBegan", "SpanEnded", "tell"]

Kind = Literal["module", "lm", "tool"]

_TEXT = 200
"""Characters of a name or a value that are kept."""
_FACTS = 32
_KINDS = get_args(Kind)


@dataclass(frozen=True, slots=True)
class SpanBegan:
    """A call of a module, a language model or a tool has begun in the worker."""

    number: int
    """Of this call, in this request, from 1."""
    parent: int | None
    """The call that made it; None: the request itself."""
    kind: Kind
    name: str
    """Of the class, the model, the tool."""
    at_ns: int
    """Nanoseconds since the epoch, by the worker's clock, which is this machine's."""
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Of an LM: its options. Plain values."""


@dataclass(frozen=True, slots=True)
class SpanEnded:
    """It is over."""

    number: int
    at_ns: int
    error: str | None
    """The class of what it raised."""
    facts: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Of an LM: `model`, `prompt_tokens`, `completion_tokens`, `finish_reasons`, `cache_hit`, as far as known."""


class RequestTracer(Protocol):
    """Hears of one request, on the event loop. Its methods are quick and do not raise."""

    @property
    def traceparent(self) -> str | None:
        """The W3C header of the request's trace, which its program can read as `dspex_host.traceparent()`."""
        ...

    def began(self, span: SpanBegan) -> None:
        """A call has begun."""
        ...

    def ended(self, span: SpanEnded) -> None:
        """A call is over. Its beginning was told before, unless it was one too many."""
        ...

    def within(self, number: int | None) -> AbstractContextManager[object]:
        """Entered while this process works for a call of the program's: `number` is the call that asked."""
        ...

    def left(self, error: str | None, lost: int) -> None:
        """The worker has done with the request, or (`error`: why) has gone with it: what is still open has ended.

        `lost` calls were too many to be told. A request that is given to another worker begins anew, with numbers from 1.
        """
        ...


def tell(tracer: RequestTracer, message: Mapping[str, Any], *, worker: str) -> None:
    """Hand on a `span` or `span_end` frame. Raises `ProtocolError` for a frame that is none."""
    number, at_ns, facts = message.get("span"), message.get("at"), message.get("facts")
    if not isinstance(number, int) or not 0 < number <= SPANS or not isinstance(at_ns, int):
        raise ProtocolError(f"{worker} tells of a call without its number or time")
    plain = _plain(cast("dict[str, Any]", facts) if isinstance(facts, dict) else {})
    if message["op"] == "span_end":
        error = message.get("error")
        tracer.ended(SpanEnded(number, at_ns, None if error is None else str(error)[:_TEXT], plain))
        return
    parent, kind = message.get("parent"), message.get("kind")
    if kind not in _KINDS or not (parent is None or isinstance(parent, int)):
        raise ProtocolError(f"{worker} tells of a call of kind {kind!r:.40}, which this host does not know")
    tracer.began(SpanBegan(number, parent, cast("Kind", kind), str(message.get("name"))[:_TEXT], at_ns, plain))


def _plain(facts: dict[str, Any]) -> dict[str, object]:
    """As far as a tracer can use it: a bounded number of plain values, and lists of short texts."""
    kept: dict[str, object] = {}
    for name, value in list(facts.items())[:_FACTS]:
        if isinstance(value, str):
            kept[name[:_TEXT]] = value[:_TEXT]
        elif isinstance(value, bool | int | float):
            kept[name[:_TEXT]] = value
        elif isinstance(value, list):
            kept[name[:_TEXT]] = [str(item)[:_TEXT] for item in cast("list[object]", value)[:_FACTS]]
    return kept
