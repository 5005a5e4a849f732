"""Read by the type checker, never run: what it knows, and the mistakes it must find."""

from typing import assert_type

from dspex.runtime import Exited, Ok, Runtime, Task, await_many
from dspex.runtime.stages import Consumer, Producer, Stage, Subscription
from dspex.runtime.state_machine import StateMachine, event
from dspex.supervisors import TaskStream, TaskSupervisor


class Door(StateMachine[str]):
    initial = "locked"

    @event
    def push(self, code: str) -> bool: ...

    @event
    async def pull(self, n: int = 1) -> str: ...


class Numbers(Producer[int]):
    async def handle_demand(self, demand: int) -> list[int]:
        return [demand]

    def count(self) -> int:
        return 1


class Words(Stage[int, str]):
    async def handle_events(self, events: list[int], subscription: Subscription) -> list[str]:
        return [str(n) for n in events]


class Lines(Consumer[str]):
    async def handle_events(self, events: list[str], subscription: Subscription) -> None:
        assert_type(events, list[str])


async def read(n: int) -> str:
    return str(n)


def count(text: str) -> int:
    return len(text)


async def known(rt: Runtime) -> None:
    door = await rt.start(Door())
    assert_type(await door.call(Door.push, "x"), bool)
    assert_type(await door.call(Door.pull), str)
    assert_type(await (await rt.start(Numbers())).call(Numbers.count), int)

    task = Task.async_(read, 1)
    assert_type(task, Task[str])
    assert_type(Task.async_(count, "x"), Task[int])
    assert_type(Task.start_nolink(read, 1), Task[str])
    assert_type(await task.await_(), str)
    assert_type(await task.yield_(), Ok[str] | Exited | None)
    assert_type(await await_many([task]), list[str])

    tasks = await rt.start(TaskSupervisor())
    assert_type(await TaskSupervisor.async_nolink(tasks, read, 1), Task[str])
    assert_type(TaskSupervisor.stream(tasks, count, ["x"]), TaskStream[str, int])
    async for result in TaskSupervisor.stream(tasks, read, [1]):
        assert_type(result, Ok[str] | Exited)


async def refused(rt: Runtime) -> None:
    door = await rt.start(Door())
    await door.call(Door.push, 1)  # MISTAKE
    await door.call(Numbers.count)  # MISTAKE
    Task.async_(read, "x")  # MISTAKE
    tasks = await rt.start(TaskSupervisor())
    await TaskSupervisor.start(tasks, read)  # MISTAKE
