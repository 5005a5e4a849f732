"""Metrics of texts, as dspy 3.4 computes them: exact match, token F1, and whether a passage holds the answer.

    answer_exact_match(Example(answer=["Eiffel Tower", "Louvre"]), Prediction(answer="The Eiffel Tower"))    # True

Texts are compared after `normalize_text`: without case, punctuation, English articles and superfluous space.
"""

from __future__ import annotations

import logging
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["EM", "F1", "HotPotF1", "answer_exact_match", "answer_passage_match", "normalize_text"]

logger = logging.getLogger("dspex.engine.evaluation")

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = ("yes", "no", "noanswer")


def normalize_text(s: str) -> str:
    """A text as it is compared: decomposed (NFD), lower case, without ASCII punctuation and English articles, one space
    between words.
    """
    bare = unicodedata.normalize("NFD", s).lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def EM(prediction: str, answers_list: list[str]) -> bool:
    """Whether the prediction is one of the answers, after normalization.

    Raises:
        ValueError: `answers_list` is not a list, or is empty.
    """
    return max(normalize_text(prediction) == normalize_text(answer) for answer in _answers(answers_list))


def F1(prediction: str, answers_list: list[str]) -> float:
    """The best token F1 (0 to 1) over the answers, after normalization. Raises as `EM`."""
    return max(_f1(normalize_text(prediction), normalize_text(answer)) for answer in _answers(answers_list))


def HotPotF1(prediction: str, answers_list: list[str]) -> float:
    """As `F1`, but 0 where one side is "yes", "no" or "noanswer" and the other is not the same. Raises as `EM`."""

    def score(answer: str) -> float:
        said, right = normalize_text(prediction), normalize_text(answer)
        return 0 if said != right and (said in _VERDICTS or right in _VERDICTS) else _f1(said, right)

    return max(score(answer) for answer in _answers(answers_list))


def _answers(answers_list: object) -> list[str]:
    if not isinstance(answers_list, list):
        raise ValueError(f"`answers_list` must be a list, got {type(answers_list)}")
    return answers_list  # pyright: ignore[reportUnknownVariableType]


def _f1(said: str, right: str) -> float:
    mine, theirs = said.split(), right.split()
    same = (Counter(mine) & Counter(theirs)).total()
    if not mine and not theirs:
        logger.info("F1 of two texts that are empty after normalization counts as 0, as in dspy.")
    if same == 0:
        return 0
    precision, recall = same / len(mine), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def answer_exact_match(example: Any, pred: Any, trace: object = None, frac: float = 1.0) -> bool:
    """Whether `pred.answer` is `example.answer`, or one of them when that is a list.

    With `frac` below 1, whether the best token F1 reaches it.

    Raises:
        ValueError: `example.answer` is neither a str nor a list.
    """
    answers = _references(example)
    return EM(pred.answer, answers) if frac >= 1.0 else F1(pred.answer, answers) >= frac


def answer_passage_match(example: Any, pred: Any, trace: object = None) -> bool:
    """Whether a passage of `pred.context` holds `example.answer`, or one of them, as a run of words. Raises as
    `answer_exact_match`.
    """
    answers = [list(_tokens(normalize_text(answer))) for answer in _references(example)]
    return any(_holds(list(_tokens(normalize_text(passage))), answers) for passage in pred.context)


def _references(example: Any) -> list[str]:
    answer: object = example.answer
    if isinstance(answer, str):
        return [answer]
    if isinstance(answer, list):
        return answer  # pyright: ignore[reportUnknownVariableType]
    raise ValueError(f"Invalid answer type: {type(answer)}")


def _holds(text: Sequence[str], answers: Sequence[Sequence[str]]) -> bool:
    return any(
        text[start : start + len(answer)] == answer
        for answer in answers
        for start in range(len(text) - len(answer) + 1)
    )


def _tokens(text: str) -> Iterator[str]:
    """Words of letters, digits and marks; every other visible character by itself."""
    word = ""
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind in "LNM":
            word += character
            continue
        if word:
            yield word
            word = ""
        if kind not in "ZC":
            yield character
    if word:
        yield word
