"""The app as its users see it: a real server, real dspy workers, both engines behind one call."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.engine import Budget, ChainOfThought, Example, LMServerError, Prediction, Price
from dspex.legacy import LMSettings, PoolOptions, RemoteError, SignatureProgram, WorkerCrashed
from dspex.router import (
    AppClosed,
    AppCollector,
    ArmDown,
    BadFlags,
    BadOptimization,
    BadProgram,
    Dspex,
    EngineMissing,
    Flags,
    FlagStore,
    ProgramSpec,
    UnknownProgram,
)
from dspex.runtime import ActorExit, Event, open_runtime
from dspex.supervisors import Supervisor
from openai_server import OpenAIServer

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def model(server: OpenAIServer) -> LMSettings:
    return LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})


def qa(*, idempotent: bool = True) -> ProgramSpec:
    return ProgramSpec.of_signature("qa", SIGNATURE, module="ChainOfThought", idempotent=idempotent)


NATIVE = ProgramSpec("own", native=lambda: ChainOfThought(SIGNATURE))


async def test_one_description_is_asked_of_both_engines_with_the_same_answer(server: OpenAIServer) -> None:
    async with Dspex([qa()], lm=model(server), workers=1) as app:
        native = await app.call("qa", question="Why?")
        app.flags.set(use_native_predictors=False)
        legacy = await app.call("qa", question="Why?")
        asked = await app.call("qa", {"question": "Why?"}, engine="native")
        stats = await app.stats()
        assert "Router" in str(app.tree())
    assert [a.route.engine for a in (native, legacy, asked)] == ["native", "legacy", "native"]
    assert native["answer"] == legacy["answer"] == "answer to Why?"
    assert server.bodies[0]["messages"] == server.bodies[1]["messages"]
    assert (stats.requests, stats.native_share) == (3, 2 / 3)
    arm = stats.programs["qa"]["native"]
    assert (arm.requests, arm.failed) == (2, 0)
    assert arm.p50_s is not None
    assert arm.p50_s > 0


async def test_the_workers_may_ask_the_model_through_this_process_and_then_know_no_key(server: OpenAIServer) -> None:
    async with Dspex([qa()], lm=model(server), workers=1, host_lm=True) as app:
        answer = await app.call("qa", question="Why?", engine="legacy")
        assert answer["answer"] == "answer to Why?"
        with pytest.raises(RemoteError, match="LMServerError"):
            await app.call("qa", question="status 503", engine="legacy")
    assert server.keys == ["Bearer k"] * 2
    with pytest.raises(ValueError, match="needs a model"):
        Dspex([qa()], host_lm=True)


async def test_a_program_is_written_once_and_runs_on_both(server: OpenAIServer) -> None:
    spec = ProgramSpec.of_factory("qa", "written_once:qa", idempotent=True)
    pool = PoolOptions({"x": SignatureProgram(SIGNATURE)}, workers=1, import_paths=(str(Path(__file__).parent),))
    async with Dspex([spec], lm=model(server), pool=pool) as app:
        answers = [await app.call("qa", question="Why?", engine=engine) for engine in ("native", "legacy")]
    assert [answer["answer"] for answer in answers] == ["answer to Why?"] * 2
    assert server.bodies[0]["messages"] == server.bodies[1]["messages"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("written_once:absent", "cannot be imported"),
        ("nobody_has_this:qa", "cannot be imported"),
        ("written_once:nothing", "gave a NoneType"),
        ("written_once:without_arguments", "must take one argument"),
    ],
)
async def test_a_factory_that_is_none_is_refused_when_it_is_named(path: str, says: str) -> None:
    with pytest.raises(BadProgram, match=says):
        ProgramSpec.of_factory("qa", path)


async def test_without_a_legacy_side_there_is_no_worker(server: OpenAIServer) -> None:
    async with Dspex([NATIVE], lm=model(server)) as app:
        await app.wait_ready()
        assert (await app.call("own", question="Why?"))["answer"] == "answer to Why?"
        assert app.tree().find("legacy") is None
        app.flags.set(use_native_predictors=False)
        with pytest.raises(EngineMissing, match="use_native_predictors=False"):
            await app.call("own", question="Why?")


async def test_map_answers_in_order_with_bounded_concurrency_and_takes_inputs_as_needed(server: OpenAIServer) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[dict[str, object]]:
        for number in range(30):
            taken.append(number)
            yield {"question": f"Why {number}?"}

    async with Dspex([NATIVE], lm=model(server)) as app:
        answers = [answer["answer"] async for answer in app.map("own", inputs(), concurrency=3)]
        assert answers == [f"answer to Why {number}?" for number in range(30)]
        taken.clear()
        async with aclosing(app.map("own", inputs(), concurrency=3)) as some:
            async for _ in some:
                break
        assert len(taken) <= 8
        async with aclosing(app.map("other", inputs())) as refused:
            with pytest.raises(UnknownProgram):
                async for _ in refused:
                    pass


async def test_it_is_a_child_in_somebody_else_s_tree_and_comes_back_when_it_is_killed(server: OpenAIServer) -> None:
    app = Dspex([NATIVE], lm=model(server))
    with pytest.raises(AppClosed, match="not running"):
        await app.call("own", question="Why?")
    async with open_runtime() as rt:
        # The names of a killed supervisor's children are free only when these have ended: a restart may need more tries.
        await rt.start(Supervisor([app.child()], intensity=100))
        assert (await app.call("own", question="Why?"))["answer"] == "answer to Why?"
        victim = rt.whereis("dspex")
        assert victim is not None
        victim.kill()
        await victim.ended()
        assert (await app.call("own", question="And?"))["answer"] == "answer to And?"


async def test_it_is_the_lifespan_of_a_service_and_can_be_opened_again(server: OpenAIServer) -> None:
    app = Dspex([NATIVE], lm=model(server))
    for _ in range(2):
        async with app.lifespan(object()):
            assert (await app.call("own", question="Why?"))["answer"] == "answer to Why?"
            with pytest.raises(AppClosed, match="open already"):
                await app.__aenter__()
    with pytest.raises(AppClosed):
        app.tree()


async def test_prometheus_reads_what_was_counted(server: OpenAIServer) -> None:
    client = pytest.importorskip("prometheus_client", reason="needs the extra `prometheus`")
    app = Dspex([NATIVE], lm=model(server))
    registry = client.CollectorRegistry()
    registry.register(AppCollector(app))
    assert client.generate_latest(registry).decode().count("# TYPE dspex_") == 4
    async with app:
        await app.call("own", question="Why?")
        with pytest.raises(LMServerError):
            await app.call("own", question="status 503")
        await app.stats()
    text = client.generate_latest(registry).decode()
    assert 'dspex_requests_total{engine="native",program="own"} 2.0' in text
    assert 'dspex_failures_total{engine="native",error="LMServerError",program="own"} 1.0' in text
    assert 'dspex_latency_seconds_count{engine="native",program="own"} 2.0' in text
    assert 'quantile="0.99"' in text


async def test_what_cannot_be_served_is_refused_before_anything_starts() -> None:
    with pytest.raises(BadProgram, match="at least one"):
        Dspex([])
    with pytest.raises(BadProgram, match="two programs"):
        Dspex([NATIVE, NATIVE])
    with pytest.raises(BadProgram, match="no side"):
        ProgramSpec("none")
    with pytest.raises(BadProgram, match="concurrency"):
        ProgramSpec("qa", native=lambda: ChainOfThought(SIGNATURE), concurrency=0)
    with pytest.raises(BadFlags, match="no program is called that; there are: own"):
        Dspex([NATIVE], flags=Flags(native_percent={"qa": 5}))
    with pytest.raises(ValueError, match="Bananas"):
        ProgramSpec.of_signature("qa", "question -> answer: Bananas")


async def test_nothing_is_lost_or_answered_twice_while_flags_change_workers_die_and_the_router_is_killed(
    server: OpenAIServer,
) -> None:
    """All three at once, seeded. Each question is asked once, and its answer names it."""
    seed = 20261122
    chance = random.Random(seed)
    pids: dict[str, int] = {}
    total = 150

    def note(event: Event) -> None:
        pids[event.data["worker"]] = event.data["pid"]

    pool = PoolOptions({"x": SignatureProgram(SIGNATURE)}, workers=2, max_kills=10)
    flags = FlagStore(Flags(native_percent={"qa": 50}))
    answered: dict[int, str] = {}
    failed: dict[int, Exception] = {}
    twice: list[int] = []
    with anyio.fail_after(120):
        async with Dspex([qa()], lm=model(server), pool=pool, flags=flags, intensity=1000) as app:
            rt = app.runtime
            rt.events.subscribe(note, prefix="legacy.worker.started")
            await app.wait_ready()
            for worker in ("legacy.worker-1", "legacy.worker-2"):
                assert rt.ref(worker).alive

            async def one(number: int) -> None:
                try:
                    answer = await app.call("qa", question=f"Why {number}?", key=f"k{number}")
                except (ActorExit, ArmDown, WorkerCrashed) as error:
                    failed[number] = error
                else:
                    if number in answered:
                        twice.append(number)
                    answered[number] = str(answer["answer"])

            async def disturb(done: anyio.Event) -> None:
                step = 0
                while not done.is_set():
                    step += 1
                    flags.set(native_percent={"qa": chance.choice([0, 30, 70, 100])}, by=f"step {step}")
                    if step % 3 == 0:
                        victim = rt.whereis("router")
                        if victim is not None:
                            victim.kill()
                            await victim.ended()
                    if step % 5 == 0 and pids:
                        name, pid = chance.choice(sorted(pids.items()))
                        del pids[name]
                        os.kill(pid, signal.SIGKILL)
                    # Paced by what is answered, not by the clock.
                    target = min(total, len(answered) + len(failed) + 6)
                    while len(answered) + len(failed) < target:
                        await anyio.sleep(0.002)

            limit = anyio.CapacityLimiter(8)

            async def limited(number: int) -> None:
                async with limit:
                    await one(number)

            done = anyio.Event()
            async with anyio.create_task_group() as outer:
                outer.start_soon(disturb, done)
                async with anyio.create_task_group() as group:
                    for number in range(total):
                        group.start_soon(limited, number)
                done.set()
    assert twice == []
    assert answered.keys() | failed.keys() == set(range(total))
    assert answered.keys() & failed.keys() == set()
    assert failed == {}, f"seed {seed}: the policy says that none of these may fail"
    assert all(text == f"answer to Why {number}?" for number, text in answered.items())


TRAINSET = [Example(question=f"q{n}", answer=f"answer to q{n}").with_inputs("question") for n in range(3)]


def right(example: Example, prediction: Prediction, trace: object = None) -> bool:
    return example.answer == prediction.answer


async def test_an_app_optimizes_its_programs_with_its_model_and_serves_them_as_they_were(server: OpenAIServer) -> None:
    app = Dspex([NATIVE], lm=model(server), prices={"openai/tiny": Price(input=1.0, output=1.0)})
    heard: list[Event] = []
    given: dict[str, Any] = {"metric": right, "trainset": TRAINSET, "options": {"max_bootstrapped_demos": 2}}
    async with app:
        app.runtime.events.subscribe(heard.append, prefix="engine.job.")
        before = await app.call("own", question="Why?")
        made = await app.optimize("own", "BootstrapFewShot", budget=Budget(cost=10.0), **given)
        after = await app.call("own", question="Why?")
        with pytest.raises(UnknownProgram):
            await app.optimize("absent", "BootstrapFewShot", **given)
        with pytest.raises(BadOptimization, match="no optimizer 'Magic'"):
            await app.optimize("own", "Magic", **given)
        app.flags.set(use_legacy_optimizer=True)
        with pytest.raises(BadOptimization, match="legacy side"):
            await app.optimize("own", "BootstrapFewShot", **given)
        app.flags.set(use_legacy_optimizer=False)
    assert made.engine == "native"
    assert len(made.state["predict"]["demos"]) == 3
    assert heard[-1].name == "engine.job.ended"
    assert before["answer"] == after["answer"] == "answer to Why?"
    assert server.bodies[-1]["messages"] == server.bodies[0]["messages"]
    assert made.spec is not None
    async with Dspex([made.spec], lm=model(server)) as improved:
        await improved.call("own", question="Why?")
    assert len(server.bodies[-1]["messages"]) == 2 + 2 * 3
    assert (await app.optimize("own", "BootstrapFewShot", **given)).state == made.state, "it need not be running"


async def test_leaving_the_app_ends_its_jobs(server: OpenAIServer) -> None:
    begun = anyio.Event()
    ended: list[BaseException] = []

    async def never(example: Example, prediction: Prediction, trace: object = None) -> bool:
        begun.set()
        await anyio.sleep_forever()
        return True

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group, Dspex([NATIVE], lm=model(server)) as app:

            async def tune() -> None:
                try:
                    await app.optimize("own", "BootstrapFewShot", metric=never, trainset=TRAINSET)
                except ActorExit as error:
                    ended.append(error)

            group.start_soon(tune)
            await begun.wait()
    assert len(ended) == 1
