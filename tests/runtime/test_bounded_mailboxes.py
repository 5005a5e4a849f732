"""A mailbox with a limit: what each policy does to what comes when it is full, and what it never does."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from dspex.runtime import (
    KILLED,
    Actor,
    ActorExit,
    BadProcess,
    CallTimeout,
    Down,
    Event,
    ExitSignal,
    Mailbox,
    MailboxFull,
    Overflow,
    Plain,
    Ref,
    Runtime,
    open_runtime,
    spawn,
)
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Clerk(Actor):
    """Works on ``busy`` until told to go on; what it has seen is in order."""

    trap_exit = True

    def __init__(self, overflow: Overflow, limit: int = 3) -> None:
        self.overflow = overflow
        self.mailbox_limit = limit
        self.seen: list[Any] = []
        self.go_on = anyio.Event()

    async def busy(self) -> None:
        await self.go_on.wait()

    def note(self, what: Any) -> Any:
        self.seen.append(what)
        return what

    async def handle_info(self, message: object) -> None:
        self.seen.append(message)


async def busy_clerk(rt: Runtime, overflow: Overflow, limit: int = 3) -> tuple[Clerk, Ref[Clerk]]:
    clerk = Clerk(overflow, limit)
    ref = await rt.start(clerk)
    ref.cast(Clerk.busy)
    await all_tasks_blocked()
    return clerk, ref


def full(rt: Runtime) -> list[Event]:
    events: list[Event] = []
    rt.events.subscribe(events.append, prefix="runtime.mailbox.full")
    return events


async def test_reject_tells_every_kind_of_sender() -> None:
    async with open_runtime() as rt:
        events = full(rt)
        clerk, ref = await busy_clerk(rt, "reject")
        for n in range(3):
            ref.cast(Clerk.note, n)
        with pytest.raises(MailboxFull, match="3 messages"):
            ref.cast(Clerk.note, "cast")
        with pytest.raises(MailboxFull):
            ref.send("info")
        with pytest.raises(MailboxFull):
            await ref.call(Clerk.note, "call")
        with pytest.raises(MailboxFull):
            await ref.cast_wait(Clerk.note, "cast_wait")
        statistics = ref.statistics()
        assert (statistics.messages, statistics.rejected, statistics.dropped) == (3, 4, 0)
        clerk.go_on.set()
        await all_tasks_blocked()
        assert await ref.call(Clerk.note, "later") == "later"
        assert clerk.seen == [0, 1, 2, "later"]
        assert [event.data["kind"] for event in events] == ["cast", "info", "call", "cast"]


async def test_drop_newest_lets_the_new_message_fall_and_a_caller_knows() -> None:
    async with open_runtime() as rt:
        events = full(rt)
        clerk, ref = await busy_clerk(rt, "drop_newest")
        for n in range(5):
            ref.cast(Clerk.note, n)
        ref.send("info")
        before = rt.now()
        with pytest.raises(MailboxFull):
            await ref.call(Clerk.note, "call")
        assert rt.now() == before
        clerk.go_on.set()
        await all_tasks_blocked()
        await ref.call(Clerk.note, "end")
        assert clerk.seen == [0, 1, 2, "end"]
        assert ref.statistics().dropped == len(events) == 4


async def test_drop_oldest_makes_room_for_the_new_message() -> None:
    async with open_runtime() as rt:
        events = full(rt)
        clerk, ref = await busy_clerk(rt, "drop_oldest")
        errors: list[MailboxFull] = []

        async def ask() -> None:
            with pytest.raises(MailboxFull) as error:
                await ref.call(Clerk.note, "dropped call")
            errors.append(error.value)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await all_tasks_blocked()
            for n in range(5):
                ref.cast(Clerk.note, n)
            await all_tasks_blocked()
            # The caller waited longest, so it went first, and was told at once.
            assert [error.overflow for error in errors] == ["drop_oldest"]
        clerk.go_on.set()
        await all_tasks_blocked()
        assert clerk.seen == [2, 3, 4]
        assert [event.data["kind"] for event in events] == ["call", "cast", "cast"]
        assert ref.statistics().dropped == 3


async def test_wait_holds_the_caller_back_until_there_is_room() -> None:
    async with open_runtime() as rt:
        clerk, ref = await busy_clerk(rt, "wait", limit=2)
        answers: list[int] = []

        async def ask(n: int) -> None:
            answers.append(await ref.within(None).call(Clerk.note, n))

        async with anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(ask, n)
                await all_tasks_blocked()
            statistics = ref.statistics()
            assert (statistics.messages, statistics.waiting_senders) == (2, 4)
            clerk.go_on.set()
        assert clerk.seen == [0, 1, 2, 3, 4, 5]
        assert sorted(answers) == clerk.seen
        assert (ref.statistics().dropped, ref.statistics().rejected) == (0, 0)


async def test_cast_wait_is_backpressure() -> None:
    class Slow(Actor):
        mailbox_limit = 10

        def __init__(self) -> None:
            self.handled = 0
            self.most = 0

        async def work(self) -> None:
            self.most = max(self.most, self.ref.statistics().messages)
            await self.rt.sleep(0.1)
            self.handled += 1

    async with open_runtime() as rt:
        slow = Slow()
        ref = await rt.start(slow)
        for _ in range(100):
            await ref.cast_wait(Slow.work)
        # The sender is never further ahead than the mailbox holds.
        assert slow.handled >= 89
        await rt.ref("nobody").cast_wait(Slow.work)
        await ref.stop()
        assert slow.most <= 10


async def test_a_plain_cast_to_a_full_mailbox_that_makes_its_senders_wait_says_so() -> None:
    async with open_runtime() as rt:
        _, ref = await busy_clerk(rt, "wait", limit=1)
        ref.cast(Clerk.note, 1)
        with pytest.raises(MailboxFull, match="cast_wait"):
            ref.cast(Clerk.note, 2)
        with pytest.raises(MailboxFull, match="cast_wait"):
            ref.send(2)
        ref.kill()


async def test_a_sender_that_gave_up_waiting_sends_nothing() -> None:
    async with open_runtime() as rt:
        clerk, ref = await busy_clerk(rt, "wait", limit=1)
        ref.cast(Clerk.note, 1)
        with anyio.move_on_after(1):
            await ref.cast_wait(Clerk.note, "cancelled")
        with anyio.move_on_after(1):
            await ref.send_wait("cancelled")
        with pytest.raises(CallTimeout):
            await ref.within(1).call(Clerk.note, "timed out")
        clerk.go_on.set()
        await ref.send_wait("last")
        await all_tasks_blocked()
        assert clerk.seen == [1, "last"]
        assert ref.statistics().waiting_senders == 0


async def test_messages_of_one_sender_keep_their_order_while_it_waits() -> None:
    async with open_runtime() as rt:
        clerk, ref = await busy_clerk(rt, "wait", limit=2)

        async def send() -> None:
            for n in range(20):
                if n % 3 == 0:
                    await ref.call(Clerk.note, n)
                elif n % 3 == 1:
                    await ref.cast_wait(Clerk.note, n)
                else:
                    await ref.send_wait(n)

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await all_tasks_blocked()
            clerk.go_on.set()
        await all_tasks_blocked()
        assert clerk.seen == list(range(20))


@pytest.mark.parametrize("overflow", ["wait", "reject", "drop_oldest", "drop_newest"])
async def test_signals_are_never_dropped_and_orders_never_wait(overflow: Overflow) -> None:
    async with open_runtime() as rt:
        clerk, ref = await busy_clerk(rt, overflow, limit=2)
        other = await rt.start(Clerk("wait"))
        monitor = clerk.monitor(other)
        clerk.link(other)
        for n in range(2):
            ref.cast(Clerk.note, n)
        other.kill()
        await other.ended()
        for n in range(2, 10):
            try:
                ref.cast(Clerk.note, n)
            except MailboxFull:
                assert overflow in ("wait", "reject")
        clerk.go_on.set()
        await all_tasks_blocked()
        assert [m for m in clerk.seen if isinstance(m, ExitSignal)] == [ExitSignal(other, KILLED)]
        assert [m for m in clerk.seen if isinstance(m, Down)] == [Down(monitor, other, KILLED)]
        clerk.go_on = anyio.Event()
        ref.cast(Clerk.busy)
        await all_tasks_blocked()
        for n in range(2):
            ref.cast(Clerk.note, f"behind {n}")
        async with anyio.create_task_group() as group:
            group.start_soon(ref.stop)
            await all_tasks_blocked()
            clerk.go_on.set()
        assert "behind 0" not in clerk.seen


async def test_the_end_of_the_actor_reaches_those_who_wait_for_room() -> None:
    async with open_runtime() as rt:
        letters: list[Event] = []
        rt.events.subscribe(letters.append, prefix="runtime.dead_letter")
        _, ref = await busy_clerk(rt, "wait", limit=1)
        ref.cast(Clerk.note, 1)
        reasons: list[object] = []

        async def ask() -> None:
            with pytest.raises(ActorExit) as exit_:
                await ref.call(Clerk.note, 2)
            reasons.append(exit_.value.reason)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ref.cast_wait, Clerk.note, 3)
            await all_tasks_blocked()
            ref.kill()
        assert reasons == [KILLED]
        assert len(letters) == 2


async def test_what_a_timer_sends_is_kept_or_counted() -> None:
    async with open_runtime() as rt:
        for overflow, kept in (("wait", 3), ("reject", 1), ("drop_newest", 1), ("drop_oldest", 1)):
            clerk, ref = await busy_clerk(rt, overflow, limit=1)
            for n in range(3):
                rt.send_after(1, ref, n)
            await rt.sleep(2)
            assert ref.statistics().messages == kept
            assert ref.statistics().dropped == 3 - kept
            clerk.go_on.set()
            await all_tasks_blocked()
            assert len(clerk.seen) == kept


async def test_a_concurrent_actor_counts_the_calls_that_wait_for_their_turn() -> None:
    class Pool(Actor):
        concurrency = 2
        mailbox_limit = 3
        overflow = "reject"

        def __init__(self) -> None:
            self.go_on = anyio.Event()

        async def work(self) -> str:
            await self.go_on.wait()
            return "done"

    async with open_runtime() as rt:
        pool = Pool()
        ref = await rt.start(pool)
        answers: list[object] = []

        async def ask() -> None:
            try:
                answers.append(await ref.call(Pool.work))
            except MailboxFull as error:
                answers.append(error.limit)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(ask)
                await all_tasks_blocked()
            assert answers == [3, 3, 3]  # two run, three wait
            assert ref.statistics().messages == 3
            pool.go_on.set()
        assert answers == [3, 3, 3] + ["done"] * 5


async def test_a_concurrent_actor_lets_waiting_callers_in_one_by_one() -> None:
    class Pool(Actor):
        concurrency = 2
        mailbox_limit = 2
        running = 0
        most = 0

        async def work(self) -> int:
            self.running += 1
            self.most = max(self.most, self.running)
            await self.rt.sleep(1)
            self.running -= 1
            return self.ref.statistics().messages

    async with open_runtime() as rt:
        pool = Pool()
        ref = (await rt.start(pool)).within(None)
        waiting: list[int] = []

        async def ask() -> None:
            waiting.append(await ref.call(Pool.work))

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
        assert len(waiting) == 20
        assert max(waiting) <= 2
        assert pool.most == 2
        assert rt.now() == pytest.approx(10)


async def test_a_plain_process_may_have_a_limit_too() -> None:
    seen: list[object] = []
    go_on = anyio.Event()

    async def reader(me: Mailbox) -> None:
        await go_on.wait()
        seen.append(await me.receive(lambda message: message == 3))
        while True:
            seen.append(await me.receive())

    async with open_runtime() as rt:
        ref = await rt.start(Plain(reader, mailbox_limit=4))
        for n in range(4):
            await ref.send_wait(n)
        async with anyio.create_task_group() as group:
            group.start_soon(ref.send_wait, "waited")
            await all_tasks_blocked()
            assert ref.statistics().waiting_senders == 1
            go_on.set()
        await all_tasks_blocked()
        assert seen == [3, 0, 1, 2, "waited"]


async def test_a_receive_that_waits_misses_nothing_when_older_messages_are_dropped() -> None:
    async def picky(me: Mailbox) -> None:
        found.append(await me.receive(lambda message: message == "wanted"))

    found: list[object] = []
    async with open_runtime() as rt:
        ref = await rt.start(Plain(picky, mailbox_limit=3, overflow="drop_oldest"))
        for n in range(3):
            ref.send(n)
        await all_tasks_blocked()
        ref.send("wanted")
        await all_tasks_blocked()
        assert found == ["wanted"]


@pytest.mark.parametrize(
    ("limit", "overflow", "message"),
    [(0, "wait", "1 or more"), (True, "wait", "1 or more"), (1.5, "wait", "1 or more"), (5, "drop", "one of wait")],
)
async def test_a_wrong_limit_or_policy_is_refused_at_the_start(limit: Any, overflow: Any, message: str) -> None:
    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match=message):
            await rt.start(Clerk(overflow, limit))
        with pytest.raises(BadProcess, match=message):
            Plain(reader_of_nothing, mailbox_limit=limit, overflow=overflow)
        assert rt.statistics()["processes"] == 0


async def reader_of_nothing(me: Mailbox) -> None:
    pass


async def test_an_actor_without_a_limit_takes_everything() -> None:
    async with open_runtime():

        async def idle(me: Mailbox) -> None:
            await anyio.sleep_forever()

        ref = spawn(idle)
        for n in range(10_000):
            ref.send(n)
        assert ref.statistics().messages == 10_000
