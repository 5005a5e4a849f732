"""Where the plain functions of tools run, so that the event loop does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread

__all__ = ["run_in_thread"]


async def run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """What a plain function returns, from a worker thread; awaiting it is left to the caller. On cancellation the
    thread goes on and its result is dropped.
    """

    def call() -> tuple[Any]:
        return (function(**arguments),)  # in a tuple, since trio takes a coroutine here for a mistake

    return (await anyio.to_thread.run_sync(call, abandon_on_cancel=True))[0]
