"""`InferRules`: few-shot demos, and rules that a model reads off the examples, appended to every predictor's instructions.

    optimizer = InferRules(metric=answer_exact_match, num_candidates=10, num_rules=10)
    better = await optimizer.acompile(program, trainset=trainset)      # or optimizer.compile(...)

Prompts, order of requests and rollout ids are those of dspy 3.4. The program that comes out is the candidate that scored
best: dspy writes the rules into the signature class, which all candidates and the student share, so that there the
student is changed and every candidate ends with the last one's rules.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..errors import ContextWindowExceededError
from ..evaluation import Evaluate
from ..logs import engine_logger
from ..module import Module
from ..modules import ChainOfThought
from ..settings import context, settings
from ..signatures import InputField, OutputField, make_signature
from ..sync import run_sync
from .bootstrap import BootstrapFewShot
from .requirements import require_examples, require_metric, require_predictors
from .scores import Scores
from .trials import keep_draft, plan_trials, trial

__all__ = ["InferRules", "RulesInductionProgram"]

logger = engine_logger("dspex.engine.optimizers.infer_rules", dspy="dspy.teleprompt.infer_rules")


class InferRules(BootstrapFewShot):
    """Writes several sets of rules, and keeps the one that scores best."""

    def __init__(
        self,
        num_candidates: int = 10,
        num_rules: int = 10,
        num_threads: int | None = None,
        teacher_settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe the search.

        Args:
            num_candidates: sets of rules that are written and scored.
            num_rules: rules that the model is asked for.
            num_threads: examples that are evaluated at a time.
            teacher_settings: settings while the teacher runs and while rules are written, such as `{"lm": stronger_lm}`.
            **kwargs: for `BootstrapFewShot`; `metric` among them.
        """
        super().__init__(teacher_settings=teacher_settings, **kwargs)
        self.num_candidates = num_candidates
        self.num_rules = num_rules
        self.num_threads = num_threads
        self._scores = Scores()
        self.rules_induction_program = RulesInductionProgram(num_rules, teacher_settings=teacher_settings)
        self.metric = kwargs.get("metric")
        self.max_errors: int | None = kwargs.get("max_errors")

    async def acompile(
        self, student: Any, *, teacher: Any = None, trainset: Sequence[Any], valset: Sequence[Any] | None = None
    ) -> Any:
        """The candidate that scored best; the student is not changed.

        Args:
            trainset: examples that demos are bootstrapped from and rules read off.
            valset: what candidates are scored on; None: the second half of the training set, which is taken out of it.

        Raises:
            ValueError: no examples, too few to split, no metric, no predictors, or no candidates wanted.
            RuntimeError: not even one example fits the model that writes the rules.
            LMError, AdapterParseError: rules could not be written.
            NothingScored: every example of every candidate failed.
            Exception: too many examples failed, while bootstrapping or in one evaluation.
        """
        require_metric(self, self.metric)
        require_predictors(self, student)
        require_examples(self, trainset)
        if self.num_candidates < 1:
            raise ValueError(f"num_candidates must be at least 1, not {self.num_candidates}.")
        if valset is None:
            if len(trainset) < 2:
                raise ValueError("InferRules splits the trainset if there is no valset, and needs at least 2 examples.")
            half = int(0.5 * len(trainset))
            trainset, valset = trainset[:half], trainset[half:]
        else:
            require_examples(self, valset, what="valset")
        plan_trials(self.num_candidates, phase="bootstrap")
        await super().acompile(student, teacher=teacher, trainset=trainset)
        keep_draft(lambda: self.student)
        plan_trials(self.num_candidates, phase="search")
        original = self.student.deepcopy()
        best_score, best_program = -math.inf, None
        self._scores = Scores()
        for number in range(1, self.num_candidates + 1):
            candidate = original.deepcopy()
            for predictor in _with_signature(candidate):
                rules = await self._induce(predictor, trainset)
                self.update_program_instructions(predictor, rules)
            score = await self._scored(candidate, valset, f"rules {number}")
            if score > best_score:
                best_score, best_program = score, candidate
            logger.info(f"Evaluated Candidate {number} with score {score}. Current best score: {best_score}")
        self._scores.require_some(self, best_program)
        logger.info(f"Final best score: {best_score}")
        return best_program

    def induce_natural_language_rules(self, predictor: Any, trainset: Sequence[Any]) -> str:
        """Rules for a predictor, read off the examples; fewer and fewer of them if they do not fit the model.

        Raises:
            RuntimeError: not even one example fits.
        """
        return run_sync(self._induce, predictor, trainset)

    async def _induce(self, predictor: Any, trainset: Sequence[Any]) -> str:
        demos = self.get_predictor_demos(trainset, predictor)
        while True:
            try:
                return await self.rules_induction_program.acall(self.format_examples(demos, predictor.signature))
            except Exception as error:
                if not _too_long(error):
                    raise  # in dspy, an AssertionError without a word
                if len(demos) <= 1:
                    raise RuntimeError(
                        "Failed to generate natural language rules since a single example couldn't fit in the model's "
                        "context window."
                    ) from error
                demos = demos[:-1]

    def update_program_instructions(self, predictor: Any, natural_language_rules: str) -> None:
        """Append rules to the predictor's instructions."""
        signature = predictor.signature
        predictor.signature = signature.with_instructions(
            f"{signature.instructions}\n\n"
            f"Please adhere to the following rules when making your prediction:\n{natural_language_rules}"
        )

    def format_examples(self, demos: Sequence[Any], signature: Any) -> str:
        """Examples as the model sees them: names and values, inputs before outputs."""
        return "".join(
            f"Input Fields:\n{_lines(demo, signature.input_fields)}\n\n=========\n"
            f"Output Fields:\n{_lines(demo, signature.output_fields)}\n\n"
            for demo in demos
        )

    def get_predictor_demos(self, trainset: Sequence[Any], predictor: Any) -> list[dict[str, Any]]:
        """What the examples have of the predictor's fields."""
        fields = predictor.signature.fields
        return [{key: value for key, value in example.items() if key in fields} for example in trainset]

    def evaluate_program(self, program: Any, dataset: Sequence[Any]) -> float:
        """The score of a program, in percent."""
        return run_sync(self._scored, program, dataset, "")

    async def _scored(self, program: Any, dataset: Sequence[Any], label: str) -> float:
        evaluate = Evaluate(
            devset=dataset,
            metric=self.metric,
            num_threads=self.num_threads,
            max_errors=self.max_errors if self.max_errors is not None else settings.max_errors,
        )
        result = await trial(program, partial(evaluate.acall, program, metric=self.metric), size=len(dataset), label=label)
        self._scores.note(result)
        return result.score


class RulesInductionProgram(Module):
    """Writes rules. Each time is a rollout of its own, the same in every run."""

    def __init__(self, num_rules: int, teacher_settings: dict[str, Any] | None = None) -> None:
        """Ask for `num_rules` rules, under `teacher_settings`."""
        super().__init__()
        instructions = (
            f"Given a set of examples, extract a list of {num_rules} concise and non-redundant natural language "
            "rules that provide clear guidance for performing the task. All rules should be actionable for a "
            "well-specified scope of examples of this general kind of task."
        )
        fields: dict[str, Any] = {
            "examples_text": InputField(desc="Text containing examples"),
            "natural_language_rules": OutputField(desc="Induced natural language rules"),
        }
        self.rules_induction = ChainOfThought(make_signature(fields, instructions, "CustomRulesInduction"))
        self.teacher_settings: dict[str, Any] = teacher_settings or {}
        self.rng = random.Random(0)

    async def aforward(self, examples_text: str) -> str:
        """The rules."""
        with context(**self.teacher_settings):
            lm = settings.lm.copy(rollout_id=self.rng.randint(0, 10**9), temperature=1.0)
            with context(lm=lm):
                answer = await self.rules_induction.acall(examples_text=examples_text)
        return answer.natural_language_rules.strip()


def _with_signature(program: Any) -> list[Any]:
    return [predictor for predictor in program.predictors() if hasattr(predictor, "signature")]


def _lines(demo: dict[str, Any], fields: Any) -> str:
    return "\n".join(f"{key}: {value}" for key, value in demo.items() if key in fields)


def _too_long(error: Exception) -> bool:
    return (
        isinstance(error, ValueError | ContextWindowExceededError)
        or type(error).__name__ == "BadRequestError"
        or "ContextWindowExceededError" in str(error)
    )
