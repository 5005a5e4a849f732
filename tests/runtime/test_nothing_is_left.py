"""Leaving ``open_runtime`` leaves no task, timer, open file or thread behind, however it is left and whatever is going on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import sniffio
from dspex.runtime import (
    Actor,
    ExitSignal,
    Mailbox,
    Runtime,
    StartFailed,
    TreeFailed,
    multi_call,
    open_runtime,
    spawn,
)
from dspex.runtime.testing import virtual_backend
from dspex.supervisors import Child, Supervisor

BACKENDS = ["asyncio", "trio"]


def census() -> dict[str, int]:
    """What is alive around the code that runs."""
    fds = Path("/proc/self/fd")
    counts = {"threads": threading.active_count(), "files": len(os.listdir(fds)) if fds.exists() else 0}
    if sniffio.current_async_library() == "trio":
        import trio

        statistics = trio.lowlevel.current_statistics()
        return counts | {
            "tasks": statistics.tasks_living,
            "deadlines": 0 if statistics.seconds_to_next_deadline == float("inf") else 1,
        }
    loop: Any = asyncio.get_running_loop()
    scheduled = [handle for handle in loop._scheduled if not handle.cancelled()]
    return counts | {"tasks": len(asyncio.all_tasks()), "deadlines": len(scheduled)}


async def settled() -> dict[str, int]:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    return census()


class Hanging(Actor):
    """Hangs where it is told to."""

    trap_exit = True
    shutdown = 2.0

    def __init__(self, where: str, swallows: int = 0) -> None:
        self.where = where
        self.swallows = swallows

    async def init(self) -> None:
        self.rt.send_after(1_000, self.ref, "later")
        await self._perhaps("init")

    async def terminate(self, reason: object) -> None:
        await self._perhaps("terminate")

    async def work(self) -> None:
        await self._perhaps("work")

    async def later(self) -> None:
        self.defer()

    async def _perhaps(self, where: str) -> None:
        if where != self.where:
            return
        for _ in range(self.swallows):
            with suppress(BaseException):  # what nobody should write, and somebody will
                await anyio.sleep_forever()
        await anyio.sleep_forever()


class Pool(Actor):
    concurrency = 3
    mailbox_limit = 2

    async def work(self) -> None:
        await anyio.sleep_forever()


async def idle(me: Mailbox) -> None:
    await me.receive(within=10_000)


async def busy_tree(rt: Runtime) -> None:
    """Everything that can be going on."""
    children = [Child("a", lambda: Hanging("work")), Child("b", lambda: Hanging("terminate"), shutdown=1)]
    await rt.start(Supervisor([*children, Child("c", Pool, name="pool")]))
    spawn(idle)
    hanging = await rt.start(Hanging("work", swallows=3))
    hanging.cast(Hanging.work)
    rt.send_after(500, rt.ref("pool"), "timer for a name")
    waiting = Waiting()
    await rt.start(waiting)
    for _ in range(8):
        waiting.task(rt.ref("pool").within(300).call, Pool.work)
    waiting.task(hanging.within(400).call, Hanging.later)
    waiting.task(multi_call, [hanging, hanging], Hanging.later)
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()


class Waiting(Actor):
    trap_exit = True

    async def handle_info(self, message: object) -> None:
        assert isinstance(message, ExitSignal)


class Reason(Exception):
    pass


async def left_in_order(rt: Runtime) -> None:
    await busy_tree(rt)


async def left_by_an_exception(rt: Runtime) -> None:
    await busy_tree(rt)
    raise Reason


async def left_by_cancellation(rt: Runtime) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await busy_tree(rt)
    await busy_tree(rt)
    raise Reason


async def left_while_an_init_hangs(rt: Runtime) -> None:
    await busy_tree(rt)
    async with anyio.create_task_group() as group:
        group.start_soon(expecting_failure, rt, Hanging("init"))
        group.start_soon(expecting_failure, rt, Supervisor([Child("a", lambda: Hanging("init"))]))
        await anyio.lowlevel.checkpoint()
        raise Reason


async def expecting_failure(rt: Runtime, startable: Any) -> None:
    with pytest.raises(StartFailed):
        await rt.start(startable)


async def left_while_a_terminate_hangs(rt: Runtime) -> None:
    for _ in range(3):
        await rt.start(Hanging("terminate"))


async def left_while_a_child_ignores_cancellation(rt: Runtime) -> None:
    for swallows in (1, 5, 50):
        ref = await rt.start(Hanging("work", swallows=swallows))
        ref.cast(Hanging.work)
    await rt.start(Supervisor([Child("a", lambda: Hanging("terminate", swallows=7), shutdown="brutal_kill")]))
    await anyio.lowlevel.checkpoint()


WAYS: list[Callable[[Runtime], Awaitable[None]]] = [
    left_in_order,
    left_by_an_exception,
    left_by_cancellation,
    left_while_an_init_hangs,
    left_while_a_terminate_hangs,
    left_while_a_child_ignores_cancellation,
]


def run(backend: str, main: Callable[[], Awaitable[Any]]) -> Any:
    name, options = virtual_backend(backend)
    return anyio.run(main, backend=name, backend_options=options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_left(backend: str, way: Callable[[Runtime], Awaitable[None]]) -> None:
    async def main() -> tuple[dict[str, int], dict[str, int]]:
        before = await settled()
        try:
            async with open_runtime() as rt:
                await way(rt)
        except* Reason:
            pass
        assert rt.statistics()["processes"] == 0
        return before, await settled()

    before, after = run(backend, main)
    assert after == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_left_when_the_host_cancels(backend: str) -> None:
    async def main() -> tuple[dict[str, int], dict[str, int]]:
        before = await settled()
        with anyio.move_on_after(1) as scope:
            async with open_runtime() as rt:
                await busy_tree(rt)
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        return before, await settled()

    before, after = run(backend, main)
    assert after == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("where", ["body", "handler", "task"])
def test_nothing_is_left_when_an_interrupt_arrives(backend: str, where: str) -> None:
    class Interrupted(Actor):
        def work(self) -> None:
            raise KeyboardInterrupt

        async def beside(self) -> None:
            raise KeyboardInterrupt

        def start(self) -> None:
            self.task(self.beside)

    async def main() -> tuple[dict[str, int], dict[str, int]]:
        before = await settled()
        interrupted = False
        try:
            async with open_runtime() as rt:
                await busy_tree(rt)
                ref = await rt.start(Interrupted())
                if where == "body":
                    raise KeyboardInterrupt
                ref.cast(Interrupted.work if where == "handler" else Interrupted.start)
                await anyio.sleep_forever()
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted
        return before, await settled()

    before, after = run(backend, main)
    assert after == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tree_that_fails_leaves_nothing_but_its_chain_of_causes(backend: str) -> None:
    error = ValueError("what it was about")

    class Doomed(Actor):
        async def init(self) -> None:
            self.rt.send_after(0.5, self.ref, "go")

        async def handle_info(self, message: object) -> None:
            raise RuntimeError("cannot go on") from error

    async def main() -> tuple[dict[str, int], dict[str, int]]:
        before = await settled()
        with pytest.raises(TreeFailed) as failed:  # noqa: PT012
            async with open_runtime() as rt:
                await busy_tree(rt)
                await rt.start(Supervisor([Child("doomed", Doomed)], intensity=2))
                await anyio.sleep_forever()
        chain: list[str] = []
        cause: BaseException | None = failed.value
        while cause is not None:
            chain.append(type(cause).__name__)
            cause = cause.__cause__
        assert chain == ["TreeFailed", "RestartLimitReached", "RuntimeError", "ValueError"]
        return before, await settled()

    before, after = run(backend, main)
    assert after == before


def test_the_census_sees_what_is_left() -> None:
    """Or the tests above could not fail."""

    async def main() -> None:
        before = await settled()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            await anyio.lowlevel.checkpoint()
            assert (await settled())["tasks"] == before["tasks"] + 1
            assert census()["deadlines"] == 1

    for backend in BACKENDS:
        run(backend, main)
