"""Each event of the runtime and of its supervisors is emitted when its catalogue says, with the data it promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from dspex.runtime import Actor, Exit, Runtime, open_runtime
from dspex.runtime.testing import all_tasks_blocked, virtual_backend
from dspex.supervisors import Backoff, Child, Supervisor

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Worker(Actor):
    def ping(self) -> None:
        pass

    def crash(self) -> None:
        raise ValueError("boom")


class Stubborn(Worker):
    trap_exit = True

    async def terminate(self, reason: object) -> None:
        raise ValueError("not in order")


class NoStart(Worker):
    async def init(self) -> None:
        raise Exit("not today")


class Contained(Supervisor):
    escalates = False


async def living(rt: Runtime) -> None:
    await rt.start(Worker(), name="w")


async def refusing(rt: Runtime) -> None:
    with pytest.raises(Exception, match="did not start"):
        await rt.start(NoStart())


async def crashing(rt: Runtime) -> None:
    ref = await rt.start(Worker())
    ref.cast(Worker.crash)
    await ref.ended()


async def writing_to_the_dead(rt: Runtime) -> None:
    ref = await rt.start(Worker())
    await ref.stop()
    ref.cast(Worker.ping)


async def writing_nonsense(rt: Runtime) -> None:
    ref = await rt.start(Worker())
    ref.send("what is this?")
    await all_tasks_blocked()


async def restarting(rt: Runtime) -> None:
    await rt.start(Contained([Child("w", Worker, name="w")], intensity=1, backoff=Backoff(first=0)), name="sup")
    for _ in range(2):
        rt.ref("w").cast(Worker.crash)
        await rt.sleep(1)


async def failing_to_start(rt: Runtime) -> None:
    with pytest.raises(Exception, match="did not start"):
        await rt.start(Contained([Child("w", NoStart)]))


async def stopping(rt: Runtime) -> None:
    sup = await rt.start(Contained([Child("w", Stubborn)]))
    await sup.stop()


SCENARIOS: dict[str, tuple[Callable[[Runtime], Awaitable[None]], set[str]]] = {
    "runtime.process.started": (living, {"process", "kind"}),
    "runtime.process.exited": (living, {"process", "kind", "reason"}),
    "runtime.process.refused": (refusing, {"process", "reason"}),
    "runtime.actor.crashed": (crashing, {"process", "error"}),
    "runtime.dead_letter": (writing_to_the_dead, {"process", "kind"}),
    "runtime.unhandled": (writing_nonsense, {"process", "kind"}),
    "supervisor.child.started": (restarting, {"supervisor", "child", "incarnation"}),
    "supervisor.child.terminated": (restarting, {"supervisor", "child", "reason"}),
    "supervisor.child.delayed": (restarting, {"supervisor", "child", "seconds", "attempt"}),
    "supervisor.gave_up": (restarting, {"supervisor", "child", "restarts", "period"}),
    "supervisor.child.start_failed": (failing_to_start, {"supervisor", "child", "reason"}),
    "supervisor.child.stopping": (stopping, {"supervisor", "child", "seconds"}),
    "supervisor.child.stopped": (stopping, {"supervisor", "child"}),
    "supervisor.child.shutdown_failed": (stopping, {"supervisor", "child", "reason"}),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_it_is_emitted_with_its_data(name: str) -> None:
    scenario, data = SCENARIOS[name]
    seen: list[set[str]] = []
    async with open_runtime() as rt:
        rt.events.subscribe(lambda event: seen.append(set(event.data)) if event.name == name else None)
        await scenario(rt)
    assert seen
    assert all(one == data for one in seen)


async def test_a_process_that_cannot_be_killed_is_reported() -> None:
    class Shielded(Actor):
        trap_exit = True

        async def terminate(self, reason: object) -> None:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(100)

    seen: list[set[str]] = []
    async with open_runtime(grace=1) as rt:
        rt.events.subscribe(lambda event: seen.append(set(event.data)), prefix="runtime.process.stuck")
        await rt.start(Shielded())
    assert seen == [{"process", "seconds"}]
