"""A task beside an async generator, which must not hold a task group open while its reader has control.

A generator that is left in the middle is closed later, by another task; a task group or cancel scope that it holds would
then be left by a task that never entered it. So the program runs in a task of its own, which the generator only watches
and cancels. (The one place of the engine, besides `sync`, that knows asyncio from trio.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import sniffio

__all__ = ["BackgroundTask"]


class BackgroundTask:
    """Runs an async function at once, in the caller's context; it ends with the event loop at the latest.

    What the function raises is kept in `error`; nothing is raised here.
    """

    def __init__(self, function: Callable[[], Awaitable[object]]) -> None:
        self.error: BaseException | None = None
        self._done = anyio.Event()
        self._scope = anyio.CancelScope()
        self._task: Any = None
        if sniffio.current_async_library() == "trio":
            import trio

            trio.lowlevel.spawn_system_task(self._run, function, context=_context())
        else:
            import asyncio

            self._task = asyncio.get_running_loop().create_task(self._run(function))

    async def _run(self, function: Callable[[], Awaitable[object]]) -> None:
        try:
            with self._scope:
                try:
                    await function()
                except Exception as error:
                    self.error = error
        finally:
            self._done.set()

    def cancel(self) -> None:
        """Ask it to end."""
        self._scope.cancel()

    async def ended(self) -> None:
        """Wait until it has ended; cancellation does not cut this short."""
        with anyio.CancelScope(shield=True):
            await self._done.wait()


def _context() -> Any:
    import contextvars

    return contextvars.copy_context()
