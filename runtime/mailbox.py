"""A process's mailbox: how messages get in, wait, and are taken out.

A message is put in synchronously, by whoever sends it; the receiver is woken only if it is parked, and once. The receiver
takes the inbox whole, as a batch: two lists change places, and nothing is copied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from .backend import Backend, Slot
from .bounded import Bound, Overflow
from .envelope import Envelope
from .events import EventBus
from .exits import Reason, ReceiveTimeout

# Shared by all who have none, and never written to: most processes owe nothing and most mailboxes are empty, and an empty
# dict is 64 bytes, an empty list 56.
NO_HANDLERS: Final[dict[Any, Any]] = {}
NO_MESSAGES: Final[list[Envelope]] = []
_NO_SLOTS: Final[dict[Slot, None]] = {}

_SWEEP_FROM: Final = 16


class ProcessMailbox:
    """What of a process is its mailbox."""

    __slots__ = (
        "attention",
        "batch",
        "bound",
        "control",
        "crowd",
        "handlers",
        "inbox",
        "label",
        "pending",
        "reason",
        "taken",
        "waiter",
    )

    def __init__(self, label: str) -> None:
        self.label = label
        self.reason: Reason | None = None
        """None while alive. From the moment it is set, no message is handled any more."""
        self.handlers: dict[Any, Any] = NO_HANDLERS
        """What its class answers, by the method named. A sender who finds the method here may put the message straight into
        the inbox: the table of a process that is dead, plain or bounded is empty."""
        # A list that the receiver takes whole: empty it is 56 bytes, a deque 760.
        self.inbox: list[Envelope] = []
        self.batch: list[Envelope] = NO_MESSAGES
        """What the receiver has taken and not handled yet, last first."""
        self.crowd: deque[Envelope] | None = None
        """Calls that a concurrent actor has taken and that wait for their turn."""
        self.bound: Bound | None = None
        """The limit of the mailbox, if it has one."""
        self.control: list[object] | None = None
        """Orders of the system; they overtake messages and are never dropped."""
        self.attention = False
        """True: look at more than the mailbox before the next message. One truth test a message instead of five."""
        self.waiter: Slot | None = None
        """What the receiver waits for, while it is parked."""
        self.taken = 0
        """How many messages the receiver has taken out of the inbox so far."""
        self.pending = _NO_SLOTS
        """Calls taken from the mailbox and not answered: they fail when the process ends."""

    @property
    def backend(self) -> Backend:
        raise NotImplementedError

    @property
    def events(self) -> EventBus:
        raise NotImplementedError

    # --- putting in -------------------------------------------------------------------------------------------------

    def post(self, envelope: Envelope) -> bool:
        """Put a message at the end of the mailbox. False: the process is dead and the message was not taken."""
        if self.reason is not None:
            return False
        self.inbox.append(envelope)
        if self.waiter is not None:
            self.wake()
        return True

    def offer(self, envelope: Envelope) -> bool:
        """As ``post``, for what a mailbox with a limit may turn away: messages of users. Raises MailboxFull."""
        if self.bound is None or self.reason is not None:
            return self.post(envelope)
        self.bound.offer(envelope)
        return True

    def deliver(self, envelope: Envelope) -> None:
        """As ``offer``, for what has no sender who could wait or be told: timers."""
        if self.bound is None or self.reason is not None:
            self.post(envelope)
        else:
            self.bound.offer_unattended(envelope)

    def limit(self, limit: int | None, overflow: Overflow) -> None:
        """Give the mailbox a limit, before the process is launched."""
        if limit is not None:
            self.bound = Bound(self, limit, overflow, self.backend, self.events)
            self.handlers = NO_HANDLERS

    def order(self, order: object) -> bool:
        """Put a system order before all messages. False: the process is dead."""
        if self.reason is not None:
            return False
        if self.control is None:
            self.control = []
        self.control.append(order)
        self.attend()
        return True

    def attend(self) -> None:
        """Have the receiver look at more than its mailbox before the next message."""
        self.attention = True
        self.wake()

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            # A cancellation may have got there first.
            if not waiter.done():
                waiter.set_result(None)

    # --- taking out -------------------------------------------------------------------------------------------------

    def take(self) -> list[Envelope]:
        """Take all that is in the inbox: the new batch, last first."""
        self.batch = batch = self.inbox
        self.inbox = []
        self.taken += len(batch)
        batch.reverse()
        return batch

    async def park(self) -> None:
        """Wait until something is posted or ordered. Cancelled: nothing is lost."""
        self.waiter = slot = self.backend.slot()
        try:
            await slot
        except BaseException:
            self.waiter = None
            raise

    async def park_until(self, when: float) -> bool:
        """As ``park``, at most until ``when`` in seconds of the clock. False: the time is over."""
        timer = self.backend.call_at(when, self.wake)
        try:
            await self.park()
            return timer.active
        finally:
            timer.cancel()

    async def pick(self, wanted: Callable[[object], bool] | None, when: float | None) -> object:
        """Take the first plain message that is wanted out of the mailbox; the others stay, in order.

        Raises ReceiveTimeout when there is none until ``when``. Cancelled: nothing is lost.
        """
        batch = self.batch
        for i in range(len(batch) - 1, -1, -1):
            if batch[i][0] is None and (wanted is None or wanted(batch[i][1])):
                return self._picked(batch, i)
        inbox = self.inbox
        seen = 0
        expired = False
        while True:
            while seen < len(inbox):
                if inbox[seen][0] is None and (wanted is None or wanted(inbox[seen][1])):
                    self.taken += 1
                    return self._picked(inbox, seen)
                seen += 1
            if expired:
                raise ReceiveTimeout(self.label)
            if when is None:
                await self.park()
            else:
                expired = not await self.park_until(when)
            if self.inbox is not inbox:  # something was taken out meanwhile
                inbox = self.inbox
                seen = 0

    def _picked(self, messages: list[Envelope], i: int) -> object:
        message = messages.pop(i)[1]
        if self.bound is not None:
            self.bound.admit()
        return message

    def discard(self, unwanted: Callable[[object], bool]) -> list[object]:
        """Take plain messages out of the mailbox; returns them in order."""
        found: list[object] = []

        def keep(envelope: Envelope) -> bool:
            if envelope[0] is None and unwanted(envelope[1]):
                found.append(envelope[1])
                return False
            return True

        if self.batch:
            before = len(self.batch)
            self.batch[:] = [e for e in reversed(self.batch) if keep(e)][::-1]
            self.taken -= before - len(self.batch)
        self.inbox = [e for e in self.inbox if keep(e)]
        if self.bound is not None:
            self.bound.admit()
        return found

    def empty(self) -> None:
        """Throw away what is left: the process is gone."""
        self.batch, self.inbox, self.control, self.crowd, self.pending = NO_MESSAGES, [], None, None, _NO_SLOTS

    # --- looking ----------------------------------------------------------------------------------------------------

    def waiting(self) -> Iterator[Envelope]:
        """What is in the mailbox, in order."""
        yield from self.crowd or ()
        yield from reversed(self.batch)
        yield from self.inbox

    @property
    def backlog(self) -> int:
        """How many messages are in the mailbox."""
        return len(self.inbox) + len(self.batch) + (len(self.crowd) if self.crowd is not None else 0)

    # --- calls in hand ----------------------------------------------------------------------------------------------

    def owe(self, slot: Slot) -> None:
        """This call was taken from the mailbox; if the process ends before ``settle``, its caller learns of that."""
        pending = self.pending
        if pending is _NO_SLOTS:
            self.pending = pending = {}
        pending[slot] = None
        count = len(pending)
        if count >= _SWEEP_FROM and count & (count - 1) == 0:
            # Callers who went away and whom nobody answered stay in here: look for them whenever it has doubled.
            self.pending = {slot: None for slot in pending if not slot.done()}

    @property
    def unanswered(self) -> int:
        """How many callers wait for what was taken from the mailbox, those in the crowd included."""
        return sum(not slot.done() for slot in self.pending)

    def settle(self, slot: Slot) -> None:
        """The call is answered, or somebody else's."""
        self.pending.pop(slot, None)
