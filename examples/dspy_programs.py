"""The programs of the demo as a team has them today: ordinary dspy, with nothing of dspex in it.

Only worker processes import this file. Each function makes one program; the pool names it by import path.
"""

import json
from pathlib import Path

import dspy

DEMOS = json.loads(Path(__file__).with_name("demos.json").read_text(encoding="utf-8"))


class Answering(dspy.Module):
    """Answers in JSON, which the smallest models manage better than dspy's chat layout."""

    def __init__(self, predictor: dspy.Module) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, **inputs):
        with dspy.context(adapter=dspy.JSONAdapter()):
            return self.predictor(**inputs)


def qa() -> dspy.Module:
    program = dspy.ChainOfThought("question, context: list[str] -> answer: str, score: float")
    program.predict.demos = DEMOS["qa"]
    return Answering(program)


def mood() -> dspy.Module:
    program = dspy.Predict("message -> mood: Literal['good', 'bad']")
    program.demos = DEMOS["mood"]
    return Answering(program)
