"""Virtual time on both loops: a test that waits an hour takes no time at all.

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request):
        return virtual_backend(request.param)

    @pytest.mark.anyio
    async def test_gives_up_after_an_hour():
        async with open_runtime() as rt:
            ...
            await rt.sleep(3600)

The clock stands still while anything can run. When every task waits, it jumps to the next timer. So a test sees the same
order at any speed of the machine, and a time-out that never comes is no reason to wait. Threads, sockets and child
processes live in real time: what waits for them while a timer is set will see the timer fire first, so test those on the
ordinary loops.
"""

from __future__ import annotations

import asyncio
import selectors

import sniffio


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock starts at 0 and jumps to the next timer when nothing is runnable.

    Use it as any loop: ``asyncio.Runner(loop_factory=VirtualEventLoop)``.
    """

    def __init__(self) -> None:
        self._virtual_now = 0.0
        self._idle: list[asyncio.Future[None]] = []
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_now

    def jump(self, seconds: float) -> bool:
        """Nothing is runnable and the next timer is ``seconds`` away. Go there, unless somebody waits for just this."""
        if self._idle:
            waiting, self._idle = self._idle, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            return True
        self._virtual_now += seconds
        return False

    async def all_blocked(self) -> None:
        """Return when every other task waits; the clock has not moved."""
        future: asyncio.Future[None] = self.create_future()
        self._idle.append(future)
        await future


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer; waits for the outside world only if there is no timer."""

    def __init__(self, loop: VirtualEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self._loop.jump(timeout or 0.0) or timeout is not None:
            return []
        return super().select(None)


async def all_tasks_blocked() -> None:
    """Return when every other task of the loop waits for something; virtual time has not moved meanwhile.

    Where "nothing more will happen by itself" is what a test means. Raises RuntimeError on an asyncio loop in real time.
    """
    if sniffio.current_async_library() == "trio":
        from trio.testing import wait_all_tasks_blocked

        await wait_all_tasks_blocked()
        return
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualEventLoop):
        raise RuntimeError("all_tasks_blocked needs virtual time: run the test on virtual_backend('asyncio')")
    await loop.all_blocked()
