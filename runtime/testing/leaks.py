"""Assert that a piece of a test leaves nothing behind: no task, actor, timer, thread, file descriptor, child process.

    async with no_leaks():
        async with open_runtime() as rt:
            ...

What was there before does not count, nor do threads that a library keeps idle for the next use. Descriptors and child
processes are read from /proc, so they are checked on Linux only.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, final

import sniffio
from anyio.lowlevel import checkpoint

from ..process import Process

_POOLED: Final = ("AnyIO worker thread", "Trio thread", "asyncio_", "ThreadPoolExecutor")
"""How the threads are called that anyio, trio and asyncio keep for later."""

_ROUNDS: Final = 20
_PATIENCE: Final = 0.5
"""Seconds that the system gets to close what was told to close."""


@final
class Leaked(AssertionError):
    """Something was left behind. ``leaks`` has one line for each thing: what kind it is, and what it is."""

    def __init__(self, leaks: list[str]) -> None:
        super().__init__("left behind:\n" + "\n".join(f"  {leak}" for leak in leaks))
        self.leaks = leaks


@asynccontextmanager
async def no_leaks() -> AsyncGenerator[None]:
    """Raises Leaked at the end of the block if it left something behind; what the block raises comes out unchanged.

    Tasks that are ending get a few turns of the loop first, and what the operating system holds half a second.
    """
    before = {kind for kind, _ in _everything()}
    yield
    for _ in range(_ROUNDS):
        if not _new(before):
            return
        await checkpoint()
    deadline = time.monotonic() + _PATIENCE
    while leaks := _new(before):
        if time.monotonic() > deadline:
            raise Leaked(leaks)
        time.sleep(0.01)  # noqa: ASYNC251 - real time, also on a virtual clock
        await checkpoint()


def _new(before: set[tuple[str, object]]) -> list[str]:
    return sorted(f"{identity[0]}: {text}" for identity, text in _everything() if identity not in before)


def _everything() -> Iterator[tuple[tuple[str, object], str]]:
    """All there is: its kind and what identifies it, and what it is called."""
    yield from _tasks_and_timers()
    for found in gc.get_objects():
        # By type, not isinstance: lazy modules and proxies answer isinstance by importing something.
        if type(found) is Process and not found.gone:
            yield ("actor", found), found.label
    for thread in threading.enumerate():
        if not thread.name.startswith(_POOLED):
            yield ("thread", thread), thread.name
    yield from _descriptors()
    for pid in _child_processes():
        yield ("child process", pid), f"{pid} {_command(pid)}"


def _tasks_and_timers() -> Iterator[tuple[tuple[str, object], str]]:
    if sniffio.current_async_library() == "trio":
        yield from _trio_tasks()
        return
    loop: Any = asyncio.get_running_loop()
    current = asyncio.current_task()
    for task in asyncio.all_tasks(loop):
        runner = getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")  # anyio's, one for each fixture
        if task is not current and not runner and not task.done():
            yield ("task", task), task.get_name()
    for handle in getattr(loop, "_scheduled", ()):
        if not handle.cancelled():
            yield ("timer", handle), repr(handle)


def _trio_tasks() -> Iterator[tuple[tuple[str, object], str]]:
    import trio

    root = trio.lowlevel.current_root_task()
    current = trio.lowlevel.current_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        if task is not current:
            yield ("task", task), task.name
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def _descriptors() -> Iterator[tuple[tuple[str, object], str]]:
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:
        return
    for number in numbers:
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # that was the listing itself
        yield ("file descriptor", (number, target)), f"{number} -> {target}"


def _child_processes() -> Iterator[int]:
    for task in _listed("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as children:
                yield from map(int, children.read().split())
        except OSError:
            continue


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return line.read().replace(b"\0", b" ").decode(errors="replace").strip() or "(ended, not waited for)"
    except OSError:
        return "(gone)"
