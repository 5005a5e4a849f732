"""When native does worse than legacy its traffic goes back by itself, and returns only on evidence."""

from collections.abc import Mapping

import anyio
import pytest
from dspex.router import (
    Flags,
    FlagStore,
    Ledger,
    Outcome,
    Request,
    RollbackPolicy,
    Router,
    Verdict,
    Watch,
)
from dspex.runtime import Event
from dspex.runtime.testing import virtual_backend
from scripted_arms import scripted

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return virtual_backend(request.param)


POLICY = RollbackPolicy(window=20, min_requests=10, trip=0.2, clear=0.05, cool_down=60)


class Native:
    """An engine that fails while it is told to."""

    def __init__(self) -> None:
        self.well = True

    async def __call__(self, request: Request) -> Mapping[str, object]:
        if not self.well:
            raise RuntimeError("ill")
        return {"answer": "4"}


async def ask(router: object, times: int) -> list[str]:
    engines: list[str] = []
    for number in range(times):
        try:
            answer = await router.call(Router.run, "qa", {}, key=f"k{number}")  # type: ignore[attr-defined]
        except RuntimeError:
            engines.append("failed")
        else:
            engines.append(answer.route.engine)
    await anyio.wait_all_tasks_blocked()  # everything has been counted and compared
    return engines


async def test_failing_natively_sends_the_program_back_and_being_well_again_returns_it() -> None:
    native = Native()
    flags = FlagStore(Flags(native_percent={"qa": 100}))
    async with scripted(flags, native=native, rollback=POLICY) as (rt, router):
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.r")
        assert await ask(router, 10) == ["native"] * 10

        native.well = False
        before = await ask(router, 10)
        assert set(before) == {"failed", "legacy"}, "it is rolled back among these"
        assert flags.current.mode == {"qa": "shadow"}
        assert flags.current.native_percent == {}
        assert await ask(router, 5) == ["legacy"] * 5

        # Ill in the shadow still: however long, it stays where it is.
        await rt.sleep(600)
        assert await ask(router, 15) == ["legacy"] * 15
        assert flags.current.mode == {"qa": "shadow"}

        native.well = True
        assert set(await ask(router, 25)) == {"legacy", "native"}
        assert flags.current == Flags(native_percent={"qa": 100}), "as it was"
        assert await ask(router, 5) == ["native"] * 5
    assert [event.name for event in events] == ["router.rolled_back", "router.restored"]
    assert events[0].data["program"] == "qa"
    assert "native fails" in events[0].data["reason"]
    assert [change.by.split(":")[0] for change in flags.history] == ["automatic rollback"] * 2
    assert all(change.at > 0 for change in flags.history)


async def test_a_rollback_holds_for_its_time_however_well_native_is_meanwhile() -> None:
    native = Native()
    flags = FlagStore(Flags())
    async with scripted(flags, native=native, rollback=POLICY) as (rt, router):
        native.well = False
        await ask(router, 10)
        assert flags.current.mode == {"qa": "shadow"}
        native.well = True
        await ask(router, 30)
        assert flags.current.mode == {"qa": "shadow"}
        await rt.sleep(61)
        await ask(router, 2)
        assert flags.current == Flags()


async def test_who_moves_the_program_by_hand_is_not_overruled_on_old_evidence() -> None:
    native = Native()
    flags = FlagStore(Flags())
    async with scripted(flags, native=native, rollback=POLICY) as (rt, router):
        native.well = False
        await ask(router, 10)
        assert flags.current.mode == {"qa": "shadow"}
        flags.set(mode={"qa": "legacy"}, by="ops")
        native.well = True
        await rt.sleep(1000)
        await ask(router, 30)
        assert flags.current.mode == {"qa": "legacy"}


async def test_a_restarted_ledger_goes_on_where_it_was() -> None:
    native = Native()
    native.well = False
    flags = FlagStore(Flags())
    async with scripted(flags, native=native, rollback=POLICY) as (rt, router):
        await ask(router, 9)
        victim = rt.whereis("ledger")
        assert victim is not None
        victim.kill()
        await victim.ended()
        await anyio.wait_all_tasks_blocked()
        await ask(router, 1)
        assert flags.current.mode == {"qa": "shadow"}
        statistics = await rt.ref("ledger").call(Ledger.statistics)
    assert statistics["qa"]["native"].failed == 10
    assert statistics["qa"]["native"].errors == {"RuntimeError": 10}


async def test_too_different_answers_roll_back_too() -> None:
    async def differs(request: Request) -> Mapping[str, object]:
        return {"answer": "5"}

    flags = FlagStore(Flags(mode={"qa": "shadow"}, shadow_serves="native"))
    policy = RollbackPolicy(window=20, min_requests=10, min_parity=0.9)
    async with scripted(flags, native=differs, rollback=policy) as (_rt, router):
        await ask(router, 12)
        assert flags.current.shadow_serves == "legacy"
        assert flags.history[-1].by.startswith("automatic rollback: ")
        assert "parity" in flags.history[-1].by


def outcome(engine: str, *, error: str | None = None) -> Outcome:
    return Outcome("qa", engine, 0.1, error)  # type: ignore[arg-type]


def test_nothing_is_concluded_from_a_handful() -> None:
    watch = Watch(POLICY)
    assert [watch.outcome(outcome("native", error="E"), 0) for _ in range(9)] == [None] * 9
    verdict = watch.outcome(outcome("native", error="E"), 0)
    assert isinstance(verdict, Verdict)
    assert verdict.action == "roll_back"


def test_native_is_measured_by_legacy_not_by_perfection() -> None:
    watch = Watch(POLICY)
    for number in range(20):
        error = "E" if number % 2 else None
        assert watch.outcome(outcome("legacy", error=error), 0) is None
        assert watch.outcome(outcome("native", error=error), 0) is None


def test_the_caller_s_own_mistakes_say_nothing_of_the_engine() -> None:
    watch = Watch(POLICY)
    for _ in range(50):
        assert watch.outcome(outcome("native", error="MissingInputError"), 0) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"min_requests": 0},
        {"min_requests": 300},
        {"trip": 0.1, "clear": 0.2},
        {"trip": 1.5},
        {"min_parity": 2},
        {"cool_down": -1},
    ],
)
def test_a_policy_that_cannot_hold_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RollbackPolicy(**bad)  # type: ignore[arg-type]
