"""Asking every row of both engines in turn, and comparing what comes as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import anyio

from ..engine import Prediction
from ..router import BadMetric, Engine, Metric, Scores
from ..router.comparison import scores_of
from .both_engines import Answered, BothEngines
from .comparison_data import Row
from .comparison_report import ENGINES
from .errors import NotComparable

Progress = Callable[[int, int], None]
"""Called with rows that are done and rows in all."""


@final
class Judge:
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


@final
@dataclass(slots=True)
class Pair:
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
        """Whether both failed."""
        return all(answer.prediction is None for answer in self.answers.values())

    @property
    def score(self) -> float | None:
        """How far they agree; None: there is nothing to compare."""
        if self.agreement is not None:
            return self.agreement.score
        return None if self.neither else 0.0


@final
class Run:
    """Asks everything."""

    def __init__(
        self,
        engines: BothEngines,
        rows: Sequence[Row],
        judge: Judge,
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
        self.pairs: dict[int, list[Pair]] = {row.number: [] for row in rows}

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
        pair = Pair(answers)
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
