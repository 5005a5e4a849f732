"""What the runtime asks of an event loop: a dozen things, so that everything above is written once.

Why not anyio's own objects: an ``anyio.Event`` or ``start_soon`` per message costs more than the message itself (1.5 and
14-21 microseconds against 0.3). A future, or a trio reschedule, is what both are made of. Cancellation does go through
``anyio.CancelScope``: it is level-triggered on both loops, so a handler cannot swallow a kill.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

import anyio

Job = Callable[[], Coroutine[Any, Any, None]]
"""What a task runs. It lets nothing escape but the loop's own cancellation."""


class Slot(Protocol):
    """A value that arrives once and that one task waits for. Filling one that is ``done()`` is an error."""

    def done(self) -> bool: ...
    def set_result(self, value: Any, /) -> None: ...
    def set_exception(self, error: Any, /) -> None: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...


class Timer(Protocol):
    """Something that will happen at a time, unless cancelled first. Cancelling twice, or too late, does nothing."""

    def cancel(self) -> None: ...

    @property
    def when(self) -> float:
        """The due time, in seconds of ``Backend.now``."""
        ...

    @property
    def active(self) -> bool:
        """True until it has fired or was cancelled."""
        ...


class Backend(Protocol):
    """One event loop, as the runtime sees it."""

    @property
    def cancelled(self) -> type[BaseException]:
        """The class of the exception by which this loop cancels."""
        ...

    def slot(self) -> Slot: ...

    def relay(self) -> Slot:
        """A slot that nobody awaits. What ``on_done`` is given runs at once when it is done, inside of who filled it."""
        ...

    def scope(self) -> anyio.CancelScope:
        """As ``anyio.CancelScope()``, without asking which loop this is: 3 of a start's 25 microseconds."""
        ...

    def abandon(self, slot: Slot) -> None:
        """Nobody will wait for this slot: if it is open, it is done now, and what is in it is of no interest."""
        ...

    def content(self, slot: Slot) -> tuple[Any, BaseException | None]:
        """What a slot that is done was filled with: a value, or an error. Both None: it was abandoned."""
        ...

    def on_done(self, slot: Slot, callback: Callable[[], None]) -> None:
        """Run ``callback`` soon after the slot is filled or the task that waits for it was cancelled."""
        ...

    def spawn(self, job: Job, name: str) -> None:
        """Start a task that belongs to the runtime's block, in the context the block was opened with."""
        ...

    async def uninterrupted(self, job: Job) -> None:
        """Run ``job`` to its end, whoever cancels the caller meanwhile; the cancellation is raised afterwards."""
        ...

    def relax(self) -> Awaitable[None]:
        """Let everybody else run once; a place where cancellation arrives."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]: ...

    def call_from_thread(self, callback: Callable[[], None]) -> bool:
        """Run ``callback`` soon, on the loop; the only method for other threads. False: the loop has ended."""
        ...

    def now(self) -> float:
        """Monotonic seconds; virtual under ``runtime.testing``."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...
