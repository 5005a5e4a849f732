"""`OpenTelemetry`: a span for each program, model and tool call, and the two GenAI metrics.

    configure(callbacks=[OpenTelemetry()])          # every call of this process
    Dspex(..., telemetry=OpenTelemetry())           # or: of one app, the workers' calls included

It is a callback, so without it nothing is paid. Spans nest as calls do: by OpenTelemetry's own context, which tasks and
threads inherit; a span of yours around a program is the parent of the program's. Only the API package is needed (extra
`opentelemetry`); what becomes of the spans is your SDK's business. Give it a `BatchSpanProcessor`: an exporter that works
synchronously (`SimpleSpanProcessor`) would hold up the event loop at the end of every call.

By default no prompt, answer, argument or result is recorded, nor the text of an error, which may quote them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from . import gen_ai
from .callbacks import BaseCallback
from .lm.base import ON_ANSWER, Answer
from .lm.extras import MissingExtra
from .lm.shapes import items, read
from .settings import settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["OpenTelemetry"]

_NAME = "dspex"


class OpenTelemetry(BaseCallback):
    """Tells OpenTelemetry of the calls of programs, models and tools. May be shared by threads, loops and apps."""

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool = False,
    ) -> None:
        """Prepare to tell. Nothing is sent or configured.

        Args:
            tracer_provider, meter_provider: where spans and measurements go; None: to the global ones, whichever are
                set when the first call is made.
            capture_content: record prompts, answers, tool arguments and results, and errors with their text. They
                are your users': off by default.

        Raises:
            MissingExtra: `opentelemetry-api` is not installed.
        """
        try:
            from opentelemetry import context, metrics, trace
            from opentelemetry.trace.propagation import tracecontext
        except ImportError:
            raise MissingExtra("opentelemetry", module="opentelemetry", purpose="Telemetry") from None
        self._context, self._trace = context, trace
        self._w3c = tracecontext.TraceContextTextMapPropagator()
        self._capture = capture_content
        self._error = trace.StatusCode.ERROR
        self.tracer: Tracer = trace.get_tracer(_NAME, None, tracer_provider, gen_ai.SCHEMA_URL)
        """For spans of the same origin."""
        self.meter: Meter = metrics.get_meter(_NAME, "", meter_provider, gen_ai.SCHEMA_URL)
        """For instruments of the same origin."""
        self._durations = self.meter.create_histogram(
            gen_ai.DURATION,
            unit="s",
            description="How long calls of models took.",
            explicit_bucket_boundaries_advisory=gen_ai.DURATION_BUCKETS,
        )
        self._tokens = self.meter.create_histogram(
            gen_ai.TOKENS,
            unit="{token}",
            description="How many tokens calls of models read and wrote.",
            explicit_bucket_boundaries_advisory=gen_ai.TOKENS_BUCKETS,
        )
        self._calls: dict[str, _Call] = {}

    # -- for who makes spans around these --------------------------------------------------------------------------------

    def current(self) -> Context:
        """What spans that are made here, now, are children of."""
        return self._context.get_current()

    def here(self) -> Callable[[], AbstractContextManager[None]]:
        """Makes blocks in which, wherever they are entered, spans are children of what the caller is in now."""
        return partial(self.under, self.current())

    def within(self, span: Span, parent: Context | None = None) -> Context:
        """The context whose spans are children of `span`."""
        return self._trace.set_span_in_context(span, parent)

    def traceparent(self, context: Context) -> str | None:
        """The context as the W3C header that crosses processes; None: there is no trace."""
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier, context)
        return carrier.get("traceparent")

    @contextmanager
    def under(self, parent: Context) -> Generator[None]:
        """Calls made in the block are told of, as children of `parent`."""
        before = self._context.get_current()
        callbacks: Sequence[Any] = settings.get("callbacks")
        heard = any(isinstance(callback, OpenTelemetry) for callback in callbacks)
        self._context.attach(parent)
        try:
            with settings.context(callbacks=callbacks if heard else [*callbacks, self]):
                yield
        finally:
            self._context.attach(before)  # not by token: a block may end in another context than it began in

    def failed(self, span: Span, error: BaseException | str) -> str:
        """Mark a span as failed; an error by its class, and by its text only if content is wanted. The class's name."""
        name = error if isinstance(error, str) else type(error).__qualname__
        span.set_status(self._error)
        span.set_attribute(gen_ai.ERROR_TYPE, name)
        if self._capture and isinstance(error, BaseException):
            span.record_exception(error)
        return name

    def measure(self, attributes: Mapping[str, Any], seconds: float, usage: tuple[int, int] | None) -> None:
        """Count one call of a model."""
        filed = gen_ai.metric_attributes(attributes)
        self._durations.record(seconds, filed)
        if usage is not None:
            for kind, count in zip(("input", "output"), usage, strict=True):
                self._tokens.record(count, {**filed, gen_ai.TOKEN_TYPE: kind})

    # -- programs ----------------------------------------------------------------------------------------------------

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """See `BaseCallback`."""
        name, attributes = module_span(type(instance).__name__, agent="tools" in vars(instance))
        self._begin(call_id, name, attributes, self._trace.SpanKind.INTERNAL)

    def on_module_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        """See `BaseCallback`."""
        self._end(call_id, exception)

    # -- tools -------------------------------------------------------------------------------------------------------

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """See `BaseCallback`."""
        attributes = gen_ai.tool_attributes(str(instance.name))
        if self._capture:
            attributes.update(gen_ai.arguments_attribute(inputs.get("kwargs", inputs)))
        self._begin(
            call_id, f"{gen_ai.EXECUTE_TOOL} {instance.name}", attributes, self._trace.SpanKind.INTERNAL
        )

    def on_tool_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """See `BaseCallback`."""
        more = gen_ai.result_attribute(outputs) if self._capture and exception is None else None
        self._end(call_id, exception, more)

    # -- models ------------------------------------------------------------------------------------------------------

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """See `BaseCallback`."""
        options: dict[str, Any] = {**instance.kwargs, **(inputs.get("kwargs") or {})}
        attributes = gen_ai.request_attributes(instance.model, options, api=instance.model_type)
        if self._capture:
            attributes.update(gen_ai.input_attribute(inputs.get("prompt"), inputs.get("messages")))
        name = f"{attributes[gen_ai.OPERATION]} {attributes[gen_ai.REQUEST_MODEL]}"
        call = self._begin(call_id, name, attributes, self._trace.SpanKind.CLIENT)
        if call is not None:
            call.hear()

    def on_lm_end(
        self, call_id: str, outputs: dict[str, Any] | None, exception: BaseException | None = None
    ) -> None:
        """See `BaseCallback`."""
        call = self._calls.get(call_id)
        if call is None:
            return
        ON_ANSWER.set(call.others)
        seconds = time.perf_counter() - call.began
        answer, more, usage = call.answer, gen_ai.Attributes(), None
        if answer is not None:
            more = gen_ai.answer_attributes(
                model=answer.model,
                usage=answer.usage,
                finish_reasons=_finish_reasons(answer.response),
                cache_hit=answer.cache_hit,
            )
            usage = gen_ai.usage_of(answer.usage)
        filed = {**call.attributes, **more}
        if self._capture and exception is None:
            more.update(gen_ai.output_attribute(outputs))
        failed = self._end(call_id, exception, more)
        if failed is not None:
            filed[gen_ai.ERROR_TYPE] = failed
        if answer is None or not answer.cache_hit:  # nobody was called for an answer out of the cache
            self.measure(filed, seconds, usage)

    # ------------------------------------------------------------------------------------------------------------------

    def _begin(self, call_id: str, name: str, attributes: gen_ai.Attributes, kind: Any) -> _Call | None:
        if call_id in self._calls:
            return None  # this object was given twice, globally and to the component
        span = self.tracer.start_span(name, kind=kind, attributes=attributes)
        before = self._context.get_current()
        self._context.attach(self._trace.set_span_in_context(span, before))
        call = self._calls[call_id] = _Call(span, before, attributes)
        return call

    def _end(
        self, call_id: str, exception: BaseException | None, more: gen_ai.Attributes | None = None
    ) -> str | None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return None
        self._context.attach(call.before)
        if more:
            call.span.set_attributes(more)
        name = self.failed(call.span, exception) if exception is not None else None
        call.span.end()
        return name


class _Call:
    """A call that is under way."""

    __slots__ = ("answer", "attributes", "before", "began", "others", "span")

    def __init__(self, span: Span, before: Context, attributes: gen_ai.Attributes) -> None:
        self.span = span
        self.before = before
        self.attributes = attributes
        self.began = time.perf_counter()
        self.answer: Answer | None = None
        self.others: Callable[[Answer], None] | None = None

    def hear(self) -> None:
        """Be told the whole answer of the LM call that begins here."""
        self.others = ON_ANSWER.get()
        ON_ANSWER.set(self._note)

    def _note(self, answer: Answer) -> None:
        self.answer = answer


def module_span(module: str, *, agent: bool) -> tuple[str, gen_ai.Attributes]:
    """The name and the attributes of the span of a module; one that has tools is an agent."""
    if agent:
        return f"{gen_ai.INVOKE_AGENT} {module}", {
            gen_ai.OPERATION: gen_ai.INVOKE_AGENT,
            gen_ai.AGENT_NAME: module,
            gen_ai.MODULE: module,
        }
    return f"module {module}", {gen_ai.MODULE: module}


def _finish_reasons(response: Any) -> list[str]:
    found: list[str] = []
    for one in cast("tuple[Any, ...]", response) if isinstance(response, tuple) else (response,):
        reasons = [read(choice, "finish_reason") for choice in items(one, "choices")] or [read(one, "finish_reason")]
        found += [str(reason) for reason in reasons if reason]
    return found
