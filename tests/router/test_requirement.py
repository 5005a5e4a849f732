"""Routing by a bound: a pure rule over what was measured, and what an app measures."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from dspex.engine import Price
from dspex.router import (
    ArmStatistics,
    Book,
    Chosen,
    Decision,
    Flags,
    FlagStore,
    Ledger,
    Measured,
    Outcome,
    Request,
    Requirement,
    RoutedProgram,
    Router,
    decide,
    meet,
    place,
)
from dspex.router.cost import dollars
from dspex.runtime import NamedRef, Runtime
from scripted_arms import scripted

BOTH = RoutedProgram("qa", native="qa", legacy="pool")
FAST, SLOW = Measured(50, latency_s=0.5), Measured(50, latency_s=4.0)
SLOWER = Measured(50, latency_s=9.0)
NEW = Measured(3, latency_s=0.1)
SECONDS = Requirement(latency_s=2.0)
LATE, EARLY = 99.0, 1.0  # places of keys: beyond the share that explores, and in it


@pytest.mark.parametrize(
    ("preferred", "native", "legacy", "place", "engine", "says"),
    [
        ("native", FAST, SLOW, LATE, "native", "native meets it (p95 0.5s); flags"),
        ("legacy", FAST, FAST, LATE, "legacy", "legacy meets it"),
        ("native", SLOW, FAST, LATE, "legacy", "native does not (p95 4s), legacy does (p95 0.5s)"),
        ("legacy", FAST, SLOW, LATE, "native", "legacy does not (p95 4s), native does"),
        ("native", SLOW, FAST, EARLY, "native", "exploring whether it does again"),
        ("native", NEW, FAST, LATE, "native", "only 3 of 20 samples of native; flags"),
        ("native", NEW, FAST, EARLY, "native", "only 3 of 20 samples of native; flags"),
        ("native", SLOW, NEW, LATE, "native", "only 3 of 20 samples of legacy; flags"),
        ("native", SLOW, NEW, EARLY, "legacy", "only 3 of 20 samples of legacy: exploring"),
        ("native", FAST, NEW, EARLY, "native", "native meets it"),
        ("native", SLOWER, SLOW, LATE, "legacy", "neither meets it, legacy is nearer (p95 4s)"),
        ("native", SLOWER, SLOW, EARLY, "native", "exploring"),
        ("native", SLOW, SLOWER, EARLY, "native", "neither meets it, native is nearer"),
        ("native", SLOW, None, EARLY, "native", "it has no legacy side"),
    ],
)
def test_the_rule(
    preferred: str, native: Measured, legacy: Measured | None, place: float, engine: str, says: str
) -> None:
    known: dict[Any, Measured] = {"native": native} | ({"legacy": legacy} if legacy is not None else {})
    chosen = meet(SECONDS, preferred, "flags", known, place)  # type: ignore[arg-type]
    assert chosen.engine == engine
    assert chosen.reason.startswith("require p95<2s: ")
    assert says in chosen.reason


def test_cost_counts_as_latency_does_and_the_worse_of_both_decides() -> None:
    both = Requirement(latency_s=2.0, usd=0.01)
    cheap = Measured(50, latency_s=1.0, usd=0.002, priced=50)
    dear = Measured(50, latency_s=1.0, usd=0.05, priced=50)
    assert meet(both, "native", "flags", {"native": dear, "legacy": cheap}, LATE) == Chosen(
        "legacy",
        "require p95<2s and usd<0.01: native does not (p95 1s, 0.05 USD), legacy does (p95 1s, 0.002 USD)",
    )
    unpriced = Measured(50, latency_s=1.0)
    chosen = meet(Requirement(usd=1), "native", "f", {"native": unpriced, "legacy": cheap}, EARLY)
    assert "only 0 of 20 samples" in chosen.reason


def by_engine(program: str, engine: str, percentile: float) -> Measured:
    return SLOW if engine == "native" else FAST


def test_no_exploring_at_explore_0_and_no_more_than_its_share_otherwise() -> None:
    never = Requirement(latency_s=2.0, explore=0)
    assert meet(never, "native", "f", {"native": SLOW, "legacy": NEW}, 0.0).engine == "native"
    assert meet(never, "native", "f", {"native": SLOW, "legacy": FAST}, 0.0).engine == "legacy"
    flags = Flags(require={"qa": SECONDS})
    kept = sum(decide(flags, BOTH, f"user-{n}", measured=by_engine).engine == "native" for n in range(20_000))
    assert abs(kept / 20_000 - 0.05) < 4 * (0.05 * 0.95 / 20_000) ** 0.5
    assert len({decide(flags, BOTH, "user-7", measured=by_engine) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (Flags(mode={"qa": "native"}), "mode['qa']='native' outranks require p95<2s"),
        (Flags(mode={"qa": "shadow"}, shadow_serves="native"), "mode['qa']='shadow' outranks require p95<2s"),
        (Flags(), "native does not"),
        (Flags(native_percent={"qa": 100}), "native does not"),
    ],
)
def test_a_mode_that_names_its_engine_is_not_moved_by_a_bound(flags: Flags, says: str) -> None:
    key = next(key for key in map(str, range(100)) if place("require qa", key) > 50)  # one that does not explore
    decision = decide(flags, BOTH, key, require=SECONDS, measured=by_engine)
    assert says in decision.reason
    assert (decision.engine == "legacy") == ("does not" in says)
    assert decide(flags, BOTH, key, asked="native", require=SECONDS, measured=by_engine) == Decision(
        "native", "engine='native' in the call"
    )


def test_without_measurements_the_flags_decide_and_the_reason_says_so() -> None:
    reason = decide(Flags(), BOTH, "a", require=SECONDS).reason
    assert reason == "require p95<2s: nothing is measured; use_native_predictors=True"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("p95<2s", Requirement(latency_s=2)),
        ("p99 < 800ms", Requirement(latency_s=0.8, percentile=99)),
        ("p99.9<1", Requirement(latency_s=1, percentile=99.9)),
        ("usd<0.002", Requirement(usd=0.002)),
        ("p50<2s and usd<1", Requirement(latency_s=2, percentile=50, usd=1)),
        ({"usd": 1, "explore": 0}, Requirement(usd=1, explore=0)),
    ],
)
def test_a_bound_is_written_as_a_text_or_a_table(said: Any, meant: Requirement) -> None:
    assert Requirement.parse(said) == meant
    assert Requirement.parse(str(meant)) == meant or meant.explore == 0


@pytest.mark.parametrize(
    "said",
    ["", "fast", "p95<2h", "p95>2s", "p0<1s", "p101<1s", "usd<0", 7, None, {}, {"latency": 2}, {"usd": "1"}, {"usd": -1},
     {"usd": 1, "explore": 51}, {"usd": 1, "min_samples": 0}, {"usd": True}],
)  # fmt: skip
def test_a_bound_that_is_none_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Requirement.parse(said)


# --- what is measured -------------------------------------------------------------------------------------------------


def book_of(outcomes: Mapping[str, list[Outcome]]) -> Book:
    book = Book()
    for engine, listed in outcomes.items():
        for outcome in listed:
            book.arm("qa", engine).add(outcome)  # type: ignore[arg-type]
    return book


def outcome(engine: Any, latency_s: float, **more: Any) -> Outcome:
    return Outcome("qa", engine, latency_s, **more)


def test_the_last_answers_count_and_failures_do_not() -> None:
    book = book_of(
        {
            "native": [
                *[outcome("native", 9.0, error="LMServerError")] * 50,
                *[outcome("native", n / 100) for n in range(1, 101)],
            ],
            "legacy": [outcome("legacy", 30.0)] * 10 + [outcome("legacy", 0.1, usd=0.5)] * 500,
        }
    )
    native = book.measured("qa", "native", 95)
    assert (native.samples, native.latency_s, native.usd) == (100, 0.95, None)
    assert book.measured("qa", "native", 50).latency_s == 0.5
    # The bad beginning is forgotten after 500 answers; the histogram of everything remembers it.
    assert book.measured("qa", "legacy", 100) == Measured(500, 0.1, 0.5, 500)
    slowest = book.arm("qa", "legacy").quantile(100)
    assert slowest is not None
    assert slowest > 29
    assert book.measured("other", "native", 95) == Measured(0)


def test_what_is_measured_is_of_now() -> None:
    book = book_of({"native": [outcome("native", 0.1)] * 200})
    assert book.measured("qa", "native", 95).latency_s == 0.1
    for _ in range(400):
        book.arm("qa", "native").add(outcome("native", 3.0))
    assert book.measured("qa", "native", 95).latency_s == 3.0


def test_an_arm_s_record_has_its_error_rate_its_quantiles_the_router_s_share_and_dollars() -> None:
    book = book_of(
        {
            "native": [
                *[outcome("native", n / 1000, overhead_s=n / 1e6, usd=0.25) for n in range(1, 100)],
                outcome("native", 5.0, error="LMServerError", overhead_s=100e-6),
            ]
        }
    )
    arm = book.statistics()["qa"]["native"]
    assert isinstance(arm, ArmStatistics)
    assert (arm.requests, arm.failed, arm.error_rate, arm.usd_mean) == (100, 1, 0.01, 0.25)
    assert arm.p50_s == pytest.approx(0.050, rel=0.02)
    assert arm.p95_s == pytest.approx(0.095, rel=0.02)
    assert arm.p99_s == pytest.approx(0.099, rel=0.02)
    assert arm.overhead_p50_s == pytest.approx(50e-6, rel=0.02)
    assert arm.overhead_p99_s == pytest.approx(99e-6, rel=0.02)
    assert arm.to_dict()["overhead_s"]["p95"] == arm.overhead_p95_s


def test_the_router_s_share_is_counted_however_many_requests_there_were_and_reading_changes_nothing() -> None:
    book = book_of({"native": [outcome("native", 0.1, overhead_s=(n % 100 + 1) / 1e6) for n in range(1250)]})
    first, again = book.statistics(), book.statistics()
    assert first == again
    arm = first["qa"]["native"]
    assert arm.overhead_p50_s == pytest.approx(50e-6, rel=0.03)
    assert arm.overhead_p99_s == pytest.approx(99e-6, rel=0.03)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"m": {"prompt_tokens": 1_000_000, "completion_tokens": 500_000}}, 2.0),
        ({"m": {"prompt_tokens": 10, "completion_tokens": 10, "cost": 0.125}}, 0.125),
        ({"free": {"prompt_tokens": 10, "completion_tokens": 10}}, None),
        ({"m": {"prompt_tokens": 10}}, None),
        ({"m": None}, None),
        ({}, None),
    ],
)
def test_dollars_are_known_or_not_and_never_guessed(usage: dict[str, object], expected: float | None) -> None:
    assert dollars(usage, {"m": Price(1.0, 2.0)}) == expected


# --- in the router ----------------------------------------------------------------------------------------------------


async def counted(rt: Runtime) -> None:
    """Return when everything answered before is in the book."""
    ledger: NamedRef[Ledger] = rt.ref("ledger")
    await ledger.call(Ledger.statistics)


@pytest.mark.anyio
async def test_a_request_with_a_bound_goes_where_the_bound_is_kept_and_the_answer_says_why() -> None:
    def answering(name: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Mapping[str, object]:
            return {"answer": name}

        return answer

    async with scripted(FlagStore(), native=answering("native"), legacy=answering("legacy")) as (rt, router):
        for _ in range(3):
            await router.call(Router.run, "qa", {}, key="a")
        await counted(rt)
        few = await router.call(Router.run, "qa", {}, key="a", require=Requirement(latency_s=1, min_samples=1000))
        assert few.route.engine == "native"
        assert "samples of native; use_native_predictors=True" in few.route.reason
        kept = await router.call(Router.run, "qa", {}, key="a", require=Requirement(latency_s=3600, min_samples=1))
        assert "native meets it" in kept.route.reason
        with pytest.raises(ValueError, match="no bound"):
            await router.call(Router.run, "qa", {}, require="quickly")
        await router.call(Router.run, "qa", {}, key="a", engine="legacy")
        await counted(rt)
        moved = await router.call(
            Router.run, "qa", {}, key="a", require=Requirement(latency_s=1e-9, min_samples=1, explore=0)
        )
        assert "neither meets it" in moved.route.reason
