"""``concurrency = N``: calls run as helper tasks, at most N at a time, in the order they came.

The work is the caller's: it has the caller's deadline and is cancelled when the caller goes away; what nobody waits for
any more is not begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, cast, final

from .backend import Slot
from .envelope import Envelope
from .exits import Refuse
from .helper_tasks import Helpers
from .process import Process
from .replies import IN_HAND, ConcurrentCall, is_callers_mistake, turn_down


@final
class ConcurrentCalls:
    """The calls of one concurrent actor that run or wait for their turn."""

    __slots__ = ("_answer", "_behaviour", "_helpers", "_limit", "_process", "_running", "_waiting")

    def __init__(
        self, process: Process, behaviour: object, limit: int, helpers: Helpers, answer: Callable[[Slot, object], None]
    ) -> None:
        self._process = process
        self._behaviour = behaviour
        self._limit = limit
        self._helpers = helpers
        self._answer = answer
        self._running = 0
        self._waiting: deque[Envelope] = deque()
        process.crowd = self._waiting

    def admit(self, envelope: Envelope) -> None:
        """Begin a call, or let it wait for its turn."""
        slot = envelope[3]
        assert slot is not None
        if slot.done():
            return  # the caller has gone
        self._process.owe(slot)
        if self._running >= self._limit:
            self._waiting.append(envelope)
            return
        self._running += 1
        self._start(envelope)

    def _start(self, envelope: Envelope) -> None:
        handler, args, kwargs, slot, bucket = envelope
        assert slot is not None
        scope = self._process.kernel.backend.scope()
        call = ConcurrentCall(slot, bucket)
        process = self._process

        async def work() -> None:
            IN_HAND.set(call)
            try:
                value: Any = handler(self._behaviour, *args, **(kwargs or {}))
                if type(value) is CoroutineType:
                    value = await cast(Coroutine[Any, Any, Any], value)
            except Refuse as refusal:
                call.over = True
                process.settle(slot)
                if not slot.done():
                    slot.set_exception(refusal.error)
            except TypeError as error:
                if not is_callers_mistake(error):
                    raise
                call.over = True
                process.settle(slot)
                turn_down(process, handler, slot, error)
            else:
                call.over = True
                if call.deferred is None:
                    self._answer(slot, value)

        def gone() -> None:
            process.settle(slot)
            # An answer sent early, through Reply, is no reason to stop the handler.
            if not call.over and (call.deferred is None or not call.deferred.answered):
                scope.cancel()

        process.kernel.backend.on_done(slot, gone)
        self._helpers.start(work, scope, self._next)

    def _next(self) -> None:
        while self._waiting:
            envelope = self._waiting.popleft()
            slot = envelope[3]
            if slot is not None and not slot.done():
                self._start(envelope)
                break
            if slot is not None:
                self._process.settle(slot)
        else:
            self._running -= 1
        if self._process.bound is not None:
            self._process.bound.admit()
