"""One tree with both engines behind the router, a real server and real workers: same answers, and no bad input harms it."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dspex import (
    LM,
    Answer,
    ChainOfThought,
    Child,
    Flags,
    FlagStore,
    ImportedProgram,
    LMSettings,
    NamedRef,
    PoolOptions,
    ProgramActor,
    RoutedProgram,
    Router,
    Runtime,
    Signature,
    SignatureProgram,
    Supervisor,
    legacy_pool_spec,
    open_runtime,
    router_children,
    tree,
)
from dspex.engine.errors import AdapterParseError, LMServerError, LMTransportError, MissingInputError
from dspex.legacy import LegacyPool, MissingLegacy, ProtocolError, RemoteError, WorkerCrashed
from dspex.supervisors import Node
from openai_server import OpenAIServer

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer"
BAD_WORKER = Path(__file__).parent / "legacy" / "misbehaving_worker.py"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


@pytest.fixture
def without_dspy(tmp_path: Path) -> str:
    """An interpreter that finds no dspy: this one, shut off from its site-packages."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    return str(python)


@asynccontextmanager
async def running(
    server: OpenAIServer, without_dspy: str, flags: FlagStore
) -> AsyncIterator[tuple[Runtime, NamedRef[Router]]]:
    def lm(base: str) -> LM:
        return LM("openai/tiny", api_base=base, api_key="k", num_retries=0)

    legacy = LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})
    programs = {"qa": SignatureProgram(SIGNATURE, module="ChainOfThought", idempotent=True)}
    odd = {"garbage": ImportedProgram("nobody:imports_this")}
    routed = [
        RoutedProgram("qa", native="qa", legacy="legacy.pool"),
        RoutedProgram("unreachable", native="unreachable"),
        RoutedProgram("no-dspy", legacy="missing.pool"),
        RoutedProgram("garbage", legacy="odd.pool"),
    ]
    root = Supervisor(
        [
            Child("qa", lambda: ProgramActor(ChainOfThought(SIGNATURE), lm=lm(server.url)), name="qa"),
            Child(
                "unreachable",
                lambda: ProgramActor(ChainOfThought(SIGNATURE), lm=lm("http://127.0.0.1:9/v1")),
                name="unreachable",
            ),
            legacy_pool_spec(PoolOptions(programs, lm=legacy, workers=1), name="legacy"),
            legacy_pool_spec(PoolOptions({"no-dspy": programs["qa"]}, workers=1, python=without_dspy), name="missing"),
            legacy_pool_spec(PoolOptions(odd, workers=1, script=str(BAD_WORKER)), name="odd"),
            *router_children(routed, flags),
        ]
    )
    async with open_runtime() as rt:
        await rt.start(root, name="root")
        await rt.ref("legacy.pool").within(60).call(LegacyPool.wait_ready, 1)
        yield rt, rt.ref("router").within(60)


def restarted(node: Node) -> list[str]:
    """Children that are not in their first life."""
    below = [id for child in node.children for id in restarted(child)]
    return ([node.id] if node.incarnation > 1 or node.state != "running" else []) + below


async def test_both_engines_ask_the_same_and_answer_the_same(server: OpenAIServer, without_dspy: str) -> None:
    flags = FlagStore()
    async with running(server, without_dspy, flags) as (_, router):
        answers: list[Answer] = []
        for native in (True, False):
            flags.set(use_native_predictors=native)
            answers.append(await router.call(Router.run, "qa", {"question": "Why?"}))
    ours, theirs = answers
    assert (ours.route.engine, theirs.route.engine) == ("native", "legacy")
    assert ours.prediction.toDict() == theirs.prediction.toDict()
    assert ours["answer"] == "answer to Why?"
    first, second = (body["messages"] for body in server.bodies)
    assert first == second


async def test_bad_input_gets_a_typed_error_and_the_tree_stays_up(server: OpenAIServer, without_dspy: str) -> None:
    flags = FlagStore(Flags(fallback_to_legacy=False))
    async with running(server, without_dspy, flags) as (rt, router):

        async def ask(program: str, question: str = "Why?") -> Answer:
            return await router.call(Router.run, program, {"question": question})

        with pytest.raises(ValueError, match="Bananas"):
            Signature("question -> answer: Bananas")
        with pytest.raises(MissingInputError, match="question"):
            await router.call(Router.run, "qa", {})
        with pytest.raises(LMTransportError, match="Could not reach"):
            await ask("unreachable")
        with pytest.raises(LMServerError):
            await ask("qa", "status 503")
        with pytest.raises(AdapterParseError):
            await ask("qa", "mumble something")
        flags.set(use_native_predictors=False)
        with pytest.raises(RemoteError, match="AdapterParseError"):
            await ask("qa", "mumble something")
        for _ in range(2):
            with pytest.raises(MissingLegacy, match=r"dspex\[legacy\]"):
                await ask("no-dspy")
        assert restarted(tree(rt)) == []
        with pytest.raises(WorkerCrashed, match="does not speak the protocol") as crash:
            await ask("garbage")
        assert isinstance(crash.value.__cause__, ProtocolError)
        assert (await ask("qa"))["answer"] == "answer to Why?"
        root = tree(rt)
        # Garbage cost the worker that wrote it its life, and nobody else's.
        assert set(restarted(root)) <= {"worker-1"}
        assert {child.state for child in root.children[0].children} == {"running"}


async def test_what_the_native_engine_could_not_read_is_asked_of_dspy(server: OpenAIServer, without_dspy: str) -> None:
    async with running(server, without_dspy, FlagStore()) as (_, router):
        with pytest.raises(RemoteError, match="AdapterParseError"):  # dspy could not read it either
            await router.call(Router.run, "qa", {"question": "mumble something"})
        assert (await router.call(Router.statistics))["fell_back"] == 1
    # Chat, then JSON, by each engine.
    assert len(server.bodies) >= 4


def test_this_process_never_imported_dspy_for_it() -> None:
    code = "import dspex, sys, dspex.legacy, dspex.router; sys.exit('dspy' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
