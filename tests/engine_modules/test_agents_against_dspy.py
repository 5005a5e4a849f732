"""ReAct and ReActV2 do what they do in dspy: the same requests to the byte, the same results, the same trace."""

from types import ModuleType
from typing import Any

import pytest
from dspex.engine import ContextWindowExceededError
from scripted import both_do_the_same


def search(query: str, limit: int = 2) -> list[str]:
    """Search the web."""
    return [f"{query} {number}" for number in range(limit)]


def fails(city: str) -> str:
    raise RuntimeError(f"no weather in {city}")


def step(tool: str, args: dict[str, Any], thought: str = "Let me see.") -> dict[str, Any]:
    return {"next_thought": thought, "next_tool_name": tool, "next_tool_args": args}


FINISH = step("finish", {})
EXTRACT = {"reasoning": "It says so.", "answer": "42"}


def react(library: Any) -> Any:
    return library.ReAct("question, topic -> answer: int", tools=[search, fails], max_iters=5)


def ask(program: Any) -> Any:
    return program(question="How many?", topic="otters")


def test_a_react_run_with_two_tools(dspy: ModuleType):
    done = both_do_the_same(
        dspy, react, ask, [step("search", {"query": "a"}), step("search", {"query": "b", "limit": 1}), FINISH, EXTRACT]
    )
    assert list(done.result["trajectory"])[:4] == ["thought_0", "tool_name_0", "tool_args_0", "observation_0"]
    assert done.result["answer"] == 42


@pytest.mark.parametrize(
    "call",
    [
        step("fails", {"city": "Oslo"}),
        step("search", {}),
        step("search", {"query": 7}),
        step("search", {"query": "a", "unknown": 1}),
    ],
    ids=["the tool raises", "an argument is missing", "an argument has another type", "an argument is unknown"],
)
def test_what_goes_wrong_in_a_tool_is_an_observation(dspy: ModuleType, call: dict[str, Any]):
    done = both_do_the_same(dspy, react, ask, [call, FINISH, EXTRACT])
    assert done.result["trajectory"]["observation_0"].startswith("Execution error in ")


def test_a_tool_that_does_not_exist_ends_the_trajectory(dspy: ModuleType):
    wrong = step("invented", {})
    both_do_the_same(dspy, react, ask, [wrong, '{"next_thought": 1}', EXTRACT])


def test_max_iters_of_the_call_counts(dspy: ModuleType):
    def call(program: Any) -> Any:
        return program(question="How many?", topic="otters", max_iters=1)

    both_do_the_same(dspy, react, call, [step("search", {"query": "a"}), EXTRACT])


def test_a_trajectory_too_long_loses_its_oldest_step(dspy: ModuleType):
    too_long = ContextWindowExceededError(message="too long")
    both_do_the_same(
        dspy,
        react,
        ask,
        [step("search", {"query": "a"}), step("search", {"query": "b"}), too_long, FINISH, EXTRACT],
    )


@pytest.mark.parametrize("times", [1, 3])
def test_a_question_too_long_ends_the_run(dspy: ModuleType, times: int):
    too_long = ContextWindowExceededError(message="too long")
    both_do_the_same(dspy, react, ask, [*[too_long] * times, EXTRACT])


def test_three_truncations_are_the_last(dspy: ModuleType):
    too_long = ContextWindowExceededError(message="too long")
    steps = [step("search", {"query": str(number)}) for number in range(4)]
    both_do_the_same(dspy, react, ask, [*steps, too_long, too_long, too_long, EXTRACT])


def call_tools(*calls: tuple[str, dict[str, Any]], thought: str = "Hm.") -> dict[str, Any]:
    return {"next_thought": thought, "tool_calls": {"tool_calls": [{"name": name, "args": args} for name, args in calls]}}


def react_v2(library: Any) -> Any:
    return library.ReActV2("question -> answer: int, source", tools=[search, fails], max_iters=3)


def ask_v2(program: Any) -> Any:
    return program(question="How many?")


SUBMIT = ("submit", {"answer": 42, "source": "web"})


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([call_tools(("search", {"query": "a"})), call_tools(SUBMIT)], id="one call a turn"),
        pytest.param([call_tools(("search", {"query": "a"}), ("search", {"query": "b"})), call_tools(SUBMIT)], id="two"),
        pytest.param([call_tools(("fails", {"city": "Rome"})), call_tools(SUBMIT)], id="a tool raises"),
        pytest.param([call_tools(("invented", {})), call_tools(SUBMIT)], id="a tool does not exist"),
        pytest.param([call_tools(("submit", {"answer": 1})), call_tools(SUBMIT)], id="an output is missing"),
        pytest.param([call_tools(("submit", {"answer": "many"})), call_tools(SUBMIT)], id="an output has another type"),
        pytest.param([call_tools(), call_tools(SUBMIT)], id="no calls: made to submit"),
        pytest.param([*[call_tools(("search", {"query": "a"}))] * 3, call_tools(SUBMIT)], id="turns used up"),
        pytest.param([*[call_tools(("search", {"query": "a"}))] * 3, call_tools()], id="made to submit, it does not"),
        pytest.param([*[call_tools(("search", {"query": "a"}))] * 3, call_tools(("submit", {}))], id="or wrongly"),
        pytest.param(
            [ContextWindowExceededError(message="long"), call_tools(SUBMIT)], id="the conversation is too long"
        ),
    ],
)
def test_a_react_v2_run(dspy: ModuleType, answers: list[Any]):
    both_do_the_same(dspy, react_v2, ask_v2, answers)


def test_react_v2_goes_on_from_a_history(dspy: ModuleType):
    def call(program: Any) -> Any:
        before = [{"question": "Before?", "answer": 1, "source": "me"}]
        return program(question="And now?", history={"messages": before}, max_iters=1)

    both_do_the_same(dspy, react_v2, call, [call_tools(SUBMIT)])


@pytest.mark.parametrize(
    "build",
    [
        lambda library: library.ReActV2("question -> history", tools=[]),
        lambda library: library.ReActV2("tools, history -> answer", tools=[]),
        lambda library: library.ReActV2("question -> answer", tools=[library.Tool(search, name="submit")]),
        lambda library: library.ReAct("question -> answer", tools=[3]),
    ],
)
def test_both_refuse_the_same_agents(dspy: ModuleType, build: Any):
    def outcome(library: Any) -> tuple[str, str]:
        try:
            build(library)
        except Exception as error:
            return type(error).__name__, str(error)
        raise AssertionError("not refused")

    import dspex.engine as engine

    assert outcome(engine) == outcome(dspy)
