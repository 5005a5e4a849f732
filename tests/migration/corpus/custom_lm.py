"""A model of one's own behind the client's interface."""

from types import SimpleNamespace

import dspy
from dspy.clients.base_lm import BaseLM


class EchoLM(BaseLM):
    def __init__(self, model="echo", **kwargs):
        super().__init__(model=model, model_type="chat", **kwargs)

    def forward(self, prompt=None, messages=None, **kwargs):
        text = "[[ ## answer ## ]]\nfrom " + self.model + "\n\n[[ ## completed ## ]]"
        message = SimpleNamespace(content=text, tool_calls=None, reasoning_content=None)
        choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return SimpleNamespace(choices=[choice], usage=usage, model=self.model)


ask = dspy.Predict("question -> answer")

ANSWERS = []


def run():
    lm = EchoLM()
    with dspy.context(lm=lm):
        made = ask(question="Who are you?")
    return {"answer": made.answer, "messages": lm.history[-1]["messages"]}
