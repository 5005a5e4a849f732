"""Programs to be explained from their source. Nothing here is meant to be imported: the first line would raise."""

raise RuntimeError("explain reads this file; it does not run it")

import dspy  # noqa: E402
from dspy import Signature as Sig  # noqa: E402
from dspy.teleprompt import BootstrapFinetune as Tune  # noqa: E402


class Look(Sig):
    """Look at a picture -> and say so: dspy.Audio."""

    picture: dspy.Image = dspy.InputField()
    answer: str = dspy.OutputField()


def fetch(question):
    return dspy.ColBERTv2(url="http://nowhere")(question)


class Seer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.look = dspy.ChainOfThought(Look)

    def forward(self, question, picture):
        return self.look(picture=picture, question=fetch(question))


def seer():
    return Seer()


def qa(ns):
    return ns.ReAct("question, notes: list[dspy.File] -> answer", tools=[])


def tuned():
    return Tune(metric=None)


def old():
    return dspy.Assert(True)


SIMPLE = dspy.Predict("question -> answer")
