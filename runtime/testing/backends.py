"""What to run a test on: a loop with a fresh virtual clock, and if wanted with an order of tasks given by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .seeded import SeededEventLoop, seeded_trio
from .virtual_time import VirtualEventLoop

BackendName = Literal["asyncio", "trio"]


def virtual_backend(name: str, *, seed: int | None = None) -> tuple[str, dict[str, Any]]:
    """A fresh virtual clock for this loop, as a value of anyio's ``anyio_backend`` fixture or arguments of ``anyio.run``.

    ``seed`` also decides the order in which tasks that are ready run, see ``seeded``; None: the loop's own order.
    Raises ValueError for a name that is neither "asyncio" nor "trio".
    """
    if name == "asyncio":
        if seed is None:
            return "asyncio", {"loop_factory": VirtualEventLoop}
        return "asyncio", {"loop_factory": lambda: SeededEventLoop(seed)}
    if name == "trio":
        from trio.testing import MockClock

        clock = MockClock(autojump_threshold=0)
        if seed is None:
            return "trio", {"clock": clock}
        return "trio", {"clock": clock, "instruments": [seeded_trio(seed)]}
    raise ValueError(f"virtual time runs on 'asyncio' and 'trio', not on {name!r}")


def virtual_time_backends(*, seed: int | None = None) -> Mapping[BackendName, tuple[str, dict[str, Any]]]:
    """Both loops with fresh virtual clocks, by name."""
    return {"asyncio": virtual_backend("asyncio", seed=seed), "trio": virtual_backend("trio", seed=seed)}
