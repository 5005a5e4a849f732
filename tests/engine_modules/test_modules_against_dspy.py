"""The other modules beside dspy's: the same requests to the byte, the same results, the same refusals."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from scripted import both_do_the_same


def answer(text: str) -> dict[str, Any]:
    return {"reasoning": f"Because of {text}.", "answer": text}


def length(args: dict[str, Any], pred: Any) -> float:
    """The reward: longer is better."""
    return float(len(pred.answer))


def refuses_x(args: dict[str, Any], pred: Any) -> float:
    if pred.answer == "x":
        raise ValueError("an x")
    return float(len(pred.answer))


def ask(program: Any) -> Any:
    return program(question="Why?")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"temperature": 0.3, "n": 1}, id="with options"),
        pytest.param({"rationale_field_type": list[str]}, id="reasons in a list"),
    ],
)
def test_chain_of_thought(dspy: ModuleType, options: dict[str, Any]):
    given = {"reasoning": '["a", "b"]', "answer": "c"} if "rationale_field_type" in options else answer("c")
    both_do_the_same(dspy, lambda library: library.ChainOfThought("question -> answer", **options), ask, [given])


def test_a_rationale_field_brings_its_own_type_and_description(dspy: ModuleType):
    def build(library: Any) -> Any:
        field = library.OutputField(desc="why, in one word")
        return library.ChainOfThought("question -> answer", rationale_field=field)

    both_do_the_same(dspy, build, ask, [answer("c")])


def a_program(library: Any) -> Any:
    """Two steps, so that traces, hints and names show."""

    class TwoSteps(library.Module):
        def __init__(self) -> None:
            super().__init__()
            self.think = library.ChainOfThought("question -> answer")
            self.check = library.Predict("question, draft -> answer")

        def forward(self, question: str) -> Any:
            return self.check(question=question, draft=self.think(question=question).answer)

    return TwoSteps()


@pytest.mark.parametrize("answers", [["a", "bbb", "cc"], ["aaaa"], ["a", "b", "a"]], ids=["2nd", "1st", "none"])
@pytest.mark.parametrize("threshold", [3.0, 100.0])
def test_best_of_n(dspy: ModuleType, answers: list[str], threshold: float):
    def build(library: Any) -> Any:
        program = library.ChainOfThought("question -> answer")
        return library.BestOfN(program, N=len(answers), reward_fn=length, threshold=threshold)

    both_do_the_same(dspy, build, ask, [answer(text) for text in answers])


@pytest.mark.parametrize("fail_count", [None, 0, 1, 2])
@pytest.mark.parametrize("answers", [["x", "bb", "x"], ["x", "x", "x"], ["bb", "x", "x"]])
def test_failures_of_best_of_n_count_as_in_dspy(dspy: ModuleType, fail_count: int | None, answers: list[str]):
    def build(library: Any) -> Any:
        program = library.ChainOfThought("question -> answer")
        return library.BestOfN(program, 3, refuses_x, 5.0, fail_count)

    both_do_the_same(dspy, build, ask, [answer(text) for text in answers])


def test_best_of_n_over_a_program_of_the_users(dspy: ModuleType):
    def build(library: Any) -> Any:
        return library.BestOfN(a_program(library), N=2, reward_fn=length, threshold=3.0)

    both_do_the_same(dspy, build, ask, [answer("d"), {"answer": "a"}, answer("d"), {"answer": "aaa"}])


ADVICE = {"discussion": "It was short.", "advice": {"think.predict": "Think longer.", "check": "Write more."}}


def test_refine(dspy: ModuleType, monkeypatch: pytest.MonkeyPatch):
    def build(library: Any) -> Any:
        return library.Refine(a_program(library), N=3, reward_fn=length, threshold=3.0)

    both_do_the_same(
        dspy,
        build,
        ask,
        [answer("d"), {"answer": "a"}, ADVICE, answer("d"), {"answer": "aa"}, ADVICE, answer("d"), {"answer": "aaa"}],
    )


def test_refine_without_a_threshold_makes_all_tries(dspy: ModuleType):
    def build(library: Any) -> Any:
        return library.Refine(a_program(library), N=2, reward_fn=length, threshold=None)

    both_do_the_same(dspy, build, ask, [answer("d"), {"answer": "aaa"}, ADVICE, answer("d"), {"answer": "a"}])


def test_a_failed_try_of_refine_gets_no_review(dspy: ModuleType):
    def build(library: Any) -> Any:
        return library.Refine(a_program(library), N=2, reward_fn=refuses_x, threshold=3.0)

    both_do_the_same(dspy, build, ask, [answer("d"), {"answer": "x"}, answer("d"), {"answer": "aaa"}])


ATTEMPTS = [{"reasoning": "one\ntwo", "answer": "a\nb"}, {"rationale": " r ", "answer": 7}, answer("c")]


@pytest.mark.parametrize("attempts", [ATTEMPTS, ATTEMPTS[:2], []], ids=["three", "two", "none"])
def test_multi_chain_comparison(dspy: ModuleType, attempts: list[Any]):
    both_do_the_same(
        dspy,
        lambda library: library.MultiChainComparison("question -> answer", M=3, temperature=0.5),
        lambda program: program(attempts, question="Why?"),
        [{"rationale": "All say so.", "answer": "c"}],
    )


@pytest.mark.parametrize(
    ("candidates", "options"),
    [
        pytest.param(["a", "b", "a"], {}, id="the most frequent"),
        pytest.param(["b", "a", "a", "b"], {}, id="a tie goes to the first"),
        pytest.param(["The cat!", "cat", "dog"], {}, id="normalized"),
        pytest.param(["", "a", "the", "b", "b"], {}, id="what is empty does not vote"),
        pytest.param(["", "the"], {}, id="unless all are"),
        pytest.param(["The cat!", "cat", "dog", "dog"], {"normalize": None}, id="as they are"),
        pytest.param(["a", "b", "b"], {"field": "other"}, id="another field"),
    ],
)
@pytest.mark.parametrize("kind", ["list", "completions", "prediction"])
def test_majority(dspy: ModuleType, candidates: list[str], options: dict[str, Any], kind: str):
    def outcome(library: Any) -> Any:
        rows = [{"other": text[:1], "answer": text} for text in candidates]
        given: Any = rows
        if kind != "list":
            prediction = library.Prediction.from_completions(rows, signature=library.Signature("q -> other, answer"))
            given = prediction if kind == "prediction" else prediction.completions
        return library.majority(given, **options).toDict()

    assert outcome(engine) == outcome(dspy)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_knn_finds_what_dspys_finds(dspy: ModuleType, k: int):
    numpy = pytest.importorskip("numpy", reason="vectors are numpy arrays")

    def embed(texts: list[str]) -> Any:
        return numpy.array([[text.count("a"), text.count("b"), len(text)] for text in texts], dtype=float)

    def outcome(library: Any) -> Any:
        texts = ["aaa", "ab", "bbbb", "cc", "abab"]
        train = [library.Example(text=text, label=text.upper()).with_inputs("text") for text in texts]
        return [example.toDict() for example in library.KNN(k, train, embed)(text="aab")]

    assert outcome(engine) == outcome(dspy)


def pairs_of(library: Any, program: Any) -> list[tuple[Any, Any]]:
    return [
        (program, library.Example(question="one", answer="-").with_inputs("question")),
        (program, {"question": "two"}),
        (lambda first, second: library.Prediction(answer=first + second), ("a", "b")),
        (library.Parallel(disable_progress_bar=True), [(program, {"question": "three"})]),
    ]


def test_parallel_takes_what_dspys_takes(dspy: ModuleType):
    def call(parallel: Any) -> Any:
        library = engine if isinstance(parallel, engine.Parallel) else dspy
        program = library.Predict("question -> answer")
        return parallel(pairs_of(library, program))

    both_do_the_same(
        dspy,
        lambda library: library.Parallel(num_threads=1, disable_progress_bar=True),
        call,
        [{"answer": "1"}, {"answer": "2"}, {"answer": "3"}],
    )


def test_an_example_may_be_passed_whole(dspy: ModuleType):
    def call(parallel: Any) -> Any:
        library = engine if isinstance(parallel, engine.Parallel) else dspy
        example = library.Example(question="one").with_inputs("question")
        return parallel([(lambda given: library.Prediction(answer=given.question), example)])

    both_do_the_same(
        dspy,
        lambda library: library.Parallel(num_threads=1, access_examples=False, disable_progress_bar=True),
        call,
        [],
    )


def fails_on_even(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


@pytest.mark.parametrize("max_errors", [None, 2, 1])
@pytest.mark.parametrize("return_failed", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_failures_in_parallel(dspy: ModuleType, max_errors: int | None, return_failed: bool, threads: int):
    def outcome(library: Any) -> Any:
        parallel = library.Parallel(
            num_threads=threads,
            max_errors=max_errors,
            return_failed_examples=return_failed,
            disable_progress_bar=True,
        )
        try:
            result = parallel([(fails_on_even, (number,)) for number in range(4)])
        except Exception as error:
            return type(error).__name__, str(error)
        if not return_failed:
            return result
        results, failed, errors = result
        return results, sorted(failed), sorted(map(str, errors))

    assert outcome(engine) == outcome(dspy)


def test_a_kind_of_example_that_neither_knows_fails_alone(dspy: ModuleType):
    def outcome(library: Any) -> Any:
        parallel = library.Parallel(num_threads=1, return_failed_examples=True, disable_progress_bar=True)
        results, failed, errors = parallel([(fails_on_even, 3), (fails_on_even, (3,))])
        return results, failed, [(type(error).__name__, str(error)) for error in errors]

    assert outcome(engine) == outcome(dspy)


@pytest.mark.parametrize("return_failed", [False, True])
def test_batch_runs_a_program_over_examples(dspy: ModuleType, return_failed: bool):
    def call(program: Any) -> Any:
        library = engine if isinstance(program, engine.Module) else dspy
        examples = [library.Example(question=text).with_inputs("question") for text in ("one", "two")]
        result = program.batch(examples, num_threads=1, return_failed_examples=return_failed, disable_progress_bar=True)
        return result

    both_do_the_same(
        dspy, lambda library: library.Predict("question -> answer"), call, [{"answer": "1"}, {"answer": "2"}]
    )


PUBLIC = (
    "ReAct",
    "ReActV2",
    "ChainOfThought",
    "ProgramOfThought",
    "CodeAct",
    "RLM",
    "BestOfN",
    "Refine",
    "MultiChainComparison",
    "Parallel",
    "KNN",
    "PythonInterpreter",
    "LocalInterpreter",
)


@pytest.mark.parametrize("name", PUBLIC)
def test_constructors_take_the_same_parameters_with_the_same_defaults(dspy: ModuleType, name: str):
    def parameters(library: Any) -> list[tuple[Any, ...]]:
        signature = inspect.signature(getattr(library, name).__init__)
        return [
            (each.name, each.kind, getattr(each.default, "__name__", each.default))
            for each in signature.parameters.values()
        ]

    theirs = parameters(dspy)
    ours = [each for each in parameters(engine) if each[0] not in ("limits", "accept_missing")]
    assert ours == theirs


@pytest.mark.parametrize("name", PUBLIC)
def test_methods_of_dspys_are_there(dspy: ModuleType, name: str):
    def public(kind: Any) -> set[str]:
        return {each for each in dir(kind) if not each.startswith("_")}

    missing: set[str] = public(getattr(dspy, name)) - public(getattr(engine, name))
    assert missing <= {"load_file", "invoke_tool", "inspect_history"}


BUILDERS: dict[str, Callable[[Any], Any]] = {
    "ReAct": lambda library: library.ReAct("question -> answer", tools=[length]),
    "BestOfN": lambda library: library.BestOfN(library.ChainOfThought("q -> a"), 2, length, 1.0),
    "Refine": lambda library: library.Refine(a_program(library), 2, length, 1.0),
    "MultiChainComparison": lambda library: library.MultiChainComparison("q -> a"),
    "RLM": lambda library: library.RLM("q -> a"),
}


@pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")  # dspy's own use of it
@pytest.mark.parametrize("name", BUILDERS)
def test_predictors_have_dspys_names(dspy: ModuleType, name: str):
    def names(library: Any) -> list[str]:
        return [name for name, _ in BUILDERS[name](library).named_parameters()]

    assert names(engine) == names(dspy)
