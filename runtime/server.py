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
from .exits import NORMAL, Crash, Exit, Ignore, NotAHandler, Reason, Refuse, StartFailed, Stop
from .process import BESIDE, CURRENT, REDUCTIONS, Envelope, ParentExit, Process
from .ref import StopOrder, process_of
from .signals import IDLE, Address


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

    __slots__ = ("_bucket", "_process", "_slot", "answered")

    def __init__(self, process: Process, slot: Slot | None, bucket: Bucket | None) -> None:
        self.answered = False
        """True once ``send`` or ``refuse`` was used."""
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
        self.answered = True
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
        self.deferred: Reply | None = None
        """Who will answer, once the handler has asked to do it later."""


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
        self._stopping: StopOrder | None = None
        self._continuations: list[tuple[Any, Any, Any]] = []
        self._idle: float | None = None
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
        cause: BaseException | None = None
        try:
            await self.behaviour.init()
        except Ignore as ignored:
            if not started.done():
                started.set_exception(ignored)
            return NORMAL
        except (Exit, Stop) as exit_:
            reason, cause = exit_.reason, exit_.__cause__
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
            failed = StartFailed(reason, self.process.label)
            failed.__cause__ = failed.__cause__ or cause
            started.set_exception(failed)
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
            if slot is not None and not slot.done() and self.call.deferred is None:
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
            while process.attention:
                outcome = await self._attend()
                if outcome is not None:
                    return outcome.reason
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
            call.deferred = None
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
            except TypeError as error:
                if not _is_callers_mistake(error):
                    raise
                self._turn_down(envelope, error)
                continue
            if slot is None or call.deferred is not None or process.reason is not None:
                continue
            if self._stopping is not None:
                self._last_reply = (slot, value)
            elif not slot.done():
                slot.set_result(value)

    def _turn_down(self, envelope: Envelope, error: TypeError) -> None:
        """The arguments do not fit the handler: that is the sender's crash, not the actor's."""
        handler, _, _, slot, _ = envelope
        if slot is None:
            self.process.kernel.dead_letter(self.process, "cast")
        elif not slot.done():
            slot.set_exception(NotAHandler(f"{getattr(handler, '__qualname__', handler)} cannot be called so: {error}"))

    # --- between two messages -----------------------------------------------------------------------------------

    async def _attend(self) -> StopOrder | None:
        """Look at everything but the mailbox. Returns the order to stop, if there is one."""
        process = self.process
        process.attention = False
        if process.reason is not None:
            await process.park()  # told to die while it ran: the cancellation arrives here
        while process.control:
            order = process.control.pop(0)
            if isinstance(order, ParentExit | StopOrder | _HelperFailed):
                return StopOrder(order.reason)
        if self._stopping is not None:
            return self._stopping
        if self._continuations:
            process.attention = True
            handler, args, kwargs = self._continuations.pop(0)
            self._idle = None
            self.call.slot = self.call.bucket = None
            value = handler(self.behaviour, *args, **kwargs)
            if type(value) is CoroutineType:
                await cast(Coroutine[Any, Any, Any], value)
        elif self._idle is not None:
            seconds, self._idle = self._idle, None
            if not process.inbox and not process.batch:
                await self._wait_idle(process.kernel.backend.now() + seconds)
        return None

    async def _wait_idle(self, when: float) -> None:
        process = self.process
        self.call.slot = None
        while not process.inbox:
            in_time = await process.park_until(when)
            if process.attention:
                return  # an order ends the waiting
            if not in_time and not process.inbox:
                await self.behaviour.handle_info(IDLE)
                return

    def stop(self, reason: Reason) -> None:
        """End after the handler that is running."""
        self._stopping = StopOrder(reason)
        self.process.attention = True
        self.process.wake()

    def continue_with(self, continuation: tuple[Any, Any, Any]) -> None:
        """Run this before the next message."""
        self._continuations.append(continuation)
        self.process.attention = True
        self.process.wake()

    def idle_after(self, seconds: float) -> None:
        """Wait for the next message at most this long."""
        self._idle = seconds
        self.process.attention = True

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
            except TypeError as error:
                if not _is_callers_mistake(error):
                    raise
                self.process.pending.pop(slot, None)
                self._turn_down(envelope, error)
            else:
                if call.deferred is None:
                    self.process.pending.pop(slot, None)
                    if not slot.done():
                        slot.set_result(value)

        def gone() -> None:
            # An answer sent early, through Reply, is no reason to stop the handler.
            if call.deferred is None or not call.deferred.answered:
                scope.cancel()

        self.process.kernel.backend.on_done(slot, gone)
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
            BESIDE.set(True)
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


def _is_callers_mistake(error: TypeError) -> bool:
    """True if the error arose at the call itself: the handler's own frame was never entered."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is None


def call_in_hand(server: Server) -> Call:
    """The call that the running handler answers."""
    return _IN_HAND.get() or server.call
