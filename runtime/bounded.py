"""A mailbox with a limit, and what becomes of the message that finds it full.

    class Indexer(Actor):
        mailbox_limit = 1_000
        overflow = "drop_oldest"

The four policies:

    wait          the sender waits: a call within its time limit, a cast as ``await ref.cast_wait(...)``. A plain ``cast`` or
                  ``send`` cannot wait and raises MailboxFull. Nothing is lost. The default.
    reject        the sender gets MailboxFull, by call, cast and send alike.
    drop_oldest   the message that has waited longest goes, the new one stays.
    drop_newest   the new one goes.

A call that is dropped fails with MailboxFull at once, so no caller waits out its time. What is turned away or dropped is
counted and is an event, ``runtime.mailbox.full``.

Exit signals and Downs are never turned away and never dropped, though they take up room; nor does an order of the system
(stop, suspend, a parent's exit) ever stand in this line: it has its own, before all messages. What a timer sends has no
sender who could wait: under ``wait`` it is taken beyond the limit.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, Protocol, final, get_args

from .backend import Backend, Slot
from .envelope import Envelope, is_signal, kind_of
from .events import EventBus
from .exits import BadProcess, MailboxFull

Overflow = Literal["wait", "reject", "drop_oldest", "drop_newest"]
"""What happens to a message for a full mailbox."""

POLICIES: Final[tuple[str, ...]] = get_args(Overflow)


def check_limit(who: str, limit: object, overflow: object) -> None:
    """Raises BadProcess unless ``limit`` is None or counts messages, and ``overflow`` is a policy."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise BadProcess(f"{who}.mailbox_limit is {limit!r}: it counts messages, 1 or more; None: no limit")
    if overflow not in POLICIES:
        raise BadProcess(f"{who}.overflow is {overflow!r}: it is one of {', '.join(POLICIES)}")


class Receiver(Protocol):
    """The process behind the mailbox, as far as it matters here."""

    label: str
    inbox: list[Envelope]
    batch: list[Envelope]
    crowd: deque[Envelope] | None
    taken: int

    @property
    def backlog(self) -> int: ...
    def post(self, envelope: Envelope) -> bool: ...
    def settle(self, slot: Slot) -> None: ...


@final
class Bound:
    """The limit of one mailbox, and who waits in front of it."""

    __slots__ = ("_backend", "_events", "_process", "_waiting", "dropped", "limit", "overflow", "rejected")

    def __init__(self, process: Receiver, limit: int, overflow: Overflow, backend: Backend, events: EventBus) -> None:
        self._process = process
        self._backend = backend
        self._events = events
        self.limit = limit
        self.overflow: Overflow = overflow
        self.dropped = 0
        """Messages taken from the mailbox unread, or let fall at its door."""
        self.rejected = 0
        """Messages whose sender was told to keep them."""
        self._waiting: deque[tuple[Envelope, Slot | None]] = deque()
        """Messages whose sender waits, with the slot that tells a cast's sender to go on; a call's waits for its answer."""

    @property
    def waiting(self) -> int:
        """How many senders wait for room."""
        return len(self._waiting)

    @property
    def _full(self) -> bool:
        return bool(self._waiting) or self._process.backlog >= self.limit

    def offer(self, envelope: Envelope) -> None:
        """Take a message, or do with it what the policy says. Raises MailboxFull for a sender who is to be told."""
        if not self._full:
            self._process.post(envelope)
        elif self.overflow == "drop_oldest":
            self._drop_oldest_for(envelope)
        elif self.overflow == "drop_newest":
            self._drop(envelope)
        elif self.overflow == "wait" and envelope[3] is not None:
            self._waiting.append((envelope, None))
        else:
            self.rejected += 1
            self._report(envelope)
            raise self._refusal()

    def offer_unattended(self, envelope: Envelope) -> None:
        """As ``offer``, for a timer: nobody could be told and nobody can wait."""
        if not self._full or self.overflow == "wait":
            self._process.post(envelope)
        elif self.overflow == "drop_oldest":
            self._drop_oldest_for(envelope)
        else:
            self._drop(envelope)

    async def offer_patiently(self, envelope: Envelope) -> None:
        """As ``offer``; under ``wait``, return when the message is in the mailbox. Cancelled before: it never will be."""
        if self.overflow != "wait" or not self._full:
            self.offer(envelope)
            return
        slot = self._backend.slot()
        self._waiting.append((envelope, slot))
        await slot

    def admit(self) -> None:
        """Room was made: let in who waits."""
        process = self._process
        while self._waiting and process.backlog < self.limit:
            envelope, go_on = self._waiting.popleft()
            if go_on is None:
                reply = envelope[3]
                if reply is not None and reply.done():
                    continue  # the caller has gone
            elif go_on.done():
                continue  # the sender was cancelled
            else:
                go_on.set_result(None)
            process.post(envelope)

    def close(self, error: BaseException) -> None:
        """The process is gone: callers get the error; what was cast is a dead letter, and its sender goes on."""
        while self._waiting:
            envelope, go_on = self._waiting.popleft()
            reply = envelope[3]
            if reply is not None:
                if not reply.done():
                    reply.set_exception(error)
            elif go_on is not None and not go_on.done():
                self._events.emit("runtime.dead_letter", process=self._process.label, kind=kind_of(envelope))
                go_on.set_result(None)

    def _drop_oldest_for(self, envelope: Envelope) -> None:
        oldest = self._take_oldest()
        if oldest is None:
            self._drop(envelope)  # nothing but signals in there
        else:
            self._process.post(envelope)
            self._drop(oldest)

    def _take_oldest(self) -> Envelope | None:
        process = self._process
        if process.crowd:
            return process.crowd.popleft()
        batch = process.batch
        for i in range(len(batch) - 1, -1, -1):
            if not is_signal(batch[i]):
                process.taken -= 1
                return batch.pop(i)
        inbox = process.inbox
        for i, envelope in enumerate(inbox):
            if not is_signal(envelope):
                # A new list: a receive that has looked at this one begins anew.
                process.inbox = inbox[:i] + inbox[i + 1 :]
                return envelope
        return None

    def _drop(self, envelope: Envelope) -> None:
        self.dropped += 1
        self._report(envelope)
        slot = envelope[3]
        if slot is not None:
            self._process.settle(slot)
            if not slot.done():
                slot.set_exception(self._refusal())

    def _report(self, envelope: Envelope) -> None:
        self._events.emit(
            "runtime.mailbox.full", process=self._process.label, kind=kind_of(envelope), overflow=self.overflow
        )

    def _refusal(self) -> MailboxFull:
        return MailboxFull(self._process.label, self.limit, self.overflow)
