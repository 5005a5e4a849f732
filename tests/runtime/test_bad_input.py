"""Bad input: a typed error at the earliest point, with the rule named, and nothing half done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from dspex.runtime import (
    NOPROC,
    Actor,
    ActorExit,
    BadProcess,
    Event,
    Mailbox,
    NamedRef,
    NameTaken,
    NotAHandler,
    Plain,
    Ref,
    Refs,
    Runtime,
    RuntimeClosed,
    StartFailed,
    UnknownProcess,
    current_runtime,
    get_state,
    multi_cast,
    open_runtime,
    spawn,
    suspend,
)
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor

pytestmark = pytest.mark.anyio


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @staticmethod
    def helper(n: int) -> int:
        return n

    @classmethod
    def make(cls) -> Counter:
        return cls()

    @property
    def double(self) -> int:
        return self.value * 2


class Other(Actor):
    def add(self, n: int) -> int:
        return n


async def idle(me: Mailbox) -> None:
    await anyio.sleep_forever()


# --- names ----------------------------------------------------------------------------------------------------------


async def test_a_name_that_is_taken_is_refused_and_the_loser_may_try_another() -> None:
    async with open_runtime() as rt:
        first = await rt.start(Counter(), name="counter")
        second = Counter(5)
        with pytest.raises(NameTaken, match="'counter' is taken") as taken:
            await rt.start(second, name="counter")
        assert taken.value.ref == first
        assert isinstance(taken.value, StartFailed)
        with pytest.raises(NameTaken):
            spawn(idle, name="counter")
        with pytest.raises(NameTaken):
            rt.register("counter", spawn(idle))
        assert rt.whereis("counter") == first
        ref = await rt.start(second, name="another")
        assert await ref.call(Counter.add, 1) == 6
        plain = Plain(idle)
        with pytest.raises(NameTaken):
            await rt.start(plain, name="counter")
        await rt.start(plain, name="a third")
        assert rt.statistics()["names"] == 3


@pytest.mark.parametrize("name", ["", 5, b"bytes", ("a",)])
async def test_what_is_no_name_is_refused(name: Any) -> None:
    async with open_runtime() as rt:
        with pytest.raises(BadProcess, match="non-empty str"):
            await rt.start(Counter(), name=name)
        with pytest.raises(BadProcess, match="non-empty str"):
            spawn(idle, name=name)
        assert rt.statistics()["processes"] == rt.statistics()["names"] == 0


# --- receivers ------------------------------------------------------------------------------------------------------


async def test_a_call_to_the_dead_or_unknown_fails_at_once_and_says_which() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(), name="counter")
        await ref.stop()
        with pytest.raises(ActorExit, match=r"rt\.ref") as exit_:
            await ref.call(Counter.add, 1)
        assert exit_.value.reason is NOPROC
        with pytest.raises(UnknownProcess, match="'counter'"):
            await rt.ref("counter").call(Counter.add, 1)
        with pytest.raises(LookupError):
            rt.ref("counter").send("hello")
        with pytest.raises(BadProcess, match="no reference"):
            rt.send_after(1, "counter", "hello")  # type: ignore[arg-type]
        assert rt.now() == 0


# --- handlers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        pytest.param(Other.add, "no method of Counter", id="another actor's"),
        pytest.param(Counter(1).add, "bound to an object.*Counter.add", id="a bound method"),
        pytest.param(Counter.helper, "no method of Counter", id="a static method"),
        pytest.param(Counter.make, "bound to an object", id="a class method"),
        pytest.param(Counter.double, "is no method", id="a property"),
        pytest.param(Counter.init, "callback", id="a callback"),
        pytest.param(Actor.handle_info, "callback", id="a callback of the base class"),
        pytest.param(Counter.__init__, "private", id="the constructor"),
        pytest.param("add", "name one of Counter", id="a string"),
        pytest.param(None, "name one of Counter", id="None"),
        pytest.param(print, "no method of Counter", id="a builtin"),
    ],
)
async def test_what_is_no_handler_of_the_actor_is_refused_by_everything_that_takes_one(method: Any, rule: str) -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter(), name="counter")
        named = rt.ref("counter")
        for use in (ref.call, ref.cast_wait, named.call, named.cast_wait, Refs([ref]).call):
            with pytest.raises(NotAHandler, match=rule):
                await use(method)
        for use_at_once in (ref.cast, named.cast, Refs([ref]).cast):
            with pytest.raises(NotAHandler, match=rule):
                use_at_once(method)
        await all_tasks_blocked()
        assert ref.statistics().handled == 0
        assert await ref.call(Counter.add, 1) == 1


# --- what is started ------------------------------------------------------------------------------------------------


class SyncInit(Actor):
    def init(self) -> None:  # type: ignore[override]
        pass


class SyncTerminate(Actor):
    def terminate(self, reason: object) -> None:  # type: ignore[override]
        pass


class NoConcurrency(Actor):
    concurrency = "two"  # type: ignore[assignment]


class NoShutdown(Actor):
    shutdown = -1.0


class Endless(Actor):
    shutdown = float("nan")


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        pytest.param(SyncInit, "SyncInit.init must be written with async def", id="a sync init"),
        pytest.param(SyncTerminate, "SyncTerminate.terminate must be written with async def", id="a sync terminate"),
        pytest.param(NoConcurrency, "concurrency is 'two'", id="a concurrency that is no number"),
        pytest.param(NoShutdown, "shutdown is -1.0", id="a negative shutdown"),
        pytest.param(Endless, "shutdown is nan", id="a shutdown that is no time"),
        pytest.param(lambda: Counter, r"Counter is a class.*Counter\(\.\.\.\)", id="a class"),
        pytest.param(lambda: "counter", "give an Actor", id="a string"),
        pytest.param(lambda: None, "give an Actor", id="None"),
        pytest.param(lambda: idle, "give an Actor", id="a function"),
    ],
)
async def test_what_cannot_be_started_is_refused_and_nothing_of_it_is_left(make: Callable[[], Any], rule: str) -> None:
    async with open_runtime() as rt:
        events: list[Event] = []
        rt.events.subscribe(events.append)
        with pytest.raises(BadProcess, match=rule):
            await rt.start(make(), name="it")
        with pytest.raises(TypeError):
            await rt.start(make())
        with pytest.raises(StartFailed) as failed:
            await rt.start(Supervisor([Child("it", make)]))
        causes: list[str] = []
        cause: BaseException | None = failed.value
        while cause is not None:
            causes.append(str(cause))
            cause = cause.__cause__
        assert "must be" in causes[-1] or rule.split(".*")[0] in causes[-1]
        assert rt.statistics()["processes"] == rt.statistics()["names"] == 0
        assert rt.whereis("it") is None


@pytest.mark.parametrize("grace", [-1, float("nan")])
async def test_a_grace_that_is_no_time_is_refused(grace: float) -> None:
    with pytest.raises(ValueError, match="grace"):
        async with open_runtime(grace=grace):
            raise AssertionError("the block was entered")


async def test_a_time_limit_that_is_none_is_refused_where_it_is_given() -> None:
    async with open_runtime() as rt:
        ref = await rt.start(Counter())
        for limited in (ref, rt.ref("counter"), Refs([ref])):
            with pytest.raises(ValueError, match="seconds"):
                limited.within(-1)
            with pytest.raises(ValueError, match="seconds"):
                limited.within(float("nan"))
            with pytest.raises(TypeError, match="seconds"):
                limited.within("soon")  # type: ignore[arg-type]
        assert await ref.within(float("inf")).call(Counter.add, 1) == 1


# --- a runtime that has stopped -------------------------------------------------------------------------------------


async def closed() -> tuple[Runtime, Ref[Counter], NamedRef[Counter]]:
    async with open_runtime() as rt:
        return rt, await rt.start(Counter(), name="counter"), rt.ref("counter")


async def test_a_message_to_a_stopped_runtime_is_refused_whatever_its_kind() -> None:
    rt, ref, named = await closed()
    for use in (
        lambda: ref.call(Counter.add, 1),
        lambda: ref.cast_wait(Counter.add, 1),
        lambda: ref.send_wait("hello"),
        lambda: ref.stop(),
        lambda: named.call(Counter.add, 1),
        lambda: named.cast_wait(Counter.add, 1),
        lambda: named.send_wait("hello"),
        lambda: named.stop(),
        lambda: Refs([ref]).call(Counter.add, 1),
        lambda: Refs([named]).call(Counter.add, 1),
        lambda: get_state(ref),
        lambda: suspend(named),
        lambda: rt.start(Counter()),
    ):
        with pytest.raises(RuntimeClosed, match="stopped"):
            await use()
    for use_at_once in (
        lambda: ref.cast(Counter.add, 1),
        lambda: ref.send("hello"),
        lambda: named.cast(Counter.add, 1),
        lambda: named.send("hello"),
        lambda: multi_cast([ref], Counter.add, 1),
        lambda: rt.send_after(1, ref, "hello"),
        lambda: rt.start_timer(1, named, "hello"),
        lambda: rt.register("name", ref),
    ):
        with pytest.raises(RuntimeClosed, match="stopped"):
            use_at_once()
    with pytest.raises(RuntimeClosed):
        spawn(idle)
    with pytest.raises(RuntimeClosed):
        current_runtime()


async def test_what_only_asks_or_kills_is_quiet_after_the_end() -> None:
    rt, ref, named = await closed()
    ref.kill()
    ref.exit("reason")
    assert await ref.ended()
    assert not ref.alive
    assert not named.alive
    assert rt.whereis("counter") is None
    assert ref.statistics().messages == 0
    assert rt.statistics()["processes"] == 0


async def test_messages_while_the_runtime_is_stopping_are_dead_letters_as_ever() -> None:
    letters: list[Event] = []

    class Last(Actor):
        trap_exit = True

        def __init__(self, other: Ref[Counter]) -> None:
            self.other = other

        async def terminate(self, reason: object) -> None:
            self.other.cast(Counter.add, 1)
            assert await self.other.call(Counter.add, 1) == 2
            self.dead.cast(Counter.add, 1)

    async with open_runtime() as rt:
        rt.events.subscribe(letters.append, prefix="runtime.dead_letter")
        counter = await rt.start(Counter())
        last = Last(counter)
        last.dead = await rt.start(Counter())
        await last.dead.stop()
        ref = await rt.start(last)
    assert len(letters) == 1
    assert repr(ref.exit_reason) == "SHUTDOWN"
