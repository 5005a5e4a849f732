"""How an actor begins and ends: init, terminate, names."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorExit,
    BadProcess,
    Crash,
    Exit,
    Ignore,
    NameTaken,
    Refuse,
    Runtime,
    Shutdown,
    StartFailed,
    Stop,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Recorder(Actor):
    """Writes down what happens to it."""

    def __init__(self, log: list[object], *, trap: bool = False) -> None:
        self.log = log
        self.trap = trap

    async def init(self) -> None:
        if self.trap:
            self.trap_exits(True)
        self.log.append("init")

    async def terminate(self, reason: object) -> None:
        self.log.append(reason)

    def ping(self) -> str:
        return "pong"

    def leave(self, reason: object) -> str:
        self.stop(reason)
        return "bye"

    def leave_at_once(self, reason: object) -> None:
        raise Stop(reason)

    def exit(self, reason: object) -> None:
        raise Exit(reason)

    def crash(self, error: Exception) -> None:
        raise error

    async def doze(self, seconds: float) -> None:
        await self.rt.sleep(seconds)


class FailsToStart(Actor):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def init(self) -> None:
        raise self.error


def processes(rt: Runtime) -> int:
    return rt.statistics()["processes"]


async def test_start_returns_when_init_has_succeeded() -> None:
    class Slow(Actor):
        ready = False

        async def init(self) -> None:
            await self.rt.sleep(10)
            self.ready = True

        def is_ready(self) -> bool:
            return self.ready

    async with open_runtime() as rt:
        before = rt.now()
        ref = await rt.start(Slow())
        assert rt.now() - before == pytest.approx(10)
        assert await ref.call(Slow.is_ready)


async def test_an_init_that_raises_fails_the_start_and_leaves_nothing() -> None:
    async with open_runtime() as rt:
        error = ConnectionError("no database")
        with pytest.raises(StartFailed, match="no database") as failed:
            await rt.start(FailsToStart(error), name="db")
        assert failed.value.__cause__ is error
        assert failed.value.reason == Crash(error)
        await all_tasks_blocked()
        assert rt.whereis("db") is None
        assert processes(rt) == 0
        assert rt.top() == []


async def test_an_init_may_give_a_reason_instead_of_an_error() -> None:
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as failed:
            await rt.start(FailsToStart(Exit("no licence")))
        assert failed.value.reason == "no licence"
        with pytest.raises(StartFailed) as failed:
            await rt.start(FailsToStart(Stop(Shutdown("closed on sundays"))))
        assert failed.value.reason == Shutdown("closed on sundays")


async def test_an_init_may_ask_not_to_be_started() -> None:
    async with open_runtime() as rt:
        with pytest.raises(Ignore):
            await rt.start(FailsToStart(Ignore()), name="optional")
        await all_tasks_blocked()
        assert processes(rt) == 0
        await rt.start(Recorder([]), name="optional")


async def test_a_hanging_init_is_cancelled_with_its_starter() -> None:
    ended: list[str] = []

    class Hangs(Actor):
        async def init(self) -> None:
            try:
                await self.rt.sleep(1e9)
            finally:
                ended.append("cleaned up")

    async with open_runtime() as rt:
        with anyio.move_on_after(3) as scope:
            await rt.start(Hangs(), name="hangs")
        assert scope.cancelled_caught
        assert ended == ["cleaned up"]
        assert rt.whereis("hangs") is None
        assert processes(rt) == 0


async def test_terminate_runs_after_stop_crash_and_exit() -> None:
    async with open_runtime() as rt:
        for act in (Recorder.leave, Recorder.leave_at_once, Recorder.exit):
            log: list[object] = []
            ref = await rt.start(Recorder(log))
            ref.cast(act, "enough")
            await ref.ended()
            assert log == ["init", "enough"]
            assert ref.exit_reason == "enough"
        log = []
        error = ValueError()
        ref = await rt.start(Recorder(log))
        ref.cast(Recorder.crash, error)
        await ref.ended()
        assert log == ["init", Crash(error)]


async def test_terminate_never_runs_after_a_kill() -> None:
    async with open_runtime() as rt:
        log: list[object] = []
        ref = await rt.start(Recorder(log, trap=True))
        ref.kill()
        await ref.ended()
        assert log == ["init"]
        assert ref.exit_reason is KILLED


async def test_terminate_runs_on_shutdown_only_if_exits_are_trapped() -> None:
    plain: list[object] = []
    trapping: list[object] = []
    async with open_runtime() as rt:
        await rt.start(Recorder(plain))
        await rt.start(Recorder(trapping, trap=True))
    assert plain == ["init"]
    assert trapping == ["init", SHUTDOWN]


async def test_the_answer_of_a_stop_is_sent_after_terminate_has_run() -> None:
    async with open_runtime() as rt:
        log: list[object] = []
        ref = await rt.start(Recorder(log))
        assert await ref.call(Recorder.leave, NORMAL) == "bye"
        assert log == ["init", NORMAL]


async def test_the_answer_of_a_stop_survives_a_crash_in_terminate() -> None:
    class Clumsy(Recorder):
        async def terminate(self, reason: object) -> None:
            raise ValueError("tripped")

    async with open_runtime() as rt:
        ref = await rt.start(Clumsy([]))
        assert await ref.call(Recorder.leave, NORMAL) == "bye"
        await ref.ended()
        assert isinstance(ref.exit_reason, Crash)
        assert str(ref.exit_reason.error) == "tripped"


async def test_a_stop_without_answer_fails_the_caller_with_the_reason() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Recorder([]))
        with pytest.raises(ActorExit) as exit_:
            await ref.call(Recorder.leave_at_once, "enough")
        assert exit_.value.reason == "enough"


async def test_what_waits_behind_a_stop_is_failed() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Recorder([]))
        reasons: list[object] = []

        async def ask() -> None:
            with pytest.raises(ActorExit) as exit_:
                await ref.call(Recorder.ping)
            reasons.append(exit_.value.reason)

        async with anyio.create_task_group() as group:
            ref.cast(Recorder.doze, 1)
            ref.cast(Recorder.leave, "closed")
            group.start_soon(ask)
        assert reasons == ["closed"]


async def test_a_name_belongs_to_one_live_process() -> None:
    async with open_runtime() as rt:
        first = await rt.start(Recorder([]), name="one")
        with pytest.raises(NameTaken, match="one") as taken:
            await rt.start(Recorder([]), name="one")
        assert taken.value.ref == first
        assert rt.whereis("one") == first
        assert processes(rt) == 1
        await first.stop()
        assert rt.whereis("one") is None
        assert await rt.start(Recorder([]), name="one") != first


async def test_a_name_is_free_only_when_its_process_is_gone() -> None:
    class Slow(Actor):
        async def handle_info(self, message: object) -> None:
            try:
                await self.rt.sleep(1e9)
            finally:
                with anyio.CancelScope(shield=True):
                    await self.rt.sleep(2)

    async with open_runtime() as rt:
        ref = await rt.start(Slow(), name="one")
        ref.send("sleep")
        await all_tasks_blocked()
        ref.kill()
        assert rt.whereis("one") is None
        with pytest.raises(NameTaken):
            await rt.start(Slow(), name="one")
        await ref.ended()
        await rt.start(Slow(), name="one")


async def test_an_object_is_started_once() -> None:
    async with open_runtime() as rt:
        actor = Recorder([])
        await rt.start(actor)
        with pytest.raises(BadProcess, match="before"):
            await rt.start(actor)
        with pytest.raises(BadProcess, match="cannot be started"):
            await rt.start(object())  # type: ignore[type-var]


@pytest.mark.parametrize("callback", ["init", "terminate", "handle_info"])
async def test_a_callback_that_is_not_async_is_refused(callback: str) -> None:
    wrong = type("Wrong", (Actor,), {callback: lambda self, *args: None})
    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match=f"Wrong.{callback} must be written with async def"):
            await rt.start(wrong())
        assert processes(rt) == 0


async def test_a_concurrency_below_one_is_refused() -> None:
    class Nobody(Actor):
        concurrency = 0

    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match="concurrency"):
            await rt.start(Nobody())


async def test_a_refusal_in_init_fails_the_start() -> None:
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as failed:
            await rt.start(FailsToStart(Refuse(KeyError("x"))))
        assert isinstance(failed.value.reason, Crash)
