"""The pool with real worker processes, real dspy and a real HTTP server for its language model."""

import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.legacy import (
    FrameTooLarge,
    ImportedProgram,
    LegacyError,
    LegacyPool,
    LegacyResult,
    LegacyTimeout,
    LMSettings,
    MissingLegacy,
    PoisonRequest,
    PoolOptions,
    PoolOverloaded,
    PoolUnavailable,
    ProtocolError,
    RemoteError,
    SignatureProgram,
    UnknownProgram,
    Unserializable,
    WorkerCrashed,
    WorkerStartFailed,
    legacy_pool_spec,
    start_legacy_pool,
)
from dspex.legacy.messages import Finished
from dspex.legacy.worker_actor import WorkerActor
from dspex.runtime import Actor, ActorExit, CallTimeout, open_runtime
from dspex.supervisors import Child, Supervisor, tree
from legacy_pools import HERE, PROGRAMS, OpenPool, Pool, alive, arrived, gone_within, said, threads_gone_within
from openai_server import OpenAIServer

pytestmark = pytest.mark.anyio

MISBEHAVING = str(HERE / "misbehaving_worker.py")


async def run(pool: Pool, program: str, /, *, within: float = 30, options: Any = None, **inputs: Any) -> LegacyResult:
    return await pool.ref.within(within).call(LegacyPool.run, program, inputs, **(options or {}))


class Later:
    """A call that runs beside the test; its result or its error is there after `await outcome()`."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._value: LegacyResult | BaseException | None = None

    @classmethod
    async def start(cls, group: Any, pool: Pool, program: str, **inputs: Any) -> "Later":
        """Returns when the request is in the pool's mailbox, so that the order of two of these is theirs."""
        later = cls()
        await group.start(later._call, pool, program, inputs)
        return later

    async def _call(self, pool: Pool, program: str, inputs: Any, *, task_status: Any) -> None:
        with self.scope:
            task_status.started()
            try:
                self._value = await run(pool, program, **inputs)
            except Exception as error:
                self._value = error
        self._done.set()

    async def outcome(self) -> Any:
        with anyio.fail_after(30):
            await self._done.wait()
        return self._value


# --- answers --------------------------------------------------------------------------------------------------------


async def test_a_request_comes_back_with_its_fields_its_usage_and_who_did_it(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm) as pool:
        result = await run(pool, "qa", question="Why?")
        assert result.values == {"answer": "answer to Why?"}
        assert result.usage["openai/tiny"]["total_tokens"] == 12  # type: ignore[index]
        assert result.worker == "legacy.worker-1"
        assert result.attempts == 1
        assert 0 < result.run_s <= result.latency_s
        assert result.incarnation == pool.named("legacy.worker.ready")[0]["incarnation"]
        assert server.questions() == ["Why?"]
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert (statistics.accepted, statistics.completed, statistics.failed, statistics.running) == (1, 1, 0, 0)
        assert statistics.workers[0].requests == 1


async def test_typed_fields_of_a_users_own_program_come_back_as_plain_data(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(lm=lm) as pool:
        result = await run(pool, "typed", question="Where?")
    assert result.values == {
        "reasoning": "reasoning to Where?",
        "names": {1: "one", 2: "two"},
        "place": {"city": "Paris", "when": "2026-11-22", "tags": ["a", "b"]},
    }


async def test_instructions_and_saved_state_reach_the_prompt(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    state = {
        "traces": [],
        "train": [],
        "demos": [{"question": "1+1?", "answer": "two, of course"}],
        "signature": {
            "instructions": "Answer like a tired clerk.",
            "fields": [
                {"prefix": "Question:", "description": "${question}"},
                {"prefix": "Answer:", "description": "${answer}"},
            ],
        },
        "lm": None,
    }
    programs = {
        "told": SignatureProgram("question -> answer", instructions="Answer like a pirate."),
        "saved": SignatureProgram("question -> answer", state=state),
        "thinking": SignatureProgram("question -> answer", module="ChainOfThought"),
    }
    async with open_pool(programs=programs, lm=lm) as pool:
        await run(pool, "told", question="One?")
        await run(pool, "saved", question="Two?")
        thought = await run(pool, "thinking", question="Three?")
    told, saved, _ = ("\n".join(m["content"] for m in body["messages"]) for body in server.bodies)
    assert "Answer like a pirate." in told
    assert "Answer like a tired clerk." in saved
    assert "two, of course" in saved
    assert thought.values == {"reasoning": "reasoning to Three?", "answer": "answer to Three?"}


async def test_the_language_model_is_the_requests_own_if_it_brings_one(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    other = LMSettings("openai/other", api_base=server.url, api_key="k2", cache=False, options={"temperature": 0.25})
    async with open_pool(lm=lm) as pool:
        await run(pool, "qa", question="One?")
        await run(pool, "qa", question="Two?", options={"lm": other})
        await run(pool, "qa", question="Three?")
    assert [body["model"] for body in server.bodies] == ["tiny", "other", "tiny"]
    assert [body.get("temperature") for body in server.bodies] == [None, 0.25, None]
    assert server.keys == ["Bearer sk-secret-7", "Bearer k2", "Bearer sk-secret-7"]


async def test_litellm_is_not_imported_even_where_dspy_would_choose_it(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    # A gateway in the environment makes dspy's "auto" engine choose litellm, which costs 8 s in mid-request.
    env = {**os.environ, "OPENAI_API_BASE": server.url}
    async with open_pool(lm=lm, env=env, start="spawn") as pool:
        await run(pool, "qa", question="Why?")
        assert (await run(pool, "does", what="describe")).values["litellm"] is False


async def test_two_workers_serve_two_requests_at_once_and_no_reply_goes_astray(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm, workers=2, ready=2) as pool, anyio.create_task_group() as group:
        calls = [await Later.start(group, pool, "qa", question=f"hold {number}") for number in range(6)]
        await arrived(server)
        await arrived(server)
        assert sorted(server.questions()) == ["hold 0", "hold 1"]
        server.release.set()
        answers = [(await call.outcome()).values["answer"] for call in calls]
        assert answers == [f"answer to hold {number}" for number in range(6)]
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert {worker.requests for worker in statistics.workers} != {6, 0}


async def test_the_disk_cache_is_off_unless_a_directory_is_given_and_is_then_shared(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer, tmp_path: Path
) -> None:
    caching = LMSettings(lm.model, api_base=lm.api_base, api_key=lm.api_key, cache=True, options=lm.options)
    home, shared = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    env = {**os.environ, "HOME": str(home)}
    async with open_pool(lm=caching, env=env, start="spawn") as pool:
        await run(pool, "qa", question="One?")
        again = await run(pool, "qa", question="One?")
        assert again.usage == {}
        assert len(server.bodies) == 1
    assert list(home.iterdir()) == []
    for _ in range(2):
        async with open_pool(lm=caching, cache_dir=str(shared)) as pool:
            assert (await run(pool, "qa", question="One?")).values == {"answer": "answer to One?"}
    assert len(server.bodies) == 2


# --- errors of the request ------------------------------------------------------------------------------------------


REFUSED: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    ("run", ("echo", "a text"), TypeError, "inputs must be a mapping"),
    ("run", ("echo", None), TypeError, "inputs must be a mapping"),
    ("run", ("echo", {1: "x"}), TypeError, r"names \(str\) for keys, not int"),
    ("run", (["echo"], {}), TypeError, "program must be the name"),
    ("run", ("echo", {}, {"lm": "openai/x"}), TypeError, r"lm must be LMSettings\(...\), not str"),
    ("run", ("echo", {}, {"lm": LMSettings("m", host=True)}), ValueError, "an lm_server that answers"),
    ("run", ("echo", {}, {"timeout": 0}), ValueError, "more than 0 seconds"),
    ("run", ("echo", {}, {"timeout": "1"}), TypeError, "a number of seconds"),
    ("run", ("echo", {}, {"session": 1}), TypeError, "the name of an open session"),
    ("run", ("echo", {}, {"idempotent": "yes"}), TypeError, "True, False or None"),
    ("run", ("echo", {}, {"streaming": True}), TypeError, "what open_stream makes"),
    ("open_session", (1,), TypeError, "session must be a name"),
    ("open_session", ("s", {"mine": "question -> answer"}), TypeError, "program 'mine' must be a SignatureProgram"),
    ("open_session", ("s", ["mine"]), TypeError, "a mapping of programs"),
    ("open_session", ("s", {"mine": SignatureProgram("a -> b", "ReAct", tools=("x",))}), ValueError, "callables"),
    ("define", ("s", "mine", 3), TypeError, "program 'mine' must be a SignatureProgram"),
    ("close_session", ([],), TypeError, "session must be a name"),
    ("wait_ready", ("all",), TypeError, "workers must be a count"),
    ("wait_ready", (2,), ValueError, "at most 1 workers: 2 are never ready"),
]


async def test_what_cannot_be_asked_is_refused_by_name_and_the_pool_goes_on(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        before = pool.rt.whereis("legacy.pool")
        for message, arguments, error, says in REFUSED:
            *given, last = arguments
            options: dict[str, Any] = last if len(given) == 2 and message == "run" else {}
            with pytest.raises(error, match=says):
                await pool.ref.call(getattr(LegacyPool, message), *(given if options else arguments), **options)
        assert pool.rt.whereis("legacy.pool") == before
        assert (await pool.ref.call(LegacyPool.statistics)).sessions == 0
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_a_request_for_a_worker_that_has_died_unnoticed_is_given_to_another_and_is_not_held_against_it(
    open_pool: OpenPool,
) -> None:
    async with open_pool(workers=1) as pool:
        for turn in range(3):
            pid = pool.named("legacy.worker.started")[turn]["pid"]
            os.kill(pid, signal.SIGKILL)
            assert gone_within(30, pid)  # the loop stands still meanwhile: nobody has noticed
            assert threads_gone_within(30, pid)  # the first thread may be dead while another still holds the socket
            assert (await run(pool, "echo", x=turn)).values == {"x": turn}
        assert (await pool.ref.call(LegacyPool.statistics)).quarantined == 0


async def test_a_program_that_the_workers_cannot_import_says_what_to_do(open_pool: OpenPool) -> None:
    programs = {"lost": ImportedProgram("nowhere.at_all:x"), "nameless": ImportedProgram("legacy_programs:nobody")}
    async with open_pool(programs={**PROGRAMS, **programs}) as pool:
        with pytest.raises(LegacyError, match=r"no module 'nowhere' .* name its folder in PoolOptions.import_paths"):
            await run(pool, "lost")
        with pytest.raises(LegacyError, match="module 'legacy_programs' has no 'nobody'"):
            await run(pool, "nameless")


async def test_a_program_that_is_only_async_runs_too(open_pool: OpenPool) -> None:
    async with open_pool(programs={**PROGRAMS, "async": ImportedProgram("legacy_programs:OnlyAsync")}) as pool:
        assert (await run(pool, "async", x=1)).values == {"x": 1}


async def test_an_exception_of_the_program_is_the_callers_and_costs_no_worker(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        with pytest.raises(RemoteError, match=r"builtins\.LookupError: nowhere to be found") as raised:
            await run(pool, "does", what="fail", text="nowhere to be found")
        assert raised.value.type_name == "LookupError"
        assert raised.value.retriable is False
        assert "legacy_programs.py" in raised.value.remote_traceback
        with pytest.raises(RemoteError, match="SystemExit"):
            await run(pool, "does", what="leave")
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.worker.exited") == []
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert (statistics.failed, statistics.completed, statistics.workers[0].failures) == (2, 1, 2)


@pytest.mark.parametrize(("status", "name", "retriable"), [(503, "LMServerError", True), (401, "LMAuthError", False)])
async def test_an_outage_of_the_provider_is_told_from_an_error_of_the_request(
    open_pool: OpenPool, lm: LMSettings, status: int, name: str, retriable: bool
) -> None:
    async with open_pool(lm=lm) as pool:
        with pytest.raises(RemoteError) as raised:
            await run(pool, "qa", question=f"status {status}")
    assert (raised.value.type_name, raised.value.retriable) == (name, retriable)


async def test_a_program_that_was_not_declared_is_unknown_whatever_its_name(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        for name in ("missing", "os:abort", "legacy_programs:does"):
            with pytest.raises(UnknownProgram) as raised:
                await run(pool, name)
            assert "qa" in raised.value.known


async def test_messages_over_the_limit_are_refused_by_their_sender_and_the_worker_lives(open_pool: OpenPool) -> None:
    async with open_pool(frame_limit=100_000) as pool:
        with pytest.raises(FrameTooLarge) as raised:
            await run(pool, "echo", text="x" * 100_000)
        assert (raised.value.direction, raised.value.limit) == ("request", 100_000)
        with pytest.raises(FrameTooLarge) as raised:
            await run(pool, "does", what="swell", size=100_000)
        assert raised.value.direction == "reply"
        assert raised.value.size > 100_000
        assert len((await run(pool, "does", what="swell", size=99_000)).values["text"]) == 99_000  # type: ignore[arg-type]
        assert pool.named("legacy.worker.exited") == []


async def test_values_without_a_form_are_refused_both_ways_and_the_worker_lives(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        with pytest.raises(Unserializable, match=r"message\.inputs\.x"):
            await run(pool, "echo", x=object())
        with pytest.raises(Unserializable, match="field 'f'"):
            await run(pool, "does", what="give", kind="lambda")
        with pytest.raises(Unserializable, match="returned a str"):
            await run(pool, "does", what="give", kind="string")
        assert (await run(pool, "does", what="give", kind="decimal")).values == {"date": "2026-11-22"}
        assert pool.named("legacy.worker.exited") == []


# --- crashes --------------------------------------------------------------------------------------------------------


async def test_an_idempotent_request_survives_its_workers_death_and_runs_again_in_the_next(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "safe", question="hold on")
        await arrived(server)
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        server.release.set()
        result = await call.outcome()
        assert result.values == {"answer": "answer to hold on"}
        assert result.attempts == 2
        first, second = (event["incarnation"] for event in pool.named("legacy.worker.ready"))
        assert result.incarnation == second != first
        assert pool.named("legacy.request.retried")[0]["kills"] == 1
        assert [event["worker"] for event in pool.named("legacy.request.started")] == ["legacy.worker-1"] * 2
        assert pool.named("legacy.worker.exited")[0]["returncode"] == -9
        assert server.questions() == ["hold on", "hold on"]


async def test_a_request_that_is_not_idempotent_fails_typed_and_the_worker_is_restarted(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "qa", question="hold on")
        await arrived(server)
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        crash = await call.outcome()
        assert isinstance(crash, WorkerCrashed)
        assert (crash.signal, crash.maybe_started, crash.worker) == (signal.SIGKILL, True, "legacy.worker-1")
        assert (await run(pool, "qa", question="And now?")).values == {"answer": "answer to And now?"}
        assert server.questions() == ["hold on", "And now?"]
        node = tree(pool.rt).find("worker-1")
        assert node is not None
        assert node.incarnation == 2


async def test_the_call_can_say_that_it_is_idempotent(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "qa", question="hold on", options={"idempotent": True})
        await arrived(server)
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        server.release.set()
        assert (await call.outcome()).attempts == 2


async def test_a_request_that_kills_its_workers_is_refused_as_poison_and_the_pool_goes_on(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        with pytest.raises(PoisonRequest, match="has ended 2 workers") as raised:
            await run(pool, "does-safely", what="die", status=7)
        assert raised.value.kills == 2
        assert raised.value.exit_code == 7
        assert "last words" in str(raised.value)
        assert len(pool.named("legacy.request.poisoned")) == 1
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_a_worker_that_dies_idle_is_restarted(open_pool: OpenPool) -> None:
    async with open_pool() as pool:
        os.kill(pool.named("legacy.worker.started")[0]["pid"], signal.SIGKILL)
        await pool.heard("legacy.worker.ready", 2)
        assert (await run(pool, "echo", x=1)).attempts == 1


@pytest.mark.parametrize(
    ("program", "cause"),
    [("garbage", ProtocolError), ("both", ProtocolError), ("neither", ProtocolError), ("half", None)],
)
async def test_a_worker_that_breaks_the_protocol_is_replaced_and_its_request_told(
    open_pool: OpenPool, program: str, cause: type[Exception] | None
) -> None:
    programs = {name: SignatureProgram("a -> b") for name in (program, "good")}
    async with open_pool(script=MISBEHAVING, programs=programs) as pool:
        with pytest.raises(WorkerCrashed) as raised:
            await run(pool, program)
        assert raised.value.maybe_started
        assert cause is None or isinstance(raised.value.__cause__, cause)
        assert (await run(pool, "good")).values == {"answer": 42}
        first, second = (event["pid"] for event in pool.named("legacy.worker.started"))
        assert not alive(first)
        assert alive(second)


async def test_replies_of_another_time_or_to_another_question_are_dropped_and_counted(open_pool: OpenPool) -> None:
    programs = {"stale": SignatureProgram("a -> b")}
    async with open_pool(script=MISBEHAVING, programs=programs) as pool:
        assert (await run(pool, "stale")).values == {"answer": 42}
        assert len(pool.named("legacy.reply.unmatched")) == 2


async def test_a_reply_written_before_the_workers_end_is_not_lost(open_pool: OpenPool) -> None:
    programs = {"last": SignatureProgram("a -> b")}
    async with open_pool(script=MISBEHAVING, programs=programs) as pool:
        for number in range(5):
            await pool.heard("legacy.worker.ready", number + 1)
            assert (await run(pool, "last")).values == {"answer": 42}
            await pool.heard("legacy.worker.exited", number + 1)


async def test_an_answer_that_crosses_its_cancellation_is_dropped_and_the_worker_stays_in_use(
    open_pool: OpenPool,
) -> None:
    async with open_pool() as pool:
        worker, actor = pool.rt.whereis("legacy.worker-1"), pool.rt.whereis("legacy.pool")
        assert worker is not None
        assert actor is not None
        # The two halves of the race, one after the other: the worker is told to abandon what it has finished already,
        # and the pool gets the answer of a request that it has dropped.
        worker.cast(WorkerActor.abandon, 4711)
        actor.send(Finished(4711, "legacy.worker-1", "then", UnknownProgram("x", ())))
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.reply.late") == [{"request": 4711, "worker": "legacy.worker-1"}]
        assert (await pool.ref.call(LegacyPool.statistics)).late == 1
        assert pool.named("legacy.worker.exited") == []


# --- callers that go away ---------------------------------------------------------------------------------------------


async def test_when_a_caller_is_cancelled_its_program_is_interrupted_and_the_worker_serves_on(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(cancel_grace=20.0) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="sleep", marker=str(marker))
        (pid,) = await said(marker)
        call.scope.cancel()
        assert (await pool.heard("legacy.worker.cancelled"))["incarnation"]
        assert (await run(pool, "does", what="describe")).values["pid"] == pid
        assert pool.named("legacy.worker.exited") == []
        assert [event["after"] for event in pool.named("legacy.worker.state")][-4:] == [
            "cancelling",
            "idle",
            "busy",
            "idle",
        ]


@pytest.mark.parametrize(("what", "grace"), [("sleep", 0.0), ("hold_the_gil", 0.1), ("defy", 0.1)])
async def test_a_program_that_does_not_unwind_within_the_grace_has_its_worker_killed_and_that_is_no_crash(
    open_pool: OpenPool, marker: Path, what: str, grace: float
) -> None:
    async with open_pool(cancel_grace=grace) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what=what, marker=str(marker))
        (pid,) = await said(marker)
        call.scope.cancel()
        await pool.heard("legacy.worker.ready", 2)
        assert not alive(pid)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        assert pool.named("legacy.request.abandoned")[0]["running"] is True
        assert len(pool.named("legacy.worker.replaced")) == 1
        node = tree(pool.rt).find("worker-1")
        assert node is not None
        assert node.incarnation == 1, "the supervisor was bothered: cancellations would use up its restart intensity"
        statistics = await pool.ref.call(LegacyPool.statistics)
        assert (statistics.abandoned, statistics.failed, statistics.completed) == (1, 0, 1)


async def test_when_a_callers_time_is_over_its_worker_is_killed_and_replaced(open_pool: OpenPool, marker: Path) -> None:
    async with open_pool() as pool:
        with pytest.raises(CallTimeout):
            await run(pool, "does", what="hold_the_gil", marker=os.devnull, within=0.3)
        await pool.heard("legacy.worker.ready", 2)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_a_requests_own_timeout_is_an_error_that_says_whether_it_had_started(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool() as pool, anyio.create_task_group() as group:
        first = await Later.start(group, pool, "does", what="sleep", marker=str(marker), options={"timeout": 0.6})
        await said(marker)
        second = await Later.start(group, pool, "echo", x=2, options={"timeout": 0.05})
        waited = await second.outcome()
        assert isinstance(waited, LegacyTimeout)
        assert (waited.started, waited.seconds) == (False, 0.05)
        ran = await first.outcome()
        assert isinstance(ran, LegacyTimeout)
        assert ran.started is True
        await pool.heard("legacy.worker.cancelled")
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_a_waiting_request_whose_caller_goes_away_is_never_run(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm) as pool, anyio.create_task_group() as group:
        first = await Later.start(group, pool, "qa", question="hold on")
        await arrived(server)
        second = await Later.start(group, pool, "qa", question="Me too?")
        third = await Later.start(group, pool, "qa", question="And me?")
        second.scope.cancel()
        await pool.heard("legacy.request.abandoned")
        server.release.set()
        assert (await first.outcome()).values == {"answer": "answer to hold on"}
        assert (await third.outcome()).values == {"answer": "answer to And me?"}
        assert server.questions() == ["hold on", "And me?"]
        assert pool.named("legacy.worker.exited") == []


async def test_a_full_queue_refuses_and_serves_again_when_it_has_room(
    open_pool: OpenPool, lm: LMSettings, server: OpenAIServer
) -> None:
    async with open_pool(lm=lm, queue=2) as pool, anyio.create_task_group() as group:
        calls = [await Later.start(group, pool, "qa", question="hold 0")]
        await arrived(server)
        calls += [await Later.start(group, pool, "qa", question=f"hold {number}") for number in (1, 2)]
        with pytest.raises(PoolOverloaded) as raised:
            await run(pool, "qa", question="One more?")
        assert raised.value.waiting == 2
        assert len(pool.named("legacy.request.rejected")) == 1
        server.release.set()
        assert [(await call.outcome()).values["answer"] for call in calls] == [f"answer to hold {n}" for n in range(3)]
        assert (await run(pool, "qa", question="Now?")).values == {"answer": "answer to Now?"}
        assert "One more?" not in server.questions()


# --- start and stop -------------------------------------------------------------------------------------------------


async def test_without_dspy_the_start_fails_once_and_the_rest_of_the_tree_lives(bare_python: str) -> None:
    async with open_runtime() as rt:
        happened: list[str] = []
        rt.events.subscribe(lambda event: happened.append(event.name), prefix="legacy.")
        bystander = await rt.start(Actor())
        options = PoolOptions({"qa": SignatureProgram("question -> answer")}, python=bare_python, workers=3)
        with pytest.raises(MissingLegacy, match=r"dspex\[legacy\]"):
            await start_legacy_pool(rt, options)
        assert happened.count("legacy.warden.failed") == 1, "said once, and not in a loop"
        assert "legacy.worker.started" not in happened
        assert bystander.alive
        assert rt.whereis("legacy.pool") is None


async def test_without_dspy_a_tree_with_a_pool_in_it_starts_and_every_caller_is_told(bare_python: str) -> None:
    options = PoolOptions({"qa": SignatureProgram("question -> answer")}, python=bare_python, workers=2)
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("other", Actor), legacy_pool_spec(options)]))
        for _ in range(2):
            with pytest.raises(MissingLegacy, match=r"dspex\[legacy\]"):
                await rt.ref("legacy.pool").within(30).call(LegacyPool.run, "qa", {"question": "Why?"})
        found = tree(rt)
        assert [found.find(id).detail for id in ("worker-1", "worker-2")] == ["gave up", "gave up"]


async def test_a_dspy_that_cannot_be_imported_is_no_crash_loop_and_every_caller_is_told(
    bare_python: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "dspy"
    broken.mkdir()
    programs = {"qa": SignatureProgram("question -> answer")}
    options = PoolOptions(programs, python=bare_python, import_paths=(str(tmp_path),), workers=2)
    broken.joinpath("__init__.py").write_text("import a_module_that_is_missing\n")
    async with open_runtime() as rt:
        happened: list[str] = []
        rt.events.subscribe(lambda event: happened.append(event.name), prefix="legacy.")
        await rt.start(Supervisor([legacy_pool_spec(options)]))
        for _ in range(2):
            with pytest.raises(MissingLegacy, match="a_module_that_is_missing"):
                await rt.ref("legacy.pool").within(30).call(LegacyPool.run, "qa", {})
        with pytest.raises(MissingLegacy):
            await rt.ref("legacy.pool").within(30).call(LegacyPool.wait_ready, 1)
        names = ("legacy.worker.started", "legacy.warden.failed", "legacy.worker.failed")
        assert [happened.count(name) for name in names] == [0, 1, 2]
    assert [record.name for record in caplog.records] == ["dspex.legacy"], "told once, whoever it keeps from serving"
    broken.joinpath("__init__.py").write_text("raise RuntimeError('out of order')\n")
    async with open_runtime() as rt:
        await rt.start(Supervisor([legacy_pool_spec(options)]))
        with pytest.raises(PoolUnavailable, match="out of order") as raised:
            await rt.ref("legacy.pool").within(30).call(LegacyPool.run, "qa", {})
    assert isinstance(raised.value.__cause__, WorkerStartFailed)
    assert "RuntimeError" in raised.value.__cause__.remote_traceback


async def test_requests_wait_for_the_first_worker_to_load(open_pool: OpenPool) -> None:
    async with open_pool(ready=0) as pool:
        result = await run(pool, "echo", x=1)
        assert result.values == {"x": 1}
        assert result.latency_s > result.run_s


async def test_no_more_spawned_workers_import_dspy_at_once_than_are_allowed(open_pool: OpenPool) -> None:
    async with open_pool(workers=3, concurrent_starts=1, ready=3, start="spawn") as pool:
        ready = [event.at for event in pool.events if event.name == "legacy.worker.ready"]
        loads = [event["load_s"] for event in pool.named("legacy.worker.ready")]
        gaps = [later - earlier for earlier, later in pairwise(ready)]
        assert all(gap >= load for gap, load in zip(gaps, loads[1:], strict=True)), (gaps, loads)


async def test_a_killed_pool_finds_its_workers_again_and_drops_what_they_ran_for_it(
    open_pool: OpenPool, marker: Path
) -> None:
    async with open_pool(workers=2, ready=2) as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="sleep", marker=str(marker))
        (busy,) = await said(marker)
        pids = {event["pid"] for event in pool.named("legacy.worker.started")}
        ref = pool.rt.whereis("legacy.pool")
        assert ref is not None
        ref.kill()
        assert await call.outcome() is not None
        await pool.heard("legacy.worker.ready", 3)
        assert await pool.ref.within(30).call(LegacyPool.wait_ready, 2) == 2
        assert (await run(pool, "echo", x=1)).values == {"x": 1}
        (idle,) = pids - {busy}
        assert alive(idle), "a worker with nothing to do for the old pool is kept"
        assert not alive(busy)


async def test_a_brutally_killed_worker_actor_takes_its_process_with_it(open_pool: OpenPool, marker: Path) -> None:
    async with open_pool() as pool, anyio.create_task_group() as group:
        call = await Later.start(group, pool, "does", what="sleep", marker=str(marker))
        (pid,) = await said(marker)
        worker = pool.rt.whereis("legacy.worker-1")
        assert worker is not None
        worker.kill()
        assert await worker.ended(10)
        assert not alive(pid)
        assert isinstance(await call.outcome(), WorkerCrashed)
        assert (await run(pool, "echo", x=1)).values == {"x": 1}


async def test_leaving_the_runtime_stops_idle_busy_and_starting_workers(open_pool: OpenPool, marker: Path) -> None:
    async with anyio.create_task_group() as group, open_pool(workers=2, ready=2) as pool:
        call = await Later.start(group, pool, "does", what="sleep", marker=str(marker))
        await said(marker)
    assert isinstance(await call.outcome(), ActorExit | WorkerCrashed)
    codes = [event["returncode"] for event in pool.named("legacy.worker.exited")]
    assert sorted(codes) == [-9, 0], "the idle one was asked, the busy one was killed"
    async with open_pool(workers=2, ready=0):
        pass


async def test_the_pool_and_its_workers_are_a_subtree(open_pool: OpenPool) -> None:
    async with open_pool(workers=2, ready=2) as pool:
        node = tree(pool.rt).find("legacy")
        assert node is not None
        assert [(child.id, child.kind, child.state) for child in node.children] == [
            ("pool", "LegacyPool", "running"),
            ("warden", "WardenActor", "running"),
            ("worker-1", "WorkerActor", "running"),
            ("worker-2", "WorkerActor", "running"),
        ]


def test_declarations_of_a_wrong_type_are_refused_where_they_are_made() -> None:
    for make, says in (
        (lambda: PoolOptions({"qa": "question -> answer"}), "program 'qa' must be a SignatureProgram"),
        (lambda: PoolOptions(PROGRAMS, import_paths="src"), r"write \('src',\)"),
        (lambda: PoolOptions(PROGRAMS, preload="numpy"), r"write \('numpy',\)"),
        (lambda: SignatureProgram("a -> b", "ReAct", tools="search"), r"write \('search',\)"),
        (lambda: SignatureProgram(int), "a class of your own is named by ImportedProgram"),
        (lambda: LMSettings(""), "non-empty str"),
    ):
        with pytest.raises(TypeError, match=says):
            make()
    with pytest.raises(ValueError, match="others by ImportedProgram"):
        SignatureProgram("a -> b", "Refine")  # type: ignore[arg-type]


def test_options_that_cannot_work_are_refused_with_the_rule() -> None:
    programs = {"qa": SignatureProgram("question -> answer")}
    for wrong in ({"workers": 0}, {"queue": 0}, {"heartbeat": 0}, {"heartbeat_timeout": 1.0}, {"frame_limit": 10}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PoolOptions(programs, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="programs is empty"):
        PoolOptions({})
    with pytest.raises(ValueError, match="no import path"):
        ImportedProgram("os.system")
