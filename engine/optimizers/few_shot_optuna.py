"""`BootstrapFewShotWithOptuna`: one demo for each predictor, chosen among bootstrapped ones by Optuna.

    optimizer = BootstrapFewShotWithOptuna(metric=answer_exact_match, num_candidate_programs=16)
    better = await optimizer.acompile(program, trainset=trainset, max_demos=8)

As in dspy 3.4, but for the seed of the search: dspy has none, so that no two runs choose alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..evaluation import Evaluate
from ..lm.extras import require
from ..logs import engine_logger
from ..sync import run_sync
from .bootstrap import BootstrapFewShot
from .quiet_optuna import new_study
from .requirements import require_examples, require_metric, require_predictors
from .scores import Scores
from .teleprompter import Teleprompter
from .trials import keep_draft, plan_trials, trial

__all__ = ["BootstrapFewShotWithOptuna"]

logger = engine_logger("dspex.engine.optimizers.few_shot_optuna", dspy="dspy.teleprompt.teleprompt_optuna")

_SEED = 0


class BootstrapFewShotWithOptuna(Teleprompter):
    """Bootstraps a pool of demos, and searches for the one of each predictor that does best. Needs the extra
    `optimizers`.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        teacher_settings: dict[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
    ) -> None:
        """Describe the search; parameters not named here are those of `BootstrapFewShot`.

        Args:
            max_bootstrapped_demos: only told of, as in dspy; what counts is `max_demos` of `compile`.
            num_candidate_programs: trials.
            num_threads: examples that are evaluated at a time.
        """
        self.metric = metric
        self.teacher_settings: dict[str, Any] = teacher_settings or {}
        self.max_rounds = max_rounds
        self.num_threads = num_threads
        self.min_num_samples = 1
        self.max_num_samples = max_bootstrapped_demos
        self.num_candidate_sets = num_candidate_programs
        self.max_labeled_demos = max_labeled_demos
        self._scores = Scores()
        logger.info(
            f"Going to sample between {self.min_num_samples} and {self.max_num_samples} traces per predictor."
        )
        logger.info(f"Will attempt to train {self.num_candidate_sets} candidate sets.")

    async def acompile(
        self,
        student: Any,
        *,
        teacher: Any = None,
        max_demos: int,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
    ) -> Any:
        """The best of the candidates.

        Args:
            teacher: the program that demos are bootstrapped from; None: the student.
            max_demos: bootstrapped demos to choose from.
            valset: what candidates are scored on; default the training set.

        Raises:
            MissingExtra: Optuna is not installed.
            ValueError: no examples, no metric, no predictors, or no candidates wanted.
            AssertionError: as for `BootstrapFewShot`.
            NothingScored: every example of every candidate failed.
            Exception: too many examples failed, while bootstrapping or in one evaluation.
        """
        require_metric(self, self.metric)
        require_predictors(self, student)
        require_examples(self, trainset)
        if valset:
            require_examples(self, valset, what="valset")
        if self.num_candidate_sets < 1:
            raise ValueError(f"num_candidate_programs must be at least 1, not {self.num_candidate_sets}.")
        optuna = await require("optuna", extra="optimizers", purpose="BootstrapFewShotWithOptuna")
        self.trainset = trainset
        self.valset = valset or trainset
        self.student = student.reset_copy()
        self.teacher = teacher.deepcopy() if teacher is not None else student.reset_copy()
        bootstrap = BootstrapFewShot(
            metric=self.metric,
            max_bootstrapped_demos=max_demos,
            max_labeled_demos=self.max_labeled_demos,
            teacher_settings=self.teacher_settings,
            max_rounds=self.max_rounds,
        )
        plan_trials(self.num_candidate_sets, phase="bootstrap")
        self.compiled_teleprompter = await bootstrap.acompile(self.student, teacher=self.teacher, trainset=trainset)
        keep_draft(lambda: self.compiled_teleprompter)
        plan_trials(self.num_candidate_sets, phase="search")
        study = new_study(optuna, seed=_SEED)
        candidates: list[tuple[float, Any]] = []
        self._scores = Scores()
        for _ in range(self.num_candidate_sets):
            asked = study.ask()
            program, score = await self._tried(asked)
            study.tell(asked, score)
            candidates.append((score, program))
        score, best = max(candidates, key=lambda each: each[0])  # the first of the best, as Optuna's best_trial
        self._scores.require_some(self, best)
        logger.info(f"Best score: {score}")
        logger.info(f"Best program: {best}")
        return best

    def objective(self, trial: Any) -> float:
        """What Optuna maximizes: the score of the demos that `trial` (Optuna's) suggests. From synchronous code, while
        the optimizer has what `acompile` has bootstrapped. The program is the trial's user attribute of that name.
        """
        program, score = run_sync(self._tried, trial)
        trial.set_user_attr("program", program)
        return score

    async def _tried(self, asked: Any) -> tuple[Any, float]:
        program = self.student.reset_copy()
        chosen: list[str] = []
        pairs = zip(self.compiled_teleprompter.named_predictors(), program.named_predictors(), strict=True)
        for (name, source), (_, target) in pairs:
            if source.demos:  # else there is nothing to choose; dspy asks Optuna for a number between 0 and -1
                index = asked.suggest_int(f"demo_index_for_{name}", 0, len(source.demos) - 1)
                target.demos = [dict(source.demos[index])]
                chosen.append(f"{name}: demo {index}")
        evaluate = Evaluate(devset=self.valset, metric=self.metric, num_threads=self.num_threads)
        result = await trial(
            program, partial(evaluate.acall, program), size=len(self.valset), label=", ".join(chosen)
        )
        self._scores.note(result)
        return program, result.score
