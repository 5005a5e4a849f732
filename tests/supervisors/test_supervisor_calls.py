"""What one can ask of a supervisor, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import NORMAL, Ignore, StartFailed, open_runtime
from dspex.supervisors import (
    BadChildSpec,
    Child,
    ChildCounts,
    ChildNotFound,
    ChildPresent,
    ChildRunning,
    Supervisor,
    tree,
)
from supervised import Book, Worker, crash, leave, supervise

pytestmark = pytest.mark.anyio


async def test_a_child_can_be_added_stopped_started_again_and_forgotten() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"))
        ref = await sup.call(Supervisor.start_child, book.child("b"))
        assert ref is not None
        assert ref == rt.whereis("b")
        await sup.call(Supervisor.terminate_child, "b")
        assert not ref.alive
        assert await sup.call(Supervisor.child, "b") is None
        again = await sup.call(Supervisor.restart_child, "b")
        assert again is not None
        assert again != ref
        await sup.call(Supervisor.terminate_child, "b")
        await sup.call(Supervisor.terminate_child, "b")
        await sup.call(Supervisor.delete_child, "b")
        with pytest.raises(ChildNotFound):
            await sup.call(Supervisor.restart_child, "b")
        assert book.take() == "+a +b -b +b -b"


async def test_what_cannot_be_done_is_refused_with_its_reason() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("ab"))
        for method in (Supervisor.terminate_child, Supervisor.restart_child, Supervisor.delete_child):
            with pytest.raises(ChildNotFound, match="there are: a, b"):
                await sup.call(method, "z")
        with pytest.raises(ChildNotFound):
            await sup.call(Supervisor.get_childspec, "z")
        with pytest.raises(ChildRunning):
            await sup.call(Supervisor.restart_child, "a")
        with pytest.raises(ChildRunning):
            await sup.call(Supervisor.delete_child, "a")
        with pytest.raises(ChildPresent) as present:
            await sup.call(Supervisor.start_child, book.child("a"))
        assert present.value.ref == rt.whereis("a")
        await sup.call(Supervisor.terminate_child, "a")
        with pytest.raises(ChildPresent, match="restart_child") as present:
            await sup.call(Supervisor.start_child, book.child("a"))
        assert present.value.ref is None
        with pytest.raises(BadChildSpec):
            await sup.call(Supervisor.start_child, "a")  # type: ignore[arg-type]
        with pytest.raises(BadChildSpec, match="significant"):
            await sup.call(Supervisor.start_child, book.child("s", restart="transient", significant=True))
        assert sup.alive


async def test_a_child_that_fails_to_start_is_not_kept() -> None:
    book = Book()
    book.plans["b"] = [ValueError("no"), None, ValueError("no")]
    async with open_runtime() as rt:
        sup = await supervise(rt, [])
        with pytest.raises(StartFailed) as failed:
            await sup.call(Supervisor.start_child, book.child("b"))
        assert str(failed.value.__cause__) == "no"
        assert await sup.call(Supervisor.which_children) == []
        await sup.call(Supervisor.start_child, book.child("b"))
        await sup.call(Supervisor.terminate_child, "b")
        with pytest.raises(StartFailed):
            await sup.call(Supervisor.restart_child, "b")
        assert len(await sup.call(Supervisor.which_children)) == 1


async def test_a_child_that_asks_to_be_ignored_is_none() -> None:
    book = Book()
    book.plans |= {"a": [Ignore()], "t": [Ignore()]}
    async with open_runtime() as rt:
        sup = await supervise(rt, [])
        assert await sup.call(Supervisor.start_child, book.child("a")) is None
        assert await sup.call(Supervisor.start_child, book.child("t", restart="temporary")) is None
        assert [info.id for info in await sup.call(Supervisor.which_children)] == ["a"]


async def test_counts_and_lists_say_what_there_is() -> None:
    book = Book()
    async with open_runtime() as rt:
        inner = Child("inner", lambda: Supervisor(), type="supervisor")
        sup = await supervise(rt, [*book.children("ab", restart="transient"), inner])
        assert await sup.call(Supervisor.count_children) == ChildCounts(3, 3, 1, 2)
        await leave(rt, "a", NORMAL)
        await sup.call(Supervisor.terminate_child, "inner")
        assert await sup.call(Supervisor.count_children) == ChildCounts(3, 1, 1, 2)
        listed = await sup.call(Supervisor.which_children)
        assert [(i.id, i.type, i.ref is not None, i.restarting) for i in listed] == [
            ("inner", "supervisor", False, False),
            ("b", "worker", True, False),
            ("a", "worker", False, False),
        ]
        assert (await sup.call(Supervisor.get_childspec, "b")).restart == "transient"


async def test_a_child_that_unlinked_itself_and_died_is_listed_and_not_counted() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a"))
        a = rt.whereis("a")
        assert a is not None
        await a.call(Worker.detach)
        await crash(rt, "a")
        assert (await sup.call(Supervisor.which_children))[0].ref == a
        assert (await sup.call(Supervisor.count_children)).active == 0
        await sup.call(Supervisor.terminate_child, "a")
        await sup.call(Supervisor.restart_child, "a")
        assert rt.whereis("a") is not None


async def test_a_temporary_child_is_forgotten_when_it_is_stopped() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children("a", restart="temporary"))
        await sup.call(Supervisor.terminate_child, "a")
        assert await sup.call(Supervisor.which_children) == []


async def test_a_child_deleted_and_added_again_comes_last() -> None:
    book = Book()
    async with open_runtime() as rt:
        sup = await supervise(rt, book.children())
        await sup.call(Supervisor.terminate_child, "a")
        await sup.call(Supervisor.delete_child, "a")
        await sup.call(Supervisor.start_child, book.child("a"))
        assert [info.id for info in await sup.call(Supervisor.which_children)] == ["a", "c", "b"]


async def test_the_tree_is_read_without_asking_anybody() -> None:
    class Talkative(Worker):
        def tree_detail(self) -> str:
            return "in good health"

    book = Book()
    async with open_runtime() as rt:
        inner = Child(
            "inner",
            lambda: Supervisor([Child("t", lambda: Talkative(book, "t"))], strategy="rest_for_one"),
            type="supervisor",
        )
        sup = await supervise(rt, [book.child("a"), inner, book.child("b", restart="transient")])
        await crash(rt, "a")
        await leave(rt, "b", NORMAL)
        assert str(tree(sup)).splitlines() == [
            "sup  Contained  one_for_one  1/100 restarts in 5 s",
            "├── a  Worker  incarnation 2",
            "├── inner  Supervisor  rest_for_one",
            "│   └── t  Talkative  in good health",
            "└── b  stopped",
        ]
        found = tree(rt).find("t")
        assert found is not None
        assert found.state == "running"
        assert tree(rt).find("z") is None


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"id": ""}, "non-empty str"),
        ({"id": 7}, "non-empty str"),
        ({"start": 7}, "factory"),
        ({"start": None}, "factory"),
        ({"restart": "always"}, "permanent, transient, temporary"),
        ({"type": "boss"}, "worker, supervisor"),
        ({"shutdown": "soon"}, "brutal_kill, infinity"),
        ({"significant": "very"}, "significant is a bool"),
        ({"shutdown": -1}, "seconds >= 0"),
        ({"shutdown": float("inf")}, "seconds >= 0"),
        ({"shutdown": True}, "seconds >= 0"),
        ({"shutdown": [5]}, "seconds >= 0"),
        ({"significant": True}, "permanent child cannot be significant"),
    ],
)
def test_a_wrong_child_spec_is_refused_where_it_is_written(spec: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule):
        Child(**{"id": "a", "start": Supervisor, **spec})


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"strategy": "all_for_one"}, "one_for_one, one_for_all, rest_for_one"),
        ({"intensity": -1}, "int >= 0"),
        ({"intensity": 1.5}, "int >= 0"),
        ({"intensity": True}, "int >= 0"),
        ({"period": 0}, "seconds > 0"),
        ({"period": "5"}, "seconds > 0"),
        ({"auto_shutdown": "sometimes"}, "never, any_significant"),
        ({"children": [Child("a", Supervisor), Child("a", Supervisor)]}, "two children have the id 'a'"),
        ({"children": [Supervisor]}, "no child spec"),
        ({"children": [Child("a", Supervisor, restart="transient", significant=True)]}, "auto_shutdown"),
    ],
)
def test_a_wrong_supervisor_is_refused_where_it_is_made(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule):
        Supervisor(**options)
