"""The spans of one request on its way: the routing of it, and each engine's try below.

    route qa                                     from the caller's question to its answer
    ├── invoke_agent qa   engine native          failed: fallback
    └── invoke_agent qa   engine legacy          what the worker's program calls is below: module, chat, execute_tool

A mailbox carries no context variables, so the trace travels as a field of the request. Without telemetry that field is
None, and nothing else is paid. A shadow's try comes when the routing is over; it is in the same trace and is linked to
the try that it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast, final

from ..engine import gen_ai
from ..engine.telemetry import OpenTelemetry, module_span
from ..legacy import SpanBegan, SpanEnded

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span

__all__ = ["EngineTrace", "OpenTelemetry", "RequestTrace"]


@final
class RequestTrace:
    """The trace of one request, from the routing on."""

    __slots__ = ("_context", "_over", "_program", "_served", "_span", "_telemetry")

    def __init__(self, telemetry: OpenTelemetry, program: str) -> None:
        """Begin, as a child of what the calling task is in."""
        self._telemetry = telemetry
        self._program = program
        self._span = telemetry.tracer.start_span(f"route {program}", attributes={gen_ai.PROGRAM: program})
        self._context = telemetry.within(self._span, telemetry.current())
        self._served: Span | None = None
        self._over = False

    def decided(self, engine: str, reason: str) -> None:
        """The flags have chosen."""
        self._span.set_attributes({gen_ai.ENGINE: engine, gen_ai.REASON: reason})

    def ask(self, engine: str, reason: str, *, shadow: bool = False) -> EngineTrace:
        """An engine is asked. ``shadow``: to compare its answer with that of the engine that was asked last."""
        from opentelemetry.trace import Link

        attributes: gen_ai.Attributes = {
            gen_ai.OPERATION: gen_ai.INVOKE_AGENT,
            gen_ai.AGENT_NAME: self._program,
            gen_ai.PROGRAM: self._program,
            gen_ai.ENGINE: engine,
            gen_ai.REASON: reason,
        }
        links: list[Link] = []
        if shadow:
            attributes[gen_ai.SHADOW] = True
            if self._served is not None:
                links.append(Link(self._served.get_span_context()))
        span = self._telemetry.tracer.start_span(
            f"{gen_ai.INVOKE_AGENT} {self._program}", self._context, attributes=attributes, links=links
        )
        if not shadow:
            self._served = span
        return EngineTrace(self._telemetry, span, self._context)

    def answered(self, engine: str, *, fell_back: bool) -> None:
        """The caller has its answer, from this engine, which another one may have been asked before."""
        self._over = True
        self._span.set_attributes({gen_ai.ENGINE: engine, gen_ai.FELL_BACK: fell_back})
        self._span.end()

    def failed(self, error: BaseException | str) -> None:
        """The caller has an error, or has gone. Once it has its answer, this does nothing."""
        if not self._over:
            self._over = True
            self._telemetry.failed(self._span, error)
            self._span.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed(error)


@final
class EngineTrace:
    """One engine's try. It hears of a worker's calls, as a ``RequestTracer`` of the legacy pool."""

    __slots__ = ("_calls", "_context", "_over", "_span", "_telemetry")

    def __init__(self, telemetry: OpenTelemetry, span: Span, parent: Context) -> None:
        self._telemetry = telemetry
        self._span = span
        self._context = telemetry.within(span, parent)
        self._over = False
        self._calls: dict[int, _Call] = {}

    def around(self) -> AbstractContextManager[None]:
        """Entered by the native program for the time of its run: its calls are then told of, below this one."""
        return self._telemetry.under(self._context)

    def answered(self, worker: str | None, incarnation: str | None, attempts: int) -> None:
        """It has answered: by which worker process, if by one, and the how-many-th that had the request."""
        if worker is not None:
            self._span.set_attributes({gen_ai.WORKER: worker, gen_ai.WORKER_ATTEMPTS: attempts})
            self._span.set_attribute(gen_ai.INCARNATION, incarnation or "")
        self._end()

    def failed(self, error: BaseException | str) -> None:
        """It has failed. Once it has answered or failed, this does nothing."""
        if not self._over:
            self._telemetry.failed(self._span, error)
            self._end()

    def abandoned(self) -> None:
        """Nobody waits for it any more."""
        self.failed("cancelled")

    def _end(self) -> None:
        self._over = True
        self._span.end()

    # -- a worker's calls: see ``dspex.legacy.RequestTracer`` ------------------------------------------------------------

    @property
    def traceparent(self) -> str | None:
        """The W3C header, for the worker's own programs."""
        return self._telemetry.traceparent(self._context)

    def began(self, span: SpanBegan) -> None:
        """A call has begun in the worker."""
        if span.number in self._calls:
            return
        from opentelemetry.trace import SpanKind

        kind = SpanKind.INTERNAL
        if span.kind == "lm":
            facts = span.facts
            attributes = gen_ai.request_attributes(span.name, facts, api=str(facts.get("api")))
            if facts.get("json"):
                attributes[gen_ai.OUTPUT_TYPE] = "json"
            name = f"{attributes[gen_ai.OPERATION]} {attributes[gen_ai.REQUEST_MODEL]}"
            kind = SpanKind.CLIENT
        elif span.kind == "tool":
            name, attributes = f"{gen_ai.EXECUTE_TOOL} {span.name}", gen_ai.tool_attributes(span.name)
        else:
            name, attributes = module_span(span.name, agent=bool(span.facts.get("agent")))
        parent = self._parent(span.parent)
        made = self._telemetry.tracer.start_span(
            name, parent, kind=kind, attributes=attributes, start_time=span.at_ns
        )
        self._calls[span.number] = _Call(span, made, self._telemetry.within(made, parent), attributes)

    def ended(self, span: SpanEnded) -> None:
        """It is over."""
        call = self._calls.pop(span.number, None)
        if call is None:
            return
        if span.error is not None:
            call.attributes[gen_ai.ERROR_TYPE] = self._telemetry.failed(call.span, span.error)
        if call.began.kind == "lm":
            self._answered(call, span)
        call.span.end(max(span.at_ns, call.began.at_ns))

    def _answered(self, call: _Call, span: SpanEnded) -> None:
        facts = span.facts
        model, reasons = facts.get("model"), facts.get("finish_reasons")
        hit = facts.get("cache_hit") is True
        usage: Mapping[str, object] = {} if hit else facts
        more = gen_ai.answer_attributes(
            model=model if isinstance(model, str) else None,
            usage=usage,
            finish_reasons=cast("list[str]", reasons) if isinstance(reasons, list) else [],
            cache_hit=hit,
        )
        call.span.set_attributes(more)
        if not hit:
            seconds = max(0, span.at_ns - call.began.at_ns) / 1e9
            self._telemetry.measure({**call.attributes, **more}, seconds, gen_ai.usage_of(usage))

    def within(self, number: int | None) -> AbstractContextManager[None]:
        """Around what this process does for a call of the worker's: the call of its model, or of a tool."""
        return self._telemetry.under(self._parent(number))

    def left(self, error: str | None, lost: int) -> None:
        """The worker has done with the request, or is gone."""
        calls, self._calls = self._calls, {}
        for call in reversed(calls.values()):
            if error is not None:
                self._telemetry.failed(call.span, error)
            call.span.end()
        if lost:
            self._span.set_attribute(gen_ai.LOST_SPANS, lost)

    def _parent(self, number: int | None) -> Context:
        call = self._calls.get(number) if number is not None else None
        return self._context if call is None else call.context


@final
class _Call:
    """A worker's call that is under way."""

    __slots__ = ("attributes", "began", "context", "span")

    def __init__(self, began: SpanBegan, span: Span, context: Context, attributes: gen_ai.Attributes) -> None:
        self.began = began
        self.span = span
        self.context = context
        self.attributes = attributes
