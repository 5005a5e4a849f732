"""An actor crashes at exactly the message a test names."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import Actor, ActorExit, NotAHandler, Refuse, Runtime, open_runtime
from dspex.runtime.testing import InjectedCrash, all_tasks_blocked, inject_crash
from dspex.supervisors import Child, Supervisor

pytestmark = pytest.mark.anyio


class Tally(Actor):
    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        self.count += n
        return self.count

    async def add_twice(self, n: int) -> int:
        self.add(n)  # its own doing, no message
        return self.add(n)

    def later(self) -> None:
        self.continue_with(Tally.add, 1)

    def refuse(self) -> None:
        raise Refuse(LookupError("no"))

    async def handle_info(self, message: Any) -> None:
        self.count += 100


async def tally(rt: Runtime) -> None:
    await rt.start(Supervisor([Child("tally", Tally, name="tally")], intensity=10, period=3600), name="sup")


async def test_it_crashes_at_the_message_named_and_at_no_other() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=3) as injection:
            await tally(rt)
            ref = rt.ref("tally")
            assert await ref.call(Tally.add, 1) == 1
            ref.cast(Tally.add, 1)
            with pytest.raises(ActorExit) as caught:
                await ref.call(Tally.add, 1)
            assert isinstance(caught.value.__cause__, InjectedCrash)
            assert "message 3" in str(caught.value.__cause__)
            await all_tasks_blocked()
            assert await ref.call(Tally.add, 5) == 5  # a new incarnation
        assert (injection.messages, injection.crashed) == (4, [3])


async def test_messages_are_counted_over_incarnations() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=[1, 2, 4]) as injection:
            await tally(rt)
            for _ in range(5):
                rt.ref("tally").cast(Tally.add, 1)
                await all_tasks_blocked()
            assert injection.crashed == [1, 2, 4]
            assert await rt.ref("tally").call(Tally.add, 1) == 2


async def test_plain_messages_count_and_an_actors_own_calls_do_not() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=1000) as injection:
            await tally(rt)
            ref = rt.ref("tally")
            assert await ref.call(Tally.add_twice, 1) == 2
            ref.send("hello")
            await ref.call(Tally.later)
            assert await ref.call(Tally.add, 0) == 103
        assert injection.messages == 4


async def test_an_error_of_ones_own_can_be_raised() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=1, error=lambda n: OSError(f"disk {n}")):
            await tally(rt)
            with pytest.raises(ActorExit) as caught:
                await rt.ref("tally").call(Tally.add, 1)
            assert str(caught.value.__cause__) == "disk 1"


async def test_refusals_and_wrong_arguments_are_what_they_are_without_it() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=1000):
            await tally(rt)
            ref = rt.ref("tally")
            with pytest.raises(LookupError):
                await ref.call(Tally.refuse)
            with pytest.raises(NotAHandler):
                await ref.call(Tally.add)  # pyright: ignore[reportCallIssue]
            assert await ref.call(Tally.add, 1) == 1


async def test_after_the_block_nothing_crashes_any_more() -> None:
    async with open_runtime() as rt:
        with inject_crash(rt, "tally", at=1) as injection:
            await tally(rt)
        assert await rt.ref("tally").call(Tally.add, 1) == 1
        assert injection.messages == 0


async def test_bad_input_is_refused() -> None:
    async with open_runtime() as rt:
        for at in (0, -1, [], [1, 0], True):
            with pytest.raises(ValueError, match="counted from 1"), inject_crash(rt, "x", at=at):
                pass
        with pytest.raises(ValueError, match="name"), inject_crash(rt, "", at=1):
            pass
