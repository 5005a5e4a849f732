"""Programs written once, for either engine: the namespace is what they are given."""

from typing import Any


def qa(dspy: Any) -> Any:
    class Twice(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.think = dspy.ChainOfThought("question -> answer")

        def forward(self, question: str) -> Any:
            return self.think(question=question)

    return Twice()


def nothing(dspy: Any) -> Any:
    return None


def without_arguments() -> Any:
    return None


def two_steps(dspy: Any) -> Any:
    """A program with a `forward` of its own, which is all that a program of today's has."""

    class TwoSteps(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("question -> answer, score")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    return TwoSteps()
