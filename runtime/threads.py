"""Between threads and the runtime, in both directions.

From another thread, with the types of ``ref.call``:

    def report(rt: Runtime, counter: Ref[Counter]) -> None:         # runs in some thread
        total = rt.from_thread.call(counter, Counter.add, 5)
        rt.from_thread.cast(counter.within(1), Counter.add, 1)

From an actor into code that blocks:

    class Indexer(Actor):
        async def index(self, path: str) -> int:
            return await in_thread(slow_index, path)

A reference itself belongs to the event loop: calling its methods in another thread is a data race.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, final, overload

import anyio
import anyio.to_thread

from .exits import RuntimeClosed, WrongThread
from .process import Kernel, beside_cancellation
from .ref import NamedRef, Ref

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")


@final
class FromThread:
    """How other threads speak to the runtime: ``rt.from_thread``. Its methods block the thread that calls them.

    All raise WrongThread in the thread of the event loop itself, which would wait for itself, and RuntimeClosed when the
    runtime has stopped or stops first: nobody is left waiting. A thread that is interrupted while it waits (Ctrl-C in the
    main thread) cancels what it waits for.
    """

    def __init__(self, kernel: Kernel, enter: Callable[[], object]) -> None:
        self._kernel = kernel
        self._enter = enter
        """Makes ``current_runtime`` known in a new task."""
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: set[Future[Any]] = set()
        self._scopes: dict[Future[Any], anyio.CancelScope] = {}

    @overload
    def call(
        self,
        ref: Ref[A] | NamedRef[A],
        method: Callable[Concatenate[A, P], Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...
    @overload
    def call(
        self, ref: Ref[A] | NamedRef[A], method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    def call(self, ref: Any, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``await ref.call(method, ...)``, with its errors and time limits: ``ref.within(seconds)`` sets another."""
        return self.run(partial(ref.call, method, *args, **kwargs))

    def cast(
        self,
        ref: Ref[A] | NamedRef[A],
        method: Callable[Concatenate[A, P], object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """``await ref.cast_wait(method, ...)``: returns when the message is in the mailbox."""
        self.run(partial(ref.cast_wait, method, *args, **kwargs))

    def send(self, ref: Ref[Any] | NamedRef[Any], message: object) -> None:
        """``await ref.send_wait(message)``: returns when the message is in the mailbox."""
        self.run(partial(ref.send_wait, message))

    def run(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an async function on the event loop, in a task of the runtime's block, and return what it returns.

        When the runtime stops, it is cancelled as soon as the last process is gone.
        """
        if threading.get_ident() == self._loop_thread:
            raise WrongThread(
                "from_thread is for other threads: in the thread of the event loop, await the call itself"
            )
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise _closed()
            self._waiting.add(future)
        backend = self._kernel.backend
        try:
            if not backend.call_from_thread(lambda: self._begin(future, partial(function, *args, **kwargs))):
                raise _closed()
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                backend.call_from_thread(lambda: self._interrupt(future))
            raise
        finally:
            with self._lock:
                self._waiting.discard(future)

    def _begin(self, future: Future[Any], work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if not future.done():
            self._kernel.backend.spawn(lambda: self._job(future, work), "dspex from_thread")

    async def _job(self, future: Future[Any], work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        if future.done():
            return  # the runtime was closed, or the thread interrupted, before this task ran
        cancelled = self._kernel.backend.cancelled
        self._enter()
        try:
            with anyio.CancelScope() as scope:
                self._scopes[future] = scope
                try:
                    value = await work()
                except cancelled:
                    raise
                except BaseException as error:
                    rest = beside_cancellation(error, cancelled)
                    if rest is None:
                        raise
                    if not isinstance(rest, Exception):
                        self._kernel.escalate(error)
                    _fill(future, error=rest)
                else:
                    _fill(future, value=value)
        finally:
            self._scopes.pop(future, None)
            _fill(future, error=_closed())

    def _interrupt(self, future: Future[Any]) -> None:
        scope = self._scopes.get(future)
        if scope is not None:
            scope.cancel()

    def close(self) -> None:
        """Refuse what comes, fail who waits, cancel what runs. On the loop, when the last process is gone."""
        with self._lock:
            self._closed = True
            waiting = tuple(self._waiting)
        for future in waiting:
            self._interrupt(future)
            _fill(future, error=_closed())


def _closed() -> RuntimeClosed:
    return RuntimeClosed("the runtime has stopped: other threads reach nobody in it any more")


def _fill(future: Future[Any], *, value: object = None, error: BaseException | None = None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that blocks in a worker thread and wait for what it returns or raises.

    Python cannot stop a thread. Cancelled while the function waits for a free thread: it never runs. Cancelled later: the
    wait goes on until the function returns, so an actor that is killed is gone only then, and nothing outlives the block.
    A long function can ask ``anyio.from_thread.check_cancelled()`` now and then, which raises when it is to stop.

    At most 40 run at a time, anyio's default, others wait. The function sees the caller's context variables.
    """
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


async def in_abandoned_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As ``in_thread``, but cancelled, it returns at once: the function runs on unobserved, and what it returns is dropped.

    For what may hang for ever and does no harm when it comes too late; it may outlive the block.
    """
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)
