"""`run_sync` makes the first step of a call without turning the loop; nothing that a call can see tells it so."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging

import anyio
import anyio.to_thread
import pytest
from dspex.engine.sync import SyncInsideLoopError, alone_on_own_loop, run_sync


def test_a_call_that_never_waits_needs_no_turn_of_the_loop_and_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def answer() -> int:
        loops.append(asyncio.get_running_loop())
        assert alone_on_own_loop()
        return 1

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        assert [run_sync(answer) for _ in range(50)] == [1] * 50
        gc.collect()
    assert caplog.records == []  # no task complains of having been dropped
    assert asyncio.all_tasks(loops[0]) == set()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_call_that_waits_goes_on_in_the_task_it_began_in() -> None:
    async def call() -> str:
        task = asyncio.current_task()
        async with asyncio.timeout(20):
            with anyio.fail_after(20):
                await asyncio.sleep(0)
                assert asyncio.current_task() is task
                return await anyio.to_thread.run_sync(lambda: "from a thread")

    assert run_sync(call) == "from a thread"


def test_deadlines_and_task_groups_work_from_the_first_step_on() -> None:
    async def too_slow() -> bool:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught

    async def group() -> list[int]:
        done: list[int] = []

        async def work(number: int) -> None:
            done.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(work, number)
        return done

    assert run_sync(too_slow)
    assert run_sync(group) == [0, 1, 2]


def test_a_task_that_a_call_leaves_behind_gets_its_first_turn() -> None:
    ran: list[str] = []

    async def background() -> None:
        ran.append("yes")

    async def call() -> None:
        call.task = asyncio.get_running_loop().create_task(background())  # type: ignore[attr-defined]

    run_sync(call)
    assert ran == ["yes"]


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_call_raises_comes_out_as_it_is(waits: bool) -> None:
    class Failed(BaseException):
        pass

    async def call() -> None:
        if waits:
            await asyncio.sleep(0)
        raise Failed

    with pytest.raises(Failed):
        run_sync(call)

    async def again() -> int:
        return 2

    assert run_sync(again) == 2


def test_context_variables_set_inside_stay_inside() -> None:
    mark: contextvars.ContextVar[int] = contextvars.ContextVar("mark", default=0)

    async def call() -> int:
        mark.set(5)
        await asyncio.sleep(0)
        return mark.get()

    assert (run_sync(call), mark.get()) == (5, 0)


def test_a_call_that_cancels_itself_before_it_waits_is_cancelled() -> None:
    async def call() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "cancelled"
        return "not"

    assert run_sync(call) == "cancelled"


def test_a_synchronous_call_inside_the_first_step_is_refused() -> None:
    async def inner() -> None: ...

    async def call() -> None:
        run_sync(inner)

    with pytest.raises(SyncInsideLoopError):
        run_sync(call)
