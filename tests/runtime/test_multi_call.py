"""Asking many at once, under one deadline."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import (
    NOPROC,
    Actor,
    ActorExit,
    CallingSelf,
    CallTimeout,
    Crash,
    Event,
    MailboxFull,
    MultiReply,
    NotAHandler,
    Ref,
    Refs,
    Refuse,
    RuntimeClosed,
    UnknownProcess,
    multi_call,
    multi_cast,
    open_runtime,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Worker(Actor):
    def __init__(self, number: int, seconds: float = 0.0) -> None:
        self.number = number
        self.seconds = seconds
        self.marks = 0

    async def load(self, times: int = 1) -> int:
        await self.rt.sleep(self.seconds)
        return self.number * times

    def mark(self) -> None:
        self.marks += 1

    def refuse(self) -> None:
        raise Refuse(KeyError(self.number))

    def crash(self) -> None:
        raise ValueError(self.number)

    async def ask_all(self, refs: list[Ref[Worker]]) -> MultiReply[Worker, int]:
        return await multi_call(refs, Worker.load)


async def test_everybody_is_asked_before_anybody_is_awaited() -> None:
    async with open_runtime() as rt:
        refs = [await rt.start(Worker(n, seconds=3)) for n in range(50)]
        answered = await multi_call(refs, Worker.load, times=2)
        assert answered.replies == [(ref, 2 * n) for n, ref in enumerate(refs)]
        assert answered.failures == []
        assert rt.now() == pytest.approx(3)


async def test_who_fails_does_not_spoil_the_other_answers() -> None:
    async with open_runtime() as rt:
        good, slow, dead, mortal = [await rt.start(Worker(n, 60 if n == 1 else 0)) for n in range(4)]
        await dead.stop()

        class Full(Worker):
            mailbox_limit = 1
            overflow = "reject"

        full = await rt.start(Full(5, seconds=60))
        full.cast(Worker.load)
        await all_tasks_blocked()
        full.cast(Worker.load)
        slow.cast(Worker.load)
        nobody = rt.ref("nobody")
        mortal.cast(Worker.crash)
        began = rt.now()
        answered = await Refs([good, slow, dead, mortal, full, nobody]).within(2).call(Worker.load)
        assert rt.now() - began == pytest.approx(2, abs=0.03)
        assert answered.replies == [(good, 0)]
        errors = dict(answered.failures)
        assert len(errors) == 5
        assert isinstance(errors[slow], CallTimeout)
        assert isinstance(errors[full], MailboxFull)
        assert isinstance(errors[nobody], UnknownProcess)
        gone, crashed = errors[dead], errors[mortal]
        assert isinstance(gone, ActorExit)
        assert gone.reason is NOPROC
        assert isinstance(crashed, ActorExit)
        assert isinstance(crashed.reason, Crash)


async def test_a_refusal_is_a_failure_of_its_own() -> None:
    async with open_runtime() as rt:
        refs = [await rt.start(Worker(n)) for n in range(3)]
        answered = await multi_call(refs, Worker.refuse)
        assert [error.args for _, error in answered.failures] == [(0,), (1,), (2,)]
        assert all(ref.alive for ref in refs)


async def test_a_method_that_one_of_them_does_not_have_is_refused_before_anybody_is_asked() -> None:
    class Other(Actor):
        pass

    async with open_runtime() as rt:
        worker = await rt.start(Worker(1))
        refs: list[Ref[Worker]] = [worker, await rt.start(Other())]  # type: ignore[list-item]
        with pytest.raises(NotAHandler):
            await multi_call(refs, Worker.mark)
        with pytest.raises(NotAHandler):
            multi_cast(refs, Worker.mark)
        await all_tasks_blocked()
        assert worker.statistics().handled == 0


async def test_nobody_to_ask_is_no_mistake() -> None:
    async with open_runtime():
        nobody: list[Ref[Worker]] = []
        assert await multi_call(nobody, Worker.load) == MultiReply([], [])
        multi_cast(nobody, Worker.mark)
        assert len(Refs(nobody)) == 0


async def test_an_actor_that_asks_itself_among_others_is_told_so() -> None:
    async with open_runtime() as rt:
        refs = [await rt.start(Worker(n)) for n in range(3)]
        with pytest.raises(ActorExit) as exit_:
            await refs[0].call(Worker.ask_all, refs)
        assert isinstance(exit_.value.__cause__, CallingSelf)
        assert refs[1].statistics().handled == 0


async def test_a_cancelled_asker_leaves_nobody_working_for_it() -> None:
    class Pool(Actor):
        concurrency = 5

        def __init__(self) -> None:
            self.ended = 0

        async def work(self) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                self.ended += 1

    async with open_runtime() as rt:
        pools = [Pool() for _ in range(4)]
        refs = [await rt.start(pool) for pool in pools]
        with anyio.move_on_after(1):
            await Refs(refs).within(None).call(Pool.work)
        await all_tasks_blocked()
        assert [pool.ended for pool in pools] == [1] * 4
        assert [ref.statistics().unanswered for ref in refs] == [0] * 4


async def test_a_deadline_is_handed_on() -> None:
    async with open_runtime() as rt:
        refs = [await rt.start(Worker(n, seconds=10)) for n in range(2)]
        await rt.sleep(1)
        answered = await Refs(refs).until(3).call(Worker.load)
        assert rt.now() == pytest.approx(3)
        assert [type(error) for _, error in answered.failures] == [CallTimeout, CallTimeout]


async def test_a_cast_to_all_does_not_mind_who_is_there() -> None:
    async with open_runtime() as rt:
        letters: list[Event] = []
        rt.events.subscribe(letters.append, prefix="runtime.dead_letter")
        workers = [Worker(n) for n in range(3)]
        refs = [await rt.start(worker) for worker in workers]
        await refs[1].stop()
        multi_cast([*refs, rt.ref("nobody")], Worker.mark)
        await all_tasks_blocked()
        assert [worker.marks for worker in workers] == [1, 0, 1]
        assert len(letters) == 2


async def test_a_cast_to_all_reaches_the_others_when_one_is_full() -> None:
    class Full(Worker):
        mailbox_limit = 1
        overflow = "reject"

    async with open_runtime() as rt:
        workers = [Worker(0), Full(1, seconds=60), Worker(2)]
        refs = [await rt.start(worker) for worker in workers]
        refs[1].cast(Worker.load)
        await all_tasks_blocked()
        refs[1].cast(Worker.load)
        with pytest.raises(MailboxFull):
            multi_cast(refs, Worker.mark)
        await all_tasks_blocked()
        assert [worker.marks for worker in workers] == [1, 0, 1]
        refs[1].kill()


async def test_a_runtime_that_has_stopped_says_so() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Worker(1))
    with pytest.raises(RuntimeClosed):
        await multi_call([ref], Worker.load)
    with pytest.raises(RuntimeClosed):
        multi_cast([ref], Worker.mark)
