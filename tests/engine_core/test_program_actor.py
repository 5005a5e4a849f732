"""A program as a supervised actor: side by side, one request's trouble its own, and nothing left open."""

from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine import ProgramActor
from dspex.runtime import SHUTDOWN, ActorExit, CallTimeout, Crash, StartFailed, open_runtime
from dspex.supervisors import Child, Supervisor

pytestmark = pytest.mark.anyio


class Gated(engine.BaseLM):
    """Answers each request when the test lets it, and knows what became of it."""

    def __init__(self) -> None:
        super().__init__("gated")
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.closed = 0
        self.arrived = anyio.Semaphore(0)
        self.go = anyio.Event()
        self.gone = anyio.Event()

    async def aforward(self, prompt=None, messages=None, **kwargs):
        content = messages[-1]["content"]
        if "boom" in content:
            raise ZeroDivisionError("boom")
        self.running += 1
        self.most = max(self.most, self.running)
        self.arrived.release()
        try:
            await self.go.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            self.gone.set()
            raise
        finally:
            self.running -= 1
        return {"model": "gated", "choices": [{"message": {"content": "[[ ## answer ## ]]\nyes"}}], "usage": {}}

    async def aclose(self) -> None:
        assert self.running == 0, "closed under a request in flight"
        self.closed += 1


def qa() -> engine.Predict:
    return engine.Predict("question -> answer")


async def test_a_call_is_a_run_of_the_program() -> None:
    lm = engine.DummyLM([{"reasoning": "r", "answer": "4"}])
    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(engine.ChainOfThought("question -> answer"), lm=lm))
        prediction = await ref.call(ProgramActor.run, {"question": "2+2?"})
    assert prediction.toDict() == {"reasoning": "r", "answer": "4"}


async def test_an_error_in_one_request_is_that_requests_alone() -> None:
    lm = Gated()
    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(qa(), lm=lm))
        async with anyio.create_task_group() as group:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await ref.call(ProgramActor.run, {"question": "fine"}))

            group.start_soon(ask)
            await lm.arrived.acquire()
            with pytest.raises(ZeroDivisionError):
                await ref.call(ProgramActor.run, {"question": "boom"})
            with pytest.raises(engine.MissingInputError, match="`question`"):
                await ref.call(ProgramActor.run, {})
            with pytest.raises(TypeError, match="mapping"):
                await ref.call(ProgramActor.run, "question")  # type: ignore[arg-type]
            lm.go.set()
        assert answers[0].answer == "yes"


async def test_a_malformed_answer_is_a_parse_error_at_the_caller() -> None:
    class Rambling(engine.BaseLM):
        async def aforward(self, prompt=None, messages=None, **kwargs):
            return {"model": "m", "choices": [{"message": {"content": "no."}}]}

    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(qa(), lm=Rambling("m")))
        for _ in range(2):
            with pytest.raises(engine.AdapterParseError):
                await ref.call(ProgramActor.run, {"question": "x"})


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_requests_run_than_allowed(concurrency: int) -> None:
    lm = Gated()
    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(qa(), concurrency=concurrency, lm=lm))
        async with anyio.create_task_group() as group:
            for number in range(7):
                group.start_soon(ref.call, ProgramActor.run, {"question": str(number)})
            for _ in range(concurrency):
                await lm.arrived.acquire()
            await anyio.wait_all_tasks_blocked()
            assert lm.running == concurrency
            lm.go.set()
    assert lm.most == concurrency


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_caller_that_goes_away_takes_its_request_with_it(concurrency: int) -> None:
    lm = Gated()
    with anyio.fail_after(20):
        async with open_runtime() as rt:
            ref = await rt.start(ProgramActor(qa(), concurrency=concurrency, lm=lm))
            async with anyio.create_task_group() as group:
                group.start_soon(ref.call, ProgramActor.run, {"question": "x"})
                await lm.arrived.acquire()
                group.cancel_scope.cancel()
            await lm.gone.wait()
            lm.go.set()
            assert (await ref.call(ProgramActor.run, {"question": "y"})).answer == "yes"


async def test_a_caller_whose_time_is_up_takes_its_request_with_it() -> None:
    lm = Gated()
    with anyio.fail_after(20):
        async with open_runtime() as rt:
            ref = await rt.start(ProgramActor(qa(), lm=lm))
            with pytest.raises((CallTimeout, engine.LMTimeoutError)):
                await ref.within(0.1).call(ProgramActor.run, {"question": "x"})
            await lm.gone.wait()


async def test_the_callers_deadline_reaches_the_retries_of_the_client(llmock: Any) -> None:
    llmock.rate_limit(times=None, retry_after=30)
    lm = engine.LM("openai/m", base_url=llmock.base_url(), api_key="sk-not-real", timeout=600)
    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(qa(), lm=lm))
        with pytest.raises(engine.LMRateLimitError) as caught:
            await ref.within(20.0).call(ProgramActor.run, {"question": "x"})
    assert "deadline" in caught.value.__notes__[0]
    llmock.assert_resilient()


async def test_a_supervisors_shutdown_ends_the_requests_and_closes_the_lm() -> None:
    lm = Gated()
    with anyio.fail_after(20):
        async with open_runtime() as rt:
            await rt.start(Supervisor([Child("qa", lambda: ProgramActor(qa(), lm=lm), name="qa")], name="root"))
            ref = rt.ref("qa")
            heard: list[BaseException] = []

            async def ask() -> None:
                try:
                    await ref.call(ProgramActor.run, {"question": "x"})
                except ActorExit as error:
                    heard.append(error)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await lm.arrived.acquire()
                supervisor = rt.whereis("root")
                assert supervisor is not None
                await supervisor.stop(SHUTDOWN)
    assert len(heard) == 1
    assert (lm.cancelled, lm.closed) == (1, 1)


async def test_leaving_the_runtime_closes_the_connections_of_a_real_client(llmock: Any) -> None:
    lm = engine.LM("openai/m", base_url=llmock.base_url(), api_key="sk-not-real")
    llmock.reply("[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")
    async with open_runtime() as rt:
        ref = await rt.start(ProgramActor(qa(), lm=lm))
        prediction = await ref.within(30).call(ProgramActor.run, {"question": "Capital of France?"})
        assert prediction.answer == "Paris"
        client = await lm._client(lm._access(lm.kwargs))
        assert not client.is_closed()
    assert client.is_closed()


async def test_a_missing_key_fails_the_start_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(ProgramActor(qa(), lm=engine.LM("openai/m")), name="qa")
        assert rt.whereis("qa") is None
    assert isinstance(caught.value.reason, Crash)
    assert isinstance(caught.value.reason.error, engine.LMNotConfiguredError)


async def test_nothing_of_a_request_is_kept_unless_asked_for() -> None:
    program = qa()
    async with open_runtime() as rt:
        for keep in (False, True):
            lm = engine.DummyLM([{"answer": "x"}])
            ref = await rt.start(ProgramActor(program, lm=lm, keep_history=keep))
            await ref.call(ProgramActor.run, {"question": "private"})
            assert len(lm.history) == len(program.history) == len(engine.settings.trace) == int(keep)


async def test_an_abnormal_exit_of_a_linked_actor_ends_it() -> None:
    from dspex.runtime import Actor

    class Fragile(Actor):
        async def init(self) -> None:
            self.partner = await self.start_link(ProgramActor(qa(), lm=engine.DummyLM([])))

        def break_down(self) -> None:
            raise ZeroDivisionError

        def whom(self) -> Any:
            return self.partner

    async with open_runtime() as rt:
        fragile = await rt.start(Fragile())
        partner = await fragile.call(Fragile.whom)
        with pytest.raises(ActorExit) as caught:
            await fragile.call(Fragile.break_down)
        assert isinstance(caught.value.reason, Crash)
        with pytest.raises(ActorExit):
            await partner.call(ProgramActor.run, {"question": "x"})


def test_an_actor_for_no_request_at_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProgramActor(qa(), concurrency=0)
