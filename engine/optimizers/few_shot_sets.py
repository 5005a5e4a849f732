"""Sets of demos to choose from: without any, labeled, bootstrapped in order, and bootstrapped from shuffled examples.

    sets = await acreate_n_fewshot_demo_sets(student, 6, trainset, max_labeled_demos=4, max_bootstrapped_demos=4, ...)
    sets[0]                     # six lists of demos for the first predictor

The sets, by seed, are those of dspy 3.4. All that is random is drawn before the first is made, so that they may be made at
the same time (in a job they are).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ..logs import engine_logger
from ..settings import settings
from ..sync import run_sync
from .bootstrap import BootstrapFewShot
from .labeled import LabeledFewShot
from .trials import together

__all__ = ["acreate_n_fewshot_demo_sets", "create_n_fewshot_demo_sets"]

logger = engine_logger("dspex.engine.optimizers.few_shot_sets", dspy="dspy.teleprompt.utils")

_WITHOUT, _LABELED, _UNSHUFFLED = -3, -2, -1


async def acreate_n_fewshot_demo_sets(
    student: Any,
    num_candidate_sets: int,
    trainset: Sequence[Any],
    max_labeled_demos: int,
    max_bootstrapped_demos: int,
    metric: Callable[..., Any] | None,
    teacher_settings: dict[str, Any] | None,
    max_errors: int | None = None,
    max_rounds: int = 1,
    labeled_sample: bool = True,
    min_num_samples: int = 1,
    metric_threshold: float | None = None,
    teacher: Any = None,
    include_non_bootstrapped: bool = True,
    seed: int = 0,
    rng: random.Random | None = None,
) -> dict[int, list[list[Any]]]:
    """For each predictor, by position, its demos in each of the sets.

    Args:
        num_candidate_sets: sets in all.
        labeled_sample: draw the labeled demos; False: the first ones.
        min_num_samples: the smallest number of bootstrapped demos that may be drawn. Where `max_bootstrapped_demos` is
            less than that, it counts instead (in dspy, no bootstrapped demos but labeled ones is an error of `random`).
        include_non_bootstrapped: False puts shuffled sets in the place of the first two.
        rng: what shuffles and draws; None: one from `seed`.
        The others: as for `BootstrapFewShot`.

    Raises:
        AssertionError: the teacher is not the same program as the student.
        Exception: what the run of the teacher raised that reached `max_errors`.
    """
    errors: int = settings.max_errors if max_errors is None else max_errors
    rng = rng or random.Random(seed)

    def bootstrapped(examples: list[Any], size: int) -> Callable[[], Awaitable[Any]]:
        bootstrap = BootstrapFewShot(
            metric=metric,
            max_errors=errors,
            metric_threshold=metric_threshold,
            max_bootstrapped_demos=size,
            max_labeled_demos=max_labeled_demos,
            teacher_settings=teacher_settings,
            max_rounds=max_rounds,
        )
        return partial(bootstrap.acompile, student, teacher=teacher, trainset=examples)

    async def untouched() -> Any:
        return student.reset_copy()

    def planned(number: int) -> Callable[[], Awaitable[Any]]:
        examples = list(trainset)
        if number == _WITHOUT and include_non_bootstrapped:
            return untouched
        if number == _LABELED and max_labeled_demos > 0 and include_non_bootstrapped:
            labeled = LabeledFewShot(k=max_labeled_demos)
            return partial(labeled.acompile, student, trainset=examples, sample=labeled_sample)
        if number == _UNSHUFFLED:
            return bootstrapped(examples, max_bootstrapped_demos)
        rng.shuffle(examples)
        size = max_bootstrapped_demos
        if size >= min_num_samples:
            size = rng.randint(min_num_samples, size)
        return bootstrapped(examples, size)

    async def made(position: int, make: Callable[[], Awaitable[Any]]) -> list[list[Any]]:
        logger.info(f"Bootstrapping set {position + 1}/{num_candidate_sets}")
        program = await make()
        return [predictor.demos for predictor in program.predictors()]

    plans = [planned(number) for number in range(_WITHOUT, num_candidate_sets + _WITHOUT)]
    sets = await together([partial(made, position, plan) for position, plan in enumerate(plans)])
    return {index: [demos[index] for demos in sets] for index, _ in enumerate(student.predictors())}


def create_n_fewshot_demo_sets(
    student: Any,
    num_candidate_sets: int,
    trainset: Sequence[Any],
    max_labeled_demos: int,
    max_bootstrapped_demos: int,
    metric: Callable[..., Any] | None,
    teacher_settings: dict[str, Any] | None,
    max_errors: int | None = None,
    max_rounds: int = 1,
    labeled_sample: bool = True,
    min_num_samples: int = 1,
    metric_threshold: float | None = None,
    teacher: Any = None,
    include_non_bootstrapped: bool = True,
    seed: int = 0,
    rng: random.Random | None = None,
) -> dict[int, list[list[Any]]]:
    """`acreate_n_fewshot_demo_sets` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
    return run_sync(
        acreate_n_fewshot_demo_sets,
        student,
        num_candidate_sets,
        trainset,
        max_labeled_demos,
        max_bootstrapped_demos,
        metric,
        teacher_settings,
        max_errors,
        max_rounds,
        labeled_sample,
        min_num_samples,
        metric_threshold,
        teacher,
        include_non_bootstrapped,
        seed,
        rng,
    )
