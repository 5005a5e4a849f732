"""One supervised actor per worker process: it owns the process, gives it one request at a time, and dies with it.

A process that ends by itself ends its actor with `Crash(WorkerCrashed)`, and the supervisor starts another. A process
that the pool had killed on purpose (its caller went away, or its time was over) is replaced inside the actor: that is
no failure, and must not use up the supervisor's restart intensity. The mailbox never waits for the process: starting,
loading and reading happen in one helper task, and that task's `finally` is what no end of the actor can skip.

Events, each with `worker` and `incarnation`:

    legacy.worker.started     pid                        a process said hello
    legacy.worker.ready       dspy, load_s               it has imported dspy and takes requests
    legacy.worker.failed      error                      it gave up, for a reason that a restart does not mend
    legacy.worker.replaced    request                    killed on purpose: nobody waits for its request any more
    legacy.worker.exited      returncode, reason         its process is gone
    legacy.reply.unmatched                               an answer to no question; dropped
"""

from __future__ import annotations

import logging
from typing import Any, cast

import anyio

from ..runtime import Actor, Crash, Reason
from .channel import ChannelClosed, ChannelFull
from .errors import (
    FrameTooLarge,
    LegacyError,
    MissingLegacy,
    ProtocolError,
    RemoteError,
    UnknownProgram,
    Unserializable,
    WorkerCrashed,
    WorkerStartFailed,
)
from .messages import Assignment, Finished, RunOutcome, WorkerGaveUp, WorkerReady
from .process import WorkerProcess
from .specs import PoolOptions

__all__ = ["StartGate", "WorkerActor"]

_log = logging.getLogger("dspex.legacy")


class StartGate:
    """How many workers of one pool may import dspy at the same time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._semaphore: anyio.Semaphore | None = None

    @property
    def semaphore(self) -> anyio.Semaphore:
        if self._semaphore is None:  # made inside the event loop; a pool is described outside of it
            self._semaphore = anyio.Semaphore(self._limit)
        return self._semaphore


class WorkerActor(Actor):
    """Started by the pool's supervisor (`legacy_supervisor`). `pool` is the registered name of the pool to report to.

    `init` returns when a process has said hello and names a dspy that fits; it raises `WorkerStartFailed` or
    `ProtocolError`. Without any dspy it gives up: callers get `MissingLegacy`, and the tree stays up. Otherwise
    importing dspy follows, as soon as `gate` allows, and then the worker announces itself to the pool.
    """

    trap_exit = True

    def __init__(self, worker: str, options: PoolOptions, *, pool: str, gate: StartGate) -> None:
        self._worker = worker
        self._options = options
        self._pool = pool
        self._gate = gate
        self._process: WorkerProcess | None = None
        self._loaded = ""
        """Version of dspy once it is loaded; "" means that no request can be taken."""
        self._assignment: Assignment | None = None
        self._sent = False
        """Whether any byte of the assignment may have reached the process."""
        self._replacing = False
        self._stopping = False
        self._gave_up: LegacyError | None = None
        self.unmatched = 0

    # --- messages ---------------------------------------------------------------------------------------------------

    def execute(self, assignment: Assignment) -> None:
        """Takes a request. The answer is a `Finished` to the pool that asked, or this actor's end."""
        process = self._process
        if process is None or not self._loaded or self._assignment is not None:
            # The pool was told otherwise by a process that has gone since; it hears of this worker when it is ready.
            busy = WorkerCrashed(
                self._worker, "", returncode=None, maybe_started=False, reason="not ready for a request"
            )
            assignment.pool.send(Finished(assignment.number, self._worker, "", busy))
            return
        self._assignment, self._sent = assignment, False
        process.output.request = assignment.number
        try:
            process.channel.post(
                {
                    "op": "run",
                    "id": assignment.number,
                    "incarnation": process.incarnation,
                    "program": assignment.program,
                    "inputs": dict(assignment.inputs),
                    "lm": None if assignment.lm is None else assignment.lm.as_message(),
                }
            )
        except (FrameTooLarge, Unserializable) as error:
            self._finish(process, error)
        except (ChannelClosed, ChannelFull):
            process.kill()  # it does not take what it is sent; its end is reported with maybe_started=False
        else:
            self._sent = True

    def abandon(self, number: int) -> None:
        """Nobody waits for this request any more: the process that runs it is killed and replaced.

        A request that is over already costs nothing: the worker announces itself again.
        """
        process = self._process
        if process is not None and self._assignment is not None and self._assignment.number == number:
            self._assignment = None
            self._loaded = ""
            self._replacing = True
            self.rt.events.emit(
                "legacy.worker.replaced", worker=self._worker, incarnation=process.incarnation, request=number
            )
            process.kill()
        else:
            self._announce()

    def report(self) -> None:
        """A new incarnation of the pool asks who is there. A request that the old one gave is nobody's now."""
        if self._assignment is not None:
            self.abandon(self._assignment.number)
        else:
            self._announce()

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        if self._gave_up is not None:
            return "gave up"
        if self._process is None:
            return "loading"
        doing = "idle" if self._assignment is None else "busy"
        return f"pid {self._process.pid}, dspy {self._loaded}, {doing}"

    # --- life -------------------------------------------------------------------------------------------------------

    async def init(self) -> None:
        try:
            process = await self._start()
        except MissingLegacy as error:
            # A start that failed would take the whole tree with it, and what runs natively needs no dspy.
            self._give_up("", error)
        else:
            self.task(self._live, process)

    async def terminate(self, reason: Reason) -> None:
        self._stopping = True
        if self._process is not None and self._loaded and self._assignment is None:
            await self._process.ask_to_stop(self._options.stop_grace)

    async def _start(self) -> WorkerProcess:
        process = await WorkerProcess.start(self._worker, self._options)
        self.rt.events.emit(
            "legacy.worker.started", worker=self._worker, incarnation=process.incarnation, pid=process.pid
        )
        return process

    async def _live(self, process: WorkerProcess) -> None:
        while True:
            end = await self._serve(process)
            if end is None or self._stopping:
                return
            if not self._replacing:
                raise end
            self._replacing = False
            process = await self._start()

    async def _serve(self, process: WorkerProcess) -> LegacyError | None:
        """One process, from its hello to its end. Returns why it ended; None: it gave up, and another would too."""
        end: LegacyError | None = None
        try:
            try:
                async with self._gate.semaphore:
                    load_s = await process.load()
            except MissingLegacy as error:
                self._give_up(process.incarnation, error)
                return None
            except WorkerStartFailed as error:
                if not error.remote_traceback:
                    raise
                self._give_up(process.incarnation, error)
                return None
            self._process = process
            self._loaded = process.dspy
            self.rt.events.emit(
                "legacy.worker.ready",
                worker=self._worker,
                incarnation=process.incarnation,
                dspy=process.dspy,
                load_s=load_s,
            )
            self._announce()
            end = await process.run(lambda message: self._on_message(process, message))
            if isinstance(end, WorkerCrashed) and self._assignment is not None:
                end = end.about_request(maybe_started=self._sent)
            return end
        finally:
            self._process, self._loaded = None, ""
            await process.close()
            self.rt.events.emit(
                "legacy.worker.exited",
                worker=self._worker,
                incarnation=process.incarnation,
                returncode=process.returncode,
                reason=end,
            )

    def _give_up(self, incarnation: str, error: LegacyError) -> None:
        self._gave_up = error
        _log.error("%s cannot serve: %s", self._worker, error)
        self.rt.events.emit("legacy.worker.failed", worker=self._worker, incarnation=incarnation, error=error)
        self._announce()

    def _announce(self) -> None:
        pool = self.rt.whereis(self._pool)
        if pool is None:
            return  # between two incarnations; the next one asks
        if self._gave_up is not None:
            pool.send(WorkerGaveUp(self._worker, self.ref, self._gave_up))
        elif self._process is not None and self._loaded:
            pool.send(WorkerReady(self._worker, self.ref, self._process.incarnation, self._loaded))

    # --- replies ----------------------------------------------------------------------------------------------------

    def _on_message(self, process: WorkerProcess, message: dict[str, Any]) -> None:
        if message["op"] != "result":
            raise ProtocolError(f"{self._worker} sent {message['op']!r:.40}, which is no message of a loaded worker")
        assignment = self._assignment
        if (
            assignment is None
            or message.get("id") != assignment.number
            or message.get("incarnation") != process.incarnation
        ):
            self.unmatched += 1
            self.rt.events.emit("legacy.reply.unmatched", worker=self._worker, incarnation=process.incarnation)
            return
        self._finish(process, _outcome_of(message, assignment, self._options))

    def _finish(self, process: WorkerProcess, outcome: RunOutcome | LegacyError) -> None:
        assignment, self._assignment = self._assignment, None
        assert assignment is not None
        process.output.request = None
        assignment.pool.send(Finished(assignment.number, self._worker, process.incarnation, outcome))


def crash_of(reason: Reason, worker: str, incarnation: str) -> WorkerCrashed:
    """What a request's caller must be told when the worker's actor ended with `reason`."""
    error = reason.error if isinstance(reason, Crash) else None
    if isinstance(error, WorkerCrashed):
        return error
    described = str(error) if error is not None else f"its actor ended with {reason!r}"
    crash = WorkerCrashed(worker, incarnation, returncode=None, maybe_started=True, reason=described)
    crash.__cause__ = error
    return crash


def _outcome_of(message: dict[str, Any], assignment: Assignment, options: PoolOptions) -> RunOutcome | LegacyError:
    """The end of a request, from a `result` message whose shape is not trusted. Raises `ProtocolError`."""
    ok, value, error = message.get("ok"), message.get("value"), message.get("error")
    if ok is True and isinstance(value, dict) and error is None:
        usage, timing = _object(message.get("usage")), _object(message.get("timing"))
        run_s = timing.get("run_s")
        values = cast("dict[str, object]", value)
        return RunOutcome(values, usage, float(run_s) if isinstance(run_s, int | float) else 0.0)
    if ok is not False or not isinstance(error, dict) or value is not None:
        raise ProtocolError("a result must hold either ok=true and a value, or ok=false and an error")
    facts = cast("dict[str, object]", error)
    kind, text = facts.get("kind"), str(facts.get("message"))
    if kind == "program":
        return RemoteError(
            type_name=str(facts.get("type")),
            module=str(facts.get("module")),
            message=text,
            remote_traceback=str(facts.get("traceback")),
            retriable=facts.get("retriable") is True,
        )
    if kind == "unknown_program":
        return UnknownProgram(assignment.program, tuple(options.programs))
    if kind == "too_large":
        size, limit = facts.get("size"), facts.get("limit")
        return FrameTooLarge(
            size if isinstance(size, int) else -1,
            limit if isinstance(limit, int) else options.frame_limit,
            direction="reply",
        )
    if kind in ("unserializable", "result"):
        return Unserializable(f"the reply of {assignment.program!r}: {text}")
    if kind == "config":
        return LegacyError(f"program {assignment.program!r} cannot be built: {text}")
    raise ProtocolError(f"a result with an error of kind {kind!r:.40}, which this host does not know")


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
