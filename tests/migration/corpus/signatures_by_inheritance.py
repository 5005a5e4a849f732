"""Signatures that derive from each other and are edited."""

from typing import List

import dspy
from dspy import InputField, OutputField, Predict, Signature


class Task(Signature):
    """Do the task."""

    question: str = InputField()
    answer: str = OutputField()


class WithSources(Task):
    """Do the task, and name your sources."""

    sources: List[str] = OutputField(desc="titles only")


class WithTone(WithSources):
    tone: str = InputField(desc="how to write")


def careful(signature):
    edited = signature.with_instructions(signature.instructions + " Be careful.")
    return edited.append("sure", OutputField(desc="yes or no"), type_=bool)


class Ask(dspy.Module):
    def __init__(self, signature=WithTone):
        super().__init__()
        self.ask = Predict(careful(signature))

    def forward(self, **inputs):
        return self.ask(**inputs)


ANSWERS = [{"answer": "4", "sources": ["Arithmetic"], "sure": True}]


def run():
    made = Ask()(question="2 + 2?", tone="dry")
    return {"answer": made.answer, "sources": made.sources, "sure": made.sure}
