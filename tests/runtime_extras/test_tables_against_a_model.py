"""A registry and a scope of groups, driven at random, say what a list of who is where would say."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from dspex.runtime import Groups, KeyTaken, Mailbox, Ref, Registered, Registry, Unregistered, open_runtime, spawn
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


async def idle(me: Mailbox) -> None:
    await me.receive(lambda _: False)


async def listen(me: Mailbox, heard: list[object]) -> None:
    while True:
        heard.append(await me.receive())


@pytest.mark.parametrize("seed", range(12))
async def test_a_registry_is_a_list_of_entries(seed: int) -> None:
    rng = random.Random(seed)
    unique = seed % 2 == 0
    model: list[tuple[str, Ref[Any], int]] = []
    heard: list[object] = []
    async with open_runtime() as rt:
        registry = Registry("unique" if unique else "duplicate", name="r", listeners=[spawn(listen, heard)])
        await rt.start(registry)
        alive = [spawn(idle) for _ in range(6)]
        for step in range(150):
            who, key = rng.choice(alive), rng.choice("abcd")
            act = rng.choice(["register"] * 4 + ["unregister", "kill", "settle"])
            if act == "register":
                if unique and any(k == key for k, _, _ in model):
                    with pytest.raises(KeyTaken):
                        registry.register(key, step, owner=who)
                else:
                    registry.register(key, step, owner=who)
                    model.append((key, who, step))
            elif act == "unregister":
                registry.unregister(key, owner=who)
                model = [entry for entry in model if entry[:2] != (key, who)]
            elif act == "kill":
                who.kill()
                alive[alive.index(who)] = spawn(idle)
                model = [entry for entry in model if entry[1] != who]
            else:
                await all_tasks_blocked()
            for k in "abcd":
                assert [(e.key, e.ref, e.value) for e in registry.lookup(k)] == [e for e in model if e[0] == k]
            assert registry.count() == len(model)
            assert registry.keys(who) == [k for k, ref, _ in model if ref == who]
        await all_tasks_blocked()
        for who in alive:
            who.kill()
        await all_tasks_blocked()
        assert registry.statistics() == {"entries": 0, "keys": 0, "processes": 0}
        told = Counter((type(m), m.key, m.ref) for m in heard if isinstance(m, Registered | Unregistered))
        for kind, key, ref in tuple(told):
            if kind is Registered:
                assert told[Registered, key, ref] == told[Unregistered, key, ref]


@pytest.mark.parametrize("seed", range(12))
async def test_groups_are_a_list_of_memberships_and_watchers_can_follow(seed: int) -> None:
    rng = random.Random(seed)
    model: list[tuple[str, Ref[Any]]] = []
    heard: list[Any] = []
    async with open_runtime() as rt:
        scope = Groups(name="g")
        await rt.start(scope)
        watcher = spawn(listen, heard)
        scope.watch_all(watcher=watcher)
        alive = [spawn(idle) for _ in range(5)]
        for _ in range(150):
            who, group = rng.choice(alive), rng.choice("xyz")
            act = rng.choice(["join"] * 4 + ["leave", "leave", "kill", "settle"])
            if act == "join":
                others = rng.sample(alive, rng.randint(1, 3))
                scope.join(group, *others)
                model += [(group, other) for other in others]
            elif act == "leave":
                was_there = (group, who) in model
                assert scope.leave(group, who) is was_there
                if was_there:
                    model.remove((group, who))
            elif act == "kill":
                who.kill()
                alive[alive.index(who)] = spawn(idle)
                model = [entry for entry in model if entry[1] != who]
            else:
                await all_tasks_blocked()
            for g in "xyz":
                assert scope.members(g) == [ref for name, ref in model if name == g]
        await all_tasks_blocked()
        followed: Counter[tuple[str, Any]] = Counter()
        for message in heard:
            for ref in message.members:
                followed[message.group, ref] += 1 if type(message).__name__ == "Joined" else -1
        assert +followed == Counter(model)
        assert scope.statistics()["members"] == len(model)
