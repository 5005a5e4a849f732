"""Messages and restarts leave memory flat.

What is measured is what stays, a message or a restart, after a warm-up: one object kept by mistake for each is 40 bytes or
more. ``DSPEX_FULL=1`` runs a million messages and a hundred thousand restarts, in minutes; otherwise it is enough of them for
a leak to show.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest
from dspex.runtime import (
    Actor,
    ActorExit,
    CallTimeout,
    MailboxFull,
    Ref,
    Refs,
    Runtime,
    get_state,
    multi_cast,
    open_runtime,
    trace,
)
from dspex.supervisors import Child, Supervisor

pytestmark = pytest.mark.anyio

FULL = bool(os.environ.get("DSPEX_FULL"))
MESSAGES = 1_000_000 if FULL else 3_000
RESTARTS = 100_000 if FULL else 200

KEPT = 8.0
"""Bytes a message or restart that may stay: noise of the collector and of dicts that have grown. A leak is five times that."""

ROUNDS = 3

Work = Callable[[int], Awaitable[None]]


async def kept(work: Work, count: int) -> float:
    """Bytes that stay, for each time the work is done.

    A dict that happens to grow in one round does not grow in the next; a leak is there in every round.
    """
    await work(max(100, count // 5))
    tracemalloc.start()
    try:
        await work(max(100, count // 5))
        await _at_rest()
        rates: list[float] = []
        while len(rates) < ROUNDS and not any(rate < KEPT for rate in rates):
            before, _ = tracemalloc.get_traced_memory()
            await work(count)
            await _at_rest()
            after, _ = tracemalloc.get_traced_memory()
            rates.append((after - before) / count)
    finally:
        tracemalloc.stop()
    return min(rates)


async def _at_rest() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    gc.collect()


class Worker(Actor):
    def __init__(self) -> None:
        self.replies: list[Any] = []

    def add(self, n: int) -> int:
        return n + 1

    async def slow(self) -> None:
        await self.rt.sleep(2)

    def later(self) -> None:
        self.replies.append(self.defer())
        self.continue_with(Worker.answer)

    def answer(self) -> None:
        self.replies.pop().send(None)

    def never(self) -> None:
        self.defer()

    def beside(self) -> None:
        self.task(self.rt.sleep, 0)

    def watch(self, other: Ref[Worker]) -> None:
        self.link(other)
        monitor = self.monitor(other)
        self.demonitor(monitor)
        self.unlink(other)

    def crash(self) -> None:
        raise ValueError("crash")

    async def handle_info(self, message: object) -> None:
        pass


class Pool(Worker):
    concurrency = 4


class Bounded(Worker):
    mailbox_limit = 4
    overflow = "drop_oldest"


async def casts(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for n in range(count):
            ref.cast(Worker.add, n)
            if n % 100 == 0:
                await ref.call(Worker.add, n)
        await ref.within(None).call(Worker.add, 1)

    return work


async def calls(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for n in range(count):
            assert await ref.call(Worker.add, n=n) == n + 1

    return work


async def infos_and_timers(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for n in range(count):
            ref.send(n)
            timer = rt.send_after(3_600, ref, n)
            timer.cancel()
            if n % 100 == 0:
                await ref.call(Worker.add, n)

    return work


async def deferred_answers(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            await ref.call(Worker.later)

    return work


async def callers_who_gave_up(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            with pytest.raises(CallTimeout):
                await ref.within(0.01).call(Worker.never)

    return work


async def concurrent_callers_who_gave_up(rt: Runtime, _: Ref[Worker]) -> Work:
    pool = await rt.start(Pool())

    async def work(count: int) -> None:
        for _ in range(count):
            with anyio.move_on_after(1):
                await pool.call(Pool.slow)

    return work


async def helper_tasks(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            await ref.call(Worker.beside)

    return work


async def links_and_monitors(rt: Runtime, ref: Ref[Worker]) -> Work:
    other = await rt.start(Worker())

    async def work(count: int) -> None:
        for _ in range(count):
            await ref.call(Worker.watch, other)

    return work


async def messages_to_many(rt: Runtime, ref: Ref[Worker]) -> Work:
    refs = [ref, await rt.start(Worker()), await rt.start(Worker())]
    refs[2].kill()

    async def work(count: int) -> None:
        for n in range(count):
            assert len((await Refs(refs).call(Worker.add, n)).failures) == 1
            multi_cast(refs, Worker.add, n)

    return work


async def dropped_messages(rt: Runtime, _: Ref[Worker]) -> Work:
    bounded = await rt.start(Bounded())

    async def work(count: int) -> None:
        for n in range(count):
            bounded.cast(Worker.add, n)
            if n % 10 == 0:
                async with anyio.create_task_group() as group:
                    for _ in range(5):
                        group.start_soon(perhaps, bounded)

    async def perhaps(ref: Ref[Worker]) -> None:
        with suppress(MailboxFull):
            await ref.call(Worker.add, 1)

    return work


async def orders(rt: Runtime, ref: Ref[Worker]) -> Work:
    async def work(count: int) -> None:
        for _ in range(count):
            await get_state(ref)
            await trace(ref, lambda _: None)
            await ref.call(Worker.add, 1)
            await trace(ref, None)

    return work


async def messages_to_the_dead(rt: Runtime, _: Ref[Worker]) -> Work:
    dead = await rt.start(Worker())
    dead.kill()
    await dead.ended()

    async def work(count: int) -> None:
        for n in range(count):
            dead.cast(Worker.add, n)
            dead.send(n)
            with pytest.raises(ActorExit):
                await dead.call(Worker.add, n)

    return work


MAKERS = [
    casts,
    calls,
    infos_and_timers,
    deferred_answers,
    callers_who_gave_up,
    concurrent_callers_who_gave_up,
    helper_tasks,
    links_and_monitors,
    messages_to_many,
    dropped_messages,
    orders,
    messages_to_the_dead,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
async def test_messages_leave_nothing(make: Callable[[Runtime, Ref[Worker]], Awaitable[Work]]) -> None:
    # What costs a task or a time-out each is done less often.
    share = 1 if make is casts else 5
    async with open_runtime() as rt:
        work = await make(rt, await rt.start(Worker()))
        assert await kept(work, MESSAGES // share) < KEPT


async def test_starts_and_stops_leave_nothing() -> None:
    async with open_runtime() as rt:

        async def work(count: int) -> None:
            for n in range(count):
                ref = await rt.start(Worker(), name="worker" if n % 2 else None)
                await ref.call(Worker.add, 1)
                await ref.stop()

        assert await kept(work, RESTARTS * 2) < KEPT
        assert rt.statistics()["processes"] == rt.statistics()["names"] == 0


async def test_restarts_leave_nothing() -> None:
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("worker", Worker, name="worker"), Child("other", Worker)], strategy="one_for_all"))
        worker = rt.ref("worker")

        async def work(count: int) -> None:
            for _ in range(count):
                with pytest.raises(ActorExit):
                    await worker.call(Worker.crash)
                await rt.sleep(10)
                assert await worker.call(Worker.add, 1) == 2

        assert await kept(work, RESTARTS) < KEPT
        assert rt.statistics()["processes"] == 3


async def test_an_idle_actor_keeps_nothing_of_its_last_message_alive() -> None:
    class Payload:
        pass

    class Echo(Actor):
        async def echo(self, payload: Payload) -> Payload:
            return payload

        async def handle_info(self, message: object) -> None:
            pass

    async with open_runtime() as rt:
        ref = await rt.start(Echo())
        payloads = [Payload() for _ in range(3)]
        seen = [weakref.ref(payload) for payload in payloads]
        await ref.call(Echo.echo, payloads[0])
        await _at_rest()
        ref.cast(Echo.echo, payload=payloads[1])
        await _at_rest()
        ref.send(payloads[2])
        await _at_rest()
        payloads.clear()
        assert [payload() for payload in seen] == [None, None, None]


async def test_a_leak_would_show() -> None:
    """One small object kept for each message is seen, so the tests above can fail."""
    hoard: list[object] = []

    async with open_runtime() as rt:
        ref = await rt.start(Worker())

        async def work(count: int) -> None:
            for n in range(count):
                hoard.append(object())
                await ref.call(Worker.add, n)

        assert await kept(work, MESSAGES // 4) > 2 * KEPT
