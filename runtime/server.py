"""How an actor's messages are handled: gen_server's loop.

The order of business between two messages: a continuation asked for, orders of the system, then the mailbox. Where an
exception goes is the heart of it: ``Refuse`` to the caller alone; ``Stop`` and ``Exit`` end the actor; anything else is a
crash. In every case but a kill and a signal that is not trapped, ``terminate`` runs, as in OTP, and the callers that are
still waiting learn the reason when the process is gone.
"""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any, Protocol, cast, final

import anyio

from .backend import Slot
from .concurrent import ConcurrentCalls
from .exits import NORMAL, Crash, Exit, Ignore, Reason, Refuse, StartFailed, Stop
from .helper_tasks import HelperFailed, Helpers, TaskHandle, Work
from .process import REDUCTIONS, ParentExit, Process
from .ref import StopOrder
from .replies import IN_HAND, Call, is_callers_mistake, turn_down
from .signals import IDLE


class Behaviour(Protocol):
    """The callbacks of an actor."""

    @property
    def concurrency(self) -> int: ...
    async def init(self) -> None: ...
    async def terminate(self, reason: Reason, /) -> None: ...
    async def handle_info(self, message: Any, /) -> None: ...


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
        self._last_replies: list[tuple[Slot, object]] = []
        self._helpers = Helpers(process)
        limit = behaviour.concurrency
        self._concurrent = (
            ConcurrentCalls(process, behaviour, limit, self._helpers, self._answer) if limit > 1 else None
        )

    # --- life ---------------------------------------------------------------------------------------------------

    async def serve(self) -> Reason:
        """The body of the process."""
        try:
            refused = await self._init()
            return refused if refused is not None else await self._terminate(await self._until_stopped())
        finally:
            if self._helpers:
                await self._helpers.end()

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
            for slot, value in self._last_replies:
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
        concurrent = self._concurrent
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
            left -= 1
            if not left:
                left = REDUCTIONS
                call.slot = None
                await process.kernel.backend.relax()
                continue
            envelope = batch.pop()
            handler, args, kwargs, slot, bucket = envelope
            if concurrent is not None and slot is not None:
                concurrent.admit(envelope)
                continue
            call.slot = slot
            call.bucket = bucket
            call.deferred = None
            try:
                if handler is None:
                    await handle_info(args)
                    continue
                value: Any = handler(behaviour, *args, **kwargs)
                if type(value) is CoroutineType:
                    value = await cast(Coroutine[Any, Any, Any], value)
            except Refuse as refusal:
                if slot is not None and not slot.done():
                    slot.set_exception(refusal.error)
                continue
            except TypeError as error:
                if handler is None or not is_callers_mistake(error):
                    raise
                turn_down(process, handler, slot, error)
                continue
            if slot is None or call.deferred is not None or process.reason is not None:
                continue
            if self._stopping is not None:
                self._last_replies.append((slot, value))
            elif not slot.done():
                slot.set_result(value)

    def _answer(self, slot: Slot, value: object) -> None:
        """The answer of a concurrent call."""
        if self._stopping is not None:
            self._last_replies.append((slot, value))
            return
        self.process.pending.pop(slot, None)
        if not slot.done():
            slot.set_result(value)

    # --- between two messages -----------------------------------------------------------------------------------

    async def _attend(self) -> StopOrder | None:
        """Look at everything but the mailbox. Returns the order to stop, if there is one."""
        process = self.process
        process.attention = False
        if process.reason is not None:
            await process.park()  # told to die while it ran: the cancellation arrives here
        while process.control:
            order = process.control.pop(0)
            if isinstance(order, ParentExit | StopOrder | HelperFailed):
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

    # --- beside the messages ------------------------------------------------------------------------------------

    def start_task(self, work: Work) -> TaskHandle:
        """Run ``work`` beside the messages."""
        scope = anyio.CancelScope()
        self._helpers.start(work, scope)
        return TaskHandle(scope)

    def call_in_hand(self) -> Call:
        """The call that the running handler answers."""
        return IN_HAND.get() or self.call
