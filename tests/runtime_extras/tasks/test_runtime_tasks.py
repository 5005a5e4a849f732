"""Tasks behave as Elixir's."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, ClassVar

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorExit,
    BadProcess,
    CallTimeout,
    Crash,
    Exit,
    ExitSignal,
    RuntimeClosed,
    current_runtime,
    open_runtime,
)
from dspex.runtime.tasks import Exited, Ok, Task, await_many, yield_many
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


async def after(seconds: float, value: str) -> str:
    await current_runtime().sleep(seconds)
    return value


async def crash_after(seconds: float) -> str:
    await current_runtime().sleep(seconds)
    raise ValueError("boom")


class Owner(Actor):
    def __init__(self) -> None:
        self.got: list[object] = []
        self.task: Task[str] | None = None

    async def work(self, seconds: float) -> str:
        return await Task.async_(after, seconds, "done").await_()

    async def crash(self) -> str:
        return await Task.async_(crash_after, 1).await_()

    async def crash_unlinked(self) -> str:
        with pytest.raises(ActorExit) as caught:
            await Task.start_nolink(crash_after, 1).await_()
        return type(caught.value.__cause__).__name__

    def begin(self, seconds: float) -> Task[str]:
        self.task = Task.async_(after, seconds, "done")
        return self.task

    async def yield_or_shut_down(self, seconds: float) -> Any:
        task = Task.async_(after, seconds, "done")
        return await task.yield_(within=2) or await task.shutdown()

    def read(self) -> list[object]:
        return self.got

    def break_down(self) -> None:
        raise RuntimeError("boom")

    async def handle_info(self, message: object) -> None:
        self.got.append(message)


async def test_a_task_gives_its_result_to_who_awaits_it() -> None:
    async with open_runtime() as rt:
        owner = await rt.start(Owner())
        assert await owner.call(Owner.work, 1) == "done"
        assert await Task.async_(len, "abc").await_() == 3
        task = Task.async_(after, 3, "x")
        assert task.outcome is None
        assert await task.await_() == "x"
        assert await task.await_() == "x"  # as often as one likes
        assert task.outcome == Ok("x")
        assert "after" in repr(task)


async def test_a_task_takes_its_owner_along_and_the_owner_its_task() -> None:
    async with open_runtime() as rt:
        owner = await rt.start(Owner())
        with pytest.raises(ActorExit) as caught:
            await owner.call(Owner.crash)
        assert isinstance(caught.value.__cause__, ValueError)
        assert not owner.alive
        other = await rt.start(Owner())
        task = await other.call(Owner.begin, 100)
        other.cast(Owner.break_down)
        await task.ref.ended()
        assert rt.now() < 50
        assert isinstance(task.outcome, Exited)


async def test_an_owner_that_traps_exits_is_told_instead() -> None:
    class Trapping(Owner):
        trap_exit: ClassVar[bool] = True

    async with open_runtime() as rt:
        owner = await rt.start(Trapping())
        task = await owner.call(Owner.begin, 1)
        await task.await_()
        assert await owner.call(Owner.read) == [ExitSignal(task.ref, NORMAL)]
        with pytest.raises(ActorExit):
            await owner.call(Owner.crash)
        assert not owner.alive  # await_ raised in its handler, as Task.await exits


async def test_an_unlinked_task_fails_only_who_waits_for_it() -> None:
    async with open_runtime() as rt:
        owner = await rt.start(Owner())
        assert await owner.call(Owner.crash_unlinked) == "ValueError"
        assert owner.alive
        ref = Task.start(crash_after, 1)
        await ref.ended()
        assert isinstance(ref.exit_reason, Crash)


async def test_waiting_has_a_limit_and_the_task_goes_on() -> None:
    async with open_runtime() as rt:
        task = Task.async_(after, 10, "late")
        begun = rt.now()
        with pytest.raises(CallTimeout):
            await task.await_(within=2)
        assert rt.now() - begun == pytest.approx(2)
        assert await task.yield_(within=1) is None
        with anyio.move_on_after(1):
            await task.await_()
        assert await task.yield_(within=None) == Ok("late")
        assert await task.shutdown() == Ok("late")


async def test_yield_or_shutdown_leaves_the_owner_alive() -> None:
    async with open_runtime() as rt:
        owner = await rt.start(Owner())
        assert await owner.call(Owner.yield_or_shut_down, 1) == Ok("done")
        assert await owner.call(Owner.yield_or_shut_down, 100) is None
        assert owner.alive


async def test_shutdown_says_what_became_of_the_task() -> None:
    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(3)

    async def leaves() -> None:
        raise Exit("why not")

    async with open_runtime() as rt:
        task = Task.start_nolink(after, 100, "x")
        await all_tasks_blocked()
        assert await task.shutdown("brutal_kill") is None
        assert task.outcome == Exited(KILLED)
        assert await task.shutdown() == Exited(KILLED)  # it had ended before it was asked
        slow = Task.start_nolink(stubborn)
        await all_tasks_blocked()
        begun = rt.now()
        assert await slow.shutdown(1) is None
        assert rt.now() - begun == pytest.approx(3)
        crashed = Task.start_nolink(crash_after, 0)
        await crashed.ref.ended()
        outcome = await crashed.shutdown()
        assert isinstance(outcome, Exited)
        assert isinstance(outcome.reason, Crash)
        assert await Task.start_nolink(leaves).yield_() == Exited("why not")
        forever = Task.start_nolink(after, 100, "x")
        assert await forever.shutdown("infinity") is None
        assert forever.outcome == Exited(SHUTDOWN)
        with pytest.raises(ValueError, match="brutal_kill"):
            await forever.shutdown("softly")  # type: ignore[arg-type]


async def test_many_are_awaited_in_order_and_the_first_failure_ends_it() -> None:
    async with open_runtime() as rt:
        tasks = [Task.async_(after, seconds, str(seconds)) for seconds in (3, 1, 2)]
        assert await await_many(tasks) == ["3", "1", "2"]
        assert await await_many([]) == []
        begun = rt.now()
        slow, bad = Task.start_nolink(after, 50, "x"), Task.start_nolink(crash_after, 1)
        with pytest.raises(ActorExit) as caught:
            await await_many([slow, bad], within=None)
        assert isinstance(caught.value.__cause__, ValueError)
        assert rt.now() - begun == pytest.approx(1)
        with pytest.raises(CallTimeout):
            await await_many([slow], within=2)
        with pytest.raises(ActorExit):
            await await_many([slow, bad])
        results = await yield_many([slow, bad, tasks[0]], within=3)
        assert [task for task, _ in results] == [slow, bad, tasks[0]]
        assert results[0][1] is None
        assert isinstance(results[1][1], Exited)
        assert results[2][1] == Ok("3")
        assert rt.now() - begun == pytest.approx(6)


async def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(RuntimeClosed):
        Task.async_(after, 1, "x")

    async with open_runtime():
        with pytest.raises(BadProcess, match="cannot be a task"):
            Task.async_("no function")  # type: ignore[call-overload]
        box: list[Task[object]] = []

        async def wait_for_myself() -> object:
            return await box[0].await_()

        box.append(Task.start_nolink(wait_for_myself))
        outcome = await box[0].yield_()
        assert isinstance(outcome, Exited)
        assert isinstance(outcome.reason, Crash)
        assert isinstance(outcome.reason.error, BadProcess)


SETTING: ContextVar[str] = ContextVar("setting", default="none")


async def test_a_task_sees_the_context_it_was_started_in_and_keeps_its_own() -> None:
    async def look(say: str) -> tuple[str, str]:
        seen = SETTING.get()
        SETTING.set(say)
        return seen, SETTING.get()

    async with open_runtime() as rt:
        token = SETTING.set("mine")
        task = Task.async_(look, "its own")
        SETTING.reset(token)
        assert await task.await_() == ("mine", "its own")
        assert SETTING.get() == "none"
        owner = await rt.start(Owner())
        inner = await owner.call(Owner.begin, 1)
        await inner.await_()
        assert inner.ref.label.startswith("after")
