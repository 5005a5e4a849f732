"""Who answers a call, and when: at once by returning, or later by a Reply, from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol, final

from .backend import Slot
from .deadlines import Bucket
from .exits import NOPROC, ActorExit, NotAHandler
from .process import Process
from .ref import Ref, process_of
from .signals import Address


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
            process.owe(slot)

    @property
    def deadline(self) -> float | None:
        """When the caller gives up, in seconds of the runtime's clock; None: never, or it was a cast."""
        return self._bucket.when if self._bucket is not None else None

    @property
    def expected(self) -> bool:
        """False if the message was cast: nobody ever waited for an answer."""
        return self._slot is not None

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
            self._process.settle(slot)
            if not slot.done():
                process.owe(slot)
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

    def delegate(
        self,
        ref: Ref[Any],
        method: Callable[..., object],
        /,
        *args: object,
        then: Callable[[Any, BaseException | None], None],
        **kwargs: object,
    ) -> None:
        """Ask another actor for what this answer needs, without a task that waits: gen_server:send_request.

        It has this caller's deadline, and is called off when this caller goes away. Otherwise ``then`` is called once, on
        the event loop, with the value and None or with None and the error; it must not raise. Raises what ``ref.call``
        raises before anything is sent: ActorExit if the actor is dead, NotAHandler, MailboxFull.
        """
        process = ref.process
        handler = ref.handler(method)
        backend = process.kernel.backend
        slot = backend.relay()
        if handler is None or not process.offer((handler, args, kwargs or None, slot, self._bucket)):
            raise ActorExit(NOPROC, process.label)
        own = self._slot
        if own is not None:
            backend.on_done(own, lambda: backend.abandon(slot))

        def done() -> None:
            if own is None or not own.done():
                then(*backend.content(slot))

        backend.on_done(slot, done)

    def _take(self) -> Slot | None:
        self.answered = True
        slot = self._slot
        if slot is None:
            return None
        self._process.settle(slot)
        return None if slot.done() else slot


class Call(Protocol):
    """What the handler that is running knows of its message."""

    slot: Slot | None
    """Who waits for the answer; None: it is no call."""
    bucket: Bucket | None
    """Until when."""
    deferred: Reply | None
    """Who will answer, once the handler has asked to do it later."""


@final
class ConcurrentCall:
    """The call of one concurrent handler. A serial actor's is the server itself."""

    __slots__ = ("bucket", "deferred", "over", "slot")

    def __init__(self, slot: Slot | None, bucket: Bucket | None) -> None:
        self.slot = slot
        self.bucket = bucket
        self.deferred: Reply | None = None
        self.over = False
        """The handler has returned: there is nothing left to cancel when its caller hears of it."""


IN_HAND: Final[ContextVar[ConcurrentCall | None]] = ContextVar("dspex_call", default=None)
"""The call of a concurrent handler."""


def is_callers_mistake(error: TypeError) -> bool:
    """True if the error arose at the call itself, because the arguments do not fit: the handler's frame was never entered."""
    traceback = error.__traceback__
    return traceback is not None and traceback.tb_next is None


def turn_down(process: Process, handler: object, slot: Slot | None, error: TypeError) -> None:
    """Tell the sender that the arguments do not fit the handler: that is the sender's mistake, not the actor's crash."""
    if slot is None:
        process.kernel.dead_letter(process, "cast")
    elif not slot.done():
        slot.set_exception(NotAHandler(f"{getattr(handler, '__qualname__', handler)} cannot be called so: {error}"))
