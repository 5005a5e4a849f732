"""One supervised actor per worker process: it owns the process, hands it requests, and dies with it.

A process that ends by itself ends its actor with `Crash(WorkerCrashed)`, and the supervisor starts another. A process
that was ended on purpose (its caller went away and the program did not unwind, it was recycled, it is not needed) is
replaced inside the actor: that is no failure, and must not use up the supervisor's restart intensity. The mailbox never
waits for a process: starting, loading and reading happen in helper tasks, whose `finally` no end of the actor can skip.

Events, each with `worker` and `incarnation`:

    legacy.worker.state       before, after              see `states`
    legacy.worker.started     pid, forked                a process said hello
    legacy.worker.ready       dspy, load_s               it has dspy and takes requests
    legacy.worker.uncached    error                      it serves without the disk cache, which cannot be opened
    legacy.worker.failed      error                      it gave up, for a reason that a restart does not mend
    legacy.worker.cancelled   request                    a request that nobody waits for was interrupted, the worker lives
    legacy.worker.replaced    request                    killed on purpose: such a request did not let itself be interrupted
    legacy.worker.recycled    by                         its replacement has taken over
    legacy.worker.exited      returncode, reason, swept  its process is gone; so many that it left behind were killed
    legacy.reply.unmatched    worker, incarnation        an answer to no question; dropped
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import anyio

from ..runtime import Actor, Reason
from .conversation import Conversation
from .errors import LegacyError, MissingLegacy, RequestCancelled, WorkerCrashed, WorkerStartFailed
from .in_hand import Held, InHand
from .messages import (
    Assignment,
    Finished,
    Released,
    ReplacementReady,
    RunOutcome,
    WorkerGaveUp,
    WorkerOrphaned,
    WorkerReady,
)
from .process import WorkerProcess
from .slots import Slots
from .specs import PoolOptions
from .states import TRANSITIONS, WorkerState
from .successor import Successor

__all__ = ["WorkerActor"]

_log = logging.getLogger("dspex.legacy")

_STILLBORN = 1.0
"""Seconds. A process that ends sooner, with nothing in hand, counts as a start that failed."""


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
        self._talk: Conversation | None = None
        """With `_process`, while there is one."""
        self._successor = Successor(slots, self._start)
        self._in_hand = InHand()
        self._replacing = False
        self._stopping = False
        self._wanted = anyio.Event()
        self._gave_up: LegacyError | None = None
        self.unmatched = 0

    # --- messages ---------------------------------------------------------------------------------------------------

    def execute(self, assignment: Assignment) -> None:
        """Takes a request. The answer is a `Finished` to the pool that asked, or this actor's end."""
        talk = self._talk
        if talk is None or self._replacing or len(self._in_hand) >= self._options.max_in_flight:
            # The pool was told otherwise by a process that has gone since; it hears of this worker when it is ready.
            busy = WorkerCrashed(
                self._worker, "", returncode=None, maybe_started=False, reason="not ready for a request"
            )
            assignment.pool.send(Finished(assignment.number, self._worker, "", busy))
            return
        held = self._in_hand.take(assignment)
        talk.run(held)
        if held.sent and self._state == "idle":
            self._turn("busy")

    def abandon(self, number: int) -> None:
        """Nobody waits for this request any more: its program is interrupted; if it does not unwind, the process is killed.

        A request that is over already costs nothing. The pool gets `Released`, or a new incarnation.
        """
        held, talk = self._in_hand.get(number), self._talk
        if held is None or talk is None or held.abandoned:
            if talk is not None and len(self._in_hand) == 0 and not self._replacing:
                self._announce()
            return
        held.abandoned = True
        first = held is self._in_hand.first
        if first:
            self._turn("cancelling")
        if self._options.cancel_grace <= 0 and first:
            self._replace(talk.process, number)
            return
        talk.cancel(number)
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
            process = self._process
            self._withdraw()
            self._turn("replacing")
            self.task(self._dismiss, process)

    def prepare(self) -> None:
        """Start a process that can take over; the pool gets `ReplacementReady`. Nothing happens if one is on its way."""
        if self._process is not None and self._successor.called_for():
            self.task(self._prepare, self._process.incarnation)

    def swap(self) -> None:
        """The prepared process takes over. The pool gives this when the old one has nothing in hand."""
        old = self._process
        if old is None or self._successor.process is None or len(self._in_hand):
            return
        self._replacing = True
        self._withdraw()
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
            await self._successor.close()

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
            process = self._successor.take()

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
            talk = self._begin(process)
            served_since = self.rt.now()
            self._turn("idle")
            self.rt.events.emit(
                "legacy.worker.ready",
                worker=self._worker,
                incarnation=process.incarnation,
                dspy=process.dspy,
                load_s=process.load_s,
            )
            if process.cache_error:
                self.rt.events.emit(
                    "legacy.worker.uncached",
                    worker=self._worker,
                    incarnation=process.incarnation,
                    error=process.cache_error,
                )
            process.on_orphaned(lambda: self._tell_pool(WorkerOrphaned(self._worker, process.incarnation)))
            self._announce()
            end = await process.run(talk.take)
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
                self._withdraw()
            successor = self._successor.process if self._replacing else None
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
                swept=process.swept,
            )
            if successor is not None:
                self.rt.events.emit(
                    "legacy.worker.recycled",
                    worker=self._worker,
                    incarnation=process.incarnation,
                    by=successor.incarnation,
                )

    async def _prepare(self, incarnation: str) -> None:
        error = await self._successor.prepare()
        self._tell_pool(ReplacementReady(self._worker, incarnation, error))

    async def _dismiss(self, process: WorkerProcess) -> None:
        await process.ask_to_stop(self._options.stop_grace)
        process.kill()

    def _replace(self, process: WorkerProcess, number: int) -> None:
        """Kills the process for the sake of one request; what it had in hand besides goes back to the pool, not begun."""
        self._replacing = True
        self._withdraw()
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
        if self._slots.first_to_tell(error):
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

    def _begin(self, process: WorkerProcess) -> Conversation:
        """`process` takes requests from now on."""

        def finish(held: Held, outcome: RunOutcome | LegacyError) -> None:
            self._finish(talk, held, outcome)

        self._process = process
        self._talk = talk = Conversation(
            self._worker,
            process,
            self._options,
            self._in_hand,
            finish=finish,
            task=self.task,
            unmatched=lambda: self._unmatched(process),
        )
        return talk

    def _withdraw(self) -> None:
        """No request can be taken until another process does."""
        self._process = self._talk = None

    def _unmatched(self, process: WorkerProcess) -> None:
        self.unmatched += 1
        self.rt.events.emit("legacy.reply.unmatched", worker=self._worker, incarnation=process.incarnation)

    def _finish(self, talk: Conversation, held: Held, outcome: RunOutcome | LegacyError) -> None:
        assignment, incarnation = held.assignment, talk.process.incarnation
        self._in_hand.remove(assignment.number)
        talk.look_busy()
        if held.abandoned:
            self.rt.events.emit(
                "legacy.worker.cancelled", worker=self._worker, incarnation=incarnation, request=assignment.number
            )
            assignment.pool.send(Released(assignment.number, self._worker, incarnation))
        else:
            assignment.pool.send(Finished(assignment.number, self._worker, incarnation, outcome))
        if self._state in ("busy", "cancelling"):
            self._turn("busy" if len(self._in_hand) else "idle")
