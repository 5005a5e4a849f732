"""`majority`: the answer that most candidates give."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ..example import Completions, Prediction

__all__ = ["default_normalize", "majority", "normalize_text"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_text(text: str) -> str:
    """Lower case, decomposed (NFD), without ASCII punctuation and English articles, single spaces."""
    plain = unicodedata.normalize("NFD", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def default_normalize(text: str) -> str | None:
    """`normalize_text`; None, which does not vote, when nothing is left."""
    return normalize_text(text) or None


def majority(
    prediction_or_completions: Prediction | Completions | list[Any],
    normalize: Callable[[Any], Any] | None = default_normalize,
    field: str | None = None,
) -> Prediction:
    """The first candidate whose value of `field` is the most frequent; of equally frequent ones the earliest.

    Args:
        prediction_or_completions: the candidates.
        normalize: what makes two values count as one; None: they must be equal. Values it maps to None do not vote,
            unless all do.
        field: default the last output of the signature, or without one the last field.

    Raises:
        AssertionError: it is none of the three kinds.
    """
    if not isinstance(prediction_or_completions, Prediction | Completions | list):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise AssertionError("majority takes a Prediction, Completions or a list of candidates")
    candidates: Any = prediction_or_completions
    if isinstance(candidates, Prediction):
        candidates = candidates.completions
    signature: Any = getattr(candidates, "signature", None)
    name: str = field or (list(signature.output_fields)[-1] if signature else list(candidates[0].keys())[-1])
    rows = cast("Sequence[Mapping[str, Any]]", [candidates[index] for index in range(len(candidates))])
    values: list[Any] = [row[name] if normalize is None else normalize(row[name]) for row in rows]
    votes: dict[Any, int] = {}
    for value in [value for value in values if value is not None] or values:
        votes[value] = votes.get(value, 0) + 1
    winner = max(votes, key=lambda value: votes[value])
    chosen = next(row for row, value in zip(rows, values, strict=True) if value == winner)
    return Prediction.from_completions([chosen], signature=signature)
