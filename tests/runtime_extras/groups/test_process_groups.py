"""Groups behave as Erlang's pg: the first test's values were recorded from kernel's pg in OTP 25. Topics are built on them."""

from __future__ import annotations

import pytest
from dspex.runtime import Actor, BadProcess, Event, Mailbox, Ref, UnknownProcess, open_runtime, spawn
from dspex.runtime.groups import Groups, GroupWatch, Joined, Left, PubSub
from dspex.runtime.testing import all_tasks_blocked

pytestmark = pytest.mark.anyio


class Ears(Actor):
    def __init__(self) -> None:
        self.got: list[object] = []

    def take(self) -> list[object]:
        got, self.got = self.got, []
        return got

    def join(self, group: str) -> None:
        Groups.at("scope").join(group)

    def subscribe(self, topic: str) -> None:
        PubSub.at("news").subscribe(topic)

    def tell_others(self, topic: str, what: object) -> int:
        return PubSub.at("news").broadcast_from(topic, what)

    async def handle_info(self, message: object) -> None:
        self.got.append(message)


async def until_told(me: Mailbox) -> None:
    await me.receive()


async def test_members_come_and_go_as_in_pg() -> None:
    async with open_runtime() as rt:
        scope = Groups(name="scope")
        await rt.start(scope)
        ears = await rt.start(Ears())
        a, b, c = (spawn(until_told) for _ in range(3))
        names: dict[object, str] = {a: "A", b: "B", c: "C"}

        async def told() -> list[tuple[str, str, object, str]]:
            await all_tasks_blocked()
            out: list[tuple[str, str, object, str]] = []
            for m in await ears.call(Ears.take):
                assert isinstance(m, Joined | Left)
                which = "group" if m.watch is one else "scope"
                out.append((which, type(m).__name__, m.group, "".join(names[x] for x in m.members)))
            return sorted(out)

        scope.join("g", a)
        one, members = scope.watch("g", watcher=ears)
        assert members == [a]
        _, everybody = scope.watch_all(watcher=ears)
        assert everybody == {"g": [a]}
        scope.join("g", a)
        scope.join("g", b)
        assert await told() == [
            ("group", "Joined", "g", "A"),
            ("group", "Joined", "g", "B"),
            ("scope", "Joined", "g", "A"),
            ("scope", "Joined", "g", "B"),
        ]
        assert scope.members("g") == [a, a, b]
        scope.join("h", a, c, c)
        assert await told() == [("scope", "Joined", "h", "ACC")]
        assert scope.members("h") == [a, c, c]
        assert scope.groups() == ["g", "h"]
        assert scope.leave("g", a) is True
        assert scope.leave("g", c) is False
        assert await told() == [("group", "Left", "g", "A"), ("scope", "Left", "g", "A")]
        assert scope.leave("h", a) is True
        await told()
        scope.join("g", a)
        await told()
        c.kill()
        assert await told() == [("scope", "Left", "h", "C"), ("scope", "Left", "h", "C")]
        a.kill()
        assert await told() == [("group", "Left", "g", "A")] * 2 + [("scope", "Left", "g", "A")] * 2
        assert scope.members("g") == [b]
        assert scope.groups() == ["g"]
        assert scope.unwatch(one) is True
        assert scope.unwatch(one) is False
        names[c] = "C"
        scope.join("g", c)  # dead: it joins and leaves
        assert await told() == [("scope", "Joined", "g", "C"), ("scope", "Left", "g", "C")]
        assert scope.members("nothing") == []


async def test_scopes_know_nothing_of_each_other_and_end_with_their_process() -> None:
    async with open_runtime() as rt:
        one, two = Groups(name="scope"), Groups()
        await rt.start(one)
        ref = await rt.start(two)
        ears = await rt.start(Ears())
        await ears.call(Ears.join, "g")
        assert one.members("g") == [ears]
        assert two.members("g") == []
        await ref.stop()
        with pytest.raises(UnknownProcess):
            Groups.at(ref)
        assert one.statistics() == {"groups": 1, "members": 1, "watchers": 0}


async def test_a_watcher_that_ends_is_forgotten_and_so_is_everything_else() -> None:
    heard: list[Event] = []
    async with open_runtime() as rt:
        rt.events.subscribe(heard.append, prefix="runtime.groups")
        scope = Groups(name="scope")
        await rt.start(scope)
        a, b = spawn(until_told), spawn(until_told)
        scope.watch("g", watcher=a)
        scope.join("g", b)
        a.kill()
        b.kill()
        await all_tasks_blocked()
        assert scope.statistics() == {"groups": 0, "members": 0, "watchers": 0}
        assert [(e.name, e.data["process"]) for e in heard] == [
            ("runtime.groups.joined", b.label),
            ("runtime.groups.left", b.label),
        ]


async def test_what_is_no_process_cannot_join_and_nobody_else_has_joined_then() -> None:
    async with open_runtime() as rt:
        scope = Groups(name="scope")
        await rt.start(scope)
        a = spawn(until_told)
        with pytest.raises(BadProcess):
            scope.join("g", a, "foo")  # type: ignore[arg-type]
        with pytest.raises(UnknownProcess):
            scope.join("g", a, rt.ref("nobody"))
        with pytest.raises(BadProcess, match="runs in no process"):
            scope.join("g")
        assert scope.groups() == []
        assert scope.unwatch(GroupWatch()) is False


async def test_what_is_published_reaches_every_subscriber_of_the_topic() -> None:
    async with open_runtime() as rt:
        await rt.start(PubSub(name="news"))
        news = PubSub.at("news")
        a, b, c = [await rt.start(Ears()) for _ in range(3)]
        await a.call(Ears.subscribe, "sport")
        news.subscribe("sport", b)
        news.subscribe("sport", b)
        news.subscribe("weather", c)
        assert news.publish("sport", "1:0") == 3
        assert news.publish("nothing", "?") == 0
        got: list[list[object]] = [await ref.call(Ears.take) for ref in (a, b, c)]
        assert got == [["1:0"], ["1:0", "1:0"], []]
        assert await a.call(Ears.tell_others, "sport", "2:0") == 2
        assert await a.call(Ears.take) == []
        assert news.broadcast_from("sport", "3:0", sender=b) == 1
        assert await a.call(Ears.take) == ["3:0"]
        news.unsubscribe("sport", b)
        news.unsubscribe("sport", b)
        a.kill()
        assert news.publish("sport", "x") == 0
        assert isinstance(b, Ref)
