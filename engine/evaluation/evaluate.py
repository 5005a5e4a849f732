"""`Evaluate`: run a program on examples, some at a time, and score what it says.

    evaluate = Evaluate(devset=devset, metric=answer_exact_match, num_threads=32)
    result = await evaluate.acall(program)         # or evaluate(program) outside an event loop
    result.score, result.results

Names, parameters and results are those of dspy 3.4. Everything runs on one event loop: `num_threads` counts examples at a
time, not threads. A metric may be a function, an async function or a module; one that is not async runs in a thread, where
it may ask a model synchronously.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, ClassVar

from ..callbacks import with_callbacks
from ..example import Prediction
from ..logs import engine_logger
from ..off_loop import ask, is_async
from ..parallel import Parallel
from ..settings import settings
from ..sync import run_sync
from .metric_threads import MetricThreads
from .results import EvaluationResult, Scored, metric_name, rows_of, show, write_csv, write_json

__all__ = ["Evaluate"]

logger = engine_logger("dspex.engine.evaluation", dspy="dspy.evaluate.evaluate")

Metric = Callable[..., Any]


class Evaluate:
    """Scores programs on a set of examples. One object may evaluate many programs, also at the same time."""

    callback_kind: ClassVar[str] = "evaluate"

    def __init__(
        self,
        *,
        devset: Sequence[Any],
        metric: Metric | None = None,
        num_threads: int | None = None,
        display_progress: bool = False,
        display_table: bool | int = False,
        max_errors: int | None = None,
        provide_traceback: bool | None = None,
        failure_score: float = 0.0,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Describe the evaluation.

        Args:
            devset: examples with their inputs named (`Example(...).with_inputs(...)`).
            metric: called with the example and the prediction; returns a number or a bool.
            num_threads: examples at a time; None: the setting of this name.
            display_progress: show the running average.
            display_table: show the results as a table; a number: only so many rows.
            max_errors: so many examples that raise end the evaluation; None: the setting of this name.
            provide_traceback: log errors with their tracebacks; None: the setting of this name.
            failure_score: what an example that raised counts.
            save_as_csv, save_as_json: files for the results.

        Raises:
            ValueError: `return_outputs` was given, which dspy once had.
        """
        self.devset = devset
        self.metric = metric
        self.num_threads = num_threads
        self.display_progress = display_progress
        self.display_table = display_table
        self.max_errors = max_errors
        self.provide_traceback = provide_traceback
        self.failure_score = failure_score
        self.save_as_csv = save_as_csv
        self.save_as_json = save_as_json
        if "return_outputs" in kwargs:
            raise ValueError(
                "`return_outputs` is no longer supported. Results are always returned inside the `results` field of the "
                "`EvaluationResult` object."
            )

    def __call__(
        self,
        program: Any,
        metric: Metric | None = None,
        devset: Sequence[Any] | None = None,
        num_threads: int | None = None,
        display_progress: bool | None = None,
        display_table: bool | int | None = None,
        callback_metadata: dict[str, Any] | None = None,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
    ) -> EvaluationResult:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(
            self.acall,
            program,
            metric,
            devset,
            num_threads,
            display_progress,
            display_table,
            callback_metadata,
            save_as_csv,
            save_as_json,
        )

    @with_callbacks
    async def acall(
        self,
        program: Any,
        metric: Metric | None = None,
        devset: Sequence[Any] | None = None,
        num_threads: int | None = None,
        display_progress: bool | None = None,
        display_table: bool | int | None = None,
        callback_metadata: dict[str, Any] | None = None,
        save_as_csv: str | None = None,
        save_as_json: str | None = None,
    ) -> EvaluationResult:
        """Evaluate one program. What is not given here is the object's own.

        Returns:
            The score in percent, and `(example, prediction, score)` for each example in order. An example that raised
            has an empty prediction and the failure score, is logged, and is in `result.failures`.

        Raises:
            ValueError: there are no examples, or no metric.
            Exception: `max_errors` examples raised; the others were cancelled.
        Cancelled: every example in work is.
        """
        metric = metric if metric is not None else self.metric
        devset = devset if devset is not None else self.devset
        show_table = display_table if display_table is not None else self.display_table
        if not devset:
            raise ValueError("devset must contain at least one example, got an empty devset.")
        if metric is None:
            raise ValueError("Evaluate needs a metric: give metric=, a function of the example and the prediction.")
        if callback_metadata:
            logger.debug(f"Evaluate is called with callback metadata: {callback_metadata}")
        progress = _Progress(len(devset), self.display_progress if display_progress is None else display_progress)
        scoring = _Scoring(
            program,
            metric,
            progress,
            num_threads=num_threads if num_threads is not None else self.num_threads,
            max_errors=self.max_errors if self.max_errors is not None else settings.max_errors,
            provide_traceback=self.provide_traceback,
        )
        try:
            found, failed, errors = await scoring.of(devset)
        finally:
            progress.end()
        results: list[Scored] = []
        for example, one in zip(devset, found, strict=True):
            prediction, score = one if one is not None else (Prediction(), self.failure_score)
            results.append((example, prediction, score))
        correct, total = sum(score for *_, score in results), len(devset)
        logger.info(f"Average Metric: {correct} / {total} ({round(100 * correct / total, 1)}%)")
        result = EvaluationResult(score=round(100 * correct / total, 2), results=results)
        result.failures.extend(zip(failed, errors, strict=True))
        self._put_out(
            results,
            metric_name(metric),
            show_table,
            save_as_csv if save_as_csv is not None else self.save_as_csv,
            save_as_json if save_as_json is not None else self.save_as_json,
        )
        return result

    @staticmethod
    def _put_out(
        results: Sequence[Scored], name: str, table: bool | int, csv_file: str | None, json_file: str | None
    ) -> None:
        if not (table or csv_file or json_file):
            return
        rows = rows_of(results, name)
        if table:
            show(rows, name, table)
        if csv_file:
            write_csv(csv_file, rows)
        if json_file:
            write_json(json_file, rows)


class _Scoring(Parallel):
    """Runs and scores examples; the items are the examples themselves, each of which gives (prediction, score)."""

    def __init__(self, program: Any, metric: Metric, progress: _Progress, **options: Any) -> None:
        super().__init__(return_failed_examples=True, **options)
        self._program = program
        self._metric = metric
        self._progress = progress
        self._score: Callable[..., Any] = partial(ask, metric)

    async def of(self, examples: Sequence[Any]) -> Any:
        """The scored examples, those that failed, and why."""
        if is_async(self._metric):
            return await self.acall(examples)
        async with MetricThreads(self._metric, most=self.num_threads) as threads:
            self._score = threads.call
            return await self.acall(examples)

    async def run_pair(self, pair: Any) -> Any:
        example = pair
        prediction = await ask(self._program, **example.inputs())
        score = await self._score(example, prediction)
        if isawaitable(score):  # of a plain function that calls an async one
            score = await score
        if not _is_number(score):
            told = "None" if score is None else f"{score!r}, a {type(score).__name__}"
            raise TypeError(f"the metric {metric_name(self._metric)} returned {told}: it must return a number or a bool")
        self._progress.scored(score)
        return prediction, score

    def failed_item(self, pair: Any) -> Any:
        return pair


def _is_number(score: Any) -> bool:
    """Numbers of any kind, and predictions with a score, count; a text that reads as a number does not."""
    try:
        float(score)
    except (TypeError, ValueError):
        return False
    return not isinstance(score, str | bytes)


class _Progress:
    """The running average, on standard output: in place on a terminal, every tenth in a log."""

    def __init__(self, total: int, shown: bool) -> None:
        self._total = total
        self._shown = shown
        self._live = shown and sys.stdout.isatty()
        self._done = 0
        self._sum: Any = 0

    def scored(self, score: Any) -> None:
        """One more example has a score."""
        self._done += 1
        self._sum = self._sum + score
        if not self._shown or (not self._live and self._done % max(1, self._total // 10)):
            return
        percent = round(100 * float(self._sum) / self._done, 1)
        text = f"Average Metric: {float(self._sum):.2f} / {self._done} ({percent}%), {self._done} of {self._total} done"
        print(f"\r{text}" if self._live else text, end="" if self._live else "\n", flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._live and self._done:
            print(flush=True)
