"""One supervised actor per worker process: it owns the process, hands it requests, and dies with it.

A process that ends by itself ends its actor with `Crash(WorkerCrashed)`, and the supervisor starts another. A process
that was ended on purpose (its caller went away and the program did not unwind, it was recycled, it is not needed) is
replaced inside the actor: that is no failure, and must not use up the supervisor's restart intensity. The mailbox never
waits for a process: starting, loading and reading happen in helper tasks, whose `finally` no end of the actor can skip.

Events, each with `worker` and `incarnation`:

    legacy.worker.state       before, after              see `states`
    legacy.worker.started     pid, forked                a process said hello
    legacy.worker.ready       dspy, load_s               it has dspy and takes requests
    legacy.worker.failed      error                      it gave up, for a reason that a restart does not mend
    legacy.worker.cancelled   request                    a request that nobody waits for was interrupted, the worker lives
    legacy.worker.replaced    request                    killed on purpose: such a request did not let itself be interrupted
    legacy.worker.recycled    by                         its replacement has taken over
    legacy.worker.exited      returncode, reason         its process is gone
    legacy.reply.unmatched                               an answer to no question; dropped
"""

from __future__ import annotations

import logging
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, cast

import anyio

from ..runtime import Actor, Reason
from .callables import answer_call
from .channel import ChannelClosed, ChannelFull
from .errors import (
    FrameTooLarge,
    LegacyError,
    MissingLegacy,
    ProtocolError,
    RequestCancelled,
    Unserializable,
    WorkerCrashed,
    WorkerStartFailed,
)
from .in_hand import Held, InHand
from .messages import (
    Assignment,
    Chunk,
    Finished,
    Released,
    ReplacementReady,
    RunOutcome,
    WorkerGaveUp,
    WorkerOrphaned,
    WorkerReady,
)
from .outcomes import outcome_of
from .process import WorkerProcess
from .slots import Slots
from .specs import PoolOptions
from .states import TRANSITIONS, WorkerState
from .tracing import tell

__all__ = ["WorkerActor"]

_log = logging.getLogger("dspex.legacy")

_STILLBORN = 1.0
"""Seconds. A process that ends sooner, with nothing in hand, counts as a start that failed."""

_CALLS = 32
"""Calls of one worker's programs that this process works on at a time; one more is refused."""


@dataclass(frozen=True, slots=True)
class _Overdue:
    number: int


class WorkerActor(Actor):
    """Started by the pool's supervisor (`legacy_supervisor`). `pool` is the registered name of the pool to report to.

    Importing dspy needs no patience of the tree: `init` returns at once when workers are forked, and with the process's
    hello when they are spawned (raising `WorkerStartFailed` or `ProtocolError`). Without any dspy it gives up: callers get
    `MissingLegacy`, and the tree stays up. When it is loaded the worker announces itself to the pool.
    """

    trap_exit = True

    def __init__(self, worker: str, options: PoolOptions, *, pool: str, slots: Slots) -> None:
        self._worker = worker
        self._options = options
        self._pool = pool
        self._slots = slots
        self._state: WorkerState = "parked"
        self._process: WorkerProcess | None = None
        """The loaded process; None means that no request can be taken."""
        self._next: WorkerProcess | None = None
        """Loaded too, and waiting to take over."""
        self._preparing = False
        self._in_hand = InHand()
        self._replacing = False
        self._stopping = False
        self._wanted = anyio.Event()
        self._gave_up: LegacyError | None = None
        self.unmatched = 0

    # --- messages ---------------------------------------------------------------------------------------------------

    def execute(self, assignment: Assignment) -> None:
        """Takes a request. The answer is a `Finished` to the pool that asked, or this actor's end."""
        process = self._process
        if process is None or self._replacing or len(self._in_hand) >= self._options.max_in_flight:
            # The pool was told otherwise by a process that has gone since; it hears of this worker when it is ready.
            busy = WorkerCrashed(
                self._worker, "", returncode=None, maybe_started=False, reason="not ready for a request"
            )
            assignment.pool.send(Finished(assignment.number, self._worker, "", busy))
            return
        held = self._in_hand.take(assignment)
        self._look_busy(process)
        try:
            if assignment.define is not None:
                process.channel.post(
                    {"op": "define", "scope": assignment.session, "programs": dict(assignment.define)}
                )
            process.channel.post(_run_message(assignment, process.incarnation))
        except (FrameTooLarge, Unserializable) as error:
            self._finish(process, held, error)
        except (ChannelClosed, ChannelFull):
            process.kill()  # it does not take what it is sent; its end is reported with maybe_started=False
        else:
            held.sent = True
            if self._state == "idle":
                self._turn("busy")

    def abandon(self, number: int) -> None:
        """Nobody waits for this request any more: its program is interrupted; if it does not unwind, the process is killed.

        A request that is over already costs nothing. The pool gets `Released`, or a new incarnation.
        """
        held, process = self._in_hand.get(number), self._process
        if held is None or process is None or held.abandoned:
            if process is not None and len(self._in_hand) == 0 and not self._replacing:
                self._announce()
            return
        held.abandoned = True
        first = held is self._in_hand.first
        if first:
            self._turn("cancelling")
        if self._options.cancel_grace <= 0 and first:
            self._replace(process, number)
            return
        with suppress(LegacyError):
            process.channel.post({"op": "cancel", "id": number})
        held.overdue = self.send_after(self._options.cancel_grace, self.ref, _Overdue(number))

    def report(self) -> None:
        """A new incarnation of the pool asks who is there. Requests that the old one gave are nobody's now."""
        first = self._in_hand.first
        if first is not None and self._process is not None:
            self._replace(self._process, first.assignment.number)
        else:
            self._announce()

    def unpark(self) -> None:
        """A process is wanted here. Nothing happens if there is one, or one is coming."""
        self._wanted.set()

    def park(self) -> None:
        """No process is wanted here any more. What it has in hand is lost: the pool asks an idle one."""
        self._wanted = anyio.Event()
        if self._process is not None:
            self._replacing = True
            process, self._process = self._process, None
            self._turn("replacing")
            self.task(self._dismiss, process)

    def prepare(self) -> None:
        """Start a process that can take over; the pool gets `ReplacementReady`. Nothing happens if one is on its way."""
        if self._process is None or self._preparing or self._next is not None:
            return
        self._preparing = True
        self.task(self._prepare, self._process.incarnation)

    def swap(self) -> None:
        """The prepared process takes over. The pool gives this when the old one has nothing in hand."""
        old = self._process
        if old is None or self._next is None or len(self._in_hand):
            return
        self._replacing = True
        self._process = None
        self._turn("replacing")
        self.task(self._dismiss, old)

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        if self._gave_up is not None:
            return "gave up"
        if self._process is None:
            return "parked" if self._state == "parked" else "loading"
        return f"pid {self._process.pid}, dspy {self._process.dspy}, {self._state}"

    # --- life -------------------------------------------------------------------------------------------------------

    async def init(self) -> None:
        if self._slots.wanted(self._worker):
            self._wanted.set()
        first: WorkerProcess | None = None
        if self._wanted.is_set() and not self._slots.forks:
            try:
                self._turn("starting")
                first = await self._start()
            except MissingLegacy as error:
                # A start that failed would take the whole tree with it, and what runs natively needs no dspy.
                self._give_up("", error)
                return
        self.task(self._live, first)

    async def terminate(self, reason: Reason) -> None:
        self._stopping = True
        if self._process is not None and len(self._in_hand) == 0:
            await self._process.ask_to_stop(self._options.stop_grace)
        self._turn("stopped")

    async def handle_info(self, message: Any) -> None:
        if isinstance(message, _Overdue):
            held = self._in_hand.get(message.number)
            if held is None or self._process is None:
                return
            if held is self._in_hand.first:
                self._replace(self._process, message.number)
            else:  # it waits behind another one; its time to unwind begins when it could begin
                held.overdue = self.send_after(self._options.cancel_grace, self.ref, message)
        else:
            await super().handle_info(message)

    async def _start(self) -> WorkerProcess:
        process = await self._slots.start(self.rt, self._worker, self._options)
        self.rt.events.emit(
            "legacy.worker.started",
            worker=self._worker,
            incarnation=process.incarnation,
            pid=process.pid,
            forked=process.forked,
        )
        return process

    async def _live(self, process: WorkerProcess | None) -> None:
        try:
            await self._serve_one_after_another(process)
        finally:
            if self._next is not None:
                await self._next.close()

    async def _serve_one_after_another(self, process: WorkerProcess | None) -> None:
        while True:
            if process is None:
                if not self._wanted.is_set():
                    self._turn("parked")
                    await self._wanted.wait()
                try:
                    await self._slots.pause(self.rt, self._worker)
                    self._turn("starting")
                    process = await self._start()
                except MissingLegacy as error:
                    self._give_up("", error)
                    return
                except LegacyError as error:
                    self._slots.failed(self._worker)
                    if isinstance(error, WorkerStartFailed) and error.remote_traceback:
                        self._give_up("", error)
                        return
                    raise
            end = await self._serve(process)
            if end is None or self._stopping:
                return
            if not self._replacing:
                raise end
            self._replacing = False
            process, self._next = self._next, None

    async def _serve(self, process: WorkerProcess) -> LegacyError | None:
        """One process, from its hello to its end. Returns why it ended; None: it gave up, and another would too."""
        end: LegacyError | None = None
        try:
            if not process.dspy:
                self._turn("loading")
                try:
                    async with self._slots.gate:
                        await process.load()
                except MissingLegacy as error:
                    self._give_up(process.incarnation, error)
                    return None
                except WorkerStartFailed as error:
                    self._slots.failed(self._worker)
                    if not error.remote_traceback:
                        raise
                    self._give_up(process.incarnation, error)
                    return None
            self._process = process
            served_since = self.rt.now()
            self._turn("idle")
            self.rt.events.emit(
                "legacy.worker.ready",
                worker=self._worker,
                incarnation=process.incarnation,
                dspy=process.dspy,
                load_s=process.load_s,
            )
            process.on_orphaned(lambda: self._tell_pool(WorkerOrphaned(self._worker, process.incarnation)))
            self._announce()
            end = await process.run(lambda message: self._on_message(process, message))
            first = self._in_hand.first
            if first is None and not self._replacing and self.rt.now() - served_since < _STILLBORN:
                self._slots.failed(self._worker)
            else:
                self._slots.succeeded(self._worker)
            if isinstance(end, WorkerCrashed) and first is not None:
                end = end.about_request(maybe_started=first.sent)
            return end
        finally:
            if self._process is process:
                self._process = None
            replaced_by = self._next.incarnation if self._replacing and self._next is not None else None
            if not self._replacing:
                self._in_hand.clear(WorkerCrashed.__name__)
                if not self._stopping:
                    self._turn("failed")
            await process.close()
            self.rt.events.emit(
                "legacy.worker.exited",
                worker=self._worker,
                incarnation=process.incarnation,
                returncode=process.returncode,
                reason=end,
            )
            if replaced_by is not None:
                self.rt.events.emit(
                    "legacy.worker.recycled", worker=self._worker, incarnation=process.incarnation, by=replaced_by
                )

    async def _prepare(self, incarnation: str) -> None:
        process: WorkerProcess | None = None
        error: LegacyError | None = None
        try:
            process = await self._start()
            async with self._slots.gate:
                await process.load()
            self._next, process = process, None
        except LegacyError as failure:
            error = failure
        finally:
            self._preparing = False
            if process is not None:
                await process.close()
        self._tell_pool(ReplacementReady(self._worker, incarnation, error))

    async def _dismiss(self, process: WorkerProcess) -> None:
        await process.ask_to_stop(self._options.stop_grace)
        process.kill()

    def _replace(self, process: WorkerProcess, number: int) -> None:
        """Kills the process for the sake of one request; what it had in hand besides goes back to the pool, not begun."""
        self._replacing = True
        self._process = None
        self._turn("replacing")
        self.rt.events.emit(
            "legacy.worker.replaced", worker=self._worker, incarnation=process.incarnation, request=number
        )
        for held in self._in_hand.clear(RequestCancelled.__name__):
            other = held.assignment
            if other.number != number and not held.abandoned:
                back = WorkerCrashed(
                    self._worker,
                    process.incarnation,
                    returncode=None,
                    maybe_started=False,
                    reason="not ready for a request: its worker is being replaced",
                )
                other.pool.send(Finished(other.number, self._worker, process.incarnation, back))
        process.kill()

    def _give_up(self, incarnation: str, error: LegacyError) -> None:
        self._gave_up = error
        self._turn("failed")
        _log.error("%s cannot serve: %s", self._worker, error)
        self.rt.events.emit("legacy.worker.failed", worker=self._worker, incarnation=incarnation, error=error)
        self._announce()

    def _announce(self) -> None:
        if self._gave_up is not None:
            self._tell_pool(WorkerGaveUp(self._worker, self.ref, self._gave_up))
        elif self._process is not None:
            process = self._process
            self._tell_pool(
                WorkerReady(
                    self._worker,
                    self.ref,
                    process.incarnation,
                    process.dspy,
                    process.pid,
                    process.forked,
                    process.load_s,
                )
            )

    def _tell_pool(self, message: object) -> None:
        pool = self.rt.whereis(self._pool)
        if pool is not None:  # else between two incarnations; the next one asks
            pool.send(message)

    def _turn(self, state: WorkerState) -> None:
        before, self._state = self._state, state
        if before != state:
            assert state in TRANSITIONS[before], f"{before} -> {state}"
            incarnation = self._process.incarnation if self._process is not None else ""
            self.rt.events.emit(
                "legacy.worker.state", worker=self._worker, incarnation=incarnation, before=before, after=state
            )

    # --- replies ----------------------------------------------------------------------------------------------------

    def _on_message(self, process: WorkerProcess, message: dict[str, Any]) -> None:
        held = self._in_hand.get(message.get("id"))
        op = message["op"]
        if op not in ("result", "chunk", "ask", "span", "span_end"):
            raise ProtocolError(f"{self._worker} sent {op!r:.40}, which is no message of a loaded worker")
        if held is None and op in ("span", "span_end"):
            return  # a thread that the program has left running
        if held is None or (op in ("result", "chunk") and message.get("incarnation") != process.incarnation):
            self.unmatched += 1
            self.rt.events.emit("legacy.reply.unmatched", worker=self._worker, incarnation=process.incarnation)
        elif op == "ask":
            self._asked(process, held, message)
        elif op == "chunk":
            self._chunk(process, held, message)
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
                log=process.output.tail()[-10:] if message.get("ok") is False else (),
            )
            if isinstance(outcome, RunOutcome) and outcome.rss_bytes:
                process.rss_bytes = outcome.rss_bytes
            self._finish(process, held, outcome)

    def _finish(self, process: WorkerProcess, held: Held, outcome: RunOutcome | LegacyError) -> None:
        assignment = held.assignment
        self._in_hand.remove(assignment.number)
        self._look_busy(process)
        if held.abandoned:
            self.rt.events.emit(
                "legacy.worker.cancelled",
                worker=self._worker,
                incarnation=process.incarnation,
                request=assignment.number,
            )
            assignment.pool.send(Released(assignment.number, self._worker, process.incarnation))
        else:
            assignment.pool.send(Finished(assignment.number, self._worker, process.incarnation, outcome))
        if self._state in ("busy", "cancelling"):
            self._turn("busy" if len(self._in_hand) else "idle")

    def _look_busy(self, process: WorkerProcess) -> None:
        first = self._in_hand.first
        process.busy = first is not None
        process.output.request = first.assignment.number if first is not None else None

    def _chunk(self, process: WorkerProcess, held: Held, message: dict[str, Any]) -> None:
        streaming, index, number = held.assignment.streaming, message.get("index"), held.assignment.number
        if streaming is None or not isinstance(index, int):
            raise ProtocolError(f"{self._worker} streams where nobody asked it to")
        if held.abandoned:
            return

        def grant(count: int) -> None:
            if self._process is process and self._in_hand.get(number) is held:
                with suppress(LegacyError):
                    process.channel.post({"op": "credit", "id": number, "count": count})

        streaming.sink(Chunk(index, message.get("chunk")), grant)

    def _asked(self, process: WorkerProcess, held: Held, message: dict[str, Any]) -> None:
        name, given = message.get("name"), message.get("arguments")
        if not isinstance(name, str) or not isinstance(given, dict):
            raise ProtocolError(f"{self._worker} asks without a name or arguments")
        arguments = cast("dict[str, Any]", given)
        tracer, span = held.assignment.tracer, message.get("span")
        if len(held.calls) >= _CALLS:
            self._answer(process, message, {"ok": False, "message": f"more than {_CALLS} calls at a time"})
            return

        async def work() -> None:
            try:
                with tracer.within(span if isinstance(span, int) else None) if tracer is not None else nullcontext():
                    answer = await answer_call(name, arguments, self._options.callables, self._options.lm_server)
                self._answer(process, message, answer)
            finally:
                held.calls.discard(handle)

        handle = self.task(work)
        held.calls.add(handle)

    @staticmethod
    def _answer(process: WorkerProcess, message: dict[str, Any], answer: dict[str, object]) -> None:
        head = {"op": "answer", "call": message.get("call")}
        try:
            process.channel.post({**head, **answer})
        except (FrameTooLarge, Unserializable) as error:
            with suppress(LegacyError):
                process.channel.post({**head, "ok": False, "message": f"the answer cannot travel: {error}"})
        except (ChannelClosed, ChannelFull):
            process.kill()


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
