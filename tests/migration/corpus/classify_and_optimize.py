"""A classifier, its metric, an optimizer and its saved state."""

import json
from typing import Literal

import dspy
from dspy.evaluate import Evaluate
from dspy.teleprompt import BootstrapFewShot, LabeledFewShot

LABELS = ("billing", "delivery", "other")


class Classify(dspy.Signature):
    """Find the department that answers a message."""

    message: str = dspy.InputField()
    department: Literal["billing", "delivery", "other"] = dspy.OutputField()


class Triage(dspy.Module):
    def __init__(self):
        self.classify = dspy.Predict(Classify)

    def forward(self, message):
        return self.classify(message=message)


def same_department(example, prediction, trace=None):
    return example.department == prediction.department


trainset = [
    dspy.Example(message="The invoice is wrong", department="billing").with_inputs("message"),
    dspy.Example(message="Where is my parcel?", department="delivery").with_inputs("message"),
]

ANSWERS = [
    {"department": "billing"},
    {"department": "delivery"},
    {"department": "billing"},
    {"department": "delivery"},
    {"department": "other"},
]


def run():
    optimizer = BootstrapFewShot(metric=same_department, max_bootstrapped_demos=2, max_labeled_demos=2)
    compiled = optimizer.compile(Triage(), trainset=trainset)
    evaluate = Evaluate(devset=trainset, metric=same_department, num_threads=1, display_progress=False)
    score = evaluate(compiled)
    state = compiled.dump_state()
    demos = [{key: demo[key] for key in ("message", "department")} for demo in state["classify"]["demos"]]
    last = compiled(message="Do you sell lamps?")
    return {"score": score.score, "demos": json.loads(json.dumps(demos)), "last": last.department}


def main():
    dspy.settings.configure(lm=dspy.LM(model="openai/gpt-4o-mini", max_tokens=200))
    small = LabeledFewShot(k=2).compile(Triage(), trainset=trainset)
    small.save("triage.json")
    again = Triage()
    again.load("triage.json")


if __name__ == "__main__":
    main()
