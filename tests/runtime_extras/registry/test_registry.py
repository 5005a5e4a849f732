"""A registry behaves as Elixir's (compared with 1.14); a key in it stands wherever a reference may."""

from __future__ import annotations

from typing import Any

import pytest
from dspex.runtime import (
    NORMAL,
    SHUTDOWN,
    Actor,
    ActorExit,
    BadProcess,
    Down,
    Event,
    Mailbox,
    Named,
    NameTaken,
    StartFailed,
    UnknownProcess,
    open_runtime,
    spawn,
)
from dspex.runtime.registry import Entry, KeyTaken, Registered, Registry, Unregistered, via
from dspex.runtime.testing import all_tasks_blocked, assert_tree
from dspex.supervisors import Child, DynamicSupervisor, Supervisor, tree

pytestmark = pytest.mark.anyio

SINCE_BEFORE = via("r", "early")
"""Made before any runtime was open, as in a module of child specs."""


class Member(Actor):
    def __init__(self) -> None:
        self.got: list[object] = []
        self.keys_in_init: list[object] = []

    def register(self, registry: str, key: object, value: object = None) -> None:
        Registry.at(registry).register(key, value)

    def unregister(self, registry: str, key: object) -> None:
        Registry.at(registry).unregister(key)

    def my_keys(self, registry: str) -> list[object]:
        return Registry.at(registry).keys()

    def bump(self, registry: str, key: object) -> tuple[int, int]:
        return Registry.at(registry).update_value(key, lambda n: n + 1)

    def read(self) -> list[object]:
        return self.got

    def break_down(self) -> None:
        raise RuntimeError("boom")

    async def handle_info(self, message: object) -> None:
        self.got.append(message)


async def test_a_process_registers_itself_and_is_gone_from_the_registry_with_its_end() -> None:
    async with open_runtime() as rt:
        registry = Registry(name="r")
        await rt.start(registry)
        a = await rt.start(Member())
        await a.call(Member.register, "r", "k", 1)
        assert registry.lookup("k") == [Entry("k", a, 1)]
        assert await a.call(Member.my_keys, "r") == ["k"]
        assert registry.values("k", a) == [1]
        assert registry.count() == 1
        a.kill()
        assert registry.lookup("k") == []  # at once, before anybody was told
        assert registry.keys(a) == []
        await all_tasks_blocked()
        assert registry.statistics() == {"entries": 0, "keys": 0, "processes": 0}


async def test_a_unique_key_has_one_holder_also_if_it_asks_twice() -> None:
    async with open_runtime() as rt:
        registry = Registry("unique", name="r")
        await rt.start(registry)
        a, b = await rt.start(Member()), await rt.start(Member())
        registry.register("k", owner=a)
        for owner in (a, b):
            with pytest.raises(KeyTaken) as caught:
                registry.register("k", owner=owner)
            assert caught.value.ref == a
            assert caught.value.key == "k"
            assert isinstance(caught.value, NameTaken)
        registry.register("other", owner=a)
        assert registry.keys(a) == ["k", "other"]
        a.kill()
        registry.register("k", owner=b)  # the dead has no claim, though its entries are still to be cleared away
        await all_tasks_blocked()
        assert registry.whereis("k") == b
        assert registry.count() == 1


async def test_a_duplicate_key_has_many_holders_and_a_holder_may_have_it_twice() -> None:
    async with open_runtime() as rt:
        registry = Registry("duplicate", name="r")
        await rt.start(registry)
        a, b = await rt.start(Member()), await rt.start(Member())
        registry.register("k", 1, owner=a)
        registry.register("k", 2, owner=b)
        registry.register("k", 3, owner=a)
        registry.register("l", 4, owner=a)
        assert [(e.ref, e.value) for e in registry.lookup("k")] == [(a, 1), (b, 2), (a, 3)]
        assert registry.keys(a) == ["k", "k", "l"]
        assert registry.values("k", a) == [1, 3]
        assert registry.match("k", lambda v: v > 1) == [Entry("k", b, 2), Entry("k", a, 3)]
        assert registry.count_where("k", lambda v: v > 2) == 1
        assert sorted(e.value for e in registry.select(lambda e: e.ref == a)) == [1, 3, 4]
        seen: list[Any] = []
        registry.dispatch("k", lambda entries: seen.extend(e.value for e in entries))
        registry.dispatch("nobody", lambda entries: seen.append("never"))
        assert seen == [1, 2, 3]
        registry.unregister_where("k", lambda v: v == 1, owner=a)
        assert registry.values("k", a) == [3]
        registry.unregister("k", owner=a)
        registry.unregister("k", owner=a)
        assert [e.ref for e in registry.lookup("k")] == [b]
        with pytest.raises(ValueError, match="unique registry only"):
            registry.update_value("k", lambda v: v, owner=b)


async def test_values_are_updated_by_their_owner() -> None:
    async with open_runtime() as rt:
        registry = Registry(name="r")
        await rt.start(registry)
        a = await rt.start(Member())
        await a.call(Member.register, "r", "n", 1)
        assert await a.call(Member.bump, "r", "n") == (2, 1)
        assert registry.values("n", a) == [2]
        with pytest.raises(LookupError, match="has no entry 'x'"):
            registry.update_value("x", lambda v: v, owner=a)
        b = await rt.start(Member())
        with pytest.raises(LookupError):
            registry.update_value("n", lambda v: v, owner=b)


async def test_listeners_and_the_bus_hear_of_registrations() -> None:
    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.registry")
        listener = await rt.start(Member(), name="ears")
        registry = Registry(name="r", listeners=["ears", "nobody"])
        await rt.start(registry)
        a = await rt.start(Member())
        registry.register("k", 1, owner=a)
        registry.unregister("k", owner=a)
        registry.unregister("k", owner=a)
        registry.register("l", 2, owner=a)
        await a.stop()
        await all_tasks_blocked()
        assert await listener.call(Member.read) == [
            Registered("r", "k", a, 1),
            Unregistered("r", "k", a),
            Registered("r", "l", a, 2),
            Unregistered("r", "l", a),
        ]
    assert [e.name for e in heard] == ["runtime.registry.registered", "runtime.registry.unregistered"] * 2
    assert heard[0].data == {"registry": "r", "process": a.label}


async def test_a_registry_that_crashes_takes_its_entries_holders_along_and_one_that_left_stays() -> None:
    async with open_runtime() as rt:
        registry = Registry(name="r")
        ref = await rt.start(registry)
        a, b = await rt.start(Member()), await rt.start(Member())
        registry.register("k", owner=a)
        registry.register("l", owner=b)
        registry.unregister("l", owner=b)
        ref.kill()
        await all_tasks_blocked()
        assert not a.alive
        assert b.alive
        with pytest.raises(UnknownProcess):
            Registry.at("r")
        with pytest.raises(UnknownProcess):
            Registry.at(ref)
        with pytest.raises(UnknownProcess):
            registry.register("l", owner=b)  # an object that was kept says so too


async def test_metadata_is_kept_with_the_registry() -> None:
    async with open_runtime() as rt:
        registry = Registry()
        await rt.start(registry)
        registry.put_meta("k", 1)
        assert registry.meta("k") == 1
        registry.delete_meta("k")
        registry.delete_meta("k")
        assert registry.meta("k", "none") == "none"


async def test_a_key_stands_wherever_a_reference_may() -> None:
    async with open_runtime() as rt:
        await rt.start(Registry(name="r"))
        user = via("r", ("user", 7), "value")
        assert user.resolve() is None
        assert not user.alive
        ref = await rt.start(Member(), name=user)
        assert user.alive
        assert user.resolve() == ref
        assert Registry.at("r").values(("user", 7), user) == ["value"]
        user.cast(Member.register, "r", "second")
        user.send("hello")
        rt.send_after(1, user, "later")
        watcher_got: list[object] = []

        async def watcher(me: Mailbox) -> None:
            monitor = me.monitor(user)
            down = await me.receive(Down)
            watcher_got.append((down.monitor is monitor, down.ref, down.reason))

        spawn(watcher)
        await rt.sleep(2)
        assert await user.within(3).call(Member.read) == ["hello", "later"]
        assert await user.until(rt.now() + 3).call(Member.my_keys, "r") == [("user", 7), "second"]
        with pytest.raises(KeyTaken):
            await rt.start(Member(), name=user)
        await user.stop()
        await all_tasks_blocked()
        assert watcher_got == [(True, ref, NORMAL)]
        with pytest.raises(UnknownProcess, match=r"r/\('user', 7\)"):
            user.send("gone")
        with pytest.raises(UnknownProcess):
            await user.call(Member.read)
        user.cast(Member.read)  # a dead letter
        assert via("no such registry", 1).resolve() is None


async def test_a_child_spec_may_name_its_child_by_a_key() -> None:
    async with open_runtime() as rt:
        await rt.start(
            Supervisor(
                [
                    Child("registry", lambda: Registry(name="r")),
                    Child("a", Member, name=via("r", "a")),
                ],
                strategy="rest_for_one",
                intensity=5,
            )
        )
        a = via("r", "a")
        first = a.resolve()
        a.cast(Member.break_down)
        await all_tasks_blocked()
        second = a.resolve()
        assert second is not None
        assert second != first
        rt.ref("r").resolve().kill()  # type: ignore[union-attr]
        await all_tasks_blocked()
        assert a.resolve() not in (None, second)
        assert_tree(tree(rt).children[0], "Supervisor\n  registry\n  a")


async def test_a_process_that_cannot_start_has_no_key() -> None:
    class Bad(Member):
        async def init(self) -> None:
            self.keys_in_init = Registry.at("r").keys()
            raise OSError("no")

    async with open_runtime() as rt:
        await rt.start(Registry(name="r"))
        bad = Bad()
        with pytest.raises(StartFailed):
            await rt.start(bad, name=via("r", "k"))
        assert bad.keys_in_init == ["k"]
        assert Registry.at("r").count() == 0
        with pytest.raises(UnknownProcess):
            await rt.start(Member(), name=via("nowhere", "k"))


async def test_a_plain_process_may_have_a_key_too_and_a_reference_by_name_may_be_a_name() -> None:
    async def idle(me: Mailbox) -> None:
        await me.receive()

    async with open_runtime() as rt:
        registry = Registry()
        ref = await rt.start(registry)
        plain = spawn(idle, name=via(ref, "p"))
        assert via(registry, "p").resolve() == plain
        assert via(rt.ref("x"), "p").resolve() is None
        named = await rt.start(Member(), name=rt.ref("m"))
        assert rt.whereis("m") == named
        with pytest.raises(NameTaken):
            await rt.start(Member(), name=rt.ref("m"))


async def test_what_cannot_be_registered_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unique"):
        Registry("some")  # type: ignore[arg-type]
    async with open_runtime() as rt:
        registry = Registry(name="r")
        ref = await rt.start(registry)
        with pytest.raises(BadProcess, match="runs in no process"):
            registry.register("k")
        with pytest.raises((BadProcess, ActorExit)):
            await ref.call(Registry.register, "k")  # the registry would register itself
    async with open_runtime() as rt:
        registry = Registry(name="r")
        await rt.start(registry)
        a = await rt.start(Member(), name="a")
        with pytest.raises(BadProcess, match="no Registry"):
            Registry.at("a")
        with pytest.raises(UnknownProcess):
            registry.register("k", owner=rt.ref("nobody"))
        a.exit(SHUTDOWN)
        with pytest.raises(UnknownProcess):
            registry.register("k", owner=a)
        assert registry.count() == 0


async def test_a_key_made_before_any_runtime_is_looked_up_where_it_is_used() -> None:
    for _ in range(2):
        async with open_runtime() as rt:
            await rt.start(Registry(name="r"))
            await rt.start(Member(), name=SINCE_BEFORE)
            rt.send_after(1, SINCE_BEFORE, "later")
            await rt.sleep(2)
            assert await SINCE_BEFORE.call(Member.read) == ["later"]
            assert repr(SINCE_BEFORE) == "<via r/'early'>"


async def test_each_child_of_a_dynamic_supervisor_may_have_a_key_of_its_own() -> None:
    class Session(Member):
        def __init__(self, user: str) -> None:
            super().__init__()
            self.user = user

    async with open_runtime() as rt:
        registry = Registry(name="r")
        await rt.start(registry)
        sessions = await rt.start(
            DynamicSupervisor(lambda user: Named(Session(user), via("r", user)), restart="transient", intensity=5)
        )
        anna = await sessions.call(DynamicSupervisor.start_child, "anna")
        await sessions.call(DynamicSupervisor.start_child, "ben")
        with pytest.raises(StartFailed) as caught:
            await sessions.call(DynamicSupervisor.start_child, "anna")
        assert isinstance(caught.value, KeyTaken)
        assert caught.value.ref == anna
        assert registry.count() == 2
        via("r", "anna").cast(Member.break_down)
        await all_tasks_blocked()
        assert registry.whereis("anna") not in (None, anna)  # restarted, under its key
        named = await rt.start(Named(Member(), "m"))
        assert rt.whereis("m") == named
        other = await rt.start(Named(Member(), "m"), name="n")
        assert rt.whereis("n") == other
        with pytest.raises(NameTaken):
            await rt.start(Named(Member(), "m"))
        with pytest.raises(BadProcess, match="cannot be started"):
            Named("x", "m")  # type: ignore[arg-type]
