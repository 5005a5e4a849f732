"""Which loop are we on?"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import sniffio

from .contract import Backend


def open_backend() -> AbstractAsyncContextManager[Backend]:
    """A home for the runtime's tasks on the loop that is running.

    The body of the block may be cancelled by the host; the tasks spawned here are not. Whoever opened the backend ends
    them, and leaving the block waits until the last one is gone.
    """
    library = sniffio.current_async_library()
    if library == "trio":
        from .on_trio import open_trio

        return open_trio()
    if library == "asyncio":
        from .on_asyncio import open_asyncio

        return open_asyncio()
    raise RuntimeError(f"dspex runs on asyncio and trio, not on {library}")
