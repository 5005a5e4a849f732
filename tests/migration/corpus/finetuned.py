"""Weights are trained."""

import dspy
from dspy.teleprompt.grpo import GRPO


class Answer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


def train(trainset, metric):
    student = Answer()
    tuned = dspy.BootstrapFinetune(metric=metric, num_threads=8).compile(student, trainset=trainset)
    return GRPO(metric=metric).compile(tuned, trainset=trainset)
