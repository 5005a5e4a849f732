"""What is asynchronous about the modules: on asyncio and trio, side by side, cancellable, blocking nobody."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import dspex.engine as engine
import pytest
from dspex.engine import turns
from dspex.engine.sync import run_sync
from scripted import Answer, Script, section

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Scripted(engine.BaseLM):
    """Answers from a script, without leaving the loop."""

    def __init__(self, answers: list[Answer]) -> None:
        super().__init__("scripted", cache=False)
        self.script = Script(answers)

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return self.script.answer(messages or [{"role": "user", "content": prompt}], kwargs)


class Waiting(engine.BaseLM):
    """Counts its calls, and answers only when it is told to."""

    def __init__(self) -> None:
        super().__init__("waiting", cache=False)
        self.begun = 0
        self.cancelled = 0
        self.together = 0
        self.most = 0
        self.go = anyio.Event()

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.begun += 1
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            await self.go.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.together -= 1
        return {"choices": [{"message": {"content": section({"answer": "yes"})}}]}


def search(query: str) -> str:
    return query.upper()


def score(args: dict[str, Any], pred: Any) -> float:
    return 1.0


STEP = {"next_thought": "Hm.", "next_tool_name": "search", "next_tool_args": {"query": "a"}}
FINISH = {**STEP, "next_tool_name": "finish", "next_tool_args": {}}
ANSWER: dict[str, Any] = {"reasoning": "So.", "answer": "yes"}
CODE = {"reasoning": "So.", "generated_code": "SUBMIT('yes')", "finished": "True"}

PROGRAMS: dict[str, tuple[Callable[[], Any], dict[str, Any], list[Answer]]] = {
    "ChainOfThought": (lambda: engine.ChainOfThought("question -> answer"), {}, [ANSWER]),
    "ReAct": (lambda: engine.ReAct("question -> answer", tools=[search]), {}, [STEP, FINISH, ANSWER]),
    "ReActV2": (
        lambda: engine.ReActV2("question -> answer", tools=[search]),
        {},
        [{"next_thought": "", "tool_calls": {"tool_calls": [{"name": "submit", "args": {"answer": "yes"}}]}}],
    ),
    "ProgramOfThought": (lambda: engine.ProgramOfThought("question -> answer"), {}, [CODE, ANSWER]),
    "CodeAct": (lambda: engine.CodeAct("question -> answer", tools=[search]), {}, [CODE, ANSWER]),
    "RLM": (
        lambda: engine.RLM("question -> answer", tools=[search]),
        {},
        [{"reasoning": "So.", "code": "print(search(llm_query('x')))"}, "sub", {"reasoning": "", "code": "SUBMIT('yes')"}],
    ),
    "BestOfN": (lambda: engine.BestOfN(engine.ChainOfThought("question -> answer"), 2, score, 1.0), {}, [ANSWER]),
    "Refine": (lambda: engine.Refine(engine.ChainOfThought("question -> answer"), 2, score, 1.0), {}, [ANSWER]),
    "MultiChainComparison": (
        lambda: engine.MultiChainComparison("question -> answer", M=1),
        {"completions": [ANSWER]},
        [{"rationale": "So.", "answer": "yes"}],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
async def test_every_module_is_awaited(anyio_backend: str, name: str):
    build, extra, answers = PROGRAMS[name]
    lm = Scripted(list(answers))
    with engine.context(lm=lm, trace=[]):
        done = await build().acall(question="Why?", **extra)
    assert done.answer == "yes"
    assert lm.script.answers == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_module_has_a_synchronous_face(name: str):
    build, extra, answers = PROGRAMS[name]
    with engine.context(lm=Scripted(list(answers)), trace=[]):
        assert build()(question="Why?", **extra).answer == "yes"


async def test_the_synchronous_face_says_what_to_do_on_a_loop(anyio_backend: str):
    with engine.context(lm=Scripted([])), pytest.raises(engine.SyncInsideLoopError, match="acall"):
        engine.ReAct("question -> answer", tools=[search])(question="Why?")


async def test_the_calls_of_one_turn_run_side_by_side(anyio_backend: str):
    met = 0
    both = anyio.Event()

    async def meet(name: str) -> str:
        nonlocal met
        met += 1
        if met == 2:
            both.set()
        await both.wait()
        return name

    calls = [{"name": "meet", "args": {"name": each}} for each in "ab"]
    submit = [{"name": "submit", "args": {"answer": "yes"}}]
    answers: list[Answer] = [{"next_thought": "", "tool_calls": {"tool_calls": each}} for each in (calls, submit)]
    agent = engine.ReActV2("question -> answer", tools=[meet])
    with engine.context(lm=Scripted(answers), trace=[]), anyio.fail_after(10):
        done = await agent.acall(question="Why?")
    results = done.history.messages[0]["tool_calls"].tool_call_results.tool_call_results
    assert [each.value for each in results] == ["a", "b"]


async def test_a_blocking_tool_does_not_stop_the_loop(anyio_backend: str):
    passed = threading.Event()

    def waits(query: str) -> str:
        assert passed.wait(10)
        return query

    agent = engine.ReAct("question -> answer", tools=[waits])
    step = {**STEP, "next_tool_name": "waits"}
    async with anyio.create_task_group() as group:
        with engine.context(lm=Scripted([step, FINISH, ANSWER]), trace=[]):
            group.start_soon(agent.acall)
            await anyio.sleep(0.05)
            passed.set()  # by the loop, which the tool waits for


async def test_a_reward_may_run_a_program_synchronously(anyio_backend: str):
    judge = engine.Predict("question, reply -> answer")

    def reward(args: dict[str, Any], pred: Any) -> float:
        return float(judge(question=args["question"], reply=pred.answer).answer)

    best = engine.BestOfN(engine.Predict("question -> answer"), 2, reward, 1.0)
    lm = Scripted([{"answer": "maybe"}, {"answer": "0.5"}, {"answer": "yes"}, {"answer": "1.0"}])
    with engine.context(lm=lm, trace=[]):
        done = await best.acall(question="Why?")
        assert [step[2].answer for step in engine.settings.trace] == ["yes"]
    assert done is not None
    assert done.answer == "yes"


async def test_a_reward_may_be_async(anyio_backend: str):
    async def reward(args: dict[str, Any], pred: Any) -> float:
        await anyio.lowlevel.checkpoint()
        return 1.0

    best = engine.BestOfN(engine.Predict("question -> answer"), 2, reward, 1.0)
    with engine.context(lm=Scripted([{"answer": "yes"}]), trace=[]):
        done = await best.acall(question="Why?")
    assert done is not None


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.005)


async def test_parallel_keeps_to_its_width(anyio_backend: str):
    lm = Waiting()
    program = engine.Predict("question -> answer")
    parallel = engine.Parallel(num_threads=3)
    results: list[Any] = []

    async def run() -> None:
        with engine.context(lm=lm, trace=None):
            results.extend(await parallel.acall([(program, {"question": str(n)}) for n in range(7)]))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(lambda: lm.begun == 3)
        await anyio.sleep(0.02)
        assert lm.begun == 3
        lm.go.set()
    assert lm.most == 3
    assert [result.answer for result in results] == ["yes"] * 7


async def test_cancelling_parallel_cancels_its_requests(anyio_backend: str):
    lm = Waiting()
    program = engine.Predict("question -> answer")
    with engine.context(lm=lm, trace=None):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.Parallel(num_threads=4).acall, [(program, {"question": str(n)}) for n in range(9)])
            await until(lambda: lm.begun == 4)
            group.cancel_scope.cancel()
    assert (lm.begun, lm.cancelled, lm.together) == (4, 4, 0)


async def test_too_many_errors_cancel_what_still_runs(anyio_backend: str):
    lm = Waiting()
    program = engine.Predict("question -> answer")

    async def fails() -> None:
        await until(lambda: lm.begun == 2)
        raise ValueError("no")

    pairs: list[Any] = [(program, {"question": "a"}), (program, {"question": "b"}), (fails, ())]
    with (
        engine.context(lm=lm, trace=None),
        pytest.raises(Exception, match="Execution cancelled due to errors or interruption"),
    ):
        await engine.Parallel(num_threads=3, max_errors=1).acall(pairs)
    assert lm.cancelled == 2


async def test_a_straggler_is_started_once_more_and_the_first_to_end_counts(anyio_backend: str):
    attempts = 0

    async def slow_at_first() -> str:
        nonlocal attempts
        attempts += 1
        mine = attempts
        if mine == 1:
            await anyio.sleep_forever()
        return f"attempt {mine}"

    with anyio.fail_after(10):
        results = await engine.Parallel(num_threads=2, timeout=0.05).acall([(slow_at_first, ())])
    assert results == ["attempt 2"]
    assert attempts == 2


async def test_what_one_pair_sets_the_others_do_not_see(anyio_backend: str):
    async def sets() -> Any:
        before = engine.settings.get("marker")
        with engine.context(marker="mine"):
            await anyio.lowlevel.checkpoint()
        return before

    with engine.context(marker="callers"):
        results = await engine.Parallel(num_threads=1).acall([(sets, ())] * 3)
    assert results == ["callers"] * 3


async def test_abatch_is_batch_awaited(anyio_backend: str):
    examples = [engine.Example(question=text).with_inputs("question") for text in "ab"]
    with engine.context(lm=Scripted([{"answer": "1"}, {"answer": "2"}]), trace=[]):
        results = await engine.Predict("question -> answer").abatch(examples, num_threads=1)
    assert [result.answer for result in results] == ["1", "2"]


async def test_cancelling_an_agent_cancels_its_request(anyio_backend: str):
    lm = Waiting()
    agent = engine.ReAct("question -> answer", tools=[search])
    with engine.context(lm=lm, trace=None):
        async with anyio.create_task_group() as group:
            group.start_soon(agent.acall)
            await until(lambda: lm.begun == 1)
            group.cancel_scope.cancel()
    assert lm.cancelled == 1


async def test_llm_queries_of_a_batch_run_side_by_side(anyio_backend: str):
    lm = Waiting()
    rlm = engine.RLM("question -> answer", sub_lm=lm)
    answers: list[Answer] = [
        {"reasoning": "", "code": "found = llm_query_batched(['a', 'b', 'c'])\nprint(len(found))"},
        {"reasoning": "", "code": "SUBMIT(found[0][-9:])"},
    ]
    async with anyio.create_task_group() as group:
        with engine.context(lm=Scripted(answers), trace=None):
            group.start_soon(asking(rlm))
        await until(lambda: lm.together == 3)
        lm.go.set()
    assert lm.most == 3


def asking(program: Any) -> Callable[[], Any]:
    async def ask() -> None:
        await program.acall(question="Why?")

    return ask


async def test_a_crowd_takes_turns_in_order(anyio_backend: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turns, "_SLICE", -1.0)  # every call finds the loop crowded
    order: list[int] = []
    rounds = 0

    async def one(number: int) -> None:
        await turns.take_turn()
        order.append(number)

    async def everything_else() -> None:
        nonlocal rounds
        while len(order) < 100:
            rounds += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(everything_else)
            for number in range(100):
                group.start_soon(one, number)
    assert sorted(order) == list(range(100))
    assert rounds >= 100 // turns._BATCH
    if anyio_backend == "asyncio":  # trio starts tasks in any order
        assert order == list(range(100))


async def test_who_is_cancelled_in_the_queue_holds_up_nobody(anyio_backend: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turns, "_SLICE", -1.0)
    through: list[int] = []

    async def one(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            await turns.take_turn()
            through.append(number)

    scopes = [anyio.CancelScope() for _ in range(60)]
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for number, scope in enumerate(scopes):
                group.start_soon(one, number, scope)
            await anyio.lowlevel.checkpoint()
            for scope in scopes[::2]:
                scope.cancel()
    assert set(range(1, 60, 2)) <= set(through)
    with anyio.fail_after(10):
        await turns.take_turn()  # the queue works on


def test_what_a_synchronous_call_has_started_gets_its_turn_in_the_middle_of_it():
    done: list[str] = []

    async def other() -> None:
        done.append("other")

    async def many_calls() -> list[str]:
        task = asyncio.create_task(other())
        for _ in range(1_000_000):
            if done:
                break
            await turns.take_turn()
        await task
        return [*done, "end"]

    async def alone() -> int:
        began = time.perf_counter()
        while time.perf_counter() - began < 4 * turns._SLICE:
            await turns.take_turn()
        return 7

    async def first_in_the_middle() -> list[str]:
        asyncio.get_running_loop().call_soon(done.append, "queued")
        for _ in range(1_000_000):
            if done:
                break
            await turns.take_turn()
        return list(done)

    assert run_sync(alone) == 7
    assert run_sync(first_in_the_middle) == ["queued"]
    done.clear()
    assert run_sync(many_calls) == ["other", "end"]


def test_under_a_synchronous_call_tools_and_rewards_run_on_the_callers_thread():
    judge = engine.Predict("question -> answer")
    threads: list[threading.Thread] = []

    def nested(query: str) -> str:
        threads.append(threading.current_thread())
        return judge(question=query).answer  # a synchronous call inside one

    def reward(args: dict[str, Any], pred: Any) -> float:
        threads.append(threading.current_thread())
        return float(judge(question="Good?").answer)

    agent = engine.BestOfN(engine.ReAct("question -> answer", tools=[nested]), 1, reward, 1.0)
    step = {**STEP, "next_tool_name": "nested"}
    lm = Scripted([step, {"answer": "inner"}, FINISH, ANSWER, {"answer": "1.0"}])
    with engine.context(lm=lm, trace=[]):
        done = agent(question="Why?")
        after = engine.settings.trace[-1]
    assert done.trajectory["observation_0"] == "inner"
    assert threads == [threading.current_thread()] * 2
    assert lm.script.answers == []
    assert after[2].answer == "yes"


def test_what_a_tool_raises_under_a_synchronous_call_leaves_the_thread_as_it_was():
    def fails(query: str) -> str:
        raise ValueError(query)

    agent = engine.ReAct("question -> answer", tools=[fails])
    step = {**STEP, "next_tool_name": "fails"}
    for _ in range(2):
        with engine.context(lm=Scripted([step, FINISH, ANSWER]), trace=[]):
            assert "ValueError: a" in agent(question="Why?").trajectory["observation_0"]
