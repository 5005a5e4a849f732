"""PartitionSupervisor: N children of one kind, and keys that always lead to the same one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from dspex.runtime import Actor, ActorExit, UnknownProcess, open_runtime
from dspex.runtime.testing import all_tasks_blocked, assert_tree
from dspex.supervisors import (
    BadChildSpec,
    BadPartitionKey,
    Child,
    PartitionSupervisor,
    Supervisor,
    partition,
    partition_number,
    tree,
)

pytestmark = pytest.mark.anyio


class Part(Actor):
    def __init__(self, number: int = -1, label: str = "") -> None:
        self.number = number
        self.label = label
        self.seen: list[object] = []

    def which(self) -> int:
        return self.number

    def note(self, what: object) -> None:
        self.seen.append(what)

    def noted(self) -> list[object]:
        return self.seen

    def crash(self) -> None:
        raise ValueError("boom")

    async def handle_info(self, message: Any) -> None:
        self.seen.append(message)


def parts(partitions: int = 4, **options: Any) -> PartitionSupervisor:
    return PartitionSupervisor(Part, partitions=partitions, with_arguments=lambda n: (n,), name="parts", **options)


async def test_a_key_leads_to_the_same_partition_always() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts())
        for key in [0, 1, 5, 7, -6, "ada", b"x", None, True, 2.5, ("user", 7)]:
            expected = partition_number(key, 4)
            assert await partition(sup, key).call(Part.which) == expected
            assert await partition(rt.ref("parts"), key).call(Part.which) == expected


def test_ints_go_by_their_remainder_and_hashes_are_stable_across_processes() -> None:
    assert [partition_number(n, 3) for n in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    keys = ["ada", "grace", b"x", ("a", 1), None, 1.5, True]
    code = f"from dspex.supervisors import partition_number; print([partition_number(k, 1000) for k in {keys!r}])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str([partition_number(key, 1000) for key in keys])


def test_keys_that_look_alike_are_told_apart_and_all_partitions_are_used() -> None:
    alike = ["1", b"1", 1.0, ("1",), (("1",),), ("1", ""), ("", "1"), "(1:"]
    assert len({partition_number(key, 10**9) for key in alike}) == len(alike)
    assert {partition_number(f"user-{n}", 8) for n in range(200)} == set(range(8))


async def test_cast_send_and_deadlines_work_through_the_key() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts())
        ada = partition(sup, "ada")
        ada.cast(Part.note, 1)
        ada.send("plain")
        assert await ada.within(1).call(Part.noted) == [1, "plain"]
        assert await ada.until(rt.now() + 1).call(Part.noted) == [1, "plain"]
        assert ada.alive


async def test_the_reference_survives_restarts_of_partition_and_supervisor() -> None:
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("p", parts, type="supervisor")], intensity=10, period=60))
        ada = partition(rt.ref("parts"), "ada")
        number = await ada.call(Part.which)
        with pytest.raises(ActorExit):
            await ada.call(Part.crash)
        await all_tasks_blocked()
        assert await ada.call(Part.which) == number
        parts_now = rt.whereis("parts")
        assert parts_now is not None
        parts_now.kill()
        await all_tasks_blocked()
        assert await ada.call(Part.which) == number


async def test_a_partition_that_is_not_there_is_an_unknown_process() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts())
        ada = partition(sup, "ada")
        await sup.call(Supervisor.terminate_child, str(partition_number("ada", 4)))
        assert not ada.alive
        with pytest.raises(UnknownProcess, match="ada"):
            await ada.call(Part.which)
        nobody = partition(rt.ref("nobody"), "ada")
        with pytest.raises(UnknownProcess):
            await nobody.call(Part.which)


async def test_children_are_counted_listed_and_shown_in_the_tree() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts(3))
        assert await sup.call(PartitionSupervisor.partitions) == 3
        counts = await sup.call(PartitionSupervisor.count_children)
        assert (counts.specs, counts.active, counts.workers) == (3, 3, 3)
        assert [info.id for info in await sup.call(PartitionSupervisor.which_children)] == ["2", "1", "0"]
        assert_tree(tree(sup), "parts\n  0\n  1\n  2")
        assert "3 partitions  one_for_one" in str(tree(sup))


async def test_the_set_of_partitions_is_fixed() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts())
        with pytest.raises(BadChildSpec, match="partitions are fixed"):
            await sup.call(PartitionSupervisor.start_child, Child("x", Part))
        with pytest.raises(BadChildSpec, match="partitions are fixed"):
            await sup.call(PartitionSupervisor.delete_child, "0")


async def test_without_arguments_the_factory_is_called_with_none() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(PartitionSupervisor(Part, partitions=2))
        assert await partition(sup, 1).call(Part.which) == -1


def test_there_is_one_partition_for_each_core_by_default() -> None:
    assert PartitionSupervisor(Part).partitions() >= 1


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"partitions": 0}, "an int >= 1"),
        ({"partitions": True}, "an int >= 1"),
        ({"partitions": 2.0}, "an int >= 1"),
        ({"with_arguments": (1,)}, "with_arguments gives"),
        ({"strategy": "all"}, "a strategy is one of"),
        ({"restart": "sometimes"}, "restart is one of"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], rule: str) -> None:
    with pytest.raises(BadChildSpec, match=rule):
        PartitionSupervisor(Part, **options)


async def test_a_key_without_a_stable_hash_is_refused() -> None:
    async with open_runtime() as rt:
        sup = await rt.start(parts())
        for key in (object(), [1], {"a": 1}, ("a", object())):
            with pytest.raises(BadPartitionKey, match="tuples of these"):
                partition(sup, key)
        other = await rt.start(Supervisor([]))
        with pytest.raises(BadChildSpec, match="no PartitionSupervisor"):
            await partition(other, 1).call(Part.which)
