"""`benchmark_native_vs_legacy`: one program on both engines, with the same data and the same model, as evidence.

    report = benchmark_native_vs_legacy("shop.answers:qa", rows, lm=LMSettings("openai/gpt-4o-mini", cache=False))
    report.parity                                    # 97.5% [92.9%, 99.1%]
    report.engines["native"].latency(95), report.engines["legacy"].lm_calls
    report.is_at_least(0.9)                          # by the lower bound

Row by row both engines are asked in turn, first the one and then the other, so that whatever the machine and the provider do
meanwhile they do to both. Each gets one question beforehand that is not counted (`warmup`): what a first call costs is paid
once, in a service too. Answers are compared by the metric as they come, so that a metric that fails does so at the first row.

A model that is asked twice may answer twice: `repeat=2` also shows how far each engine agrees with itself, which bounds how
far the two can agree. `LMSettings(..., options={"temperature": 0})` keeps that apart from what is to be found out.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, cast, final

import anyio

from ..engine import Prediction
from ..engine.lm.local import LocalModelSpec
from ..engine.sync import SyncInsideLoopError
from ..legacy import LMSettings, PoolOptions
from ..router import BadMetric, Engine, Metric, ProgramSpec, Scores, fields_equal
from ..router.comparison import TOLERANCE, plain, scores_of
from .both_engines import Answered, BothEngines, open_both
from .compared_program import ComparedProgram, compared_program
from .comparison_data import Row, rows_of
from .comparison_report import ENGINES, ComparisonReport, Difference, EngineFigures
from .errors import NotComparable
from .interval import Interval, interval

__all__ = ["abenchmark_native_vs_legacy", "benchmark_native_vs_legacy"]

DIFFERENCES: Final = 100
"""Rows that a report shows in full, of those that differ."""

Progress = Callable[[int, int], None]


def benchmark_native_vs_legacy(
    program: str | ProgramSpec | ComparedProgram,
    test_data: Iterable[object],
    *,
    lm: LMSettings | None = None,
    local: LocalModelSpec | None = None,
    metric: Metric | None = None,
    tolerance: float = TOLERANCE,
    ignore: Sequence[str] = ("reasoning",),
    module: Literal["Predict", "ChainOfThought"] = "Predict",
    state: Mapping[str, object] | None = None,
    inputs: Sequence[str] | None = None,
    repeat: int = 1,
    concurrency: int = 1,
    warmup: int = 1,
    within: float = 60.0,
    confidence: float = 0.95,
    pool: PoolOptions | None = None,
    progress: Progress | None = None,
) -> ComparisonReport:
    """Run a program on both engines with the same data and model. Blocks; see `abenchmark_native_vs_legacy`.

    Raises SyncInsideLoopError on a running event loop: await the other one there.
    """
    work = partial(
        abenchmark_native_vs_legacy,
        program,
        test_data,
        lm=lm,
        local=local,
        metric=metric,
        tolerance=tolerance,
        ignore=ignore,
        module=module,
        state=state,
        inputs=inputs,
        repeat=repeat,
        concurrency=concurrency,
        warmup=warmup,
        within=within,
        confidence=confidence,
        pool=pool,
        progress=progress,
    )
    try:
        anyio.get_current_task()
    except RuntimeError:  # no loop runs here
        return anyio.run(work)
    raise SyncInsideLoopError("an event loop runs in this thread: await abenchmark_native_vs_legacy(...) instead")


async def abenchmark_native_vs_legacy(
    program: str | ProgramSpec | ComparedProgram,
    test_data: Iterable[object],
    *,
    lm: LMSettings | None = None,
    local: LocalModelSpec | None = None,
    metric: Metric | None = None,
    tolerance: float = TOLERANCE,
    ignore: Sequence[str] = ("reasoning",),
    module: Literal["Predict", "ChainOfThought"] = "Predict",
    state: Mapping[str, object] | None = None,
    inputs: Sequence[str] | None = None,
    repeat: int = 1,
    concurrency: int = 1,
    warmup: int = 1,
    within: float = 60.0,
    confidence: float = 0.95,
    pool: PoolOptions | None = None,
    progress: Progress | None = None,
) -> ComparisonReport:
    """Run a program on both engines with the same data and model, and say how they compare.

    Args:
        program: the import path of a program, a factory or a `ProgramSpec`; a signature, with ``module``; a spec; or
            what `compared_program` made of one of these.
        test_data: mappings or examples, see `comparison_data`. What they expect is compared too, where they do.
        lm: the model of both engines. A cache would answer for the second: ``cache=False`` is used whatever it says. With
            ``local`` it may be left out; without either, each engine uses what the program itself brings.
        local: a model on this machine, served while the comparison runs.
        metric: ``(legacy, native)`` to a bool, a number from 0 to 1, or these by field; may be async. By default fields
            are equal or not. Against expected outputs it is given ``(expected, answer)``.
        tolerance: without a metric, the relative difference up to which numbers are equal.
        ignore: without a metric, the outputs that may differ.
        state: of the program, as ``program.save`` wrote it.
        inputs: which names of a row are inputs, where the program does not say.
        repeat: how often each row is asked of each engine.
        concurrency: rows at a time. Above 1, latencies are those under that load; the pool has so many workers.
        warmup: first questions that are not counted.
        within: seconds for one question of one engine.
        confidence: of all intervals.
        pool: everything else about the workers: their interpreter, environment, paths.
        progress: called with questions done and in all, each being one row on both engines.

    Raises:
        ProgramNotFound, NotComparable, BadData: before anything is started.
        MissingLegacy, EngineNotStarted: an engine cannot be had; nothing was asked.
        NotComparable: the metric failed. What the programs raise is counted, not raised.

    Cancelled: both engines stop, and nothing is left behind.
    """
    _check(repeat, concurrency, warmup, within, confidence)
    compared = compared_program(program, module=module, state=state)
    rows = rows_of(test_data, compared, inputs=inputs)
    if lm is None and local is not None:
        lm = LMSettings(f"openai/{local.name}", api_base=local.base_url, api_key="local")
    if lm is not None:
        if lm.host:
            raise NotComparable("LMSettings(host=True) has the native client ask for both engines: compare without it")
        lm = replace(lm, cache=False)
    began = time.perf_counter()
    async with open_both(compared, lm=lm, local=local, pool=pool, concurrency=concurrency) as engines:
        for row in rows[:warmup]:
            for engine in ENGINES:
                await engines.ask(engine, row.inputs, within)
        judge = _Judge(metric, fields_equal(tolerance=tolerance, ignore=ignore))
        run = _Run(engines, rows, judge, repeat=repeat, within=within, progress=progress)
        await run.all(concurrency)
        memory = await engines.memory()
        dspy = await engines.dspy_version()
    tally = _Tally(rows, run.pairs, confidence)
    return ComparisonReport(
        program=compared.shown,
        model=None if lm is None else lm.model,
        rows=len(rows),
        repeat=repeat,
        concurrency=concurrency,
        confidence=confidence,
        parity=tally.parity(),
        fields=tally.fields(),
        failed_on_both=sum(all(pair.neither for pair in run.pairs[row.number]) for row in rows),
        engines={engine: tally.figures(engine) for engine in ENGINES},
        memory=memory,
        differences=tuple(tally.differences()[:DIFFERENCES]),
        different=len(tally.differences()),
        seconds=time.perf_counter() - began,
        versions={"dspex": _version(), "dspy": dspy, "python": platform.python_version()},
    )


def _check(repeat: int, concurrency: int, warmup: int, within: float, confidence: float) -> None:
    counts = {"repeat": (repeat, 1), "concurrency": (concurrency, 1), "warmup": (warmup, 0)}
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NotComparable(f"{name} counts, from {least} on, and is not {value!r}")
    if not within > 0:
        raise NotComparable(f"within is more than 0 seconds, not {within!r}")
    if not 0 < confidence < 1:
        raise NotComparable(f"confidence is between 0 and 1, as in 0.95, not {confidence!r}")


# --- judging --------------------------------------------------------------------------------------------------------------


@final
class _Judge:
    """By the user's metric, or by ``equal`` where there is none."""

    def __init__(self, metric: Metric | None, equal: Metric) -> None:
        self._own = metric is not None
        self._metric = metric or equal

    async def scores(self, one: Prediction, other: Prediction, row: Row) -> Scores:
        """What the metric says. Raises NotComparable for one that fails."""
        try:
            return await scores_of(self._metric, one, other)
        except BadMetric as error:
            raise NotComparable(f"row {row.number}: {error}") from error
        except Exception as error:  # whatever a metric raises
            raise NotComparable(f"the metric failed on row {row.number} ({type(error).__name__}: {error})") from error

    async def against(self, row: Row, answers: Mapping[Engine, Prediction | None]) -> dict[Engine, Scores]:
        """Each answer against what is expected. Without a metric, only outputs count that are expected: what else an answer
        has is no mistake, and what no engine gives (a number of the row, a source) is no output."""
        given = [answer for answer in answers.values() if answer is not None]
        names = [name for name in row.expected if self._own or any(name in answer for answer in given)]
        if not names:
            return {}
        expected = Prediction(**{name: row.expected[name] for name in names})
        scored: dict[Engine, Scores] = {}
        for engine, answer in answers.items():
            if answer is not None:
                told = answer if self._own else Prediction(**{name: answer[name] for name in names if name in answer})
                scored[engine] = await self.scores(expected, told, row)
        return scored


# --- asking ---------------------------------------------------------------------------------------------------------------


@final
@dataclass(slots=True)
class _Pair:
    """One row, once, on both engines."""

    answers: dict[Engine, Answered]
    agreement: Scores | None = None
    """None: one of them did not answer, or neither."""
    against: dict[Engine, Scores] = field(default_factory=dict[Engine, Scores])
    """Each against what is expected."""
    again: dict[Engine, Scores] = field(default_factory=dict[Engine, Scores])
    """Each against its own first answer to this row."""

    @property
    def neither(self) -> bool:
        return all(answer.prediction is None for answer in self.answers.values())

    @property
    def score(self) -> float | None:
        if self.agreement is not None:
            return self.agreement.score
        return None if self.neither else 0.0


@final
class _Run:
    """Asks everything."""

    def __init__(
        self,
        engines: BothEngines,
        rows: Sequence[Row],
        judge: _Judge,
        *,
        repeat: int,
        within: float,
        progress: Progress | None,
    ) -> None:
        self._engines = engines
        self._judge = judge
        self._within = within
        self._progress = progress
        self._total = len(rows) * repeat
        self._waiting = iter([(time, row) for time in range(repeat) for row in rows])
        self._done = 0
        self.pairs: dict[int, list[_Pair]] = {row.number: [] for row in rows}

    async def all(self, concurrency: int) -> None:
        """Ask ``concurrency`` rows at a time. Raises NotComparable for a metric that fails."""
        failed: list[NotComparable] = []
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                try:
                    for time, row in self._waiting:
                        await self._pair(time, row)
                except NotComparable as error:
                    failed.append(error)
                    tasks.cancel_scope.cancel()

            for _ in range(concurrency):
                tasks.start_soon(work)
        if failed:
            raise failed[0]

    async def _pair(self, time: int, row: Row) -> None:
        # Whoever comes second finds the provider's connection and its cache of prompts warmed by the first.
        order = ENGINES if (row.number + time) % 2 else ENGINES[::-1]
        answers: dict[Engine, Answered] = {}
        for engine in order:
            answers[engine] = await self._engines.ask(engine, row.inputs, self._within)
        pair = _Pair(answers)
        native, legacy = (answers[engine].prediction for engine in ENGINES)
        if native is not None and legacy is not None:
            pair.agreement = await self._judge.scores(legacy, native, row)
        if row.expected:
            pair.against = await self._judge.against(row, {engine: answers[engine].prediction for engine in ENGINES})
        for engine in ENGINES if self.pairs[row.number] else ():
            first, answer = self.pairs[row.number][0].answers[engine].prediction, answers[engine].prediction
            if first is not None and answer is not None:
                pair.again[engine] = await self._judge.scores(first, answer, row)
        self.pairs[row.number].append(pair)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


# --- counting -------------------------------------------------------------------------------------------------------------


@final
class _Tally:
    """Counts what was asked. A row counts once, with the mean of its repeats: they are no evidence of their own."""

    def __init__(self, rows: Sequence[Row], pairs: Mapping[int, Sequence[_Pair]], confidence: float) -> None:
        self._rows = {row.number: row for row in rows}
        self._pairs = pairs
        self._confidence = confidence

    def _interval(self, by_row: Iterable[Sequence[float]]) -> Interval:
        return interval([sum(scores) / len(scores) for scores in by_row if scores], self._confidence)

    def parity(self) -> Interval:
        return self._interval(
            [pair.score for pair in pairs if pair.score is not None] for pairs in self._pairs.values()
        )

    def fields(self) -> dict[str, Interval]:
        return self._by_field([[pair.agreement for pair in pairs] for pairs in self._pairs.values()])

    def _by_field(self, by_row: Sequence[Sequence[Scores | None]]) -> dict[str, Interval]:
        names = dict.fromkeys(name for row in by_row for scores in row if scores is not None for name in scores.fields)
        return {
            name: self._interval(
                [scores.fields[name] for scores in row if scores is not None and name in scores.fields]
                for row in by_row
            )
            for name in names
        }

    def figures(self, engine: Engine) -> EngineFigures:
        asked = [pair.answers[engine] for pairs in self._pairs.values() for pair in pairs]
        answered = [each for each in asked if each.prediction is not None]
        examples: dict[str, str] = {}
        for each in asked:
            if each.error:
                examples.setdefault(each.error, each.message)
        calls = [each.lm_calls for each in answered]
        against = [[pair.against.get(engine) for pair in pairs] for pairs in self._pairs.values()]
        expects = any(row.expected for row in self._rows.values())
        return EngineFigures(
            answered=len(answered),
            errors=dict(Counter(each.error for each in asked if each.error)),
            examples=examples,
            latencies_s=tuple(each.seconds for each in answered),
            lm_calls=None if None in calls else sum(cast("list[int]", calls)),
            tokens=_tokens(answered),
            accuracy=self._interval(self._accuracies(engine)) if expects else None,
            accuracy_fields=self._by_field(against) if expects else {},
            agrees_with_itself=self._itself(engine),
        )

    def _itself(self, engine: Engine) -> Interval | None:
        if all(len(pairs) < 2 for pairs in self._pairs.values()):
            return None
        return self._interval(
            [pair.again[engine].score for pair in pairs if engine in pair.again] for pairs in self._pairs.values()
        )

    def _accuracies(self, engine: Engine) -> Iterable[Sequence[float]]:
        """An engine that does not answer is wrong."""
        for number, pairs in self._pairs.items():
            if self._rows[number].expected:
                unanswered = [0.0 for pair in pairs if pair.answers[engine].prediction is None]
                yield unanswered + [pair.against[engine].score for pair in pairs if engine in pair.against]

    def differences(self) -> list[Difference]:
        found: list[Difference] = []
        for number, pairs in self._pairs.items():
            worst = min(pairs, key=lambda pair: 1.0 if pair.score is None else pair.score)
            score = worst.score
            if score is not None and score < 1:
                native, legacy = (_shown(worst.answers[engine]) for engine in ENGINES)
                fields = {} if worst.agreement is None else dict(worst.agreement.fields)
                inputs = {name: plain(value) for name, value in self._rows[number].inputs.items()}
                found.append(Difference(number, score, fields, inputs, native, legacy))
        return found


def _shown(answer: Answered) -> dict[str, Any] | str:
    if answer.prediction is None:
        return f"{answer.error}: {answer.message}"
    return {name: plain(value) for name, value in answer.prediction.items()}


def _tokens(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    totals: dict[str, dict[str, float]] = {}
    for answer in answers:
        for model, counted in answer.tokens.items():
            counts: Mapping[str, object] = cast("Any", counted) if isinstance(counted, Mapping) else {}
            total = totals.setdefault(model, {})
            for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
                value = counts.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    total[name] = total.get(name, 0) + value
    return totals


def _version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from its source
        return ""
