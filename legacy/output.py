"""What a worker prints: always read, never trusted, never too much.

A pipe that nobody reads stops the worker when it is full, so it is drained for as long as the process lives. The end
of it is kept for error reports. It goes to the logger `dspex.legacy.worker` at level DEBUG, since a program may print
what it was asked: silent unless the host asks for it, with the worker, its incarnation and the request in hand on
every line.
"""

from __future__ import annotations

import codecs
import logging
import os
import time
from collections import deque

import anyio

__all__ = ["WorkerOutput"]

logging.getLogger("dspex.legacy").addHandler(logging.NullHandler())  # or Python prints what nobody has asked for
_log = logging.getLogger("dspex.legacy.worker")

_LINE_LIMIT = 2_000
"""Characters of one line; the rest of it is cut."""

_TAIL = 50
"""Lines kept for error reports."""

_LINES_PER_SECOND = 200
"""Lines logged per second; further ones are only counted."""

_READ = 64 * 1024


class WorkerOutput:
    """Drains the non-blocking descriptor `fd`, where a worker's stdout and stderr arrive. Does not own it."""

    def __init__(self, fd: int, worker: str, incarnation: str) -> None:
        self._fd: int | None = fd
        self._worker = worker
        self._incarnation = incarnation
        # The worker runs in UTF-8 mode, but C libraries and grandchildren write what they like.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self._cut = False
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._second = 0
        self._logged = 0
        self.request: int | None = None
        """The request in hand, named on the lines that arrive meanwhile."""
        self.lines = 0
        """Lines seen."""
        self.suppressed = 0
        """Lines not logged because there were too many at once."""

    def tail(self) -> tuple[str, ...]:
        """The last lines, an unfinished one included."""
        return (*self._tail, self._partial) if self._partial else tuple(self._tail)

    async def run(self) -> None:
        """Reads until the other side is closed everywhere. Cancel it freely."""
        while self.drain() and self._fd is not None:
            try:
                await anyio.wait_readable(self._fd)
            except (anyio.ClosedResourceError, OSError):
                return

    def drain(self) -> bool:
        """Takes what is there without waiting, at most 1 MiB a time. False: the stream is at its end."""
        if self._fd is None:
            return False
        for _ in range(16):
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._take(self._decoder.decode(data))
        return True

    def finish(self) -> None:
        """Takes what is left and forgets the descriptor, which its owner may close now."""
        self.drain()
        self._fd = None
        if self._partial:
            self._line(self._partial)
            self._partial = ""

    def _take(self, text: str) -> None:
        *complete, rest = (self._partial + text).split("\n")
        for line in complete:
            if self._cut:
                self._cut = False  # the end of a line whose beginning was reported already
            else:
                self._line(line)
        if len(rest) > _LINE_LIMIT:
            if not self._cut:
                self._line(rest)
                self._cut = True
            rest = ""
        self._partial = rest

    def _line(self, line: str) -> None:
        line = line.rstrip("\r")[:_LINE_LIMIT]
        self.lines += 1
        self._tail.append(line)
        if not _log.isEnabledFor(logging.DEBUG):
            return
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._logged = second, 0
        self._logged += 1
        if self._logged > _LINES_PER_SECOND:
            self.suppressed += 1
            return
        _log.debug(
            "%s: %s",
            self._worker,
            line,
            extra={"worker": self._worker, "incarnation": self._incarnation, "request": self.request},
        )
