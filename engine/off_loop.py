"""Users' functions, called from the event loop: a coroutine function is awaited, any other runs in a thread.

A function that is not `async` may do anything: block, sleep, call a program synchronously. In a thread it stops no one
else, and its synchronous calls of programs come back to this loop (`run_sync`), cancellation included.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any

import anyio
import anyio.to_thread

from .sync import alone_on_own_loop, beside_own_loop, run_sync

__all__ = ["HostFunction", "ask", "call_off_loop", "in_thread", "is_async"]


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a blocking function in a worker thread, with the context variables of here. Under a synchronous call that
    runs nothing else, the function is called on the caller's own thread.

    There is no shared limit of threads: what runs there may call programs that need threads themselves, and would
    wait for ever for places that its own callers hold.

    Cancelled, this returns at once; the thread cannot be stopped and runs on, its result unread.
    """
    call = partial(_boxed, function, args, kwargs)
    if alone_on_own_loop():
        return beside_own_loop(call)[0]
    (result,) = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    return result


def _boxed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any]:
    # A function that returns a coroutine is called here and awaited on the loop; trio would take it for a mistake.
    return (function(*args, **kwargs),)


def is_async(program: Any) -> bool:
    """Whether `ask` awaits it on the loop: it has an async `acall`, or is an async function or an object that is called
    as one.
    """
    return inspect.iscoroutinefunction(getattr(program, "acall", None)) or _is_coroutine_function(program)


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def call_off_loop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of `function`, awaited if it is awaitable."""
    if _is_coroutine_function(function):
        return await function(*args, **kwargs)
    result: Any = await in_thread(function, *args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def ask(program: Any, /, *args: Any, **kwargs: Any) -> Any:
    """`await program.acall(...)`, or `program(...)` off the loop when it has no `acall`.

    Modules, tools and LMs have one. A plain function in a module's place has not, nor has an object of another library
    or a stub in a test with `__call__` only.
    """
    acall = getattr(program, "acall", None)
    if inspect.iscoroutinefunction(acall):
        return await acall(*args, **kwargs)
    return await call_off_loop(program, *args, **kwargs)


class HostFunction:
    """An async function for those who can await (`acall`) and for those who call. It keeps its name and signature."""

    def __init__(self, function: Callable[..., Awaitable[Any]], like: Callable[..., Any] | None = None) -> None:
        """Wrap `function`, which looks like `like`."""
        self._function = function
        shown = function if like is None else like
        update_wrapper(self, shown)
        self.__signature__ = inspect.signature(shown)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """The function."""
        return await self._function(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function from synchronous code: from a thread of a running program it comes back to the program's loop."""
        return run_sync(self.acall, *args, **kwargs)
