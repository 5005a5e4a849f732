"""One in-process bus for what happens in a runtime: starts, exits, crashes, dead letters, supervisors' decisions.

Subscribers are plain functions called at once, in order of subscription, on the event loop: keep them short. What a
subscriber raises is logged and goes no further. Without subscribers an event costs one truth test.

The catalogue of this room; other rooms list theirs in their own modules:

    runtime.process.started     process, kind
    runtime.process.exited      process, kind, reason
    runtime.process.refused     process, reason                        init failed: StartFailed at the starter
    runtime.actor.crashed       process, error                         an exception left a handler
    runtime.unhandled           process, kind                          an actor got a plain message that it does not handle
    runtime.dead_letter         process, kind ("info" | "cast" | "call")   no payload: it may be secret
    runtime.mailbox.full        process, kind (as above), overflow     bounded: a message was turned away or dropped
    runtime.process.stuck       process, seconds                       killed, and still not gone
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_log = logging.getLogger("dspex.runtime")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a stable dotted name, the runtime's time in seconds, and what belongs to it."""

    name: str
    at: float
    data: dict[str, Any] = field(default_factory=dict[str, Any])


Subscriber = Callable[[Event], None]


class EventBus:
    """Where events of one runtime are emitted and heard."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._subscribers: list[tuple[str, Subscriber]] = []
        self.heard = False
        """True if anybody listens: ask before gathering data that costs something, and where a process starts or ends."""
        self.emitted = 0
        """How many events somebody could hear."""

    def subscribe(self, subscriber: Subscriber, *, prefix: str = "") -> Callable[[], None]:
        """Hear every event whose name begins with ``prefix``. Returns a function that ends the subscription."""
        entry = (prefix, subscriber)
        self._subscribers.append(entry)
        self.heard = True

        def unsubscribe() -> None:
            if entry in self._subscribers:
                self._subscribers.remove(entry)
                self.heard = bool(self._subscribers)

        return unsubscribe

    def emit(self, name: str, /, **data: Any) -> None:
        """Tell all subscribers. Never raises."""
        if not self._subscribers:
            return
        self.emitted += 1
        event = Event(name, self._now(), data)
        for prefix, subscriber in tuple(self._subscribers):
            if name.startswith(prefix):
                try:
                    subscriber(event)
                except Exception:
                    _log.exception("a subscriber of %s raised", name)
