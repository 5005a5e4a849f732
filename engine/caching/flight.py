"""Single flight: of equal calls that are made at the same time, one does the work and the others get its result.

It works across tasks, event loops and threads of the process. The first caller does the work in its own task, so that
cancelling it cancels the work; if others wait then, one of them takes over. An error of the work is raised at all who
waited for it: each doing it again would multiply the load on a provider that already fails.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

import anyio
import sniffio

__all__ = ["SingleFlight"]

T = TypeVar("T")


class _Flight(Generic[T]):
    __slots__ = ("abandoned", "error", "landed", "result", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.landed = False
        self.abandoned = False
        self.result: T | None = None
        self.error: Exception | None = None


class SingleFlight(Generic[T]):
    """Calls under way, by key."""

    __slots__ = ("_flights", "_lock", "shared")

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}
        self._lock = threading.Lock()
        self.shared = 0
        """Calls that got another call's result."""

    async def run(
        self, key: Hashable, work: Callable[[], Awaitable[T]], *, patience: float = math.inf
    ) -> tuple[T, bool]:
        """The result of `work()`, and whether it was another caller's.

        Args:
            patience: seconds to wait for another caller's work; how long one's own may take is up to `work`.

        Raises:
            TimeoutError: another caller's work took longer than that.
            Whatever the work raised.

        Cancellation ends the wait; the work goes on for as long as its own caller does.
        """
        latest = anyio.current_time() + patience
        while True:
            with self._lock:
                flight = self._flights.get(key)
                leads = flight is None
                if flight is None:
                    flight = self._flights[key] = _Flight[T]()
                    event = None
                else:
                    event = anyio.Event()
                    flight.waiting.append(_from_any_thread(event.set))
            if leads:
                return await self._lead(key, flight, work), False
            assert event is not None
            with anyio.CancelScope(deadline=latest) as scope:
                await event.wait()
            if scope.cancelled_caught:
                raise TimeoutError
            if flight.abandoned:
                continue
            if flight.error is not None:
                raise flight.error
            with self._lock:
                self.shared += 1
            return flight.result, True  # type: ignore[return-value]  # landed without error: it is a T

    async def _lead(self, key: Hashable, flight: _Flight[T], work: Callable[[], Awaitable[T]]) -> T:
        try:
            flight.result = await work()
        except Exception as error:
            flight.error = error
            raise
        except BaseException:
            flight.abandoned = True
            raise
        finally:
            with self._lock:
                del self._flights[key]
                flight.landed = True
                waiting = flight.waiting
            for wake in waiting:
                wake()
        return flight.result

    def __len__(self) -> int:
        return len(self._flights)


def _from_any_thread(function: Callable[[], object]) -> Callable[[], None]:
    """`function`, to be called on this event loop from whatever thread; without effect when the loop is gone."""
    if sniffio.current_async_library() == "trio":
        import trio

        token = trio.lowlevel.current_trio_token()

        def wake_trio() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(function)

        return wake_trio

    import asyncio

    loop = asyncio.get_running_loop()

    def wake_asyncio() -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(function)

    return wake_asyncio
