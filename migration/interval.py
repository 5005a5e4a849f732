"""How sure a share is: an interval that holds the true one with a given confidence.

Where every score is 0 or 1, Wilson's interval, which stays honest at 0 % and 100 % and for few rows; else the percentile
bootstrap of the mean, with a fixed seed, so that the same data give the same interval; above `MANY` rows the normal one,
which by then is the same. All by the standard library.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Any, Final, Literal, final

MANY: Final = 2000
_RESAMPLES: Final = 1000
_SEED: Final = 20_240_601

Method = Literal["wilson", "bootstrap", "normal", "none"]


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """The mean of some scores from 0 to 1, and where the true mean lies with that confidence."""

    mean: float | None
    """None: there were no scores."""
    low: float
    high: float
    n: int
    """Scores that went into it."""
    method: Method
    """"none": there were no scores, and the interval is all there is."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n, "method": self.method}

    def __str__(self) -> str:
        if self.mean is None:
            return "nothing to compare"
        return f"{self.mean:.1%} [{self.low:.1%}, {self.high:.1%}]"


def interval(scores: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval of the mean of ``scores``, each from 0 to 1."""
    n = len(scores)
    if n == 0:
        return Interval(None, 0.0, 1.0, 0, "none")
    mean = fmean(scores)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    if all(score in (0.0, 1.0) for score in scores):
        low, high = _wilson(mean, n, z)
        return Interval(mean, low, high, n, "wilson")
    if n > MANY:
        half = z * stdev(scores) / math.sqrt(n)
        return Interval(mean, max(0.0, mean - half), min(1.0, mean + half), n, "normal")
    low, high = _bootstrap(scores, confidence)
    return Interval(mean, low, high, n, "bootstrap")


def _wilson(share: float, n: int, z: float) -> tuple[float, float]:
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At the ends the formula gives 0 and 1 but for the last digit.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def _bootstrap(scores: Sequence[float], confidence: float) -> tuple[float, float]:
    draw = random.Random(_SEED)
    n = len(scores)
    means = sorted(fmean(draw.choices(scores, k=n)) for _ in range(_RESAMPLES))
    cut = round(_RESAMPLES * (1 - confidence) / 2)
    return means[cut], means[_RESAMPLES - 1 - cut]


def quantile(values: Sequence[float], percent: float) -> float | None:
    """The smallest of the values that ``percent`` of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
