"""Metrics that ask a model: how much of the truth an answer covers, and how much of it is true.

    metric = SemanticF1()
    evaluate = Evaluate(devset=devset, metric=metric)

Both are programs, with the prompts and the saved state of dspy 3.4; they work on `example.question`, `example.response`
and `pred.response`.
"""

from __future__ import annotations

from typing import Any

from ..example import Prediction
from ..module import Module
from ..modules import ChainOfThought
from ..signatures import InputField, OutputField, Signature

__all__ = ["CompleteAndGrounded", "SemanticF1"]

_COVERED = "fraction (out of 1.0) of ground truth covered by the system response"
_CORRECT = "fraction (out of 1.0) of system response covered by the ground truth"
_TRUE_IDEAS = "enumeration of key ideas in the ground truth"
_SAID_IDEAS = "enumeration of key ideas in the system response"
_OVERLAP = "discussion of the overlap between ground truth and system response"


class SemanticRecallPrecision(Signature):
    """
    Compare a system's response to the ground truth to compute its recall and precision.
    If asked to reason, enumerate key ideas in each response, and whether they are present in the other response.
    """

    question: str = InputField()
    ground_truth: str = InputField()
    system_response: str = InputField()
    recall: float = OutputField(desc=_COVERED)
    precision: float = OutputField(desc=_CORRECT)


class DecompositionalSemanticRecallPrecision(Signature):
    """
    Compare a system's response to the ground truth to compute recall and precision of key ideas.
    You will first enumerate key ideas in each response, discuss their overlap, and then report recall and precision.
    """

    question: str = InputField()
    ground_truth: str = InputField()
    system_response: str = InputField()
    ground_truth_key_ideas: str = OutputField(desc=_TRUE_IDEAS)
    system_response_key_ideas: str = OutputField(desc=_SAID_IDEAS)
    discussion: str = OutputField(desc=_OVERLAP)
    recall: float = OutputField(desc=_COVERED)
    precision: float = OutputField(desc=_CORRECT)


class AnswerCompleteness(Signature):
    """
    Estimate the completeness of a system's responses, against the ground truth.
    You will first enumerate key ideas in each response, discuss their overlap, and then report completeness.
    """

    question: str = InputField()
    ground_truth: str = InputField()
    system_response: str = InputField()
    ground_truth_key_ideas: str = OutputField(desc=_TRUE_IDEAS)
    system_response_key_ideas: str = OutputField(desc=_SAID_IDEAS)
    discussion: str = OutputField(desc=_OVERLAP)
    completeness: float = OutputField(desc=_COVERED)


class AnswerGroundedness(Signature):
    """
    Estimate the groundedness of a system's responses, against real retrieved documents written by people.
    You will first enumerate whatever non-trivial or check-worthy claims are made in the system response, and then
    discuss the extent to which some or all of them can be deduced from the retrieved context and basic commonsense.
    """

    question: str = InputField()
    retrieved_context: str = InputField()
    system_response: str = InputField()
    system_response_claims: str = OutputField(
        desc="enumeration of non-trivial or check-worthy claims in the system response"
    )
    discussion: str = OutputField(desc="discussion of how supported the claims are by the retrieved context")
    groundedness: float = OutputField(
        desc="fraction (out of 1.0) of system response supported by the retrieved context"
    )


class SemanticF1(Module):
    """F1 of how much of the true response is covered and how much of the answer is in it, by a model's judgement.

    While an optimizer traces (`trace` is given), the score is whether it reaches `threshold`.
    """

    def __init__(self, threshold: float = 0.66, decompositional: bool = False) -> None:
        self.threshold = threshold
        self.module = ChainOfThought(
            DecompositionalSemanticRecallPrecision if decompositional else SemanticRecallPrecision
        )

    async def aforward(self, example: Any, pred: Any, trace: object = None) -> Prediction:
        """One request. The prediction has one field, `score`."""
        scores = await self.module.acall(
            question=example.question, ground_truth=example.response, system_response=pred.response
        )
        return _judgement(_harmonic(scores.precision, scores.recall), self.threshold, trace)


class CompleteAndGrounded(Module):
    """F1 of how complete an answer is and how much of it follows from `pred.context`, by a model's judgement."""

    def __init__(self, threshold: float = 0.66) -> None:
        self.threshold = threshold
        self.completeness_module = ChainOfThought(AnswerCompleteness)
        self.groundedness_module = ChainOfThought(AnswerGroundedness)

    async def aforward(self, example: Any, pred: Any, trace: object = None) -> Prediction:
        """Two requests, in dspy's order. The prediction has one field, `score`."""
        completeness = await self.completeness_module.acall(
            question=example.question, ground_truth=example.response, system_response=pred.response
        )
        groundedness = await self.groundedness_module.acall(
            question=example.question, retrieved_context=pred.context, system_response=pred.response
        )
        score = _harmonic(groundedness.groundedness, completeness.completeness)
        return _judgement(score, self.threshold, trace)


def _harmonic(precision: float, recall: float) -> float:
    precision, recall = (max(0.0, min(1.0, each)) for each in (precision, recall))
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def _judgement(score: float, threshold: float, trace: object) -> Prediction:
    return Prediction(score=score if trace is None else score >= threshold)
