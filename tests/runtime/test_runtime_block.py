"""Nothing outlives the block, whatever ends it."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    SHUTDOWN,
    Actor,
    Event,
    Ref,
    Runtime,
    RuntimeClosed,
    TreeFailed,
    current_runtime,
    open_runtime,
    spawn,
)
from dspex.runtime.testing import all_tasks_blocked, virtual_backend
from dspex.supervisors import Child, RestartLimitReached, Supervisor

pytestmark = pytest.mark.anyio


class Worker(Actor):
    trap_exit = True

    def __init__(self, name: str, log: list[object], *, last_words: float = 0.0) -> None:
        self.name = name
        self.log = log
        self.last_words = last_words

    async def terminate(self, reason: object) -> None:
        await self.rt.sleep(self.last_words)
        self.log.append((self.name, reason))

    async def wait(self) -> None:
        await self.rt.sleep(1e9)

    async def raises(self, error: BaseException) -> None:
        raise error


class Mortal(Actor):
    def crash(self, error: Exception) -> None:
        raise error


def live_tasks() -> int:
    """All tasks of this loop."""
    return len(anyio.get_running_tasks())


async def test_leaving_stops_what_was_started_last_first() -> None:
    log: list[object] = []
    before = live_tasks()
    async with open_runtime() as rt:
        for name in "abc":
            await rt.start(Worker(name, log, last_words=1.0))
        start = rt.now()
    assert log == [("c", SHUTDOWN), ("b", SHUTDOWN), ("a", SHUTDOWN)]
    assert rt.now() - start == pytest.approx(3.0)
    assert live_tasks() == before


async def test_an_exception_of_the_body_comes_out_as_it_is() -> None:
    log: list[object] = []
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as raised:  # noqa: PT012
        async with open_runtime() as rt:
            await rt.start(Worker("a", log))
            raise error
    assert raised.value is error
    assert log == [("a", SHUTDOWN)]


async def test_a_cancelled_block_still_stops_everything_in_order() -> None:
    log: list[object] = []
    before = live_tasks()
    with anyio.move_on_after(5) as scope:
        async with open_runtime() as rt:
            await rt.start(Worker("a", log, last_words=1.0))
            await rt.start(Worker("b", log, last_words=1.0))
            await rt.sleep(1e9)
    assert scope.cancelled_caught
    assert log == [("b", SHUTDOWN), ("a", SHUTDOWN)]
    assert rt.now() == pytest.approx(7.0)
    assert live_tasks() == before


async def test_a_cancellation_while_leaving_does_not_interrupt_the_stop() -> None:
    log: list[object] = []
    with anyio.move_on_after(1) as scope:
        async with open_runtime() as rt:
            await rt.start(Worker("a", log, last_words=2.0))
            await rt.start(Worker("b", log, last_words=2.0))
        await rt.sleep(1)
    assert scope.cancelled_caught
    assert log == [("b", SHUTDOWN), ("a", SHUTDOWN)]


def test_asyncio_s_own_task_cancel_is_survived_and_comes_out() -> None:
    log: list[object] = []

    async def service() -> None:
        async with open_runtime() as rt:
            await rt.start(Worker("a", log, last_words=1.0))
            await rt.start(Worker("b", log, last_words=1.0))
            await rt.sleep(1e9)

    async def main() -> None:
        task = asyncio.create_task(service())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0.5)
        task.cancel()  # and again, while it stops
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert len(asyncio.all_tasks()) == 1

    _, options = virtual_backend("asyncio")
    with asyncio.Runner(**options) as runner:
        runner.run(main())
    assert log == [("b", SHUTDOWN), ("a", SHUTDOWN)]


async def test_what_does_not_stop_in_its_time_is_killed() -> None:
    log: list[object] = []
    async with open_runtime() as rt:
        slow = await rt.start(Worker("slow", log, last_words=60.0))
        start = rt.now()
    assert log == []
    assert slow.exit_reason is KILLED
    assert rt.now() - start == pytest.approx(5.0)


async def test_the_grace_of_the_block_bounds_everything() -> None:
    class Endless(Worker):
        shutdown = None

    log: list[object] = []
    async with open_runtime(grace=3.0) as rt:
        for name in "ab":
            await rt.start(Endless(name, log, last_words=60.0))
        start = rt.now()
    assert rt.now() - start == pytest.approx(3.0)


async def test_code_that_cannot_be_killed_is_waited_for_and_reported() -> None:
    stuck: list[Event] = []

    class Immortal(Actor):
        async def handle_info(self, message: object) -> None:
            with anyio.CancelScope(shield=True):
                await self.rt.sleep(20)

    async with open_runtime(grace=1.0) as rt:
        rt.events.subscribe(stuck.append, prefix="runtime.process.stuck")
        ref = await rt.start(Immortal())
        ref.send("go")
        await all_tasks_blocked()
    assert not ref.alive
    assert rt.now() == pytest.approx(20)
    assert [event.data["process"] for event in stuck] == [ref.label]


async def test_what_starts_during_the_stop_is_stopped_too() -> None:
    class Parting(Actor):
        trap_exit = True

        async def terminate(self, reason: object) -> None:
            await self.start_link(Worker("late", log))

    log: list[object] = []
    before = live_tasks()
    async with open_runtime() as rt:
        await rt.start(Parting())
    await all_tasks_blocked()
    assert live_tasks() == before


async def test_a_closed_runtime_starts_nothing() -> None:
    async with open_runtime() as rt:
        await rt.start(Worker("a", []))
    with pytest.raises(RuntimeClosed):
        await rt.start(Worker("a", []))
    with pytest.raises(RuntimeClosed):
        spawn(idle)


async def idle(me: object) -> None:
    await anyio.sleep_forever()


async def test_plain_processes_end_with_the_block() -> None:
    async with open_runtime():
        ref = spawn(idle)
        await all_tasks_blocked()
        assert ref.alive
    assert ref.exit_reason is SHUTDOWN


async def test_a_supervisor_that_gives_up_fails_the_block_with_its_causes() -> None:
    error = ValueError("boom")
    progress: list[str] = []
    with pytest.raises(TreeFailed) as failed:  # noqa: PT012
        async with open_runtime() as rt:
            await rt.start(Supervisor([Child("m", Mortal, name="mortal")], intensity=1, period=100, name="root"))
            for _ in range(2):
                rt.ref("mortal").cast(Mortal.crash, error)
                await all_tasks_blocked()
            progress.append("not reached")
            await rt.sleep(1)
            progress.append("not reached either")
    assert "not reached either" not in progress
    assert failed.value.reason is SHUTDOWN
    limit = failed.value.__cause__
    assert isinstance(limit, RestartLimitReached)
    assert limit.__cause__ is error
    assert "root" in str(failed.value)


async def test_a_nested_supervisor_that_gives_up_keeps_its_cause() -> None:
    error = ValueError("boom")

    def inner() -> Supervisor:
        return Supervisor([Child("m", Mortal, name="mortal")], intensity=0)

    with pytest.raises(TreeFailed) as failed:  # noqa: PT012
        async with open_runtime() as rt:
            await rt.start(Supervisor([Child("inner", inner, type="supervisor")], intensity=0, name="root"))
            rt.ref("mortal").cast(Mortal.crash, error)
            await rt.sleep(1)
    causes: list[BaseException] = []
    cause: BaseException | None = failed.value
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__
    assert [type(c).__name__ for c in causes] == [
        "TreeFailed",
        "RestartLimitReached",
        "RestartLimitReached",
        "ValueError",
    ]
    assert causes[-1] is error


async def test_a_tree_that_fails_together_with_the_body_reports_both() -> None:
    with pytest.raises(BaseExceptionGroup) as group:  # noqa: PT012
        async with open_runtime() as rt:
            await rt.start(Supervisor([Child("m", Mortal, name="mortal")], intensity=0))
            rt.ref("mortal").cast(Mortal.crash, ValueError("boom"))
            try:
                await rt.sleep(1e9)
            finally:
                raise KeyError("the body's own")  # noqa: RUF100,B012
    kinds = {type(error) for error in group.value.exceptions}
    assert kinds == {KeyError, TreeFailed}


async def test_a_lone_actor_that_crashes_fails_nothing() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Mortal())
        ref.cast(Mortal.crash, ValueError("boom"))
        await ref.ended()
        assert rt.failure is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_interrupt_inside_an_actor_leaves_as_itself(backend: str, kind: type[BaseException]) -> None:
    log: list[object] = []

    async def main() -> None:
        async with open_runtime() as rt:
            await rt.start(Worker("a", log))
            ref = await rt.start(Worker("b", log))
            ref.cast(Worker.raises, kind())
            await rt.sleep(1e9)

    name, options = virtual_backend(backend)
    with pytest.raises(kind):
        anyio.run(main, backend=name, backend_options=options)
    assert log == [("a", SHUTDOWN)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_stops_everything_and_leaves_as_keyboard_interrupt(backend: str) -> None:
    log: list[object] = []

    async def main() -> None:
        async with open_runtime() as rt:
            await rt.start(Worker("a", log))
            await rt.start(Worker("b", log))
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        anyio.run(main, backend=backend)
    assert log == [("b", SHUTDOWN), ("a", SHUTDOWN)]


async def test_the_current_runtime_is_known_in_the_block_and_in_actors() -> None:
    class Asker(Actor):
        def ask(self) -> Runtime:
            return current_runtime()

    with pytest.raises(RuntimeClosed):
        current_runtime()
    async with open_runtime() as outer:
        assert current_runtime() is outer
        async with open_runtime() as inner:
            assert current_runtime() is inner
            ref = await outer.start(Asker())
            assert await ref.call(Asker.ask) is outer
        assert current_runtime() is outer
    with pytest.raises(RuntimeClosed):
        current_runtime()


async def test_statistics_count_what_lives_and_waits() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Worker("a", []), name="a")
        ref.cast(Worker.wait)
        await all_tasks_blocked()
        ref.send(1)
        ref.send(2)
        assert rt.statistics() == {"processes": 1, "names": 1, "events": 0, "messages": 2}
        assert rt.top() == [ref]


async def test_a_subscriber_that_raises_disturbs_nobody() -> None:
    heard: list[str] = []

    def bad(event: Event) -> None:
        raise ValueError("subscriber")

    async with open_runtime() as rt:
        rt.events.subscribe(bad)
        stop = rt.events.subscribe(lambda event: heard.append(event.name))
        ref = await rt.start(Worker("a", []))
        stop()
        await ref.stop()
        assert heard == ["runtime.process.started"]


async def test_events_have_stable_names() -> None:
    names: list[str] = []
    async with open_runtime() as rt:
        rt.events.subscribe(lambda event: names.append(event.name))
        ref: Ref[Any] = await rt.start(Mortal())
        ref.cast(Mortal.crash, ValueError())
        await ref.ended()
    assert names == [
        "runtime.process.started",
        "runtime.actor.crashed",
        "runtime.process.exited",
        "runtime.process.exited",
    ]


def test_no_timer_is_left_on_the_loop_after_the_block() -> None:
    async def main() -> None:
        async with open_runtime() as rt:
            ref = await rt.start(Worker("a", []))
            rt.send_after(1000, ref, "late")
            with pytest.raises(TimeoutError):
                await ref.within(1).call(Worker.wait)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(1)  # a forgotten timer would be the next one, or one of the next
        assert loop.time() == pytest.approx(before + 1)
        assert not [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]

    _, options = virtual_backend("asyncio")
    with asyncio.Runner(**options) as runner:
        runner.run(main())
