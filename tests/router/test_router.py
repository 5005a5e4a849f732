"""The routing actor, with arms of the tests' own: what is decided, who answers, what survives whose death."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from dspex.router import (
    Answer,
    ArmDown,
    EngineMissing,
    Flags,
    FlagStore,
    Request,
    RoutedProgram,
    Router,
    UnknownProgram,
)
from dspex.runtime import ActorExit, CallTimeout, Event, NamedRef, Runtime, open_runtime
from dspex.supervisors import Child, Supervisor
from scripted_arms import ScriptedNative

pytestmark = pytest.mark.anyio

Behaviour = Callable[[Request], Awaitable[str]]


class Unreadable(Exception):
    """Stands for the errors that allow for a fallback."""


class NativeStandIn(ScriptedNative):
    def __init__(self, behaviour: Behaviour) -> None:
        async def values(request: Request) -> dict[str, object]:
            return {"answer": await behaviour(request)}

        super().__init__(values, fallback_on=(Unreadable,))


class LegacyStandIn(NativeStandIn):
    engine = "legacy"


async def native(request: Request) -> str:
    return "from native"


async def legacy(request: Request) -> str:
    return "from legacy"


@asynccontextmanager
async def routed(
    native: Behaviour = native, legacy: Behaviour = legacy, flags: FlagStore | None = None
) -> AsyncIterator[tuple[Runtime, NamedRef[Router], FlagStore]]:
    flags = flags or FlagStore()
    programs = [
        RoutedProgram("qa", native="qa", legacy="pool"),
        RoutedProgram("native-only", native="qa"),
        RoutedProgram("legacy-only", legacy="pool"),
    ]
    async with open_runtime() as rt:
        await rt.start(
            Supervisor(
                [
                    Child("native", lambda: NativeStandIn(native), name="native"),
                    Child("legacy-arm", lambda: LegacyStandIn(legacy), name="legacy-arm"),
                    Child("router", lambda: Router(programs, flags), name="router"),
                ]
            )
        )
        yield rt, rt.ref("router"), flags


class Gate:
    """A behaviour that says when it has begun and goes on when it is told."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.go_on = anyio.Event()
        self.cancelled = anyio.Event()

    async def __call__(self, request: Request) -> str:
        self.begun.set()
        try:
            await self.go_on.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return "at last"


async def test_the_flag_decides_and_the_answer_says_so() -> None:
    async with routed() as (_, router, flags):
        first = await router.call(Router.run, "qa", {})
        flags.set(use_native_predictors=False)
        second = await router.call(Router.run, "qa", {})
    assert (first["answer"], first.route.engine, first.route.reason) == (
        "from native",
        "native",
        "use_native_predictors=True",
    )
    assert (second["answer"], second.route.engine, second.route.reason) == (
        "from legacy",
        "legacy",
        "use_native_predictors=False",
    )
    assert not second.route.fell_back


async def test_a_rollout_sends_each_key_its_own_way_every_time() -> None:
    flags = FlagStore(Flags(native_percent={"qa": 50}))
    async with routed(flags=flags) as (_, router, _):

        async def ways() -> list[str]:
            return [(await router.call(Router.run, "qa", {}, key=f"k{n}")).route.engine for n in range(40)]

        first, second = await ways(), await ways()
    assert first == second
    assert 8 <= first.count("native") <= 32


async def test_the_answer_arrives_though_the_router_is_killed_meanwhile() -> None:
    gate = Gate()
    async with routed(native=gate) as (rt, router, _), anyio.create_task_group() as group:
        answers: list[Answer] = []

        async def ask() -> None:
            answers.append(await router.call(Router.run, "qa", {}))

        group.start_soon(ask)
        await gate.begun.wait()
        victim = rt.whereis("router")
        assert victim is not None
        victim.kill()
        await victim.ended()
        gate.go_on.set()
    assert answers[0]["answer"] == "at last"


async def test_a_restarted_router_goes_on_with_the_flags_that_held() -> None:
    async with routed() as (rt, router, flags):
        flags.set(use_native_predictors=False)
        victim = rt.whereis("router")
        assert victim is not None
        victim.kill()
        await victim.ended()
        while not router.alive:
            await anyio.lowlevel.checkpoint()
        assert (await router.call(Router.run, "qa", {})).route.engine == "legacy"


async def test_the_death_of_the_arm_reaches_the_caller_at_once() -> None:
    gate = Gate()
    async with routed(native=gate) as (rt, router, _), anyio.create_task_group() as group:
        errors: list[ActorExit] = []

        async def ask() -> None:
            with pytest.raises(ActorExit) as caught:
                await router.within(60).call(Router.run, "qa", {})
            errors.append(caught.value)

        group.start_soon(ask)
        await gate.begun.wait()
        arm = rt.whereis("native")
        assert arm is not None
        with anyio.fail_after(10):
            arm.kill()
            await gate.cancelled.wait()
    assert len(errors) == 1


async def test_a_caller_that_is_cancelled_takes_the_work_with_it() -> None:
    gate = Gate()
    async with routed(native=gate) as (_, router, _), anyio.create_task_group() as group:
        group.start_soon(lambda: router.within(None).call(Router.run, "qa", {}))
        await gate.begun.wait()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(10):
            await gate.cancelled.wait()


async def test_the_caller_s_deadline_is_the_arm_s_and_ends_its_work() -> None:
    gate = Gate()
    seen: list[float | None] = []

    async def look(request: Request) -> str:
        seen.append(request.deadline)
        return await gate(request)

    async with routed(native=look) as (rt, router, _):
        began = rt.now()
        with pytest.raises(CallTimeout):
            await router.within(0.2).call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await gate.cancelled.wait()
    (deadline,) = seen
    assert deadline is not None
    assert deadline - began == pytest.approx(0.2, abs=0.15)


async def test_what_native_could_not_do_is_asked_of_legacy_once_and_is_visible() -> None:
    async def unreadable(request: Request) -> str:
        raise Unreadable("no fields")

    async with routed(native=unreadable) as (rt, router, _):
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.fell_back")
        answer = await router.call(Router.run, "qa", {})
        counts = await router.call(Router.statistics)
    assert answer["answer"] == "from legacy"
    assert answer.route.fell_back
    assert [(a.engine, a.error) for a in answer.route.attempts] == [("native", "Unreadable: no fields")]
    assert answer.route.reason == "fallback_to_legacy after Unreadable"
    assert [event.data for event in events] == [{"program": "qa", "error": "Unreadable"}]
    assert counts == {"native": 1, "legacy": 1, "fell_back": 1}


async def test_the_fallback_s_own_failure_is_the_answer_and_there_is_no_third_try() -> None:
    tried: list[str] = []

    async def unreadable(request: Request) -> str:
        tried.append(request.engine)
        raise Unreadable(request.engine)

    async with routed(native=unreadable, legacy=unreadable) as (_, router, _):
        with pytest.raises(Unreadable, match="legacy"):
            await router.call(Router.run, "qa", {})
    assert tried == ["native", "legacy"]


@pytest.mark.parametrize("case", ["flag off", "other error", "no legacy side"])
async def test_there_is_no_fallback_unless_flag_error_and_program_allow_it(case: str) -> None:
    error: Exception = ValueError("wrong") if case == "other error" else Unreadable("no fields")

    async def failing(request: Request) -> str:
        raise error

    flags = FlagStore(Flags(fallback_to_legacy=case != "flag off"))
    async with routed(native=failing, flags=flags) as (_, router, _):
        with pytest.raises(type(error)):
            await router.call(Router.run, "native-only" if case == "no legacy side" else "qa", {})
        assert (await router.call(Router.statistics))["legacy"] == 0


async def test_bad_requests_get_typed_errors_and_the_tree_stays_up() -> None:
    async with routed() as (rt, router, _):
        before = rt.whereis("router")
        with pytest.raises(UnknownProgram, match=r"no program is called 'q'.*native-only"):
            await router.call(Router.run, "q", {})
        with pytest.raises(EngineMissing, match="use_native_predictors=True"):
            await router.call(Router.run, "legacy-only", {})
        assert rt.whereis("router") == before


async def test_an_arm_that_is_not_there_is_said_at_once() -> None:
    async with open_runtime() as rt:
        router = await rt.start(Router([RoutedProgram("qa", native="qa")], FlagStore()))
        with pytest.raises(ArmDown, match="nothing was run"):
            await router.call(Router.run, "qa", {})


async def test_flag_changes_are_events_that_say_who_changed_what() -> None:
    async with routed() as (rt, _, flags):
        events: list[dict[str, Any]] = []
        rt.events.subscribe(lambda event: events.append(event.data), prefix="router.flags.changed")
        flags.set(native_percent={"qa": 5}, by="ops")
    assert events == [{"by": "ops", "changes": {"native_percent": {"qa": 5}}}]


async def test_a_stopped_router_hears_of_no_more_flag_changes() -> None:
    flags = FlagStore()
    async with routed(flags=flags) as (rt, _, _):
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.flags.changed")
    flags.set(fallback_to_legacy=False)
    assert events == []
