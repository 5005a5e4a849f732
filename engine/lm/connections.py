"""SDK clients, one per LM, endpoint and event loop, made on first use and closable.

An HTTP client belongs to the event loop that opened its sockets, while an `LM` object is an ordinary value that
programs share between loops and threads (`asyncio.run` twice, the sync face, trio in tests). So the clients are kept
in the running loop and only looked up through the LM: an LM and all its copies share one `Connections` token.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any
from weakref import ref

import anyio
from anyio.lowlevel import RunVar

from .wire import Access, Provider

__all__ = ["Connections", "close_all_connections"]


class _Clients:
    """The clients of one `Connections` in one event loop."""

    __slots__ = ("by_access", "lock")

    def __init__(self) -> None:
        self.by_access: dict[Access, tuple[Provider, Any]] = {}
        self.lock = anyio.Lock()  # a burst of first calls builds one client, not one each

    async def close(self) -> None:
        """Close every client, also when closing one of them fails; the last failure is raised."""
        entries = list(self.by_access.values())
        self.by_access.clear()
        async with AsyncExitStack() as stack:
            for provider, client in entries:
                stack.push_async_callback(provider.close, client)


class _Loop:
    """All clients of one event loop.

    When an LM is garbage-collected nobody can await the closing of its clients there and then, so they are set aside
    and closed by the next one who opens or closes something in this loop.
    """

    __slots__ = ("by_owner", "orphans")

    def __init__(self) -> None:
        self.by_owner: dict[ref[Connections], _Clients] = {}
        self.orphans: list[_Clients] = []

    def of(self, owner: Connections) -> _Clients:
        key = ref(owner, self._owner_gone)
        found = self.by_owner.get(key)
        if found is None:
            found = self.by_owner[key] = _Clients()
        return found

    def _owner_gone(self, key: ref[Connections]) -> None:
        clients = self.by_owner.pop(key, None)
        if clients is not None:
            self.orphans.append(clients)

    async def close_orphans(self) -> None:
        while self.orphans:
            await self.orphans.pop().close()


class Connections:
    """Token that an LM and its copies share; it owns their clients in whatever loop they are used.

    Safe to use from several loops in several threads: each loop sees only its own clients.
    """

    __slots__ = ("__weakref__",)

    async def client(self, provider: Provider, access: Access) -> Any:
        """The client for this endpoint in the running loop, connected on first use.

        Raises whatever `Provider.connect` raises; a failed connect leaves nothing behind and may be tried again.
        """
        loop = _this_loop()
        if loop.orphans:
            await loop.close_orphans()
        mine = loop.of(self)
        known = mine.by_access.get(access)
        if known is None:
            async with mine.lock:
                known = mine.by_access.get(access)
                if known is None:
                    known = mine.by_access[access] = (provider, await provider.connect(access))
        return known[1]

    async def aclose(self) -> None:
        """Close the clients of the running loop. The next call opens new ones."""
        loop = _this_loop()
        mine = loop.by_owner.pop(ref(self), None)
        if mine is not None:
            await mine.close()
        await loop.close_orphans()


_loops: RunVar[_Loop] = RunVar("dspex LM clients")


def _this_loop() -> _Loop:
    found = _loops.get(None)
    if found is None:
        found = _Loop()
        _loops.set(found)
    return found


async def close_all_connections() -> None:
    """Close every LM client of the running loop, whoever owns it. For the end of a loop's life."""
    loop = _this_loop()
    while loop.by_owner:
        _, mine = loop.by_owner.popitem()
        await mine.close()
    await loop.close_orphans()
