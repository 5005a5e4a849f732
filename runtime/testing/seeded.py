"""Seeded scheduling: a seed decides in which order tasks that are ready run, and the same seed decides the same again.

    name, options = virtual_backend("asyncio", seed=7)
    anyio.run(scenario, backend=name, backend_options=options)

Programs that are right are right in any order. asyncio runs tasks in the order in which they became ready, which hides
the others; trio takes one of two orders by chance, which finds some of them and cannot repeat it. With a seed both take a
random order that is a function of the seed. Only the order of tasks changes: each still runs from one ``await`` to the
next undisturbed, messages between two actors keep their order, and callbacks of the loop itself stay where they are.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from collections import deque
from typing import Any

from .virtual_time import VirtualEventLoop


class SeededEventLoop(VirtualEventLoop):
    """A virtual asyncio loop that runs ready tasks in an order given by a seed."""

    _ready: deque[asyncio.Handle]

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._order = random.Random(seed)

    def _run_once(self) -> None:
        ready = self._ready
        if len(ready) > 1:
            # Steps of tasks change places with each other; callbacks of futures and transports rely on their order.
            places = [i for i, handle in enumerate(ready) if _is_step(handle)]
            if len(places) > 1:
                steps = [ready[i] for i in places]
                self._order.shuffle(steps)
                for place, step in zip(places, steps, strict=True):
                    ready[place] = step
        super()._run_once()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _is_step(handle: asyncio.Handle) -> bool:
    callback: Any = handle._callback  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def seeded_trio(seed: int) -> Any:
    """A trio instrument that makes trio's own random order one of this seed, for the time of the run.

    trio shuffles every batch of ready tasks already, by a generator of its own; its switch for hypothesis makes that
    order reproducible. Both are put back afterwards.
    """
    import trio

    # Through importlib, because these two names are trio's own; they are what pytest-trio sets too.
    run: Any = importlib.import_module("trio._core._run")

    class Seeded(trio.abc.Instrument):
        def __init__(self) -> None:
            self._before: tuple[bool, random.Random] | None = None

        def before_run(self) -> None:
            self._before = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r
            run._ALLOW_DETERMINISTIC_SCHEDULING = True
            run._r = random.Random(seed)

        def after_run(self) -> None:
            if self._before is not None:
                run._ALLOW_DETERMINISTIC_SCHEDULING, run._r = self._before

    return Seeded()
