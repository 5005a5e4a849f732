"""Waiting for a process's end: one watcher of one descriptor, however many wait.

An event loop knows one reader for a descriptor: a second one is refused, or takes the first one's place, and whose place was
taken waits for ever. A copy of the descriptor for each waiter would do, but fails when the process has no descriptors left,
which is when a pool most needs to learn that a worker has ended. So the first who waits watches the descriptor, the others
wait for the watcher; one that goes away before the end hands the watch on.
"""

from __future__ import annotations

import os
import threading

import anyio
from anyio.lowlevel import current_token

__all__ = ["EndWatch"]


class EndWatch:
    """Owns `fd`, which becomes readable at the end of a process and stays so (a pidfd, or a pipe that is closed then)."""

    __slots__ = ("_closing", "_fd", "_lock", "_watches")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._watches: dict[object, anyio.Event] = {}
        """Who watches now, by event loop (there is one, but for a handle that several threads use); the event comes when
        the watch is over, for whatever reason."""
        self._closing = False
        self._lock = threading.Lock()  # who closes it: a handle may be looked at, and dropped, by any thread

    async def wait(self) -> None:
        """Returns at the end, or when somebody else's watch is over: the caller looks itself, and may wait again.

        Any number of tasks may wait; cancelling one leaves the others waiting. Raises `anyio.ClosedResourceError` when it
        has been closed.
        """
        token = current_token()
        other = self._watches.get(token)
        if other is not None:
            await other.wait()
            return
        with self._lock:
            if self._closing:
                raise anyio.ClosedResourceError
            mine = self._watches[token] = anyio.Event()
        try:
            await anyio.wait_readable(self._fd)
        finally:
            with self._lock:
                del self._watches[token]
                if self._closing and not self._watches:
                    os.close(self._fd)
            mine.set()

    def close(self) -> None:
        """Closes the descriptor, or has its watcher do so, who leaves it when the process has ended. Idempotent."""
        with self._lock:
            if not self._closing and not self._watches:
                os.close(self._fd)
            self._closing = True
