"""What an optimizer refuses, and why.

    OptimizerError (EngineError)
    ├── TrainsetError (ValueError, AssertionError)    examples are missing or are none: raised before any model is asked
    ├── NothingScored (ValueError)                    every run of a batch failed, or the metric gave no number for any
    ├── WeightsNotTrained (NotImplementedError)       the optimizer trains a model's weights, which the engine does not do
    └── ResumeRefused (ValueError)                    a run cannot be resumed from what lies there

`TrainsetError` is an AssertionError too, because that is what dspy's optimizers raise for a training set that is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..example import Example
from ..failure import EngineError

__all__ = [
    "NothingScored",
    "OptimizerError",
    "ResumeRefused",
    "TrainsetError",
    "WeightsNotTrained",
    "require_examples",
]


class OptimizerError(EngineError):
    """Base of the errors of optimizers."""

    default_code = "optimizer"


class TrainsetError(OptimizerError, ValueError, AssertionError):
    """A training or validation set cannot be used. No model has been asked.

    Attributes:
        index: position of the first example that is at fault; None where it is the set as a whole.
    """

    default_code = "trainset"

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class NothingScored(OptimizerError, ValueError):
    """No run of a whole batch got a score, so there is nothing to climb: the model does not answer, or the metric is broken.

    The cause (`__cause__`) is what a run or a call of the metric raised.

    Attributes:
        program: the best program by what is known, where there is one: with bootstrapped demos, if there were some.
    """

    default_code = "nothing_scored"

    def __init__(self, message: str, *, program: Any = None) -> None:
        super().__init__(message)
        self.program = program


class WeightsNotTrained(OptimizerError, NotImplementedError):
    """The optimizer trains the weights of a model. That is done by dspy itself, in the pool of legacy workers."""

    default_code = "weights_not_trained"


class ResumeRefused(OptimizerError, ValueError):
    """A stored run is not resumed."""

    default_code = "resume_refused"


def require_examples(examples: Sequence[Any], name: str) -> None:
    """Refuse what no program could be run on, before a model is asked.

    Raises:
        TrainsetError: an entry is not an `Example`, or does not say which of its fields are inputs. (dspy scores such an
            entry as a failure each time it meets it, and optimizes on.)
    """
    for index, example in enumerate(examples):
        if not isinstance(example, Example):
            raise TrainsetError(
                f"{name}[{index}] is a {type(example).__name__}, not an Example: build it with "
                "Example(...).with_inputs('the input fields').",
                index=index,
            )
        if example._input_keys is None:  # pyright: ignore[reportPrivateUsage] - what inputs() asks, without copying
            raise TrainsetError(
                f"{name}[{index}] does not say which of its fields are inputs: use "
                f"example.with_inputs(...) with names out of {example.keys()}.",
                index=index,
            )
