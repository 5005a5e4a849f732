"""Where the plain functions of tools run, so that the event loop does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

__all__ = ["run_in_thread"]

# A function that hangs keeps its thread after its caller has left. Of anyio's own 40 threads, 40 such functions would
# leave none for anyone else; of these they leave most, and the rest of the program its own.
_MOST_AT_ONCE = 256
_threads: RunVar[anyio.CapacityLimiter] = RunVar("dspex tool threads")


async def run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What a plain function returns, from a worker thread; awaiting it is left to the caller. At most 256 run at once
    in an event loop, the others wait. On cancellation the thread goes on and its result is dropped.
    """
    limiter = _threads.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)
        _threads.set(limiter)

    def call() -> tuple[Any]:
        return (function(**arguments),)  # in a tuple, since trio takes a coroutine here for a mistake

    return (await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter))[0]
