"""A tree written as a literal, what ``tree`` shows of it, and what a supervisor remembers of its restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dspex.runtime import Actor, Crash, Mailbox, Plain, open_runtime
from dspex.runtime.testing import all_tasks_blocked, assert_tree
from dspex.supervisors import BadChildSpec, Child, DynamicSupervisor, Supervisor, branch, tree
from supervised import Book, Worker, crash, supervise

pytestmark = pytest.mark.anyio


async def test_a_literal_reads_as_the_tree_it_starts() -> None:
    book = Book()
    root = Supervisor(
        [
            book.child("cache"),
            branch(
                "web",
                [
                    book.child("listener"),
                    branch("sessions", [book.child("store")], strategy="rest_for_one", name="sessions"),
                ],
                strategy="one_for_all",
                intensity=5,
            ),
        ],
        name="root",
    )
    async with open_runtime() as rt:
        await rt.start(root)
        assert_tree(
            tree(rt),
            """
            runtime
              root
                cache
                web
                  listener
                  sessions
                    store
            """,
        )
        assert rt.whereis("sessions") is not None
        await crash(rt, "listener")
        assert book.take() == "+cache +listener +store -listener -store +listener +store"


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: branch("b", [Child("a", Supervisor), Child("a", Supervisor)]), "two children have the id 'a'"),
        (lambda: branch("b", [], strategy="some"), "a strategy is one of"),  # pyright: ignore[reportArgumentType]
        (lambda: branch("", []), "non-empty str"),
        (lambda: branch("b", Child("a", Supervisor)), r"write \[Child\('a', ...\)\]"),  # pyright: ignore[reportArgumentType]
        (lambda: branch("b", [], significant=True), "permanent child cannot be significant"),
        (lambda: branch("b", [], intensity=-1), "intensity counts restarts"),
    ],
)
def test_a_wrong_branch_is_refused_where_it_is_written(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule):
        make()


async def test_the_tree_shows_dynamic_children_stopped_and_restarting_ones_and_what_actors_started() -> None:
    class Owner(Actor):
        async def init(self) -> None:
            await self.start_link(Helper(), name="helper")

    class Helper(Actor):
        pass

    async def wait(mailbox: Mailbox) -> None:
        await mailbox.receive()

    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(
            rt,
            [
                Child("owner", Owner),
                book.child("stopped"),
                Child("plain", lambda: Plain(wait)),
                Child("dyn", lambda: DynamicSupervisor(lambda n: Worker(book, n), name="dyn"), type="supervisor"),
            ],
        )
        await rt.ref("dyn").call(DynamicSupervisor.start_child, "one")
        await rt.ref("dyn").call(DynamicSupervisor.start_child, "two")
        await sup.call(Supervisor.terminate_child, "stopped")
        assert_tree(
            tree(sup),
            """
            sup
              owner
                helper
              stopped  stopped
              plain
              dyn
                child
                child
            """,
        )


async def test_statistics_count_restarts_by_child_and_keep_the_last_reasons() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("ab"), period=10)
        error = ValueError("third")
        for name in ("a", "b"):
            await crash(rt, name)
        await rt.sleep(60)
        await crash(rt, "a", error)
        stats = await sup.call(Supervisor.statistics)
        assert (stats.children, stats.active, stats.restarting) == (2, 2, 0)
        assert (stats.restarts, stats.restarts_in_period, stats.by_child) == (3, 1, {"a": 2, "b": 1})
        assert [note.child for note in stats.last] == ["a", "b", "a"]
        assert stats.last[-1].reason == Crash(error)
        assert stats.last[-1].at >= 60


async def test_statistics_stay_small() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, [], intensity=1_000_000)
        for n in range(60):
            await sup.call(Supervisor.start_child, book.child(f"w{n}"))
            await crash(rt, f"w{n}")
            await sup.call(Supervisor.terminate_child, f"w{n}")
            await sup.call(Supervisor.delete_child, f"w{n}")
        stats = await sup.call(Supervisor.statistics)
        assert (stats.restarts, stats.by_child, len(stats.last)) == (60, {}, 20)
        assert stats.last[-1].child == "w59"
        await all_tasks_blocked()


@pytest.mark.parametrize(
    ("make", "rule", "says"),
    [
        (lambda: Supervisor(Child("a", Supervisor)), "children", r"\[Child\('a', ...\)\]"),
        (lambda: Supervisor("abc"), "children", "list of specs"),
        (lambda: Supervisor(5), "children", "list of specs"),
        (lambda: Supervisor([], name=""), "name", "non-empty str"),
        (lambda: Supervisor([], name=5), "name", "non-empty str"),
        (lambda: Child("a", Supervisor, name=""), "name", "non-empty str"),
        (lambda: DynamicSupervisor(5), "start", "give a factory"),
    ],
)
def test_bad_input_names_the_rule(make: Callable[[], Any], rule: str, says: str) -> None:
    with pytest.raises(BadChildSpec, match=says) as caught:
        make()
    assert caught.value.rule == rule
    assert isinstance(caught.value, ValueError)
