"""`Refine`: `BestOfN` with advice. After a try that falls short, the model reviews the program's steps and writes each
predictor a hint, which the next try gets as one more input, `hint_`.
"""

from __future__ import annotations

import datetime
import enum
import inspect
import textwrap
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, cast

import pydantic_core

from ..adapters.annotation import description
from ..example import Prediction
from ..logs import engine_logger
from ..module import Module
from ..off_loop import ask, call_off_loop
from ..predict import Predict
from ..settings import context, settings
from ..signatures import InputField, OutputField, Signature
from ..sync import run_sync
from .best_of_n import Reward, not_a_part, rollouts, trace_of_best
from .surroundings import adapter_in_force

__all__ = ["OfferFeedback", "Refine", "inspect_modules"]

logger = engine_logger("dspex.engine.refine", dspy="dspy.predict.refine")


class OfferFeedback(Signature):
    """
    In the discussion, assign blame to each module that contributed to the final reward being below the threshold, if
    any. Then, prescribe concrete advice of how the module should act on its future input when we retry the process, if
    it were to receive the same or similar inputs. If a module is not to blame, the advice should be N/A.
    The module will not see its own history, so it needs to rely on entirely concrete and actionable advice from you
    to avoid the same mistake on the same or similar inputs.
    """

    program_code: str = InputField(desc="The code of the program that we are analyzing")
    modules_defn: str = InputField(desc="The definition of each module in the program, including its I/O")
    program_inputs: str = InputField(desc="The inputs to the program that we are analyzing")
    program_trajectory: str = InputField(desc="The trajectory of the program's execution, showing each module's I/O")
    program_outputs: str = InputField(desc="The outputs of the program that we are analyzing")
    reward_code: str = InputField(desc="The code of the reward function that we are analyzing")
    target_threshold: float = InputField(desc="The target threshold for the reward function")
    reward_value: float = InputField(desc="The reward value assigned to the program's outputs")
    module_names: list[str] = InputField(desc="The names of the modules in the program, for which we seek advice")
    discussion: str = OutputField(desc="Discussing blame of where each module went wrong, if it did")
    advice: dict[str, str] = OutputField(
        desc="For each module, describe very concretely, in this order: the specific scenarios in which it has made "
        "mistakes in the past and what each mistake was, followed by what it should do differently in that kind of"
        "scenario in the future. If the module is not to blame, write N/A."
    )


class Refine(Module):
    """Runs a copy of a module up to N times, each with another `rollout_id` at temperature 1 and, from the second on,
    hints from a review of the one before. The review asks the LM of the settings.
    """

    def __init__(
        self,
        module: Module,
        N: int,
        reward_fn: Reward,
        threshold: float | None,
        fail_count: int | None = None,
    ) -> None:
        """Describe the search.

        Args:
            module: what is run. The source of its class goes into the review.
            N: tries at most.
            reward_fn: the score of an answer. Its source goes into the review.
            threshold: a score at or above this ends the search; None: all N tries are made.
            fail_count: how many tries may fail before the error is raised; None and 0 mean N. Each call counts anew.

        Raises:
            OSError, TypeError: a source cannot be read, as for classes typed into a prompt.
        """
        self.module = module
        self.reward_fn = not_a_part(reward_fn)
        self.threshold = threshold
        self.N = N
        self.fail_count = fail_count or N
        self.module_code = inspect.getsource(module.__class__)
        try:
            self.reward_fn_code = inspect.getsource(cast("Any", reward_fn))
        except TypeError:
            self.reward_fn_code = inspect.getsource(reward_fn.__class__)

    def forward(self, **kwargs: Any) -> Prediction | None:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, **kwargs)

    async def aforward(self, **kwargs: Any) -> Prediction | None:
        """Search. Returns and raises as `BestOfN`; a review that fails counts as a failed try."""
        best: Prediction | None = None
        best_trace: list[Any] | None = None
        best_reward = -float("inf")
        advice: Mapping[str, str] | None = None
        failures_left = self.fail_count
        for attempt, (rollout, module) in enumerate(rollouts(self.module, self.N)):
            names = {predictor: name for name, predictor in module.named_predictors()}
            try:
                with context(trace=[]):
                    if advice:
                        hints = {predictor.signature: advice.get(name, "N/A") for predictor, name in names.items()}
                        with context(adapter=_hinting(adapter_in_force(), hints)):
                            outputs = await ask(module, **kwargs)
                    else:
                        outputs = await ask(module, **kwargs)
                    trace = list(settings.trace)
                    reward = await call_off_loop(self.reward_fn, kwargs, outputs)
                if reward > best_reward:
                    best, best_trace, best_reward = outputs, trace, reward
                if (self.threshold is not None and reward >= self.threshold) or attempt == self.N - 1:
                    break
                advice = await self._advice(module, names, kwargs, outputs, trace, reward)
            except Exception as error:
                logger.warning("Refine: Attempt failed with rollout id %s: %s", rollout, error)
                if attempt > failures_left:
                    raise
                failures_left -= 1
        trace_of_best(best_trace)
        return best

    async def _advice(
        self,
        module: Module,
        names: Mapping[Any, str],
        inputs: Mapping[str, Any],
        outputs: Prediction,
        trace: Sequence[tuple[Any, Any, Any]],
        reward: float,
    ) -> Mapping[str, str]:
        reviewed: dict[str, Any] = {
            "program_code": self.module_code,
            "modules_defn": inspect_modules(module),
            "program_inputs": inputs,
            "program_trajectory": [
                {"module_name": names[predictor], "inputs": given, "outputs": dict(made)}
                for predictor, given, made in trace
            ],
            "program_outputs": dict(outputs),
            "reward_code": self.reward_fn_code,
            "target_threshold": self.threshold,
            "reward_value": reward,
            "module_names": list(names.values()),
        }
        texts = {key: value if isinstance(value, str) else _as_json(value) for key, value in reviewed.items()}
        review = await Predict(OfferFeedback).acall(**texts)
        return review.advice


def _hinting(adapter: Any, hints: Mapping[Any, str]) -> Any:
    """`adapter`, which adds the hint of its predictor to every request. A subclass of the same class, for those who
    look at the type of the adapter in force.
    """

    async def acall(self: Any, lm: Any, lm_kwargs: Any, signature: Any, demos: Any, inputs: Any) -> Any:
        inputs["hint_"] = hints.get(signature, "N/A")  # in place: the trace shows the hint, as in dspy
        hinted = signature.append("hint_", InputField(desc="A hint to the module from an earlier run"))
        return await adapter.acall(lm, lm_kwargs, hinted, demos, inputs)

    base = cast("type[object]", type(adapter))
    kind: Any = type("WrapperAdapter", (base,), {"acall": acall})
    made: Any = kind.__new__(kind)
    made.__dict__.update(adapter.__dict__)
    return made


def inspect_modules(program: Module) -> str:
    """Every predictor of `program` with its fields and instructions, for a model to read."""
    separator = "-" * 80
    parts = [separator]
    for name, predictor in program.named_predictors():
        signature = predictor.signature
        parts += [
            f"Module {name}",
            "\n\tInput Fields:",
            _indented(_fields(signature, "input")),
            "\tOutput Fields:",
            _indented(_fields(signature, "output")),
            f"\tOriginal Instructions: {_indented(textwrap.dedent(signature.instructions))}",
            separator,
        ]
    return "\n".join(part.strip("\n") for part in parts)


def _fields(signature: type[Signature], kind: str) -> str:
    return description(tuple(spec for spec in signature.specs if spec.kind == kind))


def _indented(text: str) -> str:
    return "\n\t\t".join(["", *text.splitlines()])


def _as_json(value: Any) -> str:
    return pydantic_core.to_json(_masked(value), indent=2).decode()


def _masked(value: Any) -> Any:
    """`value` with a note in the place of everything that has no obvious JSON form."""
    if value is None or isinstance(
        value, str | int | float | datetime.date | datetime.time | uuid.UUID | enum.Enum
    ) or (is_dataclass(value) and not isinstance(value, type)):
        return value
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in cast("list[Any]", value)]
    return f"<non-serializable: {type(value).__name__}>"
