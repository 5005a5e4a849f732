"""Backoff: restarts that are put off, by a timer, under virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import NORMAL, ActorExit, Event, Ref, open_runtime
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import (
    Backoff,
    BadChildSpec,
    Child,
    ChildRestarting,
    DynamicSupervisor,
    Supervisor,
    tree,
)
from supervised import Book, Worker, crash, supervise

pytestmark = pytest.mark.anyio

PLAIN = Backoff(first=1.0, factor=2.0, longest=5.0, jitter=0.0, stable=100.0)


async def test_each_crash_in_a_row_doubles_the_wait_up_to_the_longest() -> None:
    book = Book()
    waits: list[float] = []
    async with open_runtime() as rt:
        await supervise(rt, [book.child("a")], backoff=PLAIN)

        def heard(event: Event) -> None:
            waits.append(event.data["seconds"])

        rt.events.subscribe(heard, prefix="supervisor.child.delayed")
        for wait in (1.0, 2.0, 4.0, 5.0, 5.0):
            await crash(rt, "a")
            before = rt.now()
            assert rt.whereis("a") is None
            await rt.sleep(wait - 0.01)
            assert rt.whereis("a") is None
            await rt.sleep(0.02)
            assert rt.whereis("a") is not None
            assert rt.now() - before < wait + 0.05
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_stable_time_begins_again_at_the_first_wait() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, [book.child("a")], backoff=PLAIN)
        for _ in range(3):
            await crash(rt, "a")
            await rt.sleep(6)
        await rt.sleep(100)
        await crash(rt, "a")
        await rt.sleep(1.01)
        assert rt.whereis("a") is not None


async def test_a_start_that_fails_is_put_off_as_well_and_counts() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a")], backoff=PLAIN)
        book.plans["a"] = [OSError("not yet"), OSError("not yet"), None]
        await crash(rt, "a")
        await rt.sleep(1.01)  # fails
        await rt.sleep(2.01)  # fails
        assert rt.whereis("a") is None
        await rt.sleep(4.01)
        assert rt.whereis("a") is not None
        assert book.take() == "+a -a !a !a +a"
        stats = await sup.call(Supervisor.statistics)
        assert (stats.restarts, stats.by_child) == (3, {"a": 3})


async def test_the_supervisor_answers_meanwhile_and_says_that_it_is_restarting() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("ab"), backoff=PLAIN)
        await crash(rt, "a")
        assert [(i.id, i.restarting) for i in await sup.call(Supervisor.which_children)] == [("b", False), ("a", True)]
        assert (await sup.call(Supervisor.count_children)).active == 1
        assert (await sup.call(Supervisor.statistics)).restarting == 1
        node = tree(sup).find("a")
        assert node is not None
        assert node.state == "restarting"
        for refused in (Supervisor.restart_child, Supervisor.delete_child):
            with pytest.raises(ChildRestarting):
                await sup.call(refused, "a")


async def test_terminate_child_calls_the_restart_off() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a")], backoff=PLAIN)
        await crash(rt, "a")
        await sup.call(Supervisor.terminate_child, "a")
        await rt.sleep(10)
        assert book.take() == "+a -a"
        assert await sup.call(Supervisor.restart_child, "a") is not None
        await crash(rt, "a")
        await rt.sleep(2.01)
        assert book.take() == "+a -a +a"


async def test_a_restart_that_was_called_off_does_not_come_back_as_another() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a")], backoff=PLAIN)
        await crash(rt, "a")  # due in 1 s
        await sup.call(Supervisor.terminate_child, "a")
        await sup.call(Supervisor.restart_child, "a")
        await crash(rt, "a")  # due in 2 s
        await rt.sleep(1.5)
        assert rt.whereis("a") is None
        await rt.sleep(0.6)
        assert rt.whereis("a") is not None


@pytest.mark.parametrize(
    ("strategy", "log"),
    [("one_for_one", "-b +b"), ("rest_for_one", "-b -c +b +c"), ("one_for_all", "-b -c -a +a +b +c")],
)
async def test_those_that_are_restarted_together_wait_together(strategy: str, log: str) -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children("abc"), strategy=strategy, backoff=PLAIN)
        book.take()
        await crash(rt, "b")
        stopped = book.take()
        await rt.sleep(1.01)
        assert f"{stopped} {book.take()}" == log


async def test_a_second_death_in_the_group_keeps_the_order() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, book.children("abc"), strategy="rest_for_one", backoff=PLAIN)
        book.take()
        await crash(rt, "b")
        await rt.sleep(0.5)
        await crash(rt, "a")
        assert book.take() == "-b -c -a"
        await rt.sleep(1.01)
        assert book.take() == "+a +b +c"
        await rt.sleep(10)
        assert book.take() == ""


async def test_the_intensity_still_ends_it() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a")], intensity=2, period=60, backoff=PLAIN)
        for wait in (1.01, 2.01, 0.0):
            await crash(rt, "a")
            await rt.sleep(wait)
        await sup.ended()
        assert book.take() == "+a -a +a -a +a -a"


async def test_leaving_the_block_does_not_wait_for_a_restart() -> None:
    book = Book()
    async with open_runtime() as rt:
        await supervise(rt, [book.child("a")], backoff=Backoff(first=3600, longest=3600))
        await crash(rt, "a")
        began = rt.now()
    assert book.take() == "+a -a"
    async with open_runtime() as rt:
        assert rt.now() - began < 1


async def test_dynamic_children_are_put_off_and_keep_their_arguments() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await rt.start(DynamicSupervisor(lambda n: Worker(book, n), intensity=10, backoff=PLAIN))
        a: Ref[Any] | None = await sup.call(DynamicSupervisor.start_child, "a")
        b: Ref[Any] | None = await sup.call(DynamicSupervisor.start_child, "b")
        assert a is not None
        assert b is not None
        for ref in (a, b):
            with pytest.raises(ActorExit):
                await ref.call(Worker.crash, ValueError("boom"))
        await all_tasks_blocked()
        assert [i.restarting for i in await sup.call(DynamicSupervisor.which_children)] == [True, True]
        await sup.call(DynamicSupervisor.terminate_child, b)
        await rt.sleep(1.01)
        assert book.take() == "+a +b -a -b +a"
        assert (await sup.call(DynamicSupervisor.count_children)).active == 1
        assert (await sup.call(DynamicSupervisor.statistics)).by_child == {"child": 2}


async def test_an_orderly_end_is_not_put_off() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [book.child("a", restart="transient")], backoff=PLAIN)
        rt.ref("a").cast(Worker.leave, NORMAL)
        await all_tasks_blocked()
        assert (await sup.call(Supervisor.statistics)).restarting == 0


def test_jitter_is_reproducible_with_a_seed_and_within_bounds() -> None:
    one, two = (Backoff(first=1, longest=8, jitter=0.5, seed=7) for _ in range(2))
    waits = [one.seconds(n) for n in range(1, 40)]
    assert waits == [two.seconds(n) for n in range(1, 40)]
    assert len(set(waits)) == len(waits)
    for attempt, wait in enumerate(waits, 1):
        exact = min(8.0, 2.0 ** (attempt - 1))
        assert exact / 2 <= wait <= exact * 1.5


def test_many_attempts_do_not_overflow() -> None:
    assert Backoff(first=0.1, longest=30, jitter=0).seconds(100_000) == 30
    assert Backoff(first=0, longest=30, jitter=0).seconds(100_000) == 0
    assert Backoff(first=1, factor=1, longest=30, jitter=0).seconds(100_000) == 1


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"first": -1}, "first is a number >= 0"),
        ({"first": "1"}, "first is a number >= 0"),
        ({"first": float("nan")}, "first is a number >= 0"),
        ({"longest": float("inf")}, "longest is a number >= 0"),
        ({"factor": 0.5}, "factor is 1 or more"),
        ({"jitter": 1.5}, "jitter is from 0 to 1"),
        ({"first": 10, "longest": 1}, "longest .* is less than first"),
        ({"stable": True}, "stable is a number"),
    ],
)
def test_a_wrong_backoff_is_refused_where_it_is_made(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule) as caught:
        Backoff(**options)
    assert caught.value.rule == "backoff"


def test_what_is_no_backoff_is_refused() -> None:
    with pytest.raises(BadChildSpec, match=r"a Backoff\(...\), not 5"):
        Supervisor([Child("a", Supervisor)], backoff=5)  # pyright: ignore[reportArgumentType]
