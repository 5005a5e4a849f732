"""An app's end and its readiness: draining, refusing, closing while requests are under way; who owns which connection."""

from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from dspex.engine import LM, ChainOfThought
from dspex.legacy import LMSettings
from dspex.router import AppClosed, AppDraining, Dspex, EngineMissing, Flags, FlagStore, ProgramSpec
from dspex.runtime import ActorExit, open_runtime
from dspex.supervisors import Supervisor
from openai_server import OpenAIServer

pytestmark = pytest.mark.anyio

SIGNATURE = "question -> answer"
NATIVE = ProgramSpec("own", native=lambda: ChainOfThought(SIGNATURE))


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def model(server: OpenAIServer) -> LMSettings:
    return LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0})


async def arrived(server: OpenAIServer, count: int = 1) -> None:
    for _ in range(count):
        await anyio.to_thread.run_sync(server.arrived.acquire)


async def test_draining_lets_what_is_under_way_finish_and_refuses_the_rest(server: OpenAIServer) -> None:
    async with Dspex([NATIVE], lm=model(server)) as app:
        assert app.ready
        answers: list[object] = []
        left: list[int] = []
        drained = anyio.Event()

        async def ask(number: int) -> None:
            answers.append((await app.call("own", question=f"hold {number}"))["answer"])

        async def drain() -> None:
            left.append(await app.drain(within=60))
            drained.set()

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(ask, number)
            await arrived(server, 3)
            group.start_soon(drain)
            group.start_soon(drain)
            while app.ready:
                await anyio.lowlevel.checkpoint()
            for _ in range(2):
                with pytest.raises(AppDraining, match="takes no more requests"):
                    await app.call("own", question="late")
            stream = app.stream("own", question="late")
            with pytest.raises(AppDraining):
                await anext(stream)
            assert not drained.is_set()
            assert answers == []
            server.release.set()
        assert sorted(map(str, answers)) == [f"answer to hold {number}" for number in range(3)]
        assert left == [0, 0]
        assert not app.ready
        assert app.runtime.whereis("router") is None, "the tree has stopped"
        with pytest.raises(AppClosed):
            await app.call("own", question="later")
        assert await app.drain() == 0
    async with app:
        assert app.ready, "opened again it takes requests"
        assert (await app.call("own", question="Why?"))["answer"] == "answer to Why?"


async def test_what_does_not_finish_in_time_is_cut_off_and_counted(server: OpenAIServer) -> None:
    cut: list[Exception] = []
    async with Dspex([NATIVE], lm=model(server)) as app, anyio.create_task_group() as group:

        async def ask() -> None:
            try:
                await app.call("own", question="hold it")
            except Exception as error:
                cut.append(error)

        group.start_soon(ask)
        await arrived(server)
        assert await app.drain(within=0.05) == 1
    assert [type(error) for error in cut] == [ActorExit]


async def test_closing_with_requests_under_way_ends_them_with_an_error_each(server: OpenAIServer) -> None:
    ended: list[Exception] = []

    async def ask(app: Dspex) -> None:
        try:
            await app.call("own", question="hold it")
        except Exception as error:
            ended.append(error)

    async with anyio.create_task_group() as group, Dspex([NATIVE], lm=model(server)) as app:
        for _ in range(3):
            group.start_soon(ask, app)
        await arrived(server, 3)
    assert len(ended) == 3
    assert all(isinstance(error, ActorExit | AppClosed) for error in ended), ended


async def test_as_a_child_it_drains_and_stays_where_it_is(server: OpenAIServer) -> None:
    app = Dspex([NATIVE], lm=model(server))
    assert not app.ready
    async with open_runtime() as rt:
        await rt.start(Supervisor([app.child()]))
        assert app.ready
        assert await app.drain() == 0
        assert not app.ready
        with pytest.raises(AppDraining):
            await app.call("own", question="Why?")
        assert rt.whereis("dspex") is not None


async def test_it_is_ready_when_a_worker_is_and_not_before(server: OpenAIServer) -> None:
    pytest.importorskip("dspy", reason="needs the extra `legacy`")
    async with Dspex([ProgramSpec.of_signature("qa", SIGNATURE)], lm=model(server), workers=1) as app:
        await app.wait_ready()
        assert app.ready
        victim = app.runtime.whereis("router")
        assert victim is not None
        victim.kill()
        await victim.ended()
        await app.call("qa", question="Why?")
        assert app.ready


async def test_inputs_may_be_called_like_options(server: OpenAIServer) -> None:
    spec = ProgramSpec("odd", native=lambda: ChainOfThought("question, within, key, engine, listen, program -> answer"))
    given = {"within": "w", "key": "k", "engine": "e", "listen": "l"}
    async with Dspex([spec], lm=model(server)) as app:
        answer = await app.call("odd", given, question="Why?", program="p", within=30)
        assert answer.route.engine == "native"
        async with app.stream("odd", given, question="Why?", program="p") as stream:
            assert [item async for item in stream][-1] is stream.answer
    for body in server.bodies:
        for value in ("w", "k", "e", "l", "p"):
            assert f"]]\n{value}\n" in body["messages"][-1]["content"]


async def test_a_program_of_one_engine_under_flags_for_the_other_names_the_flag(server: OpenAIServer) -> None:
    pytest.importorskip("dspy", reason="needs the extra `legacy`")
    legacy = ProgramSpec("old", legacy=ProgramSpec.of_signature("x", SIGNATURE).legacy)
    flags = FlagStore(Flags(use_native_predictors=False))
    async with Dspex([NATIVE, legacy], lm=model(server), flags=flags, workers=1) as app:
        with pytest.raises(EngineMissing, match="change use_native_predictors=False, or give"):
            await app.call("own", question="Why?")
        with pytest.raises(EngineMissing, match="use_native_predictors=False"):
            await anext(app.stream("own", question="Why?"))
        flags.set(mode={"old": "native"})
        with pytest.raises(EngineMissing, match=r"mode\['old'\]='native'"):
            await app.call("old", question="Why?")
        with pytest.raises(EngineMissing, match="engine='native' in the call"):
            await app.call("old", question="Why?", engine="native")
        with pytest.raises(ValueError, match="engine is one of native, legacy, not 'both'"):
            await app.call("old", question="Why?", engine="both")  # type: ignore[arg-type]
    assert server.bodies == []


async def test_the_tree_closes_every_connection_that_it_opened(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dspy", reason="needs the extra `legacy`")
    opened: list[LM] = []
    closed: list[LM] = []
    make, close = LM.__init__, LM.aclose

    def noted(self: LM, *args: object, **kwargs: object) -> None:
        make(self, *args, **kwargs)  # type: ignore[arg-type]
        opened.append(self)

    async def noted_close(self: LM) -> None:
        closed.append(self)
        await close(self)

    monkeypatch.setattr(LM, "__init__", noted)
    monkeypatch.setattr(LM, "aclose", noted_close)
    specs = [NATIVE, ProgramSpec.of_signature("qa", SIGNATURE)]
    async with Dspex(specs, lm=model(server), workers=1, host_lm=True) as app:
        for engine in ("native", "legacy"):
            await app.call("qa", question="Why?", engine=engine)
        await app.call("own", question="Why?")
        assert closed == []
    assert len(opened) == 3, "one for each program, one for the workers"
    assert {id(lm) for lm in opened} <= {id(lm) for lm in closed}
