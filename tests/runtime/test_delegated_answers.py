"""An answer that another actor is asked for: no task waits, the caller's deadline holds, and its going calls it off."""

from typing import Any, cast

import anyio
import pytest
from dspex.runtime import Actor, ActorExit, CallTimeout, NotAHandler, Ref, Refuse, open_runtime

pytestmark = pytest.mark.anyio


class Worker(Actor):
    concurrency = 4

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.called_off = anyio.Event()
        self.deadlines: list[float | None] = []

    async def work(self, n: int) -> int:
        self.deadlines.append(self.deadline)
        if n == 0:
            raise Refuse(ValueError("nothing to do"))
        return n * 2

    async def hang(self, n: int) -> int:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.called_off.set()
            raise
        return n


class Front(Actor):
    def __init__(self, worker: Ref[Worker]) -> None:
        self.worker = worker

    def ask(self, n: int, method: Any = Worker.work) -> str:
        reply = self.defer()

        def then(value: Any, error: BaseException | None) -> None:
            if error is not None:
                reply.refuse(error)
            else:
                reply.send(f"got {value}")

        try:
            reply.delegate(self.worker, method, n, then=then)
        except (ActorExit, NotAHandler) as error:
            raise Refuse(error) from None
        return cast(str, None)


async def test_the_answer_and_the_error_of_the_other_reach_the_caller() -> None:
    async with open_runtime() as rt:
        worker = await rt.start(Worker())
        front = await rt.start(Front(worker))
        assert await front.call(Front.ask, 4) == "got 8"
        with pytest.raises(ValueError, match="nothing to do"):
            await front.call(Front.ask, 0)
        assert worker.exit_reason is None


async def test_the_other_sees_the_caller_s_deadline_and_its_end_calls_the_work_off() -> None:
    async with open_runtime() as rt:
        made = Worker()
        worker = await rt.start(made)
        front = await rt.start(Front(worker))
        deadline = rt.now() + 30
        assert await front.until(deadline).call(Front.ask, 1) == "got 2"
        assert made.deadlines == [deadline]
        with pytest.raises(CallTimeout):
            await front.within(0.05).call(Front.ask, 1, Worker.hang)
        with anyio.fail_after(10):
            await made.called_off.wait()


async def test_a_caller_that_goes_away_calls_the_work_off_too() -> None:
    async with open_runtime() as rt:
        made = Worker()
        front = await rt.start(Front(await rt.start(made)))
        async with anyio.create_task_group() as group:
            group.start_soon(front.within(None).call, Front.ask, 1, Worker.hang)
            await made.begun.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            await made.called_off.wait()


async def test_the_death_of_either_is_the_caller_s_at_once() -> None:
    async with open_runtime() as rt:
        for victim in ("worker", "front"):
            made = Worker()
            refs: dict[str, Ref[Any]] = {"worker": await rt.start(made)}
            refs["front"] = await rt.start(Front(refs["worker"]))
            errors: list[ActorExit] = []

            async def ask(front: Ref[Any] = refs["front"], errors: list[ActorExit] = errors) -> None:
                with pytest.raises(ActorExit) as caught:
                    await front.within(60).call(Front.ask, 1, Worker.hang)
                errors.append(caught.value)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await made.begun.wait()
                refs[victim].kill()
            assert len(errors) == 1
            with anyio.fail_after(10):
                await made.called_off.wait()


async def test_what_cannot_be_asked_is_said_before_anything_is_sent() -> None:
    async with open_runtime() as rt:
        worker = await rt.start(Worker())
        front = await rt.start(Front(worker))
        with pytest.raises(NotAHandler):
            await front.call(Front.ask, 1, Front.ask)
        await worker.stop()
        with pytest.raises(ActorExit, match="not alive"):
            await front.call(Front.ask, 1)
        assert front.exit_reason is None
