"""What is said between this process and one worker process about the requests in its hands: orders, pieces, calls, results.

Protocol only: it starts no process and ends none, but one that does not take what it is sent. Everything that the worker
says is checked against what it was asked; what fits no question is dropped and counted, what fits no protocol ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import nullcontext, suppress
from typing import Any, cast

from ..runtime import TaskHandle
from .callables import answer_call
from .channel import ChannelClosed, ChannelFull
from .errors import FrameTooLarge, LegacyError, ProtocolError, Unserializable
from .in_hand import Held, InHand
from .messages import Assignment, Chunk, RunOutcome
from .outcomes import outcome_of
from .process import WorkerProcess
from .specs import PoolOptions
from .tracing import tell

__all__ = ["Conversation"]

_CALLS = 32
"""Calls of one worker's programs that this process works on at a time; one more is refused."""


class Conversation:
    """With one loaded `process`, about what is in `hand`. `finish` is called with each request and its outcome, once.

    `task` starts a helper task of the owner; `unmatched` is told of each answer to no question.
    """

    def __init__(
        self,
        worker: str,
        process: WorkerProcess,
        options: PoolOptions,
        hand: InHand,
        *,
        finish: Callable[[Held, RunOutcome | LegacyError], None],
        task: Callable[[Callable[[], Coroutine[Any, Any, None]]], TaskHandle],
        unmatched: Callable[[], None],
    ) -> None:
        self._worker = worker
        self.process = process
        self._options = options
        self._hand = hand
        self._finish = finish
        self._task = task
        self._unmatched = unmatched

    # --- to the worker ----------------------------------------------------------------------------------------------

    def run(self, held: Held) -> None:
        """Has the worker run what it `held`. Whether a byte of it was sent is noted there; what cannot be sent is finished."""
        assignment = held.assignment
        self.look_busy()
        try:
            if assignment.define is not None:
                self.process.channel.post(
                    {"op": "define", "scope": assignment.session, "programs": dict(assignment.define)}
                )
            self.process.channel.post(_run_message(assignment, self.process.incarnation))
        except (FrameTooLarge, Unserializable) as error:
            self._finish(held, error)
        except ChannelClosed:
            pass  # it is gone, and its end is about to be noticed: reported with maybe_started=False
        except ChannelFull:
            self.process.kill()  # it does not take what it is sent; reported in the same way
        else:
            held.sent = True

    def cancel(self, number: int) -> None:
        """Has the worker interrupt a request, or forget it if it has not begun."""
        with suppress(LegacyError):
            self.process.channel.post({"op": "cancel", "id": number})

    def look_busy(self) -> None:
        """The process is known to be at a request, and what it prints to be about that."""
        first = self._hand.first
        self.process.busy = first is not None
        self.process.output.request = first.assignment.number if first is not None else None

    # --- from the worker --------------------------------------------------------------------------------------------

    def take(self, message: dict[str, Any]) -> None:
        """A message from the worker. Raises `ProtocolError` for one that a loaded worker never sends."""
        held = self._hand.get(message.get("id"))
        op = message["op"]
        if op not in ("result", "chunk", "ask", "span", "span_end"):
            raise ProtocolError(f"{self._worker} sent {op!r:.40}, which is no message of a loaded worker")
        if held is None and op in ("span", "span_end"):
            return  # a thread that the program has left running
        if held is None or (op in ("result", "chunk") and message.get("incarnation") != self.process.incarnation):
            self._unmatched()
        elif op == "ask":
            self._asked(held, message)
        elif op == "chunk":
            self._chunk(held, message)
        elif op != "result":
            if held.assignment.tracer is None:
                raise ProtocolError(f"{self._worker} tells of calls of a request that nobody traces")
            tell(held.assignment.tracer, message, worker=self._worker)
        else:
            lost = message.get("lost_spans")
            held.lost_spans = lost if isinstance(lost, int) else 0
            outcome = outcome_of(
                message,
                held.assignment,
                programs=self._options.programs,
                frame_limit=self._options.frame_limit,
                log=self.process.output.tail()[-10:] if message.get("ok") is False else (),
            )
            if isinstance(outcome, RunOutcome) and outcome.rss_bytes:
                self.process.rss_bytes = outcome.rss_bytes
            self._finish(held, outcome)

    def _chunk(self, held: Held, message: dict[str, Any]) -> None:
        streaming, index, number = held.assignment.streaming, message.get("index"), held.assignment.number
        if streaming is None or not isinstance(index, int):
            raise ProtocolError(f"{self._worker} streams where nobody asked it to")
        if held.abandoned:
            return

        def grant(count: int) -> None:
            if self._hand.get(number) is held:
                with suppress(LegacyError):
                    self.process.channel.post({"op": "credit", "id": number, "count": count})

        streaming.sink(Chunk(index, message.get("chunk")), grant)

    def _asked(self, held: Held, message: dict[str, Any]) -> None:
        name, given = message.get("name"), message.get("arguments")
        if not isinstance(name, str) or not isinstance(given, dict):
            raise ProtocolError(f"{self._worker} asks without a name or arguments")
        arguments = cast("dict[str, Any]", given)
        tracer, span = held.assignment.tracer, message.get("span")
        if len(held.calls) >= _CALLS:
            self._answer(message, {"ok": False, "message": f"more than {_CALLS} calls at a time"})
            return

        async def work() -> None:
            try:
                with tracer.within(span if isinstance(span, int) else None) if tracer is not None else nullcontext():
                    answer = await answer_call(name, arguments, self._options.callables, self._options.lm_server)
                self._answer(message, answer)
            finally:
                held.calls.discard(handle)

        handle = self._task(work)
        held.calls.add(handle)

    def _answer(self, message: dict[str, Any], answer: dict[str, object]) -> None:
        head = {"op": "answer", "call": message.get("call")}
        try:
            self.process.channel.post({**head, **answer})
        except (FrameTooLarge, Unserializable) as error:
            with suppress(LegacyError):
                self.process.channel.post({**head, "ok": False, "message": f"the answer cannot travel: {error}"})
        except (ChannelClosed, ChannelFull):
            self.process.kill()


def _run_message(assignment: Assignment, incarnation: str) -> dict[str, object]:
    message: dict[str, object] = {
        "op": "run",
        "id": assignment.number,
        "incarnation": incarnation,
        "program": assignment.program,
        "inputs": dict(assignment.inputs),
        "lm": None if assignment.lm is None else assignment.lm.as_message(),
    }
    if assignment.session is not None:
        message["session"] = assignment.session
    if assignment.streaming is not None:
        message["stream"] = {"fields": list(assignment.streaming.fields), "credit": assignment.streaming.credit}
    if assignment.tracer is not None:
        message["trace"] = assignment.tracer.traceparent
    return message
