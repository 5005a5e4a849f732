"""No actor starves another, and a deep backlog loses nothing."""

from __future__ import annotations

import anyio
import pytest
from dspex.runtime import KILLED, Actor, ActorExit, open_runtime
from dspex.runtime.process import REDUCTIONS

pytestmark = pytest.mark.anyio

BACKLOG = 100_000


class Busy(Actor):
    def __init__(self) -> None:
        self.handled = 0

    def count(self) -> None:
        self.handled += 1

    def total(self) -> int:
        return self.handled


class Quick(Actor):
    def ping(self) -> str:
        return "pong"


async def test_an_actor_with_a_full_mailbox_does_not_hold_up_the_others() -> None:
    async with open_runtime() as rt:
        actor = Busy()
        busy, quick = await rt.start(actor), await rt.start(Quick())
        for _ in range(BACKLOG):
            busy.cast(Busy.count)
        assert await quick.call(Quick.ping) == "pong"
        # Counted in messages, not in time: a few turns of 256 may pass before the answer.
        assert actor.handled <= 2_000
        assert await busy.within(None).call(Busy.total) == BACKLOG


async def test_every_reply_waits_for_a_few_turns_at_most_while_others_have_full_mailboxes() -> None:
    """A turn is 256 messages, below a millisecond: so a reply comes within a few milliseconds, whatever the machine."""
    async with open_runtime() as rt:
        actors = [Busy() for _ in range(3)]
        quick = await rt.start(Quick())
        for actor in actors:
            ref = await rt.start(actor)
            for _ in range(BACKLOG // 2):
                ref.cast(Busy.count)
        for _ in range(30):
            before = [actor.handled for actor in actors]
            assert await quick.call(Quick.ping) == "pong"
            turns = [(actor.handled - handled) / REDUCTIONS for actor, handled in zip(actors, before, strict=True)]
            # Two passes of the loop are a call; a turn each and one that was under way.
            assert all(turn <= 4 for turn in turns)
            # They were not idle, or this shows nothing.
            assert sum(turns) > 0
        assert all(actor.handled < BACKLOG // 2 for actor in actors)


async def test_an_actor_that_goes_on_with_itself_for_ever_lets_others_run() -> None:
    class Restless(Busy):
        def go_on(self) -> None:
            self.handled += 1
            self.continue_with(Restless.go_on)

        def again(self) -> None:
            self.handled += 1
            self.ref.cast(Restless.again)

    async with open_runtime() as rt:
        quick = await rt.start(Quick())
        for method in (Restless.go_on, Restless.again):
            actor = Restless()
            ref = await rt.start(actor)
            ref.cast(method)
            for _ in range(10):
                assert await quick.call(Quick.ping) == "pong"
            assert actor.handled > 0
            await ref.stop()


async def test_two_actors_that_play_ping_pong_let_others_run() -> None:
    class Player(Actor):
        other: Player
        rallies = 0

        def hit(self) -> None:
            self.rallies += 1
            self.other.ref.cast(Player.hit)

    async with open_runtime() as rt:
        a, b = Player(), Player()
        a.other, b.other = b, a
        ref = await rt.start(a)
        await rt.start(b)
        ref.cast(Player.hit)
        quick = await rt.start(Quick())
        for _ in range(100):
            assert await quick.call(Quick.ping) == "pong"
        assert a.rallies > 0


async def test_a_busy_actor_can_be_killed() -> None:
    async with open_runtime() as rt:
        actor = Busy()
        ref = await rt.start(actor)
        for _ in range(BACKLOG):
            ref.cast(Busy.count)
        await anyio.lowlevel.checkpoint()
        ref.kill()
        await ref.ended()
        assert actor.handled < BACKLOG


async def test_callers_behind_a_backlog_learn_of_a_kill() -> None:
    class Deferring(Busy):
        def later(self) -> None:
            self.defer()

    async with open_runtime() as rt:
        actor = Deferring()
        ref = await rt.start(actor)
        reasons: list[object] = []

        async def ask() -> None:
            for _ in range(50):
                ref.cast(Busy.count)
            with pytest.raises(ActorExit) as exit_:
                await ref.call(Deferring.later)
            reasons.append(exit_.value.reason)

        async with anyio.create_task_group() as group:
            for _ in range(2_000):
                group.start_soon(ask)
            # Some calls are waiting behind others now, some were handled and wait for an answer.
            while actor.handled < 10_000:
                await anyio.lowlevel.checkpoint()
            ref.kill()
        assert actor.handled < 100_000
        assert reasons == [KILLED] * 2_000
