"""The pool's decisions without any process: breaker, queue, scaling, quarantine, retries, sessions, recycling."""

from typing import Any

import pytest
from dspex.legacy import (
    BreakerPolicy,
    ImportedProgram,
    PoolOptions,
    RecyclingPolicy,
    RetryPolicy,
    ScalingPolicy,
    SessionLimit,
    SessionPolicy,
    SignatureProgram,
    UnknownSession,
    WorkerCrashed,
)
from dspex.legacy.breaker import Breaker
from dspex.legacy.errors import crash_kind
from dspex.legacy.quarantine import Quarantine, fingerprint
from dspex.legacy.retries import RetryBudget, pause_after
from dspex.legacy.scaling import scaling_step
from dspex.legacy.sessions import SessionTable
from dspex.legacy.states import TRANSITIONS


def open_breaker() -> Breaker:
    breaker = Breaker(BreakerPolicy(failures=3, window=10, open_for=5, permits=2))
    for second in range(3):
        breaker.record(float(second), ok=False, permit=False)
    return breaker


def test_a_breaker_opens_at_the_failures_of_a_window_and_old_ones_do_not_count() -> None:
    breaker = Breaker(BreakerPolicy(failures=3, window=10, open_for=5))
    assert [breaker.record(when, ok=False, permit=False) for when in (0.0, 1.0, 12.0, 13.0)] == [False] * 4
    assert breaker.state(13.0) == "closed"
    assert breaker.record(14.0, ok=False, permit=False) is True
    assert (breaker.state(14.0), breaker.admit(14.0), breaker.retry_after(16.0)) == ("open", "no", 3.0)


def test_a_breaker_stays_closed_while_failures_are_few_among_many() -> None:
    breaker = Breaker(BreakerPolicy(failures=2, ratio=0.5, window=100))
    for second in range(20):
        breaker.record(float(second), ok=second % 5 != 0, permit=False)
    assert breaker.state(20.0) == "closed"


def test_half_open_permits_are_counted_given_back_and_decide() -> None:
    breaker = open_breaker()
    assert [breaker.admit(8.0) for _ in range(3)] == ["permit", "permit", "no"]
    breaker.release()  # its caller went away
    assert breaker.admit(8.0) == "permit"
    assert breaker.record(9.0, ok=True, permit=True) is True
    assert breaker.state(9.0) == "closed"
    again = open_breaker()
    assert again.admit(8.0) == "permit"
    again.record(8.5, ok=True, permit=False)  # let through before it opened: decides nothing
    assert again.state(8.5) == "half_open"
    again.record(9.0, ok=False, permit=True)
    assert (again.state(9.1), again.state(14.0)) == ("open", "half_open")


def test_quarantine_is_of_equal_requests_only_and_ends() -> None:
    quarantine = Quarantine(2, 60.0)
    poison, other = fingerprint("p", {"x": 1}, 1000), fingerprint("p", {"x": 2}, 1000)
    assert poison is not None
    assert other is not None
    assert poison != other
    assert poison == fingerprint("p", {"x": 1}, 1000)
    assert fingerprint("p", {"x": object()}, 1000) is None
    quarantine.killed(poison, 0.0)
    assert not quarantine.refuses(poison, 1.0)
    quarantine.killed(poison, 1.0)
    assert quarantine.refuses(poison, 60.0)
    assert not quarantine.refuses(other, 60.0)
    assert not quarantine.refuses(poison, 62.0)
    quarantine.killed(poison, 70.0)
    quarantine.survived(poison)
    assert len(quarantine) == 0


def test_a_retry_budget_is_spent_and_earned() -> None:
    budget = RetryBudget(RetryPolicy(burst=2, ratio=0.5))
    assert [budget.take() for _ in range(3)] == [True, True, False]
    budget.finished()
    assert not budget.take()
    budget.finished()
    assert budget.take()
    for _ in range(100):
        budget.finished()
    assert budget.coins == 2


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        ({"waited": 0.6}, 1),
        ({"waited": 0.4}, 0),
        ({"waited": 0.6, "coming": 1}, 0),
        ({"waited": 0.6, "active": 4}, 0),
        ({"idle": 61.0}, -1),
        ({"idle": 61.0, "active": 1}, 0),
        ({"idle": 61.0, "waited": 0.1}, 0),
        ({"idle": 59.0}, 0),
    ],
)
def test_the_size_follows_waiting_and_idling_one_step_at_a_time(facts: dict[str, Any], step: int) -> None:
    given: dict[str, Any] = {"least": 1, "most": 4, "active": 2, "coming": 0, "waited": None, "idle": None, **facts}
    assert scaling_step(ScalingPolicy(), **given) == step


def opened(table: SessionTable, name: str, now: float = 0.0, **programs: Any) -> None:
    table.open(name, programs, now, lm=None, affinity="hint", on_loss="replay")


def test_sessions_are_opened_whole_or_not_limited_and_expire() -> None:
    table = SessionTable(SessionPolicy(limit=2, ttl=10.0, programs=1))
    qa = SignatureProgram("question -> answer")
    with pytest.raises(SessionLimit, match="programs"):
        opened(table, "a", one=qa, two=qa)
    assert len(table) == 0
    opened(table, "a", one=qa)
    opened(table, "b", now=5.0)
    with pytest.raises(ValueError, match="open already"):
        opened(table, "a")
    with pytest.raises(SessionLimit, match="2 sessions"):
        opened(table, "c")
    with pytest.raises(SessionLimit, match="programs"):
        table.define("a", "two", qa, 6.0)
    table.use("a", 6.0)
    assert [session.name for session in table.expire(15.5)] == ["b"]
    assert [session.name for session in table.expire(16.5)] == ["a"]
    with pytest.raises(UnknownSession):
        table.use("a", 17.0)
    with pytest.raises(ValueError, match="affinity"):
        table.open("x", {}, 0.0, lm=None, affinity="close", on_loss="replay")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on_loss"):
        table.open("x", {}, 0.0, lm=None, affinity="hint", on_loss="shrug")  # type: ignore[arg-type]


def test_a_changed_program_of_a_session_has_another_version_and_the_others_keep_theirs() -> None:
    table = SessionTable(SessionPolicy())
    opened(table, "a", one=SignatureProgram("a -> b"), two=SignatureProgram("a -> b"))
    before = {name: spec["version"] for name, spec in table.use("a", 0.0).definition().items()}  # type: ignore[index]
    table.define("a", "two", SignatureProgram("a -> c"), 0.0)
    after = {name: spec["version"] for name, spec in table.use("a", 0.0).definition().items()}  # type: ignore[index]
    assert before["one"] == after["one"]
    assert before["two"] != after["two"]


@pytest.mark.parametrize(
    ("returncode", "reason", "kind"),
    [
        (-11, "", "signal"),
        (3, "", "exit"),
        (83, "", "not_ready"),
        (81, "", "host_gone"),
        (-9, "silent for 30 s; it was killed", "silent"),
        (-9, "the kernel has killed for want of memory", "out_of_memory"),
        (None, "", "unknown"),
    ],
)
def test_crashes_are_classified(returncode: int | None, reason: str, kind: str) -> None:
    assert crash_kind(returncode, reason) == kind
    crash = WorkerCrashed("w", "i", returncode=returncode, maybe_started=False, reason=reason)
    assert (crash.kind, crash.retriable) == (kind, True)
    assert crash.about_request(maybe_started=True).retriable is False


def test_every_state_is_reached_from_another_and_stopped_is_the_end() -> None:
    reached = {after for states in TRANSITIONS.values() for after in states}
    assert reached == set(TRANSITIONS)
    assert TRANSITIONS["stopped"] == frozenset()
    assert all("stopped" in states for name, states in TRANSITIONS.items() if name != "stopped")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: BreakerPolicy(failures=0), "failures"),
        (lambda: BreakerPolicy(ratio=1.5), "ratio"),
        (lambda: RecyclingPolicy(age=0), "age"),
        (lambda: ScalingPolicy(period=0), "period"),
        (lambda: SessionPolicy(ttl=-1), "ttl"),
        (lambda: RetryPolicy(burst=-1), "burst"),
        (lambda: options(max_in_flight=0), "max_in_flight"),
        (lambda: options(workers=3, max_workers=2), "max_workers"),
        (lambda: options(overflow="drop"), "overflow"),
        (lambda: options(start="clone"), "start"),
        (lambda: options(cancel_grace=-1), "cancel_grace"),
        (lambda: ImportedProgram("os.system"), "import path"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_name(made: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made()


def options(**changes: Any) -> PoolOptions:
    return PoolOptions({"qa": SignatureProgram("question -> answer")}, **changes)


def test_a_worker_that_does_not_come_up_waits_twice_as_long_each_time_up_to_a_bound() -> None:
    assert [pause_after(failures) for failures in range(10)] == [0, 0, 0, 0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert pause_after(10**6) == 2.0
