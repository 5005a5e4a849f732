"""What the answers of both engines come to: parity, and what each of them took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, final

from ..router import Engine, Scores
from ..router.comparison import plain
from .both_engines import Answered
from .comparison_data import Row
from .comparison_report import ENGINES, Difference, EngineFigures
from .comparison_run import Pair
from .interval import Interval, interval


@final
class Tally:
    """Counts what was asked. A row counts once, with the mean of its repeats: they are no evidence of their own."""

    def __init__(self, rows: Sequence[Row], pairs: Mapping[int, Sequence[Pair]], confidence: float) -> None:
        self._rows = {row.number: row for row in rows}
        self._pairs = pairs
        self._confidence = confidence

    def _interval(self, by_row: Iterable[Sequence[float]]) -> Interval:
        return interval([sum(scores) / len(scores) for scores in by_row if scores], self._confidence)

    def parity(self) -> Interval:
        """Over the rows that at least one engine answered."""
        return self._interval(
            [pair.score for pair in pairs if pair.score is not None] for pairs in self._pairs.values()
        )

    def failed_on_both(self) -> int:
        """Rows that neither ever answered."""
        return sum(all(pair.neither for pair in pairs) for pairs in self._pairs.values())

    def fields(self) -> dict[str, Interval]:
        """By output field, over the rows that both answered."""
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
        """What one engine took."""
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
        """Rows in which the engines differ, with the worst of their repeats."""
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
