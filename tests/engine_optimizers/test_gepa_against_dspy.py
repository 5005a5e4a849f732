"""GEPA beside the installed dspy, both on the installed gepa: the same requests, records, candidates, states and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers.errors import NothingScored, ResumeRefused, TrainsetError
from observed import draw, in_no_order, model, records

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytest.importorskip("gepa", reason="GEPA needs gepa")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def examples(ns: Any, start: int, stop: int) -> list[Any]:
    return [ns.Example(question=f"q{n}", answer=str(n % 4)).with_inputs("question") for n in range(start, stop)]


def answer(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
    """Right more often the more often the instructions say Mind; some requests fail, some answers cannot be read."""
    text = json.dumps(messages)
    if "shortened_instruction" in text:
        return {"shortened_instruction": "Mind."}
    if "improved_instruction" in text:
        return {"improved_instruction": f"Mind what is seen {draw(text):.3f}."}
    if "new_instruction" in text:
        return {"new_instruction": f"Answer well {draw(text):.3f}. Mind it, Mind it."}
    chance = draw(text, kwargs.get("rollout_id"))
    if chance > 0.95:
        raise RuntimeError("no answer")
    if chance > 0.85:
        return {}
    asked = str(messages[-1]["content"]).split("]]\n")[1].split("\n")[0]
    right = int("".join(filter(str.isdigit, asked)) or 0) % 4
    return {"reasoning": "because", "answer": str(right if chance < 0.3 + 0.1 * text.count("Mind") else 9)}


def program(ns: Any) -> Any:
    class Program(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = ns.Predict("question -> answer")
            self.second = ns.ChainOfThought("question, draft -> answer")

        def forward(self, question: str) -> Any:
            return self.second(question=question, draft=self.first(question=question).answer)

    return Program()


def told(ns: Any) -> Any:
    """Feedback by the program, none for the predictor `first`."""

    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score = float(gold.answer == pred.answer)
        feedback = f"It is {gold.answer}, asked {sorted(pred_trace[0][1])}." if pred_trace else "no trace"
        return ns.Prediction(score=score, feedback=None if pred_name == "first" else feedback)

    return metric


def plain(ns: Any) -> Any:
    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> float:
        return (0.5 if pred_name else 1.0) * (gold.answer == pred.answer)

    return metric


def objectives(ns: Any) -> Any:
    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score = float(gold.answer == pred.answer)
        return ns.Prediction(score=score, feedback="f", objective_scores={"right": score, "short": float(len(gold.answer))})

    return metric


def of_one_s_own(ns: Any) -> Callable[..., dict[str, str]]:
    """A proposer that asks the model that reflects, by a predictor of its own."""
    propose = ns.Predict("current_instruction, examples -> new_instruction")

    def proposer(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        return {
            name: propose(current_instruction=candidate[name], examples=str(reflective_dataset[name])).new_instruction
            for name in components_to_update
            if name in reflective_dataset
        }

    return proposer


def multimodal(ns: Any) -> Any:
    if ns is dspy:
        from dspy.teleprompt.gepa.instruction_proposal import MultiModalInstructionProposer
    else:
        from dspex.engine.optimizers.multimodal_proposer import MultiModalInstructionProposer
    return MultiModalInstructionProposer()


def proposer(ns: Any, **options: Any) -> Any:
    if ns is dspy:
        from dspy.teleprompt.gepa import InstructionProposer
    else:
        from dspex.engine.optimizers import InstructionProposer
    return InstructionProposer(**options)


def compiled(ns: Any, metric: Any = told, propose: Any = None, valset: bool = True, **options: Any) -> dict[str, Any]:
    asked: list[Any] = []
    lm = model(ns, answer, asked)
    options = {"max_metric_calls": 60, "num_threads": 1, **options}
    names = ("dspy.teleprompt",) if ns is dspy else ("dspex.engine.optimizers",)
    with records(*names) as seen, ns.context(lm=lm, adapter=ns.ChatAdapter()):
        optimizer = ns.GEPA(
            metric=metric(ns),
            reflection_lm=lm,
            track_stats=True,
            instruction_proposer=propose(ns) if propose else None,
            **options,
        )
        made = optimizer.compile(
            program(ns), trainset=examples(ns, 0, 8), valset=examples(ns, 20, 26) if valset else None
        )
    found = made.detailed_results.to_dict()
    best = found.pop("best_outputs_valset") or {}
    return {
        "asked": asked if options["num_threads"] == 1 else in_no_order(asked),
        "records": [each for each in seen if "Traceback" not in each[1]],
        "state": made.dump_state(),
        "found": found,
        "outputs": {key: [(index, dict(output or {})) for index, output in each] for key, each in best.items()},
        "budget": optimizer.max_metric_calls,
    }


CASES: dict[str, dict[str, Any]] = {
    "feedback": {},
    "no feedback": {"metric": plain},
    "objectives": {"metric": objectives},
    "no valset": {"valset": False, "max_metric_calls": 40},
    "full evaluations": {"max_full_evals": 4, "max_metric_calls": None},
    "all components": {"component_selector": "all", "seed": 3},
    "current best": {"candidate_selection_strategy": "current_best", "skip_perfect_score": False},
    "no merge": {"use_merge": False, "reflection_minibatch_size": 2, "max_metric_calls": 40},
    "best outputs": {"track_best_outputs": True, "failure_score": -1.0},
    "a proposer of one's own": {"propose": of_one_s_own},
    "for images": {"propose": multimodal},
    "skills and a limit": {
        "propose": lambda ns: proposer(
            ns,
            skills=["# Minding\nMind the question."],
            additional_instructions=" Be brief. ",
            base_instructions="Write a better instruction.",
            max_chars=20,
        )
    },
    "many threads": {"num_threads": 8},
    "unreadable answers": {"add_format_failure_as_feedback": True, "seed": 5},
    "several proposals": {"gepa_kwargs": {"sampling_strategy": "two of one parent"}},
}


@pytest.mark.parametrize("name", CASES)
def test_requests_records_candidates_and_programs_are_dspy_s(name: str) -> None:
    options = dict(CASES[name])
    if "gepa_kwargs" in options:
        from gepa.strategies.proposal_sampling import SameParentSampling

        options["gepa_kwargs"] = {"sampling_strategy": SameParentSampling(2)}
    mine, theirs = (compiled(ns, **options) for ns in (engine, dspy))
    assert len(theirs["found"]["candidates"]) > 1
    for part in theirs:
        assert mine[part] == theirs[part], part


@pytest.mark.parametrize("auto", ["light", "medium", "heavy"])
def test_a_budget_by_name_is_dspy_s(auto: Any) -> None:
    for sizes in ((1, 6, 20), (3, 12, 200), (0, 18, 0)):
        mine, theirs = (
            ns.GEPA(metric=told(ns), auto=auto, reflection_lm=model(ns, answer, [])).auto_budget(*sizes)
            for ns in (engine, dspy)
        )
        assert mine == theirs


def refused(ns: Any, attempt: Callable[[Any], Any]) -> tuple[str, str]:
    with pytest.raises((TypeError, ValueError, AssertionError, FileNotFoundError)) as caught:
        attempt(ns)
    kind = next(
        each.__name__
        for each in (AssertionError, TypeError, FileNotFoundError, ValueError)
        if isinstance(caught.value, each)
    )
    return kind, str(caught.value).split("\n")[0]


def gepa(ns: Any, **options: Any) -> Any:
    return ns.GEPA(**{"metric": told(ns), "reflection_lm": model(ns, answer, []), "max_metric_calls": 9, **options})


REFUSED: dict[str, Callable[[Any], Any]] = {
    "a metric of two": lambda ns: gepa(ns, metric=lambda gold, pred: 1),
    "no budget": lambda ns: gepa(ns, max_metric_calls=None),
    "two budgets": lambda ns: gepa(ns, auto="light"),
    "nothing to reflect with": lambda ns: gepa(ns, reflection_lm=None),
    "best outputs without stats": lambda ns: gepa(ns, track_best_outputs=True),
    "a cost": lambda ns: gepa(ns, gepa_kwargs={"max_reflection_cost": 1.0}),
    "a template": lambda ns: gepa(ns, gepa_kwargs={"reflection_prompt_template": "x"}),
    "no examples": lambda ns: gepa(ns).compile(program(ns), trainset=[]),
    "a teacher": lambda ns: gepa(ns).compile(program(ns), trainset=examples(ns, 0, 2), teacher=program(ns)),
    "a budget of nothing": lambda ns: gepa(ns).auto_budget(1, 6, -1),
    "no steps": lambda ns: gepa(ns).auto_budget(1, 6, 1, full_eval_steps=0),
    "an unknown selector": lambda ns: gepa(ns, component_selector="odd").compile(
        program(ns), trainset=examples(ns, 0, 2), valset=examples(ns, 2, 3)
    ),
    "no characters": lambda ns: proposer(ns, max_chars=0),
    "true characters": lambda ns: proposer(ns, max_chars=True),
    "truncate by number": lambda ns: proposer(ns, truncate_history_outputs=1),
    "another adapter": lambda ns: proposer(ns, adapter="json"),
    "a number for a text": lambda ns: proposer(ns, additional_instructions=3),
    "a skill that is a number": lambda ns: proposer(ns, skills=[3]),
    "an empty skill": lambda ns: proposer(ns, skills="  "),
    "a path that is not there": lambda ns: proposer(ns, skills="./nothing/here"),
    "a path with spaces": lambda ns: proposer(ns, skills="./nothing here"),
    "a file that is not there": lambda ns: proposer(ns, skills="skill.md"),
    "a Path that is not there": lambda ns: proposer(ns, skills=Path("nothing")),
    "a folder without a skill": lambda ns: proposer(ns, skills=Path(__file__).parent),
    "an open head": lambda ns: proposer(ns, skills="---\nname: x\nbody"),
    "a head that is no mapping": lambda ns: proposer(ns, skills="---\n- x\n---\nbody"),
    "a head with a number": lambda ns: proposer(ns, skills="---\nname: 3\n---\nbody"),
    "a head that is no YAML": lambda ns: proposer(ns, skills="---\n{\n---\nbody"),
    "a head and nothing": lambda ns: proposer(ns, skills="---\nname: x\n---\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_with_dspy_s_words(name: str) -> None:
    assert refused(engine, REFUSED[name]) == refused(dspy, REFUSED[name])


def test_skills_are_found_and_told_as_in_dspy(tmp_path: Path) -> None:
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "SKILL.md").write_text("---\nname: sorting\ndescription: by weight\n---\nLift it.")
    (tmp_path / "plain.md").write_text("# Plain\nText.")
    sources = [tmp_path / "triage", str(tmp_path / "plain.md"), "# " + "long " * 20, "Consult the file report.txt"]

    def asked(ns: Any) -> list[Any]:
        seen: list[Any] = []
        with ns.context(lm=model(ns, answer, seen)):
            made = proposer(ns, skills=sources)
            made({"a": "Do.", "c": "x"}, {"a": [{"Inputs": {"n": 1}, "Feedback": "no"}], "b": []}, ["a", "b", "c"])
        return seen

    assert asked(engine) == asked(dspy)


def test_long_results_of_tools_are_cut_as_in_dspy() -> None:
    def asked(ns: Any) -> list[Any]:
        calls = ns.ToolCalls(
            tool_calls=[ns.ToolCalls.ToolCall(name="search", args={"q": "x"})],
            tool_call_results=ns.ToolCallResults(
                tool_call_results=[ns.ToolCallResults.ToolCallResult(name="search", value="y" * 1234)]
            ),
        )
        history = ns.History(messages=[{"question": "q", "calls": calls}])
        seen: list[Any] = []
        with ns.context(lm=model(ns, answer, seen)):
            for shorten in (True, False):
                made = proposer(ns, truncate_history_outputs=shorten)
                made({"a": "Do."}, {"a": [{"Inputs": {"Context": history}, "Feedback": "no"}]}, ["a"])
        return seen

    assert asked(engine) == asked(dspy)


def test_files_go_to_the_log_folder_and_a_run_does_not_resume_from_its_pickle(tmp_path: Path) -> None:
    options = {"track_stats": True, "log_dir": str(tmp_path), "num_threads": 1, "max_metric_calls": 30}

    def run(asked: list[Any]) -> None:
        lm = model(engine, answer, asked)
        with engine.context(lm=lm, adapter=engine.ChatAdapter()):
            gepa(engine, reflection_lm=lm, **options).compile(
                program(engine), trainset=examples(engine, 0, 4), valset=examples(engine, 20, 24)
            )

    run([])
    assert json.loads((tmp_path / "candidates.json").read_text())[0].keys() == {"first", "second.predict"}
    asked: list[Any] = []
    with pytest.raises(ResumeRefused, match="is a pickle"):
        run(asked)
    assert asked == []


def test_what_is_no_example_is_refused_before_a_model_is_asked() -> None:
    with pytest.raises(TrainsetError, match=r"valset\[0\] does not say"):
        gepa(engine).compile(program(engine), trainset=examples(engine, 0, 2), valset=[engine.Example(question="q")])


@pytest.mark.parametrize("broken", ["model", "metric"])
def test_a_student_of_which_nothing_gets_a_score_ends_it(broken: str) -> None:
    """In dspy the budget is spent, and the student comes back with a score of 0."""

    def never(messages: Any, kwargs: Any) -> dict[str, str]:
        raise RuntimeError("no model")

    def none(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> None:
        return None

    asked: list[Any] = []
    lm = model(engine, never if broken == "model" else answer, asked)
    optimizer = gepa(engine, metric=told(engine) if broken == "model" else none, max_metric_calls=500)
    with engine.context(lm=lm, adapter=engine.ChatAdapter()), pytest.raises(NothingScored, match="first failure was"):
        optimizer.compile(program(engine), trainset=examples(engine, 0, 4))
    assert len(asked) <= 24


def test_unreadable_answers_become_feedback_where_that_is_wanted() -> None:
    """In dspy only those of which nothing at all was read; those read in part are lost by a division of lists."""
    asked: list[Any] = []

    def half(messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> dict[str, str]:
        text = json.dumps(messages)
        return answer(messages, kwargs) if "new_instruction" in text else {"reasoning": "no more"}

    lm = model(engine, half, asked)
    one = engine.ChainOfThought("question -> answer")
    optimizer = gepa(engine, reflection_lm=lm, add_format_failure_as_feedback=True, max_metric_calls=12)
    with engine.context(lm=lm, adapter=engine.ChatAdapter()):
        optimizer.compile(one, trainset=examples(engine, 0, 3), valset=examples(engine, 3, 6))
    reflections = [json.dumps(each["messages"]) for each in asked if "new_instruction" in json.dumps(each)]
    assert reflections
    assert "Your output failed to parse. Follow this structure:" in reflections[0]
    assert "no more" in reflections[0]
