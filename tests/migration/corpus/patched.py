"""dspy is changed before it is used."""

from unittest.mock import patch

import dspy

original = dspy.Predict.forward


def counted(self, **kwargs):
    counted.calls += 1
    return original(self, **kwargs)


counted.calls = 0
dspy.Predict.forward = counted


class Ask(dspy.Module):
    def __init__(self):
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.ask(question=question)


def test_it():
    with patch("dspy.clients.lm.litellm_completion") as completion:
        completion.return_value = None
