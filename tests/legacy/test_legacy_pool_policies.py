"""The pool's policies on real workers: sessions, size, recycling, poison, breakers, full queues."""

import os
import signal
from pathlib import Path

import anyio
import pytest
from dspex.legacy import (
    BreakerPolicy,
    CircuitOpen,
    ImportedProgram,
    LegacyPool,
    LMSettings,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    RecyclingPolicy,
    RetryPolicy,
    ScalingPolicy,
    SessionBusy,
    SessionLost,
    SessionPolicy,
    SignatureProgram,
    UnknownSession,
    WorkerCrashed,
)
from dspex.legacy.worker import wire
from dspex.legacy.worker_actor import WorkerActor
from dspex.supervisors import tree
from legacy_pools import HERE, PROGRAMS, OpenPool, Pool, alive, said, tell
from test_legacy_pool import Later, run

pytestmark = pytest.mark.anyio

MISBEHAVING = str(HERE / "misbehaving_worker.py")
MORE = {**PROGRAMS, "remembering": ImportedProgram("legacy_programs:Remembering")}


async def pid_of(pool: Pool, **options: object) -> int:
    return (await run(pool, "does", what="describe", options=options)).values["pid"]  # type: ignore[return-value]


# --- sessions -------------------------------------------------------------------------------------------------------


async def test_a_session_keeps_to_its_worker_and_its_programs_are_its_own(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE, workers=2, ready=2) as pool:
        own = {"counter": ImportedProgram("legacy_programs:Remembering")}
        for name in ("a", "b"):
            await pool.ref.call(LegacyPool.open_session, name, own, affinity="queue")
        assert [event["session"] for event in pool.named("legacy.session.opened")] == ["a", "b"]
        calls = {
            name: [(await run(pool, "counter", options={"session": name})).values for _ in range(3)]
            for name in ("a", "b")
        }
        for told in calls.values():
            assert [one["calls"] for one in told] == [1, 2, 3], "each session has an object of its own"
            assert len({one["pid"] for one in told}) == 1
        with pytest.raises(Exception, match="no program 'counter'"):
            await run(pool, "counter")
        assert await pool.ref.call(LegacyPool.close_session, "a") is True
        with pytest.raises(UnknownSession):
            await run(pool, "counter", options={"session": "a"})


async def test_a_lost_session_is_replayed_in_another_worker_or_its_loss_is_told_once(open_pool: OpenPool) -> None:
    async with open_pool(programs=MORE) as pool:
        own = {"counter": ImportedProgram("legacy_programs:Remembering", idempotent=True)}
        await pool.ref.call(LegacyPool.open_session, "again", own)
        await pool.ref.call(LegacyPool.open_session, "told", own, on_loss="fail")
        for name in ("again", "told"):
            assert (await run(pool, "counter", options={"session": name})).values["calls"] == 1
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        await pool.heard("legacy.session.lost", 2)
        assert (await run(pool, "counter", options={"session": "again"})).values["calls"] == 1
        with pytest.raises(SessionLost):
            await run(pool, "counter", options={"session": "told"})
        assert (await run(pool, "counter", options={"session": "told"})).values["calls"] == 1


async def test_more_sessions_than_a_worker_remembers_are_told_again(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        own = {"counter": ImportedProgram("legacy_programs:Remembering")}
        names = [f"s{number}" for number in range(70)]
        for name in names:
            await pool.ref.call(LegacyPool.open_session, name, own)
        for _ in range(2):
            for name in names:
                assert (await run(pool, "counter", options={"session": name})).values["calls"] == 1


async def test_a_redefined_program_is_loaded_again_and_the_sessions_model_is_used(open_pool: OpenPool) -> None:
    asked: list[str] = []

    async def serve(call: object) -> str:
        asked.append(call.model)  # type: ignore[attr-defined]
        return "[[ ## answer ## ]]\nyes\n\n[[ ## reply ## ]]\nno\n\n[[ ## completed ## ]]"

    lm = LMSettings("pools", host=True)
    async with open_pool(lm=lm, lm_server=serve) as pool:
        first = {"mine": SignatureProgram("question -> answer")}
        await pool.ref.call(LegacyPool.open_session, "s", first, lm=LMSettings("sessions", host=True))
        assert (await run(pool, "mine", question="?", options={"session": "s"})).values == {"answer": "yes"}
        await pool.ref.call(LegacyPool.define, "s", "mine", SignatureProgram("question -> reply"))
        assert (await run(pool, "mine", question="?", options={"session": "s"})).values == {"reply": "no"}
        await run(pool, "qa", question="?")
    assert asked == ["sessions", "sessions", "pools"]


async def test_affinity_says_whether_a_session_waits_for_its_worker_is_refused_or_goes_elsewhere(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(workers=2, ready=2) as pool, anyio.create_task_group() as group:
        for affinity in ("hint", "queue", "fail"):
            await pool.ref.call(LegacyPool.open_session, affinity, affinity=affinity)  # type: ignore[arg-type]
        await pool.ref.call(LegacyPool.open_session, "blocker", affinity="queue")
        home = await pid_of(pool, session="blocker")
        while await pid_of(pool, session="hint") != home:
            await pool.ref.call(LegacyPool.close_session, "hint")
            await pool.ref.call(LegacyPool.open_session, "hint")
        for name in ("queue", "fail"):
            while await pid_of(pool, session=name) != home:
                await pool.ref.call(LegacyPool.close_session, name)
                await pool.ref.call(LegacyPool.open_session, name, affinity=name)  # type: ignore[arg-type]
        held = {"what": "wait_for", "marker": str(marker), "options": {"session": "blocker"}}
        call = await Later.start(group, pool, "does", **held)
        await said(marker)
        with pytest.raises(SessionBusy):
            await pid_of(pool, session="fail")
        waiting = await Later.start(group, pool, "does", what="describe", options={"session": "queue"})
        assert await pid_of(pool) != home, "others pass the one that waits for its own worker"
        assert await pid_of(pool, session="hint") != home
        await tell(marker)
        await call.outcome()
        assert (await waiting.outcome()).values["pid"] == home


async def test_sessions_that_nobody_uses_expire(open_pool: OpenPool) -> None:
    policy = SessionPolicy(ttl=0.1)
    async with open_pool(sessions=policy, scaling=ScalingPolicy(period=0.05)) as pool:
        await pool.ref.call(LegacyPool.open_session, "s")
        assert (await pool.heard("legacy.session.closed"))["expired"] is True
        assert (await pool.ref.call(LegacyPool.statistics)).sessions == 0


# --- size and replacement -------------------------------------------------------------------------------------------


async def test_a_pool_grows_while_requests_wait_and_shrinks_when_workers_idle(
    open_pool: OpenPool, marker: Path
) -> None:
    scaling = ScalingPolicy(up_after=0.05, down_after=0.3, period=0.05)
    async with open_pool(max_workers=3, scaling=scaling) as pool, anyio.create_task_group() as group:
        calls = [await Later.start(group, pool, "does", what="sleep", marker=os.devnull) for _ in range(4)]
        await pool.heard("legacy.worker.ready", 3)
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert (statistics.active, statistics.running, statistics.waiting) == (3, 3, 1)
        for call in calls:
            call.scope.cancel()
        await pool.heard("legacy.pool.scaled", 4)
        await pool.heard("legacy.worker.exited", 2)
        assert (await pool.ref.call(LegacyPool.statistics)).active == 1
        assert [event["step"] for event in pool.named("legacy.pool.scaled")] == [1, 1, -1, -1]
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        details = [tree(pool.rt).find(f"worker-{number}").detail for number in (1, 2, 3)]
        assert details.count("parked") == 2


@pytest.mark.parametrize(
    "policy", [RecyclingPolicy(requests=2), RecyclingPolicy(rss_bytes=1), RecyclingPolicy(age=0.2)], ids=str
)
async def test_a_worker_is_recycled_after_its_replacement_is_ready_and_no_request_is_lost(
    open_pool: OpenPool, policy: RecyclingPolicy
) -> None:
    async with open_pool(recycling=policy, scaling=ScalingPolicy(period=0.05)) as pool:
        first = await pid_of(pool)
        pids = [first]
        with anyio.fail_after(20):
            while len(pool.named("legacy.worker.recycled")) < 2:
                pids.append(await pid_of(pool))
        assert len(set(pids)) >= 2
        assert not alive(first)
        names = [event.name for event in pool.events if event.name in ("legacy.worker.started", "legacy.worker.exited")]
        assert names[:3] == ["legacy.worker.started", "legacy.worker.started", "legacy.worker.exited"]
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert (statistics.failed, statistics.retried) == (0, 0)
        assert tree(pool.rt).find("worker-1").incarnation == 1


# --- requests that kill ---------------------------------------------------------------------------------------------


async def test_a_poison_request_sent_a_hundred_times_kills_two_workers_and_the_tree_is_not_bothered(
    open_pool: OpenPool,
) -> None:
    async with open_pool() as pool:
        ends: list[type[BaseException]] = []
        for _ in range(100):
            try:
                await run(pool, "does", what="die", status=7)
            except (WorkerCrashed, PoisonRequest) as error:
                ends.append(type(error))
        assert ends == [WorkerCrashed] * 2 + [PoisonRequest] * 98
        assert len(pool.named("legacy.worker.exited")) == 2
        assert (await run(pool, "does", what="describe")).attempts == 1, "the program itself is not in quarantine"
        assert (await pool.ref.call(LegacyPool.statistics)).quarantined == 1


async def test_a_program_that_crashes_again_and_again_is_refused_until_a_trial_succeeds(open_pool: OpenPool) -> None:
    breaker = BreakerPolicy(failures=3, ratio=0.1, window=60, open_for=0.4)
    async with open_pool(breaker=breaker) as pool:
        for status in range(3):
            with pytest.raises(WorkerCrashed):
                await run(pool, "does", what="die", status=status)
        with pytest.raises(CircuitOpen) as raised:
            await run(pool, "does", what="describe")
        assert 0 < raised.value.retry_after <= 0.4
        assert raised.value.retriable
        assert (await run(pool, "echo", x=1)).values == {"x": 1}, "others are not its business"
        assert (await pool.ref.call(LegacyPool.statistics)).open_circuits == ("does",)
        await anyio.sleep(raised.value.retry_after)
        await run(pool, "does", what="describe")
        assert (await pool.ref.call(LegacyPool.statistics)).open_circuits == ()
        assert [event["state"] for event in pool.named("legacy.circuit.changed")] == ["open", "closed"]


async def test_errors_of_the_program_trip_no_breaker(open_pool: OpenPool) -> None:
    async with open_pool(breaker=BreakerPolicy(failures=1)) as pool:
        for _ in range(5):
            with pytest.raises(Exception, match="LookupError"):
                await run(pool, "does", what="fail", text="no")
        assert pool.named("legacy.circuit.changed") == []


async def test_without_a_budget_an_idempotent_request_is_not_repeated(open_pool: OpenPool) -> None:
    async with open_pool(retries=RetryPolicy(burst=0, ratio=0)) as pool:
        with pytest.raises(WorkerCrashed) as raised:
            await run(pool, "does-safely", what="die", status=7)
        assert not isinstance(raised.value, PoisonRequest)
        assert pool.named("legacy.request.retried") == []


# --- full queues, many in hand --------------------------------------------------------------------------------------


async def test_the_oldest_makes_room_or_the_newest_waits_if_the_pool_is_told_so(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(queue=1, overflow="shed_oldest") as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="wait_for", marker=str(marker))
        await said(marker)
        oldest = await Later.start(group, pool, "echo", x=1)
        newest = await Later.start(group, pool, "echo", x=2)
        shed = await oldest.outcome()
        assert isinstance(shed, PoolOverloaded)
        assert shed.shed
        assert len(pool.named("legacy.request.shed")) == 1
        await tell(marker)
        assert (await newest.outcome()).values == {"x": 2}
        await call.outcome()
        assert (await pool.ref.call(LegacyPool.statistics)).shed == 1
    async with open_pool(queue=1, overflow="wait") as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="wait_for", marker=str(marker))
        await said(marker)
        others = [await Later.start(group, pool, "echo", x=number) for number in range(3)]
        await tell(marker)
        assert [(await other.outcome()).values["x"] for other in others] == [0, 1, 2]
        await call.outcome()


async def test_a_pool_that_drains_answers_what_it_has_and_takes_no_more(open_pool: OpenPool, marker: Path) -> None:
    async with open_pool() as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="wait_for", marker=str(marker))
        await said(marker)
        waiting = await Later.start(group, pool, "echo", x=1)
        drained = anyio.Event()

        async def drain() -> None:
            await pool.ref.within(20).call(LegacyPool.drain)
            drained.set()

        group.start_soon(drain)
        await pool.ref.call(LegacyPool.statistics)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(PoolUnavailable, match="draining"):
            await run(pool, "echo", x=2)
        assert not drained.is_set()
        await tell(marker)
        assert (await call.outcome()).values == {"waited": True}
        assert (await waiting.outcome()).values == {"x": 1}
        with anyio.fail_after(10):
            await drained.wait()
        await pool.ref.call(LegacyPool.drain)


async def test_of_several_requests_in_a_workers_hands_only_the_first_can_have_begun_when_it_dies(
    open_pool: OpenPool, marker: Path, tmp_path: Path
) -> None:
    async with open_pool(max_in_flight=3) as pool, anyio.create_task_group() as group:
        first = await Later.start(group, pool, "does", what="sleep", marker=str(marker))
        (pid,) = await said(marker)
        others = [await Later.start(group, pool, "echo", x=number) for number in range(4)]
        assert (await pool.ref.call(LegacyPool.statistics)).workers[0].in_hand == 3
        os.kill(pid, signal.SIGKILL)
        assert isinstance(await first.outcome(), WorkerCrashed)
        answers = [await other.outcome() for other in others]
        assert [answer.values["x"] for answer in answers] == [0, 1, 2, 3]
        assert {event["kills"] for event in pool.named("legacy.request.retried")} == {0}


async def test_a_request_that_waits_in_a_workers_hands_is_taken_back_when_its_caller_goes(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(max_in_flight=3, cancel_grace=20.0, heartbeat=0.05) as pool, anyio.create_task_group() as group:
        first = await Later.start(group, pool, "does", what="wait_for", marker=str(marker))
        await said(marker)
        second = await Later.start(group, pool, "does", what="die", status=1)
        third = await Later.start(group, pool, "echo", x=3)
        second.scope.cancel()
        await pool.heard("legacy.request.abandoned")
        worker = pool.rt.whereis("legacy.worker-1")
        assert worker is not None
        await worker.call(WorkerActor.unpark)  # changes nothing; it has told its process by then
        channel = worker.process.host._process.channel
        heard, pongs = channel.received_bytes, 0
        with anyio.fail_after(10):
            while pongs < 2:  # the second one answers a ping that was sent after the cancellation
                await anyio.sleep(0.005)
                pongs += channel.received_bytes > heard
                heard = channel.received_bytes
        await tell(marker)
        assert (await first.outcome()).values == {"waited": True}
        assert (await third.outcome()).values == {"x": 3}
        assert pool.named("legacy.worker.exited") == [], "the program that would have ended the worker never ran"


# --- options and bounds ---------------------------------------------------------------------------------------------


async def test_a_worker_whose_announcement_got_lost_is_found_by_the_pool(
    open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    tell_pool = WorkerActor._tell_pool

    def lose_the_first(actor: WorkerActor, message: object) -> None:
        if lost:
            tell_pool(actor, message)
        else:
            lost.append(message)

    monkeypatch.setattr(WorkerActor, "_tell_pool", lose_the_first)
    async with open_pool(ready=0, start_timeout=2.0, scaling=ScalingPolicy(period=0.05)) as pool:
        assert (await run(pool, "echo", within=60, x=1)).values == {"x": 1}
        assert len(lost) == 1
        assert len(pool.named("legacy.worker.ready")) == 1, "it was there all the time"


@pytest.mark.parametrize(("mood", "grace", "returncode"), [("slow", 60.0, 0), ("stubborn", 0.1, -9)])
async def test_an_idle_worker_has_its_grace_to_end_by_itself(
    open_pool: OpenPool, mood: str, grace: float, returncode: int
) -> None:
    env = {**os.environ, "MOOD": mood}
    async with open_pool(script=MISBEHAVING, env=env, stop_grace=grace) as pool:
        pass
    assert [event["returncode"] for event in pool.named("legacy.worker.exited")] == [returncode]


async def test_the_cache_on_disk_has_the_bound_that_it_was_given(open_pool: OpenPool, tmp_path: Path) -> None:
    for size in (16_000_000, 32_000_000):
        async with open_pool(cache_dir=str(tmp_path / str(size)), cache_bytes=size) as pool:
            assert (await run(pool, "does", what="holdings")).values["cache_bytes"] == size


async def test_what_a_worker_remembers_of_sessions_and_models_is_bounded(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        for number in range(70):
            name = f"user {number}"
            lm = LMSettings("openai/tiny", api_base="http://127.0.0.1:9", api_key=name)
            await pool.ref.call(LegacyPool.open_session, name, {"mine": PROGRAMS["echo"]}, lm=lm)
            assert (await run(pool, "mine", x=number, options={"session": name})).values == {"x": number}
        held = (await run(pool, "does", what="holdings")).values
        assert held["scopes"] == wire.SCOPES == 64
        assert held["models"] == 32
        assert (await run(pool, "mine", x=-1, options={"session": "user 0"})).values == {"x": -1}, "told again"
