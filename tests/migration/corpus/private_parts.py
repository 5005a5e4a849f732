"""Steps of dspy's own are overridden and called."""

import dspy
from dspy.clients.openai import OpenAIProvider
from dspy.predict.predict import Predict


class Traced(Predict):
    def _forward_preprocess(self, **kwargs):
        print(kwargs)
        return super()._forward_preprocess(**kwargs)


class Loud(dspy.ChatAdapter):
    def _call_postprocess(self, *args, **kwargs):
        return super()._call_postprocess(*args, **kwargs)


class Uses(dspy.Module):
    def __init__(self):
        self.ask = Traced("question -> answer")

    def forward(self, question):
        return self.ask(question=question)


provider = OpenAIProvider()
