"""How an actor's messages are handled: gen_server's loop.

The order of business between two messages: a continuation asked for, orders of the system, then the mailbox. Where an
exception goes is the heart of it: ``Refuse`` to the caller alone; ``Stop`` and ``Exit`` end the actor; anything else is a
crash. In every case but a kill and a signal that is not trapped, ``terminate`` runs, as in OTP, and the callers that are
still waiting learn the reason when the process is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from itertools import repeat
from types import CoroutineType
from typing import Any, Final, Protocol, cast, final

from .backend import Slot
from .concurrent import ConcurrentCalls
from .deadlines import Bucket
from .envelope import Envelope
from .exits import NORMAL, Crash, Exit, Ignore, Reason, Refuse, StartFailed, Stop
from .helper_tasks import HelperFailed, Helpers, TaskHandle, Work
from .mailbox import NO_MESSAGES
from .process import REDUCTIONS, ParentExit, Process, Request
from .ref import StopOrder
from .replies import IN_HAND, Call, Reply, is_callers_mistake, turn_down
from .signals import IDLE
from .tracing import Traced, Tracer, traced

NO_KEYWORDS: Final[dict[str, Any]] = {}

_log = logging.getLogger("dspex.runtime")


class Behaviour(Protocol):
    """The callbacks of an actor."""

    @property
    def concurrency(self) -> int: ...
    async def init(self) -> None: ...
    async def terminate(self, reason: Reason, /) -> None: ...
    async def handle_info(self, message: Any, /) -> None: ...
    def system_get_state(self) -> Any: ...
    def system_replace_state(self, state: Any, /) -> None: ...


@final
class Server:
    """The inside of one running actor. It is also the ``Call`` in hand: one object less an actor, one look-up less a call."""

    __slots__ = (
        "_concurrent",
        "_continuations",
        "_helpers",
        "_idle",
        "_last_replies",
        "_special",
        "_stopping",
        "behaviour",
        "bucket",
        "deferred",
        "process",
        "slot",
        "suspended",
        "tracer",
    )

    def __init__(self, process: Process, behaviour: Behaviour) -> None:
        self.process = process
        self.behaviour = behaviour
        # The call whose handler runs, see ``Call``; between two messages, and during a cast, there is none.
        self.slot: Slot | None = None
        self.bucket: Bucket | None = None
        self.deferred: Reply | None = None
        self.suspended = False
        """True: handle no message; only orders are obeyed."""
        self.tracer: Tracer | None = None
        # Made when first needed: most actors do without, and there may be many.
        self._helpers: Helpers | None = None
        self._continuations: list[tuple[Any, Any, Any]] | None = None
        self._last_replies: list[tuple[Slot, object]] | None = None
        self._stopping: StopOrder | None = None
        self._idle: float | None = None
        self._concurrent: ConcurrentCalls | None = None
        if behaviour.concurrency > 1:
            self._helpers = helpers = Helpers(process)
            self._concurrent = ConcurrentCalls(process, behaviour, behaviour.concurrency, helpers, self._answer)
        self._special = self._concurrent is not None or process.bound is not None
        """True: look at a message before it is handled. One test for all that most actors are not: concurrent, bounded,
        traced."""

    # --- life ---------------------------------------------------------------------------------------------------

    async def serve(self) -> Reason:
        """The body of the process."""
        process = self.process
        try:
            refused = await self._init()
            if refused is not None:
                return refused
            try:
                reason = await self._loop()
            except (Stop, Exit) as stop:
                reason = stop.reason
            except process.kernel.backend.cancelled:
                raise
            except Exception as error:
                if process.kernel.events.heard:
                    process.kernel.events.emit("runtime.actor.crashed", process=process.label, error=error)
                reason = Crash(error)
            finally:
                # Whatever ended the loop, the caller whose message was in hand learns of it when the process is gone.
                if self.slot is not None and not self.slot.done() and self.deferred is None:
                    process.owe(self.slot)
            return await self._terminate(reason)
        finally:
            if self._helpers is not None:
                await self._helpers.end()

    async def _init(self) -> Reason | None:
        process = self.process
        started = process.started
        if started is None or started.done():
            started = process.kernel.backend.slot()  # nobody waits for it
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
        except process.kernel.backend.cancelled:
            raise
        except Exception as error:
            reason = Crash(error)
        else:
            if not started.done():
                started.set_result(None)
            return None
        process.kernel.events.emit("runtime.process.refused", process=process.label, reason=reason)
        if not started.done():
            failed = StartFailed(reason, process.label)
            failed.__cause__ = failed.__cause__ or cause
            started.set_exception(failed)
        return reason

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
            for slot, value in self._last_replies or ():
                self.process.settle(slot)
                if not slot.done():
                    slot.set_result(value)
        return reason

    # --- messages -----------------------------------------------------------------------------------------------

    async def _loop(self) -> Reason:
        process = self.process
        behaviour = self.behaviour
        backend = process.kernel.backend
        batch = process.batch
        special = self._special
        # This loop is what a message costs. A cast touches nothing but the batch and its handler.
        while True:
            for _ in repeat(None, REDUCTIONS):
                if process.attention:
                    outcome = await self._attend()
                    if outcome is not None:
                        return outcome.reason
                    special = self._special
                    continue
                if not batch:
                    if process.inbox:
                        batch = process.take()
                    else:
                        process.batch = batch = NO_MESSAGES
                        # An idle actor keeps nothing of its last message alive.
                        envelope = handler = args = kwargs = slot = bucket = value = None
                        # As Process.park, without its frame. Cancelled: nothing will be received any more.
                        process.waiter = parked = backend.slot()
                        await parked
                        continue
                envelope = batch.pop()
                handler, args, kwargs, slot, bucket = envelope
                if special and self._divert(envelope):
                    continue
                if slot is not None:
                    self.slot = slot
                    self.bucket = bucket
                    self.deferred = None
                try:
                    if kwargs is None and handler is not None and len(args) == 1:
                        value: Any = handler(behaviour, args[0])  # half the price of unpacking
                    elif handler is None:
                        await behaviour.handle_info(args)
                        continue
                    else:
                        value = handler(behaviour, *args, **(kwargs or NO_KEYWORDS))
                    if type(value) is CoroutineType:
                        value = await cast(Coroutine[Any, Any, Any], value)
                except Refuse as refusal:
                    if slot is not None and not slot.done():
                        slot.set_exception(refusal.error)
                except TypeError as error:
                    if handler is None or not is_callers_mistake(error):
                        raise
                    turn_down(process, handler, slot, error)
                else:
                    if slot is None:
                        continue
                    if process.attention:
                        self._answer_carefully(slot, value)
                        continue
                    if self.deferred is None and not slot.done():
                        slot.set_result(value)
                self.slot = self.bucket = None
            await backend.relax()

    def _answer_carefully(self, slot: Slot, value: object) -> None:
        """The answer of a handler during which something happened: it may have stopped the actor, or been told to die."""
        if self.process.reason is not None:
            return  # told to die: the caller learns of that
        if self.deferred is None:
            self._answer(slot, value)
        self.slot = self.bucket = None

    def _answer(self, slot: Slot, value: object) -> None:
        """The answer of a handler that may have stopped the actor, or of a concurrent call."""
        if self._stopping is not None:
            if self._last_replies is None:
                self._last_replies = []
            self._last_replies.append((slot, value))
            return
        self.process.settle(slot)
        if not slot.done():
            slot.set_result(value)

    def _divert(self, envelope: Envelope) -> bool:
        """What an ordinary actor is spared. True: the message is taken care of."""
        if self.tracer is not None:
            self._trace(envelope)
        diverted = self._concurrent is not None and envelope[3] is not None
        if diverted and self._concurrent is not None:
            self._concurrent.admit(envelope)
        if self.process.bound is not None:
            self.process.bound.admit()
        return diverted

    # --- between two messages -----------------------------------------------------------------------------------

    async def _attend(self) -> StopOrder | None:
        """Look at everything but the mailbox. Returns the order to stop, if there is one."""
        process = self.process
        process.attention = False
        if process.reason is not None:
            await process.park()  # told to die while it ran: the cancellation arrives here
        while True:
            while process.control:
                order = process.control.pop(0)
                if isinstance(order, ParentExit | StopOrder | HelperFailed):
                    return StopOrder(order.reason)
                if isinstance(order, Request):
                    order.carry_out(self)
            if self._stopping is not None:
                return self._stopping
            if not self.suspended:
                break
            await process.park()
        if self._continuations:
            process.attention = True
            handler, args, kwargs = self._continuations.pop(0)
            self._idle = None
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
        self.process.attend()

    def continue_with(self, continuation: tuple[Any, Any, Any]) -> None:
        """Run this before the next message."""
        if self._continuations is None:
            self._continuations = []
        self._continuations.append(continuation)
        self.process.attend()

    def idle_after(self, seconds: float) -> None:
        """Wait for the next message at most this long."""
        self._idle = seconds
        self.process.attention = True

    # --- looked at from outside ---------------------------------------------------------------------------------

    def trace(self, tracer: Tracer | None) -> None:
        """Show this tracer every message from now on; None: nobody."""
        self.tracer = tracer
        self._special = tracer is not None or self._concurrent is not None or self.process.bound is not None

    def _trace(self, envelope: Envelope) -> None:
        backend = self.process.kernel.backend
        message = traced(envelope, backend.now())
        slot = envelope[3]
        if slot is not None:
            method = message.method
            backend.on_done(slot, lambda: self._show(Traced(backend.now(), "answered", method, None)))
        self._show(message)

    def _show(self, message: Traced) -> None:
        try:
            if self.tracer is not None:
                self.tracer(message)
        except Exception:
            _log.exception("the tracer of %s raised and is called no more", self.process.label)
            self.trace(None)

    # --- beside the messages ------------------------------------------------------------------------------------

    def start_task(self, work: Work) -> TaskHandle:
        """Run ``work`` beside the messages."""
        scope = self.process.kernel.backend.scope()
        if self._helpers is None:
            self._helpers = Helpers(self.process)
        self._helpers.start(work, scope)
        return TaskHandle(scope)

    def call_in_hand(self) -> Call:
        """The call that the running handler answers."""
        return IN_HAND.get() or self
