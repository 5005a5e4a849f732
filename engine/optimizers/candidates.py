"""Candidate programs of a search: scored on all examples or on some, chosen by their average, kept in files.

Names and results are those of dspy 3.4's `teleprompt.utils`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..evaluation import EvaluationResult
from ..logs import engine_logger
from ..settings import settings
from ..sync import run_sync
from .trials import trial

__all__ = [
    "aeval_candidate_program",
    "best_not_fully_scored",
    "create_minibatch",
    "eval_candidate_program",
    "get_program_with_highest_avg_score",
    "get_prompt_model",
    "get_signature",
    "print_full_program",
    "save_candidate_program",
    "set_signature",
]

logger = engine_logger("dspex.engine.optimizers.candidates", dspy="dspy.teleprompt.utils")

Tried = Mapping[str, Sequence[tuple[float, Any, dict[str, Any]]]]
"""By combination of parameters: score, program and parameters of each time it was tried."""


def create_minibatch(trainset: Sequence[Any], batch_size: int = 50, rng: Any = None) -> list[Any]:
    """`batch_size` of the examples, or all if there are fewer, in an order drawn from `rng` (default: `random`)."""
    size = min(batch_size, len(trainset))
    return [trainset[index] for index in (rng or random).sample(range(len(trainset)), size)]


async def aeval_candidate_program(
    batch_size: int,
    trainset: Sequence[Any],
    candidate_program: Any,
    evaluate: Any,
    rng: Any = None,
    label: str = "",
) -> Any:
    """Score a candidate on all examples, or on a minibatch if `batch_size` is less than that.

    Returns:
        What `evaluate` returned. A candidate that cannot be evaluated, since too many examples failed, is logged and has
        the score 0, as in dspy: one bad instruction must not end a search.
    """
    whole = batch_size >= len(trainset)
    devset = trainset if whole else create_minibatch(trainset, batch_size, rng)
    told = {"metric_key": "eval_full" if whole else "eval_minibatch"}
    call = partial(evaluate.acall, candidate_program, devset=devset, callback_metadata=told)
    try:
        return await trial(
            candidate_program, call, kind="full" if whole else "minibatch", size=len(devset), label=label
        )
    except Exception as error:
        logger.error("An exception occurred during evaluation", exc_info=True)
        failed = EvaluationResult(score=0.0, results=[])
        failed.failures.append((None, error))
        return failed


def eval_candidate_program(
    batch_size: int, trainset: Sequence[Any], candidate_program: Any, evaluate: Any, rng: Any = None
) -> Any:
    """`aeval_candidate_program` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
    return run_sync(aeval_candidate_program, batch_size, trainset, candidate_program, evaluate, rng)


def best_not_fully_scored(
    param_score_dict: Tried, fully_evaled_param_combos: Collection[str]
) -> tuple[Any, float, str, dict[str, Any]] | None:
    """Of the combinations not scored on all examples yet, the one with the best average; None if there is none left.

    Returns:
        Program, average score, name and parameters of the combination.
    """
    best: tuple[Any, float, str, dict[str, Any]] | None = None
    for key, tries in param_score_dict.items():
        average = sum(score for score, _, _ in tries) / len(tries)
        if key not in fully_evaled_param_combos and (best is None or average > best[1]):
            best = (tries[0][1], average, key, tries[0][2])
    return best


def get_program_with_highest_avg_score(
    param_score_dict: Tried, fully_evaled_param_combos: Collection[str]
) -> tuple[Any, float, str, dict[str, Any]]:
    """`best_not_fully_scored`; raises ValueError if there is none left."""
    best = best_not_fully_scored(param_score_dict, fully_evaled_param_combos)
    if best is None:
        raise ValueError("No valid program found in param_score_dict")
    return best


def print_full_program(program: Any) -> None:
    """Print the instructions and the last prefix of every predictor."""
    for index, predictor in enumerate(program.predictors()):
        *_, last = predictor.signature.fields.values()
        print(f"Predictor {index}")
        print(f"i: {predictor.signature.instructions}")
        print(f"p: {last.json_schema_extra['prefix']}")
    print("\n")


def save_candidate_program(program: Any, log_dir: str | None, trial_num: int, note: str | None = None) -> str | None:
    """Write the state to `LOG_DIR/evaluated_programs/program_TRIAL[_NOTE].json`; its path, or None without a `log_dir`."""
    if log_dir is None:
        return None
    folder = Path(log_dir) / "evaluated_programs"
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / f"program_{trial_num}{f'_{note}' if note else ''}.json")
    program.save(path)
    return path


def get_prompt_model(prompt_model: Any) -> Any:
    """The LM, or the one of the settings."""
    return prompt_model if prompt_model else settings.lm


def get_signature(predictor: Any) -> Any:
    """The predictor's signature. Raises AssertionError if it has none."""
    assert hasattr(predictor, "signature")
    return predictor.signature


def set_signature(predictor: Any, updated_signature: Any) -> None:
    """Replace the predictor's signature. Raises AssertionError if it has none."""
    assert hasattr(predictor, "signature")
    predictor.signature = updated_signature
