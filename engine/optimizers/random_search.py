"""`BootstrapFewShotWithRandomSearch`: many few-shot programs, and the one that scores best on a validation set.

Candidates as in dspy 3.4, by seed: -3 the program without demos, -2 with labeled demos, -1 bootstrapped, and from 0 on
bootstrapped from a shuffled training set with a number of demos drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from ..evaluation import Evaluate
from ..logs import engine_logger
from ..settings import settings
from .bootstrap import BootstrapFewShot
from .labeled import LabeledFewShot
from .teleprompter import Teleprompter
from .trials import plan_trials, together, trial

__all__ = ["BootstrapFewShotWithRandomSearch"]

logger = engine_logger("dspex.engine.optimizers", dspy="dspy.teleprompt.random_search")

_FIRST_SEED = -3


class BootstrapFewShotWithRandomSearch(Teleprompter):
    """Searches over sets of demos."""

    def __init__(
        self,
        metric: Callable[..., Any],
        teacher_settings: dict[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
        max_errors: int | None = None,
        stop_at_score: float | None = None,
        metric_threshold: float | None = None,
    ) -> None:
        """Describe the search; parameters not named here are those of `BootstrapFewShot`.

        Args:
            num_candidate_programs: shuffled candidates, beside the three fixed ones.
            num_threads: examples that are evaluated at a time.
            stop_at_score: a candidate that reaches it, in percent, ends the search.
        """
        self.metric = metric
        self.teacher_settings: dict[str, Any] = teacher_settings or {}
        self.max_rounds = max_rounds
        self.num_threads = num_threads
        self.stop_at_score = stop_at_score
        self.metric_threshold = metric_threshold
        self.min_num_samples = 1
        self.max_num_samples = max_bootstrapped_demos
        self.max_errors = max_errors
        self.num_candidate_sets = num_candidate_programs
        self.max_labeled_demos = max_labeled_demos

    async def acompile(
        self,
        student: Any,
        *,
        teacher: Any = None,
        trainset: Sequence[Any],
        valset: Sequence[Any] | None = None,
        restrict: Collection[int] | None = None,
        labeled_sample: bool = True,
    ) -> Any:
        """The best candidate. Its `candidate_programs` lists all of them, best first: dicts of score, subscores, seed and
        program.

        Args:
            valset: what candidates are scored on; default the training set.
            restrict: only these seeds.

        Raises:
            ValueError: no candidate has one of the seeds in `restrict`.
        """
        self.trainset = trainset
        self.valset = valset or trainset
        seeds = range(_FIRST_SEED, self.num_candidate_sets)
        if restrict is not None and not set(restrict).intersection(seeds):
            raise ValueError(
                f"`restrict` {set(restrict)!r} does not match any candidate seed in range({seeds.start}, {seeds.stop}); no "
                "candidate programs would be evaluated."
            )
        max_errors: int = self.max_errors if self.max_errors is not None else settings.max_errors
        evaluate = Evaluate(
            devset=self.valset, metric=self.metric, num_threads=self.num_threads, max_errors=max_errors
        )
        chosen = [seed for seed in seeds if restrict is None or seed in restrict]
        plan_trials(len(chosen), phase="search")

        async def candidate(seed: int) -> dict[str, Any]:
            program = await self._candidate(seed, student, teacher, labeled_sample, max_errors)
            result = await trial(
                program, partial(evaluate.acall, program), size=len(self.valset), label=_described(seed)
            )
            subscores = [score for *_, score in result.results]
            return {"score": result.score, "subscores": subscores, "seed": seed, "program": program}

        # With a score to stop at, each decides whether there is a next one; else they do not depend on each other.
        width = 1 if self.stop_at_score is not None else len(chosen)
        candidates: list[dict[str, Any]] = []
        best: dict[str, Any] | None = None
        for first in range(0, len(chosen), width):
            for made in await together([partial(candidate, seed) for seed in chosen[first : first + width]]):
                candidates.append(made)
                if best is None or made["score"] > best["score"]:
                    best = made
                    logger.info(f"New best score: {made['score']} for seed {made['seed']}")
            if self.stop_at_score is not None and candidates[-1]["score"] >= self.stop_at_score:
                logger.info(
                    f"Stopping early because score {candidates[-1]['score']} is >= stop_at_score {self.stop_at_score}"
                )
                break
        assert best is not None
        best["program"].candidate_programs = sorted(candidates, key=lambda each: each["score"], reverse=True)
        return best["program"]

    async def _candidate(self, seed: int, student: Any, teacher: Any, labeled_sample: bool, max_errors: int) -> Any:
        trainset = list(self.trainset)
        size = self.max_num_samples
        if seed == -3:
            return student.reset_copy()
        if seed == -2:
            labeled = LabeledFewShot(k=self.max_labeled_demos)
            return await labeled.acompile(student, trainset=trainset, sample=labeled_sample)
        if seed >= 0:
            random.Random(seed).shuffle(trainset)
            size = random.Random(seed).randint(self.min_num_samples, self.max_num_samples)
        bootstrap = BootstrapFewShot(
            metric=self.metric,
            metric_threshold=self.metric_threshold,
            max_bootstrapped_demos=size,
            max_labeled_demos=self.max_labeled_demos,
            teacher_settings=self.teacher_settings,
            max_rounds=self.max_rounds,
            max_errors=max_errors,
        )
        return await bootstrap.acompile(student, teacher=teacher, trainset=trainset)


def _described(seed: int) -> str:
    return {-3: "no demos", -2: "labeled demos", -1: "bootstrapped"}.get(seed, f"bootstrapped, seed {seed}")
