"""In the mode shadow one engine answers, the other is asked afterwards, and what differs is on record."""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from dspex.engine import Prediction
from dspex.router import (
    BadMetric,
    EngineMissing,
    Flags,
    FlagStore,
    Journal,
    JournalUnreadable,
    Ledger,
    Request,
    Router,
    Shadow,
    ShadowOptions,
    fields_equal,
    shadow_report,
)
from dspex.router.comparison import scores_of
from dspex.runtime import Event, Runtime, StartFailed, open_runtime
from pydantic import BaseModel
from scripted_arms import says_four, scripted

pytestmark = pytest.mark.anyio


def shadowed() -> FlagStore:
    return FlagStore(Flags(mode={"qa": "shadow"}))


def comparisons(rt: Runtime, count: int) -> tuple[list[Event], anyio.Event]:
    """What is compared from now on, and an event for when there are so many."""
    found: list[Event] = []
    enough = anyio.Event()

    def note(event: Event) -> None:
        found.append(event)
        if len(found) >= count:
            enough.set()

    rt.events.subscribe(note, prefix="router.parity")
    return found, enough


def stored(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def says_five(request: Request) -> Mapping[str, object]:
    return {"answer": "5", "score": 0.5}


async def fails(request: Request) -> Mapping[str, object]:
    raise RuntimeError("no")


async def test_legacy_answers_and_native_is_compared_with_it(tmp_path: Path) -> None:
    async with scripted(shadowed(), native=says_five, journal=tmp_path / "shadow.sqlite") as (rt, router):
        _, done = comparisons(rt, 3)
        for _ in range(3):
            answer = await router.call(Router.run, "qa", {})
            assert (answer["answer"], answer.route.engine) == ("4", "legacy")
            assert answer.route.reason == "mode['qa']='shadow'"
        with anyio.fail_after(10):
            await done.wait()
        statistics = await rt.ref("ledger").call(Ledger.statistics)
    assert statistics["qa"]["legacy"].requests == 3
    assert (statistics["qa"]["native"].requests, statistics["qa"]["native"].shadowed) == (3, 3)
    report = shadow_report(tmp_path / "shadow.sqlite", "qa")
    assert (report.compared, report.identical, report.score) == (3, 0, 0.5)
    assert report.fields == {"answer": 0.0, "score": 1.0}
    assert "3 requests compared" in str(report)


async def test_native_answers_if_that_is_who_serves_in_the_shadow_mode() -> None:
    flags = FlagStore(Flags(mode={"qa": "shadow"}, shadow_serves="native"))
    async with scripted(flags, native=says_five) as (rt, router):
        found, done = comparisons(rt, 1)
        answer = await router.call(Router.run, "qa", {})
        assert answer.route.engine == "native"
        with anyio.fail_after(10):
            await done.wait()
    assert [event.data["score"] for event in found] == [0.5]


async def test_a_shadow_that_never_ends_delays_nothing_and_a_failing_one_fails_nothing() -> None:
    started = anyio.Event()

    async def hangs(request: Request) -> Mapping[str, object]:
        started.set()
        await anyio.sleep_forever()
        raise AssertionError

    for shadow in (hangs, fails):
        async with scripted(shadowed(), native=shadow) as (_, router):
            with anyio.fail_after(10):
                for _ in range(5):
                    assert (await router.call(Router.run, "qa", {}))["answer"] == "4"
    assert started.is_set()


async def test_what_each_side_failed_with_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "shadow.sqlite"
    async with scripted(shadowed(), native=fails, journal=path) as (rt, router):
        _, done = comparisons(rt, 1)
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    async with scripted(shadowed(), legacy=fails, journal=path) as (rt, router):
        _, done = comparisons(rt, 1)
        with pytest.raises(RuntimeError, match="no"):
            await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    report = shadow_report(path, "qa")
    assert report.compared == 2
    assert (report.served_errors, report.shadow_errors) == ({"RuntimeError": 1}, {"RuntimeError": 1})
    assert report.score is None


async def test_no_input_and_no_answer_is_written_to_the_journal(tmp_path: Path) -> None:
    async def secret(request: Request) -> Mapping[str, object]:
        return {"answer": "the-secret-answer"}

    path = tmp_path / "shadow.sqlite"
    async with scripted(shadowed(), native=secret, legacy=secret, journal=path) as (rt, router):
        _, done = comparisons(rt, 1)
        await router.call(Router.run, "qa", {"question": "the-secret-question"}, key="the-secret-key")
        with anyio.fail_after(10):
            await done.wait()
        assert await rt.ref("journal").call(Journal.written) == 1
    assert b"secret" not in stored(tmp_path)


async def test_shadows_are_bounded_and_what_is_more_is_counted_and_an_event() -> None:
    gate = anyio.Event()

    async def waits(request: Request) -> Mapping[str, object]:
        await gate.wait()
        return {"answer": "4"}

    options = ShadowOptions(concurrency=2, waiting=3)
    async with scripted(shadowed(), native=waits, shadow=options) as (rt, router):
        dropped: list[Event] = []
        rt.events.subscribe(dropped.append, prefix="router.shadow.dropped")
        _, done = comparisons(rt, 5)
        for _ in range(8):
            await router.call(Router.run, "qa", {})
        await rt.ref("ledger").call(Ledger.statistics)  # it has passed on what it was told before
        counts = await rt.ref("shadow").call(Shadow.statistics)
        assert counts == {"compared": 0, "dropped": 3, "running": 2, "waiting": 3}
        gate.set()
        with anyio.fail_after(10):
            await done.wait()
    assert [event.data for event in dropped] == [{"program": "qa"}] * 3


async def test_a_shadow_gets_only_so_long() -> None:
    async def hangs(request: Request) -> Mapping[str, object]:
        await anyio.sleep_forever()
        raise AssertionError

    async with scripted(shadowed(), native=hangs, shadow=ShadowOptions(timeout=0.1)) as (rt, router):
        compared: list[Event] = []
        done = anyio.Event()
        rt.events.subscribe(lambda event: (compared.append(event), done.set()), prefix="router.shadow.compared")
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    assert compared[0].data["shadow_error"] == "CallTimeout"
    assert compared[0].data["score"] == 0.0


async def test_a_metric_of_the_user_s_judges_also_an_async_one_for_one_program() -> None:
    async def judge(served: Prediction, shadow: Prediction) -> float:
        await anyio.lowlevel.checkpoint()
        return 0.25 if served["answer"] != shadow["answer"] else 1.0

    async with scripted(shadowed(), native=says_five, shadow=ShadowOptions(metrics={"qa": judge})) as (rt, router):
        found, done = comparisons(rt, 1)
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    assert found[0].data == {"program": "qa", "score": 0.25}


@pytest.mark.parametrize("broken", ["raises", "returns no score"])
async def test_a_broken_metric_is_a_finding_and_nothing_else(broken: str, tmp_path: Path) -> None:
    def metric(served: Prediction, shadow: Prediction) -> float:
        if broken == "raises":
            raise ZeroDivisionError
        return 17

    path = tmp_path / "shadow.sqlite"
    async with scripted(shadowed(), shadow=ShadowOptions(metric=metric), journal=path) as (rt, router):
        done = anyio.Event()
        rt.events.subscribe(lambda _: done.set(), prefix="router.shadow.compared")
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    report = shadow_report(path, "qa")
    assert (report.compared, report.metric_errors, report.score) == (1, 1, None)


async def test_a_program_with_one_side_cannot_have_a_shadow() -> None:
    flags = FlagStore(Flags(mode={"legacy-only": "shadow"}))
    async with scripted(flags) as (_, router):
        with pytest.raises(EngineMissing, match="mode") as caught:
            await router.call(Router.run, "legacy-only", {})
    assert caught.value.engine == "native"


async def test_the_call_itself_may_name_the_engine_and_then_nothing_is_shadowed() -> None:
    async with scripted(shadowed(), native=says_five) as (rt, router):
        answer = await router.call(Router.run, "qa", {}, engine="native")
        assert (answer["answer"], answer.route.reason) == ("5", "engine='native' in the call")
        assert (await rt.ref("shadow").call(Shadow.statistics))["running"] == 0
        with pytest.raises(ValueError, match="native, legacy"):
            await router.call(Router.run, "qa", {}, engine="both")  # type: ignore[arg-type]


async def test_a_file_that_is_no_journal_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are my notes, and no database at all\n" * 20)
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(Journal(tmp_path / "notes.txt"))
    assert isinstance(caught.value.__cause__, JournalUnreadable)
    with pytest.raises(JournalUnreadable, match="no such file"):
        shadow_report(tmp_path / "nothing.sqlite", "qa")


async def test_what_cannot_be_written_now_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "shadow.sqlite"
    async with scripted(shadowed(), journal=path) as (rt, router):
        blocked = anyio.Event()
        rt.events.subscribe(lambda _: blocked.set(), prefix="router.journal.failed")
        for name in os.listdir(tmp_path):
            (tmp_path / name).unlink()
        path.mkdir()
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await blocked.wait()
        path.rmdir()
        _, done = comparisons(rt, 1)
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
        assert await rt.ref("journal").call(Journal.written) == 2
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM comparisons").fetchone() == (2,)
    connection.close()


class Address(BaseModel):
    street: str
    number: int


@pytest.mark.parametrize(
    ("served", "shadow", "fields"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-9}, {"a": 1.0}),
        ({"a": 1.0}, {"a": 1.1}, {"a": 0.0}),
        ({"a": True}, {"a": 1}, {"a": 0.0}),
        ({"a": "x"}, {}, {"a": 0.0}),
        ({"reasoning": "one way", "a": "x"}, {"reasoning": "another", "a": "x"}, {"a": 1.0}),
        ({"a": Address(street="s", number=1)}, {"a": {"street": "s", "number": 1}}, {"a": 1.0}),
        ({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2}]}, {"a": 1.0}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, {"a": 0.0}),
    ],
)
async def test_by_default_fields_are_equal_or_not(
    served: dict[str, object], shadow: dict[str, object], fields: dict[str, float]
) -> None:
    scores = await scores_of(fields_equal(), Prediction(**served), Prediction(**shadow))
    assert scores.fields == fields


async def test_a_metric_that_returns_no_score_is_told_so() -> None:
    with pytest.raises(BadMetric, match="from 0 to 1"):
        await scores_of(lambda served, shadow: "yes", Prediction(), Prediction())  # type: ignore[arg-type,return-value]


async def test_answers_that_are_equal_score_one() -> None:
    async with scripted(shadowed(), native=says_four) as (rt, router):
        found, done = comparisons(rt, 1)
        await router.call(Router.run, "qa", {})
        with anyio.fail_after(10):
            await done.wait()
    assert found[0].data["score"] == 1.0
