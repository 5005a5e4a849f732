"""What an optimizer needs before it spends anything: refusals that say what is missing."""

from __future__ import annotations

from typing import Any

from .errors import TrainsetError

__all__ = ["require_examples", "require_metric", "require_predictors"]


def require_metric(optimizer: object, metric: object) -> None:
    """Raises ValueError without a metric, TypeError if it cannot be called."""
    name = type(optimizer).__name__
    if metric is None:
        raise ValueError(f"{name} needs a metric: give {name}(metric=...), a function of an example and a prediction.")
    if not callable(metric):
        raise TypeError(f"{name} needs a metric that can be called, not {metric!r}.")


def require_predictors(optimizer: object, program: Any) -> None:
    """Raises ValueError if the program has no predictors to improve."""
    if not program.predictors():
        raise ValueError(
            f"{type(optimizer).__name__} has nothing to improve: {type(program).__name__} has no predictors (or all of them "
            "are in compiled modules, which are frozen)."
        )


def require_examples(optimizer: object, examples: Any, *, what: str = "trainset") -> None:
    """Raises TrainsetError without examples, for one whose inputs were not named, and for what is no Example."""
    name = type(optimizer).__name__
    if not examples:
        raise TrainsetError(f"{name} needs examples: the {what} is empty.")
    for index, example in enumerate(examples):
        if not callable(getattr(example, "inputs", None)):
            raise TrainsetError(
                f"{name} takes Examples; item {index} of the {what} is of type {type(example).__name__}. Make it "
                'Example(question=..., answer=...).with_inputs("question").',
                index=index,
            )
        try:
            example.inputs()
        except ValueError as error:
            raise TrainsetError(f"Item {index} of the {what} of {name}: {error}", index=index) from error
