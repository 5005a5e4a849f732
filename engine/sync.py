"""The one place where async meets sync: `run_sync` gives every async method of the engine its synchronous face.

    def __call__(self, **inputs):
        return run_sync(self.acall, **inputs)

There is one implementation of everything, the async one. Called from ordinary code, it runs on an asyncio loop that
belongs to the calling thread and lives as long as the thread, so that HTTP connections survive from call to call
(12 us a call, against 40 for `asyncio.Runner` and more for a loop per call). Called from a worker thread of an event
loop (`anyio.to_thread`, which FastAPI and the runtime use), it runs on that loop, cancellation included. Called *on* an
event loop it cannot work, since it would block the loop it waits for: it refuses, and names the method to await.
"""

from __future__ import annotations

import asyncio
import atexit
import math
import sys
import threading
from asyncio import _enter_task, _leave_task, _set_running_loop, _unregister_task  # for those who step tasks themselves
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from .failure import EngineError

__all__ = [
    "SyncInsideLoopError",
    "alone_on_own_loop",
    "before_loop_closes",
    "beside_own_loop",
    "nothing_else_to_run",
    "run_sync",
]

P = ParamSpec("P")
T = TypeVar("T")


class SyncInsideLoopError(EngineError, RuntimeError):
    """A synchronous call was made on a running event loop. Await the async method instead."""

    default_code = "sync_inside_loop"


def run_sync(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `await function(*args, **kwargs)` from synchronous code and return its result.

    The current context variables (settings) hold inside. KeyboardInterrupt cancels the call, waits for its clean-up
    and is raised again.

    Raises:
        SyncInsideLoopError: this thread is running an event loop.
    """
    _refuse_on_a_loop(function)
    call = partial(_awaited, partial(function, *args, **kwargs))
    if _in_worker_thread():
        return anyio.from_thread.run(_unless_cancelled, call)
    return _own_loop().run(call())


async def _awaited(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


async def _unless_cancelled(call: Callable[[], Awaitable[T]]) -> T:
    """A thread's call that the loop gets to see when the thread's task has been cancelled already: it does not begin.

    Cancelling a scope reaches the calls that wait in it then. On asyncio one that comes later is in a cancelled scope of
    which nobody tells it, and would wait for ever, and with it its thread, and with that the task.
    """
    if anyio.current_effective_deadline() == -math.inf:
        await anyio.lowlevel.checkpoint()  # raises on trio
        raise asyncio.CancelledError
    return await call()


def _refuse_on_a_loop(function: Callable[..., object]) -> None:
    trio = sys.modules.get("trio")
    on_trio = trio is not None and trio.lowlevel.in_trio_run()
    if not on_trio:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
    what = getattr(function, "__qualname__", type(function).__name__)
    raise SyncInsideLoopError(
        f"This is a synchronous call inside a running event loop, which it would block. Use `await` and the async "
        f"method instead: `await program.acall(...)`, `await lm.acall(...)` (it was about to run {what}). From "
        f"blocking code that must stay blocking, move the call to a thread: `await anyio.to_thread.run_sync(...)`."
    )


def _in_worker_thread() -> bool:
    """True in a thread that anyio started for blocking code, and that may therefore call back into its loop."""
    if threading.get_ident() == _MAIN_THREAD:
        return False  # asking anyio costs an exception
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    return True


_MAIN_THREAD = threading.main_thread().ident

_before_close: list[Callable[[], Awaitable[None]]] = []


def before_loop_closes(function: Callable[[], Awaitable[None]]) -> None:
    """Run `function` on each of this module's loops before it closes: for resources that live in a loop."""
    _before_close.append(function)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that can hold back what it is asked to run next."""

    held: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
    asked = False
    """Whether anything else has been queued since this was last set to False."""

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        if self.held is not None:
            self.held.append((callback, args))
            return asyncio.Handle(callback, args, self, context)
        self.asked = True
        return super().call_soon(callback, *args, context=context)


class _Rest(Coroutine[Any, Any, T]):
    """A coroutine whose first step has been made: what it yielded then comes out first."""

    __slots__ = ("coroutine", "yielded")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self.coroutine = coroutine
        self.yielded: list[Any] = []

    def send(self, value: Any) -> Any:
        return self.yielded.pop() if self.yielded else self.coroutine.send(value)

    def throw(self, *exception: Any) -> Any:
        self.yielded.clear()
        return self.coroutine.throw(*exception)

    def close(self) -> None:
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self.coroutine.__await__()


class _OwnLoop:
    """The event loop of one thread. Closed when the thread ends, or at interpreter exit."""

    __slots__ = ("_loop", "inner", "task")

    def __init__(self) -> None:
        self._loop = _Loop()
        self.task: asyncio.Task[Any] | None = None
        self.inner: _OwnLoop | None = None
        """The loop of calls that are made inside a synchronous function that this loop's task calls."""

    @property
    def is_idle(self) -> bool:
        """Nothing was queued since the present call began."""
        return not self._loop.asked

    def without(self, function: Callable[[], T]) -> T:
        """`function()`, while it seems that no loop is running in this thread."""
        loop, task = self._loop, self.task
        assert task is not None
        _leave_task(loop, task)
        _set_running_loop(None)
        _thread.loop = self.inner
        try:
            return function()
        finally:
            self.inner = _thread.loop
            _thread.loop = self
            _set_running_loop(loop)
            _enter_task(loop, task)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of `coroutine`.

        Its first step is made at once, as the task's but without the loop. Many calls end there (an answer out of the
        cache, a stub), and two turns of an idle loop cost more than all of a predictor's own work.
        """
        loop = self._loop
        context = copy_context()
        rest = _Rest(coroutine)
        held: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        loop.held = held
        try:
            task = self.task = asyncio.Task(rest, loop=loop, context=context)
        finally:
            loop.held = None
        loop.asked = False
        _set_running_loop(loop)
        _enter_task(loop, task)
        waits = False
        try:
            rest.yielded.append(context.run(coroutine.send, None))
            waits = True
        except StopIteration as end:
            return end.value
        finally:
            _leave_task(loop, task)
            _set_running_loop(None)
            if not waits:
                self._forget(task)
                if loop.asked:
                    loop.run_until_complete(asyncio.sleep(0))  # what the coroutine has started gets its turn, as ever
        [(step, arguments)] = held
        loop.call_soon(step, *arguments, context=context)
        try:
            return loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit):
            # Raised by a signal handler in the middle of the loop: the task still waits, and so would its sockets.
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    loop.run_until_complete(task)
            raise

    def _forget(self, task: asyncio.Task[Any]) -> None:
        """Drop a task that has nothing left to do. It has not been told, and would complain of being dropped."""
        self.task = None
        task._log_destroy_pending = False  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        _unregister_task(task)

    def close(self) -> None:
        loop = self._loop
        if loop.is_closed():
            return
        try:
            for function in _before_close:
                with suppress(Exception):
                    loop.run_until_complete(_awaited(function))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def __del__(self) -> None:
        # The thread is ending and drops its locals. At interpreter exit `atexit` came first.
        with suppress(Exception):
            self.close()


_thread = threading.local()


def alone_on_own_loop() -> bool:
    """True in the very task of a `run_sync` that runs on its caller's thread: blocking here blocks only that caller."""
    loop: _OwnLoop | None = getattr(_thread, "loop", None)
    if loop is None or loop.task is None or loop.task.done():
        return False
    try:
        return asyncio.current_task() is loop.task
    except RuntimeError:
        return False


def nothing_else_to_run() -> bool:
    """True in the task of a `run_sync` on its caller's thread, as long as nothing at all was queued on its loop."""
    loop: _OwnLoop | None = getattr(_thread, "loop", None)
    return loop is not None and loop.is_idle and alone_on_own_loop()


def beside_own_loop(function: Callable[[], T]) -> T:
    """Call a synchronous function of the user's on the caller's thread, where `alone_on_own_loop()` is true.

    It is the thread that the user made the synchronous call on, which may matter to the function (a database connection,
    thread-local state), and nobody else waits for the loop. Inside, synchronous calls of programs work as outside.
    """
    own: _OwnLoop = _thread.loop
    return own.without(function)


def _own_loop() -> _OwnLoop:
    loop: _OwnLoop | None = getattr(_thread, "loop", None)
    if loop is None:
        loop = _thread.loop = _OwnLoop()
        if threading.current_thread() is threading.main_thread():
            atexit.register(loop.close)
    return loop
