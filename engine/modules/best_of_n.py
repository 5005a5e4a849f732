"""`BestOfN`: try a program several times, keep the answer that scores best.

    best = BestOfN(qa, N=3, reward_fn=lambda args, pred: float(len(pred.answer.split()) == 1), threshold=1.0)
    pred = await best.acall(question="What is the capital of Belgium?")

The tries are one after the other, as in dspy, because the first that reaches the threshold ends them: side by side,
the others would be paid for too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ..example import Prediction
from ..logs import engine_logger
from ..module import Module
from ..off_loop import ask, call_off_loop
from ..settings import context, settings
from ..sync import run_sync

__all__ = ["BestOfN", "Reward", "not_a_part", "rollouts", "trace_of_best"]

logger = engine_logger("dspex.engine.best_of_n", dspy="dspy.predict.best_of_n")

Reward = Callable[[dict[str, Any], Prediction], float | Awaitable[float]]
"""Scores an answer: gets the inputs and the prediction. Plain or async; a plain one runs off the event loop."""


class BestOfN(Module):
    """Runs a copy of a module up to N times, each with another `rollout_id` at temperature 1."""

    def __init__(
        self,
        module: Module,
        N: int,
        reward_fn: Reward,
        threshold: float,
        fail_count: int | None = None,
    ) -> None:
        """Describe the search.

        Args:
            module: what is run.
            N: tries at most.
            reward_fn: the score of an answer.
            threshold: a score at or above this ends the search.
            fail_count: how many tries may fail before the error is raised; None and 0 mean N. Each call counts anew.
        """
        self.module = module
        self.reward_fn = not_a_part(reward_fn)
        self.threshold = threshold
        self.N = N
        self.fail_count = fail_count or N

    def forward(self, **kwargs: Any) -> Prediction | None:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, **kwargs)

    async def aforward(self, **kwargs: Any) -> Prediction | None:
        """Search.

        Returns:
            The best prediction, or None when every try failed. The trace grows by the steps of that try only.

        Raises:
            Exception: whatever the module or the reward raises, when more tries failed than `fail_count` allows.
        """
        best: Prediction | None = None
        best_trace: list[Any] | None = None
        best_reward = -float("inf")
        failures_left = self.fail_count
        for attempt, (rollout, module) in enumerate(rollouts(self.module, self.N)):
            try:
                with context(trace=[]):
                    prediction = await ask(module, **kwargs)
                    trace = list(settings.trace)
                    reward = await call_off_loop(self.reward_fn, kwargs, prediction)
                if reward > best_reward:
                    best, best_trace, best_reward = prediction, trace, reward
                if reward >= self.threshold:
                    break
            except Exception as error:
                logger.warning("BestOfN: Attempt %d failed with rollout id %s: %s", attempt + 1, rollout, error)
                if attempt > failures_left:
                    raise
                failures_left -= 1
        trace_of_best(best_trace)
        return best


def not_a_part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as something that is never taken for a module of the program, or a parameter, even if it is one."""

    def call(*args: Any) -> Any:
        return function(*args)

    return call


def rollouts(module: Module, count: int) -> Iterator[tuple[int, Module]]:
    """Copies of `module`, each with its LM at temperature 1 and the next `rollout_id`."""
    lm: Any = module.get_lm() or settings.lm
    first: int = lm.kwargs.get("rollout_id") or 0
    for rollout in range(first, first + count):
        made = module.deepcopy()
        made.set_lm(lm.copy(rollout_id=rollout, temperature=1.0))
        yield rollout, made


def trace_of_best(trace: list[Any] | None) -> None:
    """Add the steps of the chosen try to the trace of the caller."""
    if trace and settings.trace is not None:
        settings.trace.extend(trace)
