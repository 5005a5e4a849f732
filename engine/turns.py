"""Turns: a thousand programs called at once do not stop the event loop for everyone else.

An event loop runs all tasks that are ready before it looks at its timers and sockets again. A call writes its prompt in
some tens of microseconds, so a thousand that begin together, or whose answers arrive together, would hold the loop for
a tenth of a second. `take_turn` lets them go on a few at a time, in order; between two batches the loop attends to
everything else. A call that is alone pays a look at the clock (0.3 us), one in a crowd is woken once more (10 us).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

import anyio
from anyio.lowlevel import RunVar, checkpoint

from .sync import nothing_else_to_run

__all__ = ["take_turn"]

_SLICE = 0.003
"""Seconds of work, all calls of a thread together, after which the others queue."""

_IDLE = 0.0005
"""Seconds without a call after which the loop counts as having looked at everything else."""

_BATCH = 16
"""Calls that go on together then: some milliseconds of work."""


class _Thread(threading.local):
    """What the calls of one thread have used of the present slice."""

    began = 0.0
    seen = 0.0
    waiting = 0
    """Calls in the queues of this thread's loops: one loop runs, others may be suspended under it."""


class _Queue:
    """The calls that wait in one event loop."""

    def __init__(self) -> None:
        self.waiting: deque[_Call] = deque()
        self.out = 0
        """Calls of the present batch that have not gone on yet."""
        self.tended = False
        """Somebody will call the next batch."""

    def call_next(self) -> None:
        here = _here
        here.began = here.seen = time.perf_counter()
        count = self.out = min(_BATCH, len(self.waiting))
        self.tended = count > 0
        for _ in range(count):
            self.waiting.popleft().set()
        here.waiting -= count


_here = _Thread()
_queue_of_loop: RunVar[_Queue] = RunVar("dspex turns")


async def take_turn() -> None:
    """Go on at once if the loop of this thread is not crowded, else when it is this call's turn.

    A point of cancellation only if it waits; a cancelled call holds up nobody.
    """
    here = _here
    now = time.perf_counter()
    if now - here.seen > _IDLE and not here.waiting:
        here.began = now
    here.seen = now
    if now - here.began <= _SLICE and not here.waiting:
        return
    if not here.waiting and nothing_else_to_run():
        here.began = now  # a synchronous call, whose loop would only be asked to look round an empty room (60 us)
        return
    # From here on in one piece: of a thousand calls, each passes here before the first of them goes on.
    queue = _queue_of_loop.get(None)
    if queue is None:
        queue = _Queue()
        _queue_of_loop.set(queue)
    if not queue.tended:
        queue.tended = True
        try:
            await checkpoint()
        finally:
            queue.call_next()
        return
    call = _Call()
    queue.waiting.append(call)
    here.waiting += 1
    try:
        if call.future is not None:
            await call.future
        elif call.event is not None:
            await call.event.wait()
    finally:
        if call.is_next:
            queue.out -= 1
            if queue.out == 0:
                queue.call_next()
        else:
            queue.waiting.remove(call)
            here.waiting -= 1


class _Call:
    """One that waits. A future on asyncio, where it costs a fifth of an `anyio.Event`."""

    __slots__ = ("event", "future", "is_next")

    def __init__(self) -> None:
        loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage] - None where the public one raises
        self.is_next = False
        self.future: asyncio.Future[Any] | None = None if loop is None else loop.create_future()
        self.event = anyio.Event() if loop is None else None

    def set(self) -> None:
        self.is_next = True
        if self.event is not None:
            self.event.set()
        elif self.future is not None and not self.future.done():
            with suppress(RuntimeError):  # its loop was closed under it
                self.future.set_result(None)
