"""The testing kit itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import anyio
import pytest
from dspex.runtime import Actor, open_runtime
from dspex.runtime.testing import (
    VirtualEventLoop,
    all_tasks_blocked,
    assert_tree,
    virtual_backend,
    virtual_time_backends,
)
from dspex.supervisors import Child, Supervisor, tree

pytestmark = pytest.mark.anyio


class Idle(Actor):
    pass


async def test_an_hour_takes_no_time() -> None:
    started = time.monotonic()
    async with open_runtime() as rt:
        before = rt.now()
        await rt.sleep(3600)
        assert rt.now() - before == pytest.approx(3600)
        with anyio.move_on_after(3600):
            await anyio.sleep_forever()
        assert rt.now() - before == pytest.approx(7200)
    assert time.monotonic() - started < 60


async def test_timers_fire_in_order_of_time_and_not_of_setting() -> None:
    order: list[int] = []

    async def wait(seconds: int) -> None:
        await anyio.sleep(seconds)
        order.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (30, 10, 20):
            group.start_soon(wait, seconds)
    assert order == [10, 20, 30]


async def test_all_tasks_blocked_lets_others_run_and_no_time_pass() -> None:
    done: list[str] = []

    async def work() -> None:
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        done.append("ran")
        await anyio.sleep(1)
        done.append("slept")

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        before = anyio.current_time()
        await all_tasks_blocked()
        assert done == ["ran"]
        assert anyio.current_time() == before


async def test_a_thread_is_waited_for_in_real_time() -> None:
    assert await anyio.to_thread.run_sync(lambda: time.sleep(0.01) or "back") == "back"


def test_every_virtual_backend_has_a_clock_of_its_own() -> None:
    first, second = virtual_backend("trio"), virtual_backend("trio")
    assert first[1]["clock"] is not second[1]["clock"]
    assert set(virtual_time_backends()) == {"asyncio", "trio"}
    with pytest.raises(ValueError, match="curio"):
        virtual_backend("curio")


def test_real_time_has_no_end_of_activity() -> None:
    with pytest.raises(RuntimeError, match="virtual time"):
        asyncio.run(all_tasks_blocked())


def test_the_loop_is_an_ordinary_loop_otherwise() -> None:
    async def main() -> str:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line.decode()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        server = runner.run(asyncio.start_server(greet, "127.0.0.1", 0))
        assert runner.run(main()) == "hello\n"
        server.close()
        runner.run(server.wait_closed())


async def test_a_tree_is_asserted_by_drawing_it() -> None:
    async with open_runtime() as rt:
        inner = Child("inner", lambda: Supervisor([Child("c", Idle)]), type="supervisor")
        await rt.start(Supervisor([Child("a", Idle), inner, Child("b", Idle)], name="root"))
        assert_tree(
            tree(rt),
            """
            runtime
              root
                a
                inner
                  c
                b
            """,
        )
        with pytest.raises(AssertionError, match="should be"):
            assert_tree(tree(rt), "runtime")
        root = rt.ref("root")
        await root.call(Supervisor.terminate_child, "b")
        resolved = root.resolve()
        assert resolved is not None
        assert_tree(
            tree(resolved),
            """
            root
              a
              inner
                c
              b  stopped
            """,
        )


def test_importing_the_package_imports_neither_trio_nor_pytest() -> None:
    code = "import dspex.runtime, dspex.supervisors, sys; print([m for m in ('trio', 'pytest') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
