"""Answering later, answering many at a time, working beside the messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from dspex.runtime import (
    Actor,
    ActorExit,
    CallTimeout,
    Crash,
    Exit,
    Ref,
    Refuse,
    Reply,
    TaskHandle,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Desk(Actor):
    """Takes calls and answers them when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Reply] = []
        self.gone = 0

    def ask(self) -> str:
        reply = self.defer()
        reply.on_abandoned(self._count)
        self.waiting.append(reply)
        return "ignored"

    def _count(self) -> None:
        self.gone += 1

    def answer(self, value: object) -> None:
        self.waiting.pop(0).send(value)

    def turn_down(self, error: Exception) -> None:
        self.waiting.pop(0).refuse(error)

    def crash(self) -> None:
        raise ValueError("boom")

    def pass_on(self, to: Ref[Desk]) -> bool:
        reply = self.waiting[0]
        to.cast(Desk.take, reply)
        return reply.hand_over(to)

    def take(self, reply: Reply) -> None:
        self.waiting.append(reply)

    def ask_and_answer(self) -> str:
        reply = self.defer()
        reply.send("early")
        reply.send("twice")
        reply.refuse(ValueError("thrice"))
        return "late"


async def gather(*calls: Callable[[], Awaitable[object]]) -> list[object]:
    results: list[object] = [None] * len(calls)

    async def one(i: int) -> None:
        try:
            results[i] = await calls[i]()
        except Exception as error:
            results[i] = error

    async with anyio.create_task_group() as group:
        for i in range(len(calls)):
            group.start_soon(one, i)
    return results


async def test_an_answer_may_come_later_and_from_another_message() -> None:
    async with open_runtime() as rt:
        desk = await rt.start(Desk())

        async def clerk() -> None:
            await rt.sleep(1)
            await desk.call(Desk.answer, 42)

        results = await gather(lambda: desk.call(Desk.ask), clerk)
        assert results == [42, None]


async def test_a_deferred_call_may_be_refused_and_the_first_answer_counts() -> None:
    async with open_runtime() as rt:
        desk = await rt.start(Desk())

        async def clerk() -> None:
            await rt.sleep(1)
            desk.cast(Desk.turn_down, KeyError("no"))

        refused, _ = await gather(lambda: desk.call(Desk.ask), clerk)
        assert isinstance(refused, KeyError)
        assert await desk.call(Desk.ask_and_answer) == "early"


async def test_a_crash_fails_the_callers_that_still_wait_for_a_deferred_answer() -> None:
    async with open_runtime() as rt:
        desk = await rt.start(Desk())

        async def accident() -> None:
            await rt.sleep(1)
            desk.cast(Desk.crash)

        a, b, _ = await gather(lambda: desk.call(Desk.ask), lambda: desk.call(Desk.ask), accident)
        assert isinstance(a, ActorExit)
        assert isinstance(b, ActorExit)
        assert str(a.__cause__) == "boom"


async def test_a_reply_knows_when_nobody_waits_any_more() -> None:
    async with open_runtime() as rt:
        actor = Desk()
        desk = await rt.start(actor)
        with anyio.move_on_after(1):
            await desk.call(Desk.ask)
        with pytest.raises(CallTimeout):
            await desk.within(1).call(Desk.ask)
        await all_tasks_blocked()
        assert actor.gone == 2
        assert [reply.abandoned for reply in actor.waiting] == [True, True]
        assert actor.waiting[0].deadline is not None
        await desk.call(Desk.answer, "nobody hears it")
        await desk.call(Desk.turn_down, ValueError("nobody hears it"))
        assert desk.alive


async def test_an_answer_handed_over_lives_and_dies_with_its_new_owner() -> None:
    async with open_runtime() as rt:
        front, back = await rt.start(Desk()), await rt.start(Desk())

        async def relay() -> None:
            await rt.sleep(1)
            assert await front.call(Desk.pass_on, back)
            await front.stop()
            await rt.sleep(1)
            back.cast(Desk.answer, "from the back")

        assert (await gather(lambda: front.call(Desk.ask), relay))[0] == "from the back"

        front = await rt.start(Desk())

        async def relay_and_crash() -> None:
            await rt.sleep(1)
            assert await front.call(Desk.pass_on, back)
            back.cast(Desk.crash)

        failed = (await gather(lambda: front.call(Desk.ask), relay_and_crash))[0]
        assert isinstance(failed, ActorExit)
        assert failed.who == back.label
        assert front.alive


async def test_an_answer_cannot_be_handed_to_the_dead() -> None:
    async with open_runtime() as rt:
        front, back = await rt.start(Desk()), await rt.start(Desk())
        await back.stop()

        async def relay() -> None:
            await rt.sleep(1)
            assert not await front.call(Desk.pass_on, back)
            front.cast(Desk.answer, "myself")

        assert (await gather(lambda: front.call(Desk.ask), relay))[0] == "myself"


class Wide(Actor):
    """Three at a time."""

    concurrency = 3

    def __init__(self) -> None:
        self.running = self.most = 0
        self.finished: list[object] = []
        self.cancelled: list[object] = []

    async def work(self, name: object, seconds: float) -> object:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.rt.sleep(seconds)
            self.finished.append(name)
        except BaseException:
            self.cancelled.append(name)
            raise
        finally:
            self.running -= 1
        return name

    async def fail(self, error: Exception) -> None:
        await self.rt.sleep(1)
        raise error

    async def when(self) -> float | None:
        await self.rt.sleep(1)
        return self.deadline

    async def answer_and_go_on(self) -> None:
        self.defer().send("early")
        await self.rt.sleep(5)
        self.finished.append("went on")

    def note(self, name: object) -> None:
        self.finished.append(name)


async def test_calls_of_a_concurrent_actor_run_together_up_to_its_limit() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)
        results = await gather(*[lambda i=i: ref.call(Wide.work, i, 1.0) for i in range(7)])
        assert results == list(range(7))
        assert actor.most == 3
        assert rt.now() == pytest.approx(3.0)


async def test_a_concurrent_actor_still_handles_casts_while_it_works() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)

        async def note() -> None:
            await rt.sleep(0.5)
            ref.cast(Wide.note, "noted")

        await gather(lambda: ref.call(Wide.work, "worked", 1.0), note)
        assert actor.finished == ["noted", "worked"]


async def test_work_of_a_concurrent_actor_ends_when_its_caller_goes_away() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)
        with anyio.move_on_after(1):
            await ref.call(Wide.work, "cancelled", 60)
        with pytest.raises(CallTimeout):
            await ref.within(1).call(Wide.work, "too late", 60)
        await all_tasks_blocked()
        assert actor.cancelled == ["cancelled", "too late"]
        assert actor.running == 0
        assert await ref.call(Wide.work, "next", 1) == "next"


async def test_a_call_whose_caller_has_gone_is_never_begun() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)

        async def impatient() -> None:
            await rt.sleep(0.25)
            with anyio.move_on_after(0.5):
                await ref.call(Wide.work, "impatient", 1)

        await gather(*[lambda i=i: ref.call(Wide.work, i, 1.0) for i in range(3)], impatient)
        await all_tasks_blocked()
        assert sorted(map(str, actor.finished)) == ["0", "1", "2"]
        assert actor.cancelled == []
        assert await ref.call(Wide.work, "next", 1) == "next"


async def test_each_concurrent_call_has_its_own_deadline() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Wide())
        results = await gather(*[lambda s=s: ref.within(s).call(Wide.when) for s in (10, 20, None)])
        assert results == [pytest.approx(10, abs=0.1), pytest.approx(20, abs=0.1), None]


async def test_a_crash_in_one_concurrent_call_ends_the_actor_and_all_its_work() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)
        error = ValueError("boom")
        results = await gather(lambda: ref.call(Wide.work, "a", 60), lambda: ref.call(Wide.fail, error))
        assert [getattr(r, "__cause__", None) for r in results] == [error, error]
        assert ref.exit_reason == Crash(error)
        assert actor.cancelled == ["a"]


async def test_a_concurrent_call_may_be_refused() -> None:
    class Picky(Wide):
        async def fail(self, error: Exception) -> None:
            raise Refuse(error)

    async with open_runtime() as rt:
        ref = await rt.start(Picky())
        with pytest.raises(KeyError):
            await ref.call(Wide.fail, KeyError("x"))
        assert await ref.call(Wide.work, 1, 1.0) == 1


async def test_a_concurrent_handler_may_answer_early_and_go_on() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)
        assert await ref.call(Wide.answer_and_go_on) == "early"
        await rt.sleep(6)
        assert actor.finished == ["went on"]


async def test_a_concurrent_actor_leaves_no_work_behind_when_it_is_killed() -> None:
    async with open_runtime() as rt:
        actor = Wide()
        ref = await rt.start(actor)

        async def kill() -> None:
            await rt.sleep(1)
            ref.kill()
            await ref.ended()
            assert actor.running == 0

        results = await gather(*[lambda i=i: ref.call(Wide.work, i, 60) for i in range(5)], kill)
        assert all(isinstance(result, ActorExit) for result in results[:5])
        assert len(actor.cancelled) == 3


async def test_a_stop_in_a_concurrent_call_is_answered_after_terminate() -> None:
    class Leaving(Wide):
        async def leave(self) -> str:
            self.stop("enough")
            return "bye"

        async def terminate(self, reason: object) -> None:
            self.finished.append(reason)

    async with open_runtime() as rt:
        actor = Leaving()
        ref = await rt.start(actor)
        answer, other = await gather(lambda: ref.call(Leaving.leave), lambda: ref.call(Wide.work, "a", 60))
        assert answer == "bye"
        assert isinstance(other, ActorExit)
        assert actor.finished == ["enough"]
        assert actor.cancelled == ["a"]


class Host(Actor):
    def __init__(self) -> None:
        self.log: list[object] = []
        self.handle: TaskHandle | None = None

    def begin(self, seconds: float) -> None:
        self.handle = self.task(self._work, seconds)

    async def _work(self, seconds: float) -> None:
        try:
            await self.rt.sleep(seconds)
            self.log.append("done")
        except BaseException:
            self.log.append("cancelled")
            raise

    def fail(self, error: Exception) -> None:
        self.task(self._fail, error)

    async def _fail(self, error: Exception) -> None:
        await self.rt.sleep(1)
        raise error

    def cancel(self) -> None:
        assert self.handle is not None
        self.handle.cancel()

    def read(self) -> list[object]:
        return self.log

    def first(self) -> str:
        self.continue_with(Host.second, "second")
        self.continue_with(Host.second, "third")
        return "answered"

    async def second(self, what: str) -> None:
        await self.rt.sleep(1)
        self.log.append(what)


async def test_a_helper_task_runs_beside_the_messages() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Host())
        await ref.call(Host.begin, 5)
        assert await ref.call(Host.read) == []
        await rt.sleep(6)
        assert await ref.call(Host.read) == ["done"]


async def test_a_helper_task_can_be_cancelled() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Host())
        await ref.call(Host.begin, 5)
        await rt.sleep(1)
        await ref.call(Host.cancel)
        await all_tasks_blocked()
        assert await ref.call(Host.read) == ["cancelled"]
        await ref.call(Host.cancel)


@pytest.mark.parametrize("error", [ValueError("boom"), Exit("enough")])
async def test_a_helper_task_that_fails_ends_the_actor(error: Exception) -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Host())
        await ref.call(Host.fail, error)
        await ref.ended()
        assert ref.exit_reason == ("enough" if isinstance(error, Exit) else Crash(error))


async def test_a_helper_task_ends_with_its_actor() -> None:
    async with open_runtime() as rt:
        actor = Host()
        ref = await rt.start(actor)
        await ref.call(Host.begin, 60)
        await rt.sleep(1)
        ref.kill()
        await ref.ended()
        assert actor.log == ["cancelled"]


async def test_a_continuation_runs_after_the_answer_and_before_the_next_message() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Host())
        before = rt.now()
        assert await ref.call(Host.first) == "answered"
        assert rt.now() == before
        assert await ref.call(Host.read) == ["second", "third"]


class Clock(Actor):
    def __init__(self) -> None:
        self.got: list[tuple[float, object]] = []

    async def handle_info(self, message: object) -> None:
        self.got.append((self.rt.now(), message))


async def test_a_timer_sends_when_it_is_due_unless_cancelled() -> None:
    async with open_runtime() as rt:
        actor = Clock()
        ref = await rt.start(actor)
        timer = actor.send_after(3, ref, "three")
        actor.send_after(1, ref, "one")
        unwanted = actor.send_after(2, ref, "two")
        assert timer.active
        assert timer.when == pytest.approx(3)
        await rt.sleep(1.5)
        unwanted.cancel()
        unwanted.cancel()
        assert not unwanted.active
        await rt.sleep(5)
        assert actor.got == [(pytest.approx(1), "one"), (pytest.approx(3), "three")]
        assert not timer.active
        timer.cancel()


async def test_a_timer_for_a_process_that_has_ended_is_quiet() -> None:
    async with open_runtime() as rt:
        actor = Clock()
        ref = await rt.start(actor)
        rt.send_after(1, ref, "too late")
        await ref.stop()
        await rt.sleep(2)
        assert actor.got == []
