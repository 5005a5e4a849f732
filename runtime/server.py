"""How an actor's messages are handled: gen_server's loop.

The order of business between two messages: a continuation asked for, orders of the system, then the mailbox. Where an
exception goes is the heart of it: ``Refuse`` to the caller alone; ``Stop`` and ``Exit`` end the actor; anything else is a
crash. In every case but a kill and a signal that is not trapped, ``terminate`` runs, as in OTP, and the callers that are
still waiting learn the reason when the process is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, Final, Protocol, cast, final

import anyio

from .backend import Slot
from .deadlines import Bucket
from .exits import NORMAL, Crash, Exit, Ignore, Reason, Refuse, StartFailed, Stop
from .process import CURRENT, REDUCTIONS, Envelope, ParentExit, Process
from .ref import StopOrder, process_of
from .signals import Address


class Behaviour(Protocol):
    """The callbacks of an actor."""

    @property
    def concurrency(self) -> int: ...
    async def init(self) -> None: ...
    async def terminate(self, reason: Reason, /) -> None: ...
    async def handle_info(self, message: Any, /) -> None: ...


@final
class Reply:
    """The right to answer one call later, from anywhere: ``self.defer()`` gives it.

    Sending when the caller has gone, or a second time, does nothing. If the actor ends first, the caller gets ActorExit.
    """

    __slots__ = ("_bucket", "_process", "_slot")

    def __init__(self, process: Process, slot: Slot | None, bucket: Bucket | None) -> None:
        self._process = process
        self._slot = slot
        self._bucket = bucket
        if slot is not None:
            process.pending[slot] = None

    @property
    def deadline(self) -> float | None:
        """When the caller gives up, in seconds of the runtime's clock; None: never, or it was a cast."""
        return self._bucket.when if self._bucket is not None else None

    @property
    def abandoned(self) -> bool:
        """True once nobody waits any more: answered, timed out, caller cancelled."""
        return self._slot is None or self._slot.done()

    def on_abandoned(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` when nobody waits any more; also after an answer of our own, so ask what is left to do."""
        if self._slot is not None:
            self._process.kernel.backend.on_done(self._slot, callback)

    def hand_over(self, to: Address) -> bool:
        """Make another process responsible for the answer: from now on its end, not ours, fails the caller.

        False if that process is dead; the responsibility then stays here. Give it this Reply in a cast first.
        """
        process = process_of(to)
        slot = self._slot
        if process.reason is not None:
            return False
        if slot is not None:
            self._process.pending.pop(slot, None)
            if not slot.done():
                process.pending[slot] = None
        self._process = process
        return True

    def send(self, value: object) -> None:
        """Answer."""
        slot = self._take()
        if slot is not None:
            slot.set_result(value)

    def refuse(self, error: BaseException) -> None:
        """Answer with an error: the caller sees it raised."""
        slot = self._take()
        if slot is not None:
            slot.set_exception(error)

    def _take(self) -> Slot | None:
        slot = self._slot
        if slot is None:
            return None
        self._process.pending.pop(slot, None)
        return None if slot.done() else slot


@final
class Call:
    """What the handler that is running knows of its message."""

    __slots__ = ("bucket", "deferred", "slot")

    def __init__(self, slot: Slot | None, bucket: Bucket | None) -> None:
        self.slot = slot
        self.bucket = bucket
        self.deferred = False


_IN_HAND: Final[ContextVar[Call | None]] = ContextVar("dspex_call", default=None)
"""The call of a concurrent handler; a serial actor has only one, in ``Server.call``."""


@final
class TaskHandle:
    """A helper task of an actor."""

    __slots__ = ("_scope",)

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def cancel(self) -> None:
        """Cancel it; the actor lives on. Too late, it does nothing."""
        self._scope.cancel()


@final
class _HelperFailed:
    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


@final
class Server:
    """The inside of one running actor."""

    def __init__(self, process: Process, behaviour: Behaviour) -> None:
        self.process = process
        self.behaviour = behaviour
        self.call = Call(None, None)
        self.stopping: Reason | None = None
        """Set by ``Actor.stop``: end after the handler that is running."""
        self.continuations: list[tuple[Any, Any, Any]] = []
        self._last_reply: tuple[Slot, object] | None = None
        self._limit = behaviour.concurrency
        self._running = 0
        self._admitted: list[Envelope] = []
        self._scopes: dict[anyio.CancelScope, None] = {}
        self._all_done: Slot | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    async def serve(self) -> Reason:
        """The body of the process."""
        try:
            refused = await self._init()
            return refused if refused is not None else await self._terminate(await self._until_stopped())
        finally:
            if self._scopes:
                await self._end_helpers()

    async def _init(self) -> Reason | None:
        started = self.process.started
        assert started is not None
        reason: Reason
        try:
            await self.behaviour.init()
        except Ignore as ignored:
            if not started.done():
                started.set_exception(ignored)
            return NORMAL
        except (Exit, Stop) as exit_:
            reason = exit_.reason
        except self.process.kernel.backend.cancelled:
            raise
        except Exception as error:
            reason = Crash(error)
        else:
            if not started.done():
                started.set_result(None)
            return None
        self.process.kernel.events.emit("runtime.process.refused", process=self.process.label, reason=reason)
        if not started.done():
            started.set_exception(StartFailed(reason, self.process.label))
        return reason

    async def _until_stopped(self) -> Reason:
        try:
            return await self._loop()
        except (Stop, Exit) as stop:
            return stop.reason
        except self.process.kernel.backend.cancelled:
            raise
        except Exception as error:
            self.process.kernel.events.emit("runtime.actor.crashed", process=self.process.label, error=error)
            return Crash(error)
        finally:
            # Whatever ended the loop, the caller whose message was in hand learns of it when the process is gone.
            slot = self.call.slot
            if slot is not None and not slot.done() and not self.call.deferred:
                self.process.pending[slot] = None

    async def _terminate(self, reason: Reason) -> Reason:
        try:
            await self.behaviour.terminate(reason)
        except (Exit, Stop) as exit_:
            reason = exit_.reason
        except self.process.kernel.backend.cancelled:
            raise
        except Exception as error:
            self.process.kernel.events.emit("runtime.actor.crashed", process=self.process.label, error=error)
            reason = Crash(error)
        finally:
            # As gen_server: the answer of a stop-with-reply survives a crash in terminate.
            if self._last_reply is not None:
                slot, value = self._last_reply
                self.process.pending.pop(slot, None)
                if not slot.done():
                    slot.set_result(value)
        return reason

    # --- messages -----------------------------------------------------------------------------------------------

    async def _loop(self) -> Reason:
        process = self.process
        behaviour = self.behaviour
        handle_info = behaviour.handle_info
        call = self.call
        concurrent = self._limit > 1
        left = REDUCTIONS
        while True:
            if process.control:
                reason = self._obey()
                if reason is not None:
                    return reason
            if self.stopping is not None:
                return self.stopping
            if self.continuations:
                handler, args, kwargs = self.continuations.pop(0)
                call.slot = call.bucket = None
                value = handler(behaviour, *args, **kwargs)
                if type(value) is CoroutineType:
                    await cast(Coroutine[Any, Any, Any], value)
                continue
            batch = process.batch
            if not batch:
                if not process.inbox:
                    call.slot = None
                    await process.park()
                    continue
                process.batch = batch = process.inbox
                process.inbox = []
                batch.reverse()
            envelope = batch.pop()
            handler, args, kwargs, slot, bucket = envelope
            left -= 1
            if not left:
                left = REDUCTIONS
                call.slot = slot
                await process.kernel.backend.relax()
            if concurrent and slot is not None:
                self._admit(envelope)
                continue
            call.slot = slot
            call.bucket = bucket
            call.deferred = False
            if handler is None:
                await handle_info(args)
                continue
            try:
                value: Any = handler(behaviour, *args, **kwargs)
                if type(value) is CoroutineType:
                    value = await cast(Coroutine[Any, Any, Any], value)
            except Refuse as refusal:
                if slot is not None and not slot.done():
                    slot.set_exception(refusal.error)
                continue
            if process.reason is not None:
                await process.park()  # it ended itself; the cancellation arrives here
            if slot is None or call.deferred:
                continue
            if self.stopping is not None:
                self._last_reply = (slot, value)
            elif not slot.done():
                slot.set_result(value)

    def _obey(self) -> Reason | None:
        order = self.process.control.pop(0)
        if isinstance(order, ParentExit | StopOrder | _HelperFailed):
            return order.reason
        return None

    # --- helpers ------------------------------------------------------------------------------------------------

    def _admit(self, envelope: Envelope) -> None:
        slot = envelope[3]
        assert slot is not None
        if slot.done():
            return  # the caller has gone: a concurrent actor's work is the caller's
        self.process.pending[slot] = None
        if self._running >= self._limit:
            self._admitted.append(envelope)
            return
        self._running += 1
        self._start_call(envelope)

    def _start_call(self, envelope: Envelope) -> None:
        handler, args, kwargs, slot, bucket = envelope
        assert slot is not None
        scope = anyio.CancelScope()
        call = Call(slot, bucket)

        async def answer() -> None:
            _IN_HAND.set(call)
            try:
                value: Any = handler(self.behaviour, *args, **kwargs)
                if type(value) is CoroutineType:
                    value = await cast(Coroutine[Any, Any, Any], value)
            except Refuse as refusal:
                self.process.pending.pop(slot, None)
                if not slot.done():
                    slot.set_exception(refusal.error)
            else:
                if not call.deferred:
                    self.process.pending.pop(slot, None)
                    if not slot.done():
                        slot.set_result(value)

        self.process.kernel.backend.on_done(slot, scope.cancel)
        self._start_helper(answer, scope, self._next_call)

    def _next_call(self) -> None:
        while self._admitted:
            envelope = self._admitted.pop(0)
            slot = envelope[3]
            if slot is not None and not slot.done():
                self._start_call(envelope)
                return
            if slot is not None:
                self.process.pending.pop(slot, None)
        self._running -= 1

    def start_task(self, function: Callable[[], Coroutine[Any, Any, object]]) -> TaskHandle:
        """Run ``function`` beside the messages."""
        scope = anyio.CancelScope()
        self._start_helper(function, scope, None)
        return TaskHandle(scope)

    def _start_helper(
        self,
        function: Callable[[], Coroutine[Any, Any, object]],
        scope: anyio.CancelScope,
        after: Callable[[], None] | None,
    ) -> None:
        process = self.process
        self._scopes[scope] = None

        async def job() -> None:
            CURRENT.set(process)
            try:
                with scope:
                    await self._guarded(function)
            finally:
                del self._scopes[scope]
                if after is not None and process.reason is None:
                    after()
                if not self._scopes and self._all_done is not None and not self._all_done.done():
                    self._all_done.set_result(None)

        process.kernel.backend.spawn(job, f"{process.label} helper")

    async def _guarded(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        process = self.process
        try:
            await function()
        except process.kernel.backend.cancelled:
            raise
        except (Exit, Stop) as exit_:
            process.order(_HelperFailed(exit_.reason))
        except Exception as error:
            process.kernel.events.emit("runtime.actor.crashed", process=process.label, error=error)
            process.order(_HelperFailed(Crash(error)))
        except BaseException as error:
            process.kernel.escalate(error)

    async def _end_helpers(self) -> None:
        with anyio.CancelScope(shield=True):
            for scope in tuple(self._scopes):
                scope.cancel()
            while self._scopes:
                self._all_done = self.process.kernel.backend.slot()
                await self._all_done


def call_in_hand(server: Server) -> Call:
    """The call that the running handler answers."""
    return _IN_HAND.get() or server.call
