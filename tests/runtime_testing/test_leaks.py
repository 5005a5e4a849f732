"""Each kind of thing that can be left behind is noticed, and a clean end is not called a leak."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import AsyncExitStack

import anyio
import anyio.to_thread
import pytest
from dspex.runtime import Actor, Mailbox, open_runtime, spawn
from dspex.runtime.testing import Leaked, no_leaks

pytestmark = pytest.mark.anyio


class Child:
    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    def end(self) -> None:
        self.process.communicate(b"\n")


class Idle(Actor):
    async def init(self) -> None:
        self.send_after(3600, self.ref, "tick")


async def test_a_runtime_leaves_nothing_behind() -> None:
    async with no_leaks(), open_runtime() as rt:

        async def wait(mailbox: Mailbox) -> None:
            await mailbox.receive()

        await rt.start(Idle())
        spawn(wait)
        rt.send_after(10, await rt.start(Idle()), "x")


async def test_a_thread_kept_for_later_is_no_leak() -> None:
    async with no_leaks():
        await anyio.to_thread.run_sync(lambda: None)


async def test_an_actor_and_its_task_are_noticed() -> None:
    async with AsyncExitStack() as stack:

        async def forget() -> None:
            async with no_leaks():
                rt = await stack.enter_async_context(open_runtime())
                await rt.start(Idle())

        with pytest.raises(Leaked, match="actor: Idle#") as caught:
            await forget()
        kinds = {leak.partition(":")[0] for leak in caught.value.leaks}
        assert {"actor", "task"} <= kinds


async def test_a_task_is_noticed() -> None:
    async with anyio.create_task_group() as group:
        with pytest.raises(Leaked, match=r"task: .*forgotten"):
            async with no_leaks():
                group.start_soon(anyio.sleep, 3600, name="forgotten")
        group.cancel_scope.cancel()


async def test_a_descriptor_is_noticed() -> None:
    reading = writing = -1
    with pytest.raises(Leaked, match=r"file descriptor: \d+ -> pipe"):
        async with no_leaks():
            reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)


async def test_a_thread_is_noticed() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="forgotten")
    with pytest.raises(Leaked, match="thread: forgotten"):
        async with no_leaks():
            thread.start()
    release.set()
    thread.join()


async def test_a_child_process_is_noticed() -> None:
    child = Child()
    with pytest.raises(Leaked, match="child process: "):
        async with no_leaks():
            child.start()
    child.end()


async def test_what_the_block_raises_comes_out() -> None:
    with pytest.raises(KeyError):
        async with no_leaks():
            raise KeyError("x")
