"""Users' functions, called from the event loop: a coroutine function is awaited, any other runs in a thread.

A function that is not `async` may do anything: block, sleep, call a program synchronously. In a thread it stops no one
else, and its synchronous calls of programs come back to this loop (`run_sync`), cancellation included.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

__all__ = ["call_off_loop", "in_thread"]


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a blocking function in a worker thread, with the context variables of here.

    There is no shared limit of threads: what runs there may call programs that need threads themselves, and would
    wait for ever for places that its own callers hold.

    Cancelled, this returns at once; the thread cannot be stopped and runs on, its result unread.
    """
    limiter = anyio.CapacityLimiter(1)
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True, limiter=limiter)


async def call_off_loop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of `function`, awaited if it is awaitable."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(*args, **kwargs)
    result: Any = await in_thread(function, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result
