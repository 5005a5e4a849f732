"""`bootstrap_trace_data`: a program's runs on examples with what each predictor was asked and said, also where it failed.

    data = await abootstrap_trace_data(program, dataset, metric)       # or bootstrap_trace_data(...)
    data[0]["trace"]       # (predictor, inputs, outputs) in order; a FailedPrediction where an answer could not be read

As dspy 3.4. The program is not patched meanwhile, as it is in dspy, so it may be used by others at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, cast

from ..adapters import AdapterParseError
from ..evaluation import Evaluate
from ..lm import LMError
from ..logs import engine_logger
from ..off_loop import ask
from ..settings import context
from ..sync import run_sync

__all__ = ["FailedPrediction", "TraceData", "abootstrap_trace_data", "bootstrap_trace_data"]

logger = engine_logger("dspex.engine.optimizers.bootstrap_trace", dspy="dspy.teleprompt.bootstrap_trace")


@dataclass
class FailedPrediction:
    """Stands for an answer that could not be read.

    Attributes:
        completion_text: what the model wrote; of a captured crash, the error.
        format_reward: what the run is worth all the same; None: the failure score for formats.
    """

    completion_text: str
    format_reward: float | None = None


class TraceData(TypedDict):
    """One run. `score` is there if there was a metric."""

    example_ind: int
    example: Any
    prediction: Any
    trace: list[tuple[Any, dict[str, Any], Any]]
    score: NotRequired[Any]


def bootstrap_trace_data(
    program: Any,
    dataset: Sequence[Any],
    metric: Callable[..., Any] | None = None,
    num_threads: int | None = None,
    raise_on_error: bool = True,
    capture_failed_parses: bool = False,
    failure_score: float = 0,
    format_failure_score: float = -1,
    log_format_failures: bool = False,
    callback_metadata: dict[str, Any] | None = None,
    capture_crashes: bool = False,
) -> list[TraceData]:
    """`abootstrap_trace_data` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
    return run_sync(
        abootstrap_trace_data,
        program,
        dataset,
        metric,
        num_threads,
        raise_on_error,
        capture_failed_parses,
        failure_score,
        format_failure_score,
        log_format_failures,
        callback_metadata,
        capture_crashes,
    )


async def abootstrap_trace_data(
    program: Any,
    dataset: Sequence[Any],
    metric: Callable[..., Any] | None = None,
    num_threads: int | None = None,
    raise_on_error: bool = True,
    capture_failed_parses: bool = False,
    failure_score: float = 0,
    format_failure_score: float = -1,
    log_format_failures: bool = False,
    callback_metadata: dict[str, Any] | None = None,
    capture_crashes: bool = False,
) -> list[TraceData]:
    """Run the program on each example.

    Args:
        metric: `metric(example, prediction, trace)`, with None for the trace; None: every run scores True.
        num_threads: examples at a time; None: the setting of this name.
        raise_on_error: False leaves out the examples whose run raised.
        capture_failed_parses: accepted; answers that cannot be read are always captured, as in dspy.
        failure_score: what a run that raised scores.
        format_failure_score: what an unreadable answer scores; one of which some outputs were read is between the two.
        log_format_failures: log a warning for each unreadable answer.
        callback_metadata: passed on to the callbacks of the evaluation.
        capture_crashes: an error of the program (not of its LM) becomes a `FailedPrediction` instead of an error.

    Returns:
        The runs in the order of the examples.

    Raises:
        ValueError: a run raised, and `raise_on_error`. The run's own error has been logged.
    """
    runs = _Traced(program, failure_score, format_failure_score, log_format_failures, capture_crashes)

    async def scored(example: Any, output: Any, trace: object = None) -> Any:
        prediction, _ = output
        if isinstance(prediction, FailedPrediction):
            reward = prediction.format_reward
            return format_failure_score if reward is None else reward
        return await ask(metric, example, prediction, trace) if metric else True

    evaluate = Evaluate(
        devset=dataset,
        num_threads=num_threads,
        provide_traceback=False,
        max_errors=len(dataset) * 10,
        failure_score=failure_score,
    )
    result = await evaluate.acall(runs, metric=scored, callback_metadata=callback_metadata)
    data: list[TraceData] = []
    for index, (example, output, score) in enumerate(result.results):
        if not isinstance(output, tuple):
            logger.warning(
                "Failed to unpack prediction and trace. This is likely due to the LLM response not following "
                "dspy formatting."
            )
            if not raise_on_error:
                continue
            error = next((each for failed, each in result.failures if failed is example), None)
            raise ValueError(f"not enough values to unpack (expected 2, got 0): example {index} failed: {error}") from error
        prediction, trace = cast("tuple[Any, list[Any]]", output)
        run = TraceData(example=example, prediction=prediction, trace=trace, example_ind=index)
        if metric:
            run["score"] = score
        data.append(run)
    return data


class _Traced:
    """The program as one that answers with its prediction and its trace."""

    def __init__(
        self, program: Any, failure_score: float, format_failure_score: float, log_failures: bool, capture_crashes: bool
    ) -> None:
        self._program = program
        self._failure_score = failure_score
        self._format_failure_score = format_failure_score
        self._log_failures = log_failures
        self._capture_crashes = capture_crashes

    async def acall(self, **inputs: Any) -> tuple[Any, list[Any]]:
        trace: list[Any] = []
        with context(trace=trace):
            try:
                return await ask(self._program, **inputs), list(trace)
            except AdapterParseError as error:
                failed = self._unreadable(error)
                return failed, [*trace, (self._predictor_of(error), inputs, failed)]
            except LMError:
                raise
            except Exception as error:
                if not self._capture_crashes:
                    raise
                told = f"{type(error).__name__}: {error}"
                logger.warning(f"Program raised on an example; capturing it as a failed prediction: {told}")
                return FailedPrediction(completion_text=told), list(trace)

    def _unreadable(self, error: AdapterParseError) -> FailedPrediction:
        if self._log_failures:
            logger.warning(
                "Failed to parse output for example. This is likely due to the LLM response not following "
                "the adapter's formatting."
            )
        # dspy divides a list by a list here, and loses the runs of which a part was read.
        part = len(error.parsed_result or {}) / max(1, len(error.signature.output_fields))
        reward = self._format_failure_score + (self._failure_score - self._format_failure_score) * part
        return FailedPrediction(completion_text=error.lm_response, format_reward=reward)

    def _predictor_of(self, error: AdapterParseError) -> Any:
        for predictor in self._program.predictors():
            if predictor.signature == error.signature:
                return predictor
        raise ValueError(f"Failed to find the predictor for the failed signature: {error.signature}") from error
