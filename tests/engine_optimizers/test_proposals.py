"""What a proposer tells its model: of data, programs, demos and history. dspy's texts, but for programs without source."""

from __future__ import annotations

import importlib
import inspect
import linecache
import operator
import random
from pathlib import Path
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.optimizers.proposals import GroundedProposer, acreate_dataset_summary, get_dspy_source_code
from searches import examples, model, one_step, two_steps, with_classes

dspy = pytest.importorskip("dspy", reason="needs the extra `legacy`")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Implementing custom LMs through BaseLM:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*messages=:DeprecationWarning"),
]


def nested(ns: Any) -> Any:
    class Inner(ns.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = ns.Predict("question -> answer")
            self.ask_again = ns.Predict("question, answer -> verdict")

    class Outer(ns.Module):
        limit = 3

        def __init__(self) -> None:
            super().__init__()
            self.name = "outer"
            self.inner = Inner()
            self.same = self.inner
            self.words = ["a", "b"]
            self.many = {"one": ns.Predict("a -> b")}
            self.bare = ns.Predict("question -> answer: int", temperature=0.3)

    return Outer()


@pytest.mark.parametrize(
    "build", [one_step, two_steps, with_classes, nested, lambda ns: ns.Predict("question -> answer")]
)
def test_a_program_is_shown_as_dspy_shows_it(build: Any) -> None:
    assert get_dspy_source_code(build(engine)) == dspy.propose.utils.get_dspy_source_code(build(dspy))


@pytest.fixture
def without_dspy(monkeypatch: pytest.MonkeyPatch) -> None:
    """dspy replaces `inspect.getfile` in the whole process; a program on the engine alone has Python's."""
    monkeypatch.setattr(inspect, "getfile", dspy.teleprompt.utils.old_getfile)


def made_elsewhere(text: str) -> Any:
    namespace: dict[str, Any] = {"engine": engine, "__name__": "a_module_without_a_file"}
    exec(compile(text, "<made up>", "exec"), namespace)
    return namespace["Nowhere"]()


NOWHERE = '''
class Nowhere(engine.Module):
    """Answers questions."""

    def __init__(self):
        super().__init__()
        self.ask = engine.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.ask(question=question)
'''


@pytest.mark.usefixtures("without_dspy")
def test_a_program_whose_source_is_nowhere_is_described() -> None:
    """dspy gives up there."""
    shown = get_dspy_source_code(made_elsewhere(NOWHERE))
    assert shown.startswith("StringSignature(question -> reasoning, answer")
    assert shown.endswith(
        "class Nowhere(Module):\n    'Answers questions.'\n    ask.predict: Predict(question -> reasoning, answer)\n"
        "    # The source of this class is not available.\n"
    )


@pytest.mark.usefixtures("without_dspy")
def test_the_source_of_an_interactive_session_is_found_by_the_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["import something\n", *NOWHERE.splitlines(keepends=True)]
    monkeypatch.setitem(linecache.cache, "<made up>", (sum(map(len, lines)), None, lines, "<made up>"))
    shown = get_dspy_source_code(made_elsewhere("\n" + NOWHERE))
    assert shown.endswith(NOWHERE.lstrip())


def test_what_is_used_up_by_looking_at_it_is_not_looked_at() -> None:
    program = one_step(engine)
    program.rows = iter([1, 2])
    get_dspy_source_code(program)
    assert list(program.rows) == [1, 2]


def test_a_program_that_cannot_be_looked_at_is_proposed_for_without(caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        def __hash__(self) -> int:
            raise RuntimeError("odd")

    program = one_step(engine)
    program.odd = Odd()
    with engine.context(lm=model(engine, [])):
        proposer = GroundedProposer(None, program, examples(engine), use_dataset_summary=False)
    assert proposer.program_aware is False
    assert "Error getting source code: odd" in caplog.text


OPTIONS: dict[str, dict[str, Any]] = {
    "everything": {},
    "no tips": {"set_tip_randomly": False},
    "never any tip": {"set_tip_randomly": False, "use_tip": False},
    "history": {"set_history_randomly": False, "use_instruct_history": True},
    "little": {"program_aware": False, "use_dataset_summary": False, "use_task_demos": False},
    "small batches": {"view_data_batch_size": 1},
    "one demo": {"num_demos_in_context": 1, "init_temperature": 0.2},
}


def demos(ns: Any) -> dict[int, list[list[Any]]]:
    def demo(n: int) -> Any:
        return ns.Example(augmented=True, question=f"q{n}", hint="h", answer=str(n % 4), reasoning="r")

    return {i: [[], [demo(1), demo(2)], examples(ns, 2), [demo(3)]] for i in range(2)}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("with_demos", [True, False])
def test_proposals_are_asked_for_as_dspy_asks(name: str, with_demos: bool, tmp_path: Path) -> None:
    def proposed(ns: Any) -> Any:
        asked: list[Any] = []
        program = two_steps(ns)
        logs = {}
        for number, instruction in enumerate(["Be brief.", "Be long.", "Be brief."]):
            tried = two_steps(ns)
            for predictor in tried.predictors():
                predictor.signature = predictor.signature.with_instructions(instruction)
            path = str(tmp_path / f"{number}.json")
            tried.save(path)
            logs[number] = {"program_path": path, "score": 10.0 * number}
        with ns.context(lm=model(ns, asked), adapter=ns.ChatAdapter()):
            proposer = ns.propose.GroundedProposer(
                prompt_model=model(ns, asked, "prompt"),
                program=program,
                trainset=examples(ns, 25),
                rng=random.Random(5),
                **OPTIONS[name],
            )
            instructions = proposer.propose_instructions_for_program(
                trainset=examples(ns), program=program, demo_candidates=demos(ns) if with_demos else None, trial_logs=logs, N=3
            )
            one = proposer.propose_instruction_for_predictor(
                program, None, 1, demos(ns) if with_demos else None, 1, logs, tip="Be quick."
            )
        return asked, instructions, one, proposer.data_summary, proposer.program_aware, proposer.use_tip

    assert proposed(engine) == proposed(dspy)


@pytest.mark.anyio
async def test_the_summary_is_made_when_it_is_wanted_and_once() -> None:
    asked: list[Any] = []
    with engine.context(lm=model(engine, asked), adapter=engine.ChatAdapter()):
        proposer = GroundedProposer(None, one_step(engine), examples(engine), rng=random.Random(1))
        assert asked == []
        with pytest.raises(engine.SyncInsideLoopError):
            _ = proposer.data_summary
        await proposer.aprepare()
        await proposer.aprepare()
    assert len(asked) == 3
    assert proposer.data_summary is not None
    assert proposer.data_summary.startswith("summary ")


@pytest.mark.anyio
async def test_a_batch_that_cannot_be_observed_leaves_the_summary_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Tired(engine.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            if "prior_observations" in messages[0]["content"]:
                raise RuntimeError("tired")
            name = "summary" if "`summary`" in messages[0]["content"] else "observations"
            text = f"[[ ## {name} ## ]]\nA {name}.\n\n[[ ## completed ## ]]"
            return {"model": "tired", "choices": [{"message": {"content": text}}], "usage": {}}

    assert await acreate_dataset_summary(examples(engine), 5, Tired("tired")) == "A summary."
    assert "tired" in caplog.text


@pytest.mark.anyio
async def test_without_any_summary_proposals_do_without(caplog: pytest.LogCaptureFixture) -> None:
    with engine.context(lm=model(engine, [], fails=1.0), adapter=engine.ChatAdapter()):
        proposer = GroundedProposer(None, one_step(engine), examples(engine))
        await proposer.aprepare()
    assert proposer.data_summary is None
    assert proposer.use_dataset_summary is False
    assert "Running without data aware proposer" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["Proposed Instruction: do it", '** The new Instruction:** "do"', "a b c d e f: g", "no label", '"quoted"', "it's: x", ""],
)
def test_labels_are_taken_off_as_dspy_does(text: str) -> None:
    for function in ("strip_prefix", "parse_list_of_instructions"):
        ours, theirs = (getattr(ns.propose.utils, function)(text) for ns in (engine, dspy))
        assert ours == theirs


def test_input_keys_are_shown_in_one_order() -> None:
    text = "[Example({}) (input_keys={'b', 'a'}), Example({}) (input_keys=None)]"
    for ns in (engine, dspy):
        shown = ns.propose.dataset_summary_generator.order_input_keys_in_string(text)
        assert shown == "[Example({}) (input_keys={'a', 'b'}), Example({}) (input_keys=None)]"


def test_a_history_of_whole_sets_reads_as_dspy_s(tmp_path: Path) -> None:
    def history(ns: Any) -> str:
        logs = {}
        for number, instruction in enumerate(["One.", "Two.", "One."]):
            program = two_steps(ns)
            program.first.signature = program.first.signature.with_instructions(instruction)
            program.save(str(tmp_path / f"{number}.json"))
            logs[number] = {"program_path": str(tmp_path / f"{number}.json"), "score": number}
        return ns.propose.utils.create_instruction_set_history_string(two_steps(ns), logs, 1) + (
            ns.propose.utils.create_instruction_set_history_string(two_steps(ns), logs, 5)
        )

    assert history(engine) == history(dspy)


def test_minibatches_and_averages_are_those_of_dspy() -> None:
    for size in (3, 12, 50):
        ours, theirs = (
            [each.question for each in ns.teleprompt.utils.create_minibatch(examples(ns), size, random.Random(3))]
            for ns in (engine, dspy)
        )
        assert ours == theirs
    tried = {"a": [(10.0, "A", {"x": 1})], "b": [(20.0, "B", {"x": 2}), (30.0, "C", {"x": 2})]}
    for done in ([], ["b"]):
        ours, theirs = (ns.teleprompt.utils.get_program_with_highest_avg_score(tried, done) for ns in (engine, dspy))
        assert ours == theirs
    for ns in (engine, dspy):
        with pytest.raises(ValueError, match="No valid program found in param_score_dict"):
            ns.teleprompt.utils.get_program_with_highest_avg_score(tried, ["a", "b"])


# Not used by dspy itself, or about its terminal.
NOT_KEPT = {
    *("ABC", "TYPE_CHECKING", "YELLOW", "GREEN", "BLUE", "BOLD", "ENDC", "old_getfile", "new_getfile"),
    *("calculate_last_n_proposed_quality", "eval_candidate_program_with_pruning", "save_file_to_log_dir", "setup_logging"),
    *("get_task_model_history_for_full_example", "get_token_usage", "log_token_usage"),
}


@pytest.mark.parametrize(
    "path",
    [
        *("propose.grounded_proposer", "propose.dataset_summary_generator", "propose.propose_base", "propose.utils"),
        *("teleprompt.copro_optimizer", "teleprompt.infer_rules", "teleprompt.mipro_optimizer_v2"),
        *("teleprompt.teleprompt_optuna", "teleprompt.utils"),
    ],
)
def test_what_dspy_keeps_in_its_modules_is_found_there_with_the_same_parameters(path: str) -> None:
    theirs = importlib.import_module(f"dspy.{path}")
    ours = operator.attrgetter(path)(engine)
    for name, value in vars(theirs).items():
        own = getattr(value, "__module__", None) == theirs.__name__ or name.isupper()
        if name.startswith("_") or not own or name in NOT_KEPT:
            continue
        found = getattr(ours, name)
        if inspect.isfunction(value):
            wanted = [(each.name, each.default) for each in inspect.signature(value).parameters.values()]
            assert [(each.name, each.default) for each in inspect.signature(found).parameters.values()] == wanted, name
        elif not inspect.isclass(value):
            assert found == value, name
