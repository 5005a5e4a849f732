"""ProgramOfThought, CodeAct and RLM do what they do in dspy, with real code in each library's own subprocess."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from scripted import both_do_the_same


def code(text: str, **more: Any) -> dict[str, Any]:
    return {"reasoning": "I compute it.", "generated_code": f"```python\n{text}\n```", **more}


ANSWER = {"reasoning": "The code says so.", "answer": "6"}


def thought(library: Any) -> Any:
    return library.ProgramOfThought("question -> answer: int", interpreter_factory=library.LocalInterpreter)


def ask(program: Any) -> Any:
    return program(question="2 * 3?")


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([code("x = 2 * 3\nSUBMIT({'answer': x})"), ANSWER], id="submitted"),
        pytest.param([code("x = 2 * 3\nprint(x)"), ANSWER], id="printed"),
        pytest.param([code("y = 1\nx = 2 * 3"), ANSWER], id="assigned last"),
        pytest.param([code("1/0"), code("SUBMIT(6)"), ANSWER], id="an error, repaired"),
        pytest.param([code("def f(:"), code("SUBMIT(6)"), ANSWER], id="no Python, repaired"),
        pytest.param([code("a = b = c = 1"), code("SUBMIT(6)"), ANSWER], id="a line that is refused unrun"),
        pytest.param([{"reasoning": "", "generated_code": "---"}, code("SUBMIT(6)"), ANSWER], id="no code"),
        pytest.param([code("1/0"), code("1/0"), code("1/0")], id="never right"),
    ],
)
def test_a_program_of_thought(dspy: ModuleType, answers: list[Any]):
    both_do_the_same(dspy, thought, ask, answers)


def factorial(n: int) -> int:
    """The product of 1 to n."""
    return 1 if n < 2 else n * factorial(n - 1)


def act(library: Any) -> Any:
    return library.CodeAct("n: int -> answer: int", tools=[factorial], interpreter_factory=library.LocalInterpreter)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([code("print(factorial(3))", finished=True), ANSWER], id="at once"),
        pytest.param([code("x = 3", finished=False), code("factorial(x)", finished=True), ANSWER], id="in two steps"),
        pytest.param([code("nothing", finished=False), code("print(6)", finished=True), ANSWER], id="after an error"),
        pytest.param([code("", finished=False), code("print(6)", finished=True), ANSWER], id="after no code"),
        pytest.param([*[code("print(1)", finished=False)] * 5, ANSWER], id="steps used up"),
    ],
)
def test_a_code_act(dspy: ModuleType, answers: list[Any]):
    both_do_the_same(dspy, act, lambda program: program(n=3), answers)


def lookup(key: str, times: int = 1) -> list[str]:
    """Look it up."""
    return [key.upper()] * times


def recursive(library: Any) -> Any:
    return library.RLM(
        "context: list[str], query -> answer: int, source: str",
        max_iters=3,
        max_llm_calls=4,
        tools=[lookup],
        interpreter_factory=library.LocalInterpreter,
    )


def step(text: str) -> dict[str, Any]:
    return {"reasoning": "Next.", "code": f"```python\n{text}\n```"}


def explore(program: Any) -> Any:
    return program(context=["one", "two\nthree" * 200], query="How many?")


DONE = "SUBMIT(answer=2, source='me')"


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([step("print(len(context), query)"), step(DONE)], id="looks, then submits"),
        pytest.param([step("n = len(context)"), step("SUBMIT(n, lookup(key='x')[0])")], id="a tool"),
        pytest.param([step("lookup(key='a', times=2)"), step(DONE)], id="a tool's result is the output"),
        pytest.param([step("lookup(key=7)"), step(DONE)], id="a tool refuses its argument"),
        pytest.param([step("1/0"), step(DONE)], id="an error"),
        pytest.param([step("def f(:"), step(DONE)], id="no Python"),
        pytest.param([{"reasoning": "Next.", "code": "```bash\nls\n```"}, step(DONE)], id="another language"),
        pytest.param([step("SUBMIT(answer='many', source='x')"), step(DONE)], id="an output of another type"),
        pytest.param([step("SUBMIT(answer=1)"), step(DONE)], id="an output is missing"),
        pytest.param([step("print(llm_query('What?'))"), "A sub-answer", step(DONE)], id="a query"),
        pytest.param([step("llm_query('')"), step(DONE)], id="an empty query"),
        pytest.param(
            [step("print(llm_query_batched(['a', 'b', 'c', 'd', 'e']))"), step(DONE)], id="more queries than allowed"
        ),
        pytest.param([step("print(llm_query_batched(['a']))"), "Sub", step(DONE)], id="a batch"),
        pytest.param(
            [
                step("import dspy\nprint(dspy.Predict('question -> reply: int')(question='7?').reply + 1)"),
                {"reply": "7"},
                step(DONE),
            ],
            id="a sub-agent",
        ),
        pytest.param(
            [
                step(
                    "import dspy\nclass Two(dspy.Module):\n    def __init__(self):\n"
                    "        self.ask = dspy.ChainOfThought(dspy.Signature('q -> a', 'Be brief.'))\n"
                    "    def forward(self, q):\n        return self.ask(q=q).a\nprint(Two()(q='hm'))"
                ),
                {"reasoning": "r", "a": "yes"},
                step(DONE),
            ],
            id="a sub-agent in a module",
        ),
        pytest.param(
            [*[step("print(1)")] * 3, {"reasoning": "r", "answer": "5", "source": "history"}], id="steps used up"
        ),
        pytest.param([step("print('x' * 20_000)"), step(DONE)], id="long output"),
    ],
)
def test_a_recursive_language_model(dspy: ModuleType, answers: list[Any]):
    both_do_the_same(dspy, recursive, explore, answers)


@pytest.mark.parametrize(
    "build",
    [
        lambda library: library.RLM("context -> trajectory"),
        lambda library: library.RLM("llm_query -> answer"),
        lambda library: library.RLM("dspy -> answer"),
        lambda library: library.RLM("interpreter_factory -> answer"),
        lambda library: library.RLM("lookup -> answer", tools=[lookup]),
        lambda library: library.RLM("q -> answer", tools={"lookup": lookup}),
        lambda library: library.RLM("q -> answer", tools=[lookup, lookup]),
        lambda library: library.RLM("q -> answer", tools=[library.Tool(lookup, name="not a name")]),
        lambda library: library.RLM("q -> answer", tools=[library.Tool(lookup, name="print")]),
        lambda library: library.RLM("q -> answer", tools=[3]),
        lambda library: library.RLM("q -> answer", interpreter_factory=3),
        lambda library: library.RLM("q -> answer", interpreter_factory=library.LocalInterpreter()),
        lambda library: library.RLM("q -> answer")(),
        lambda library: library.RLM("q -> answer")(q=1, other=2),
        lambda library: library.RLM("q -> answer", interpreter_factory=dict)(q=1),
        lambda library: library.CodeAct("q -> answer", tools=[max]),
        lambda library: library.ProgramOfThought("q -> answer")(interpreter=3, q=1),
        lambda library: library.ProgramOfThought("q -> answer")(3, q=1),
        lambda library: library.resolve_interpreter_factory(None)().execute("1", {"a b": 1}),
        lambda library: library.LocalInterpreter(execution_timeout=0),
        lambda library: library.LocalInterpreter(tools={"SUBMIT": len}),
        lambda library: library.LocalInterpreter(output_fields=[{"name": "a"}, {"name": "a"}]),
        lambda library: library.LocalInterpreter(output_fields=[{"name": "not a name"}]),
        lambda library: library.LocalInterpreter().execute(3),
        lambda library: library.LocalInterpreter().execute("1", [1]),
        lambda library: library.LocalInterpreter().execute("1", {"x": {1}}),
        lambda library: library.LocalInterpreter().execute("1", {"SUBMIT": 1}),
        lambda library: library.PythonInterpreter(deno_command={}),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_refuse_the_same(dspy: ModuleType, build: Callable[[Any], Any]):
    def outcome(library: Any) -> tuple[str, str]:
        try:
            build(library)
        except Exception as error:
            return type(error).__name__, str(error)
        raise AssertionError("not refused")

    assert outcome(engine) == outcome(dspy)


EXECUTIONS = [
    "1 + 1",
    "x = 3",
    "x",
    "print('a')\nprint('b')",
    "print('a')\n7",
    "None",
    "SUBMIT(1)",
    "SUBMIT()",
    "SUBMIT(1, 2)",
    "1/0",
    "raise KeyError('k')",
    "import sys; sys.exit(2)",
    "def f(:",
    "tool(1)",
    "tool(a=1, b=2)",
    "tool({1})",
    "[{'a': 1}, None, True]",
    "{1, 2}",
    "float('nan')",
    "class A: pass\nA.__name__",
    "import json, re, math, statistics\nstatistics.mean([1, 2])",
    "try:\n    SUBMIT(5)\nexcept Exception:\n    pass",
]


def test_a_local_interpreter_answers_as_dspys(dspy: ModuleType):
    def outcomes(library: Any) -> list[Any]:
        def tool(a: int, b: int = 1) -> list[int]:
            return [a, b]

        found: list[Any] = []
        with library.LocalInterpreter(tools={"tool": tool}) as interpreter:
            for text in EXECUTIONS:
                try:
                    found.append((text, repr(interpreter.execute(text, {"given": [1]}))))
                except Exception as error:
                    found.append((text, type(error).__name__, str(error)))
        return found

    assert outcomes(engine) == outcomes(dspy)


def test_fields_of_submit_count_as_in_dspy(dspy: ModuleType):
    def outcome(library: Any) -> list[Any]:
        found: list[Any] = []
        fields = [{"name": "a", "type": "str"}, {"name": "b"}]
        with library.LocalInterpreter(output_fields=fields) as interpreter:
            for text in ("SUBMIT(1, 2)", "SUBMIT(a=1, b=2)", "SUBMIT(1)", "SUBMIT(1, b=2)", "SUBMIT(a=1, c=2)"):
                try:
                    found.append(repr(interpreter.execute(text)))
                except Exception as error:
                    found.append((type(error).__name__, str(error)))
        return found

    assert outcome(engine) == outcome(dspy)


def test_callbacks_hear_of_an_interpreter_what_they_hear_in_dspy(dspy: ModuleType):
    def heard(library: Any, base: Any) -> list[Any]:
        found: list[Any] = []

        class Listener(base):
            def note(self, event: str) -> Callable[..., None]:
                def handler(**given: Any) -> None:
                    given.pop("call_id")
                    given.pop("instance", None)
                    error = given.pop("exception", None)
                    found.append((event, given, type(error).__name__))

                return handler

            def __getattribute__(self, name: str) -> Any:
                if name.startswith("on_interpreter_"):
                    return object.__getattribute__(self, "note")(name)
                return object.__getattribute__(self, name)

        def tool(a: int) -> int:
            return a + 1

        with library.LocalInterpreter(tools={"tool": tool}, callbacks=[Listener()]) as interpreter:
            interpreter.execute("tool(3)", {"x": 1})
            with pytest.raises(library.CodeExecutionError):
                interpreter.execute("1/0")
        return found

    from dspy.utils.callback import BaseCallback as Theirs

    ours = heard(engine, engine.BaseCallback)
    assert ours == heard(dspy, Theirs)
