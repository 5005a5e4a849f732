"""`BootstrapFewShot`: a teacher runs the training examples; what it did where the metric was content become demos.

    optimizer = BootstrapFewShot(metric=answer_exact_match, max_bootstrapped_demos=4)
    better = await optimizer.acompile(program, trainset=trainset)      # or optimizer.compile(...)

The demos chosen, their order and the seeds are those of dspy 3.4. Examples are run one after the other, since each success
counts towards the limit; one that raises does not disturb the teacher's demos for the next (in dspy it does).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

from ..evaluation.results import metric_name
from ..example import Example
from ..logs import engine_logger
from ..off_loop import ask
from ..saved_state import serializable
from ..settings import context, settings
from .labeled import LabeledFewShot
from .teleprompter import Teleprompter
from .trials import keep_draft, report_failure

__all__ = ["BootstrapFewShot"]

logger = engine_logger("dspex.engine.optimizers", dspy="dspy.teleprompt.bootstrap")


class BootstrapFewShot(Teleprompter):
    """Demos of the whole program at work, each predictor's own, filled up with plain examples."""

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        metric_threshold: float | None = None,
        teacher_settings: dict[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        max_errors: int | None = None,
    ) -> None:
        """Describe the optimization.

        Args:
            metric: `metric(example, prediction, trace)`; what it returns is true for a success. None: every run is one.
            metric_threshold: a success needs at least so much.
            teacher_settings: settings while the teacher runs, such as `{"lm": stronger_lm}`.
            max_bootstrapped_demos: successes that are looked for, and demos of this kind that a predictor gets.
            max_labeled_demos: demos that a predictor gets in all, filled up with examples.
            max_rounds: tries for each example; those after the first at temperature 1 and past the cache.
            max_errors: so many failing runs end the optimization; None: the setting of this name.
        """
        self.metric = metric
        self.metric_threshold = metric_threshold
        self.teacher_settings: dict[str, Any] = {} if teacher_settings is None else teacher_settings
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.max_rounds = max_rounds
        self.max_errors = max_errors
        self.error_count = 0

    async def acompile(self, student: Any, *, teacher: Any = None, trainset: Sequence[Any]) -> Any:
        """A copy of the student with demos, marked as compiled.

        Raises:
            AssertionError: the student is compiled already, or the teacher is not the same program.
            Exception: what the run raised that reached `max_errors`.
        """
        self.trainset = trainset
        await self._prepare(student, teacher)
        self._match_predictors()
        keep_draft(self._draft)
        await self._bootstrap()
        self._give_demos()
        self.student._compiled = True
        return self.student

    async def _prepare(self, student: Any, teacher: Any) -> None:
        self.student: Any = student.reset_copy()
        self.teacher: Any = (student if teacher is None else teacher).deepcopy()
        assert getattr(self.student, "_compiled", False) is False, "Student must be uncompiled."
        if self.max_labeled_demos and getattr(self.teacher, "_compiled", False) is False:
            labeled = LabeledFewShot(k=self.max_labeled_demos)
            self.teacher = await labeled.acompile(self.teacher.reset_copy(), trainset=self.trainset)

    def _match_predictors(self) -> None:
        mine, theirs = self.student.named_predictors(), self.teacher.named_predictors()
        assert len(mine) == len(theirs), "Student and teacher must have the same number of predictors."
        self.name2predictor: dict[str, None] = {}
        self.predictor2name: dict[int, str] = {}
        for (name, student), (other, teacher) in zip(mine, theirs, strict=True):
            assert name == other, "Student and teacher must have the same program structure."
            assert student.signature.equals(teacher.signature), (
                f"Student and teacher must have the same signatures. {type(student.signature)} != "
                f"{type(teacher.signature)}"
            )
            assert student is not teacher, "Student and teacher must be different objects."
            self.name2predictor[name] = None
            self.predictor2name[id(student)] = self.predictor2name[id(teacher)] = name

    async def _bootstrap(self, *, max_bootstraps: int | None = None) -> None:
        wanted = max_bootstraps or self.max_bootstrapped_demos
        attempts = 0
        self._broken: list[Exception] = []
        done: set[int] = set()
        seen = 0
        self.name2traces: dict[str, list[Any]] = {name: [] for name in self.name2predictor}
        for index, example in enumerate(self.trainset):
            seen = index
            if len(done) >= wanted:
                break
            for number in range(self.max_rounds):
                attempts += 1
                if await self._run(example, number):
                    done.add(index)
                    break
        logger.info(
            f"Bootstrapped {len(done)} full traces after {seen} examples "
            f"for up to {self.max_rounds} rounds, amounting to {attempts} attempts."
        )
        if attempts and len(self._broken) == attempts:
            report_failure(self._broken[-1])
        self.validation = [example for index, example in enumerate(self.trainset) if index not in done]
        random.Random(0).shuffle(self.validation)

    async def _run(self, example: Any, number: int) -> bool:
        trace: list[Any] = []
        try:
            with context(trace=trace, **self.teacher_settings):
                prediction = await self._taught(example, number)
                success: Any = True
                if self.metric:
                    success = await ask(self.metric, example, prediction, trace)
                    if self.metric_threshold:
                        success = success >= self.metric_threshold
        except Exception as error:
            self._broken.append(error)
            self.error_count += 1
            if self.error_count >= (self.max_errors if self.max_errors is not None else settings.max_errors):
                raise
            logger.error(f"Failed to run or to evaluate example {example} with {self.metric} due to {error}.")
            return False
        if success is None:  # no success, as in dspy
            self._broken.append(TypeError(f"the metric {metric_name(self.metric)} returned None"))
        if success:
            self._collect(trace)
        return bool(success)

    async def _taught(self, example: Any, number: int) -> Any:
        """The teacher's answer, which must not see the example among its demos."""
        changes: dict[str, Any] = {}
        if number > 0:  # past the cache, and different
            changes["lm"] = settings.lm.copy(rollout_id=number, temperature=1.0)
        predictors = [predictor for _, predictor in self.teacher.named_predictors()]
        kept = [predictor.demos for predictor in predictors]
        try:
            for predictor in predictors:
                predictor.demos = [demo for demo in predictor.demos if demo != example]
            with context(**changes):
                return await ask(self.teacher, **example.inputs())
        finally:
            for predictor, demos in zip(predictors, kept, strict=True):
                predictor.demos = demos

    def _collect(self, trace: Sequence[tuple[Any, dict[str, Any], Any]]) -> None:
        by_name: dict[str, list[Any]] = {}
        for predictor, inputs, outputs in trace:
            name = self.predictor2name.get(id(predictor))
            if name is not None:
                by_name.setdefault(name, []).append(Example(augmented=True, **inputs, **outputs))
        for name, demos in by_name.items():
            if len(demos) > 1:
                # One of a predictor that was asked several times: the last, or one of the others, evenly.
                rng = random.Random(_digest(demos))
                demos = [rng.choice(demos[:-1]) if rng.random() < 0.5 else demos[-1]]
            self.name2traces[name].extend(demos)

    def _draft(self) -> Any:
        """The student with the demos that there are now."""
        made = self.student.deepcopy()
        for name, predictor in made.named_predictors():
            predictor.demos = self.name2traces[name][: self.max_bootstrapped_demos]
        return made

    def _give_demos(self) -> None:
        rng = random.Random(0)
        for name, predictor in self.student.named_predictors():
            bootstrapped = self.name2traces[name][: self.max_bootstrapped_demos]
            room = max(0, min(self.max_labeled_demos - len(bootstrapped), len(self.validation)))
            predictor.demos = bootstrapped + rng.sample(self.validation, room)


def _digest(demos: Sequence[Any]) -> str:
    """A seed that depends on the demos alone. (dspy hashes their pickles, which differ from ours.)"""
    text = repr([sorted((key, repr(serializable(value))) for key, value in demo.items()) for demo in demos])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
