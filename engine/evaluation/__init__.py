"""Evaluation: programs run on examples, and scored."""

from .evaluate import Evaluate
from .judged import CompleteAndGrounded, SemanticF1
from .metrics import EM, F1, HotPotF1, answer_exact_match, answer_passage_match, normalize_text
from .results import EvaluationResult

__all__ = [
    "EM",
    "F1",
    "CompleteAndGrounded",
    "Evaluate",
    "EvaluationResult",
    "HotPotF1",
    "SemanticF1",
    "answer_exact_match",
    "answer_passage_match",
    "normalize_text",
]
