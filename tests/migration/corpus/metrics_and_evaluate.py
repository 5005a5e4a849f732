"""Metrics with and without a judge, and an evaluation."""

import dspy
from dspy.evaluate import Evaluate, answer_exact_match


class Assess(dspy.Signature):
    """Assess the answer along one dimension."""

    answer = dspy.InputField()
    criterion = dspy.InputField()
    verdict: bool = dspy.OutputField()


judge = dspy.ChainOfThought(Assess)


def engaging(example, prediction, trace=None):
    verdict = judge(answer=prediction.answer, criterion="Is it engaging?").verdict
    correct = answer_exact_match(example, prediction)
    return (1.0 if correct else 0.0) + (0.5 if verdict else 0.0)


qa = dspy.Predict("question -> answer")
devset = [dspy.Example(question="2+2?", answer="4").with_inputs("question")]
evaluate = Evaluate(devset=devset, metric=engaging, num_threads=1, display_progress=False, display_table=0)

ANSWERS = [{"answer": "4"}, {"reasoning": "Dull, but right.", "verdict": True}]


def run():
    result = evaluate(qa)
    return {"score": result.score, "results": [(pred.answer, score) for _, pred, score in result.results]}
