"""`BootstrapFinetune` and `GRPO`: they train the weights of a model, which dspy does and the engine does not.

They take dspy's parameters, so that a program that names them loads, and can be handed to the pool of legacy workers, where
dspy runs them (`use_legacy_optimizer`). Compiling one natively is refused before anything is asked or spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn

from .errors import WeightsNotTrained
from .teleprompter import Teleprompter

__all__ = ["GRPO", "BootstrapFinetune", "FinetuneTeleprompter", "weights_not_trained"]


def weights_not_trained(optimizer: str) -> WeightsNotTrained:
    """The error for an optimizer of that name."""
    return WeightsNotTrained(
        f"{optimizer} trains the weights of a model, which the native engine does not do. Run the same compile in the pool of "
        "legacy workers, where dspy does it: switch on the feature flag `use_legacy_optimizer`. The optimized state comes "
        "back from there and is served natively (docs/optimizers.md)."
    )


class FinetuneTeleprompter(Teleprompter):
    """Base of the two."""

    def __init__(self, train_kwargs: dict[Any, Any] | None = None) -> None:
        self.train_kwargs: dict[Any, Any] = train_kwargs or {}


class BootstrapFinetune(FinetuneTeleprompter):
    """Fine-tunes the program's models on what a teacher did."""

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        multitask: bool = True,
        train_kwargs: dict[Any, Any] | None = None,
        adapter: Any = None,
        exclude_demos: bool = False,
        num_threads: int | None = None,
    ) -> None:
        """Keep the parameters, which are dspy's."""
        super().__init__(train_kwargs)
        self.metric = metric
        self.multitask = multitask
        self.adapter = adapter
        self.exclude_demos = exclude_demos
        self.num_threads = num_threads

    async def acompile(self, student: Any, trainset: Sequence[Any], teacher: Any = None) -> NoReturn:
        """Raises `WeightsNotTrained`, which says where to compile it."""
        raise weights_not_trained("BootstrapFinetune")


class GRPO(FinetuneTeleprompter):
    """Trains the program's models by group relative policy optimization."""

    def __init__(
        self,
        metric: Callable[..., Any] | None = None,
        multitask: bool = True,
        train_kwargs: dict[Any, Any] | None = None,
        adapter: Any = None,
        exclude_demos: bool = False,
        num_threads: int = 6,
        num_train_steps: int = 100,
        seed: int = 0,
        num_dspy_examples_per_grpo_step: int = 1,
        num_rollouts_per_grpo_step: int = 1,
        use_train_as_val: bool = False,
        num_steps_for_val: int = 5,
        report_train_scores: bool = False,
        failure_score: float = 0,
        format_failure_score: float = -1,
        variably_invoked_predictor_grouping_mode: Literal["truncate", "fill", "ragged"] = "truncate",
        variably_invoked_predictor_fill_strategy: Literal["randint", "max"] | None = None,
    ) -> None:
        """Keep the parameters, which are dspy's."""
        super().__init__(train_kwargs)
        self.metric = metric
        self.multitask = multitask
        self.adapter = adapter
        self.exclude_demos = exclude_demos
        self.num_threads = num_threads
        self.num_train_steps = num_train_steps
        self.seed = seed
        self.num_dspy_examples_per_grpo_step = num_dspy_examples_per_grpo_step
        self.num_rollouts_per_grpo_step = num_rollouts_per_grpo_step
        self.use_train_as_val = use_train_as_val
        self.num_steps_for_val = num_steps_for_val
        self.report_train_scores = report_train_scores
        self.failure_score = failure_score
        self.format_failure_score = format_failure_score
        self.variably_invoked_predictor_grouping_mode = variably_invoked_predictor_grouping_mode
        self.variably_invoked_predictor_fill_strategy = variably_invoked_predictor_fill_strategy

    async def acompile(
        self,
        student: Any,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> NoReturn:
        """Raises `WeightsNotTrained`, which says where to compile it."""
        raise weights_not_trained("GRPO")
