"""Programs to compare, as they stand in a code base: this module says `import dspy`."""

import dspy
from dspex.router import ProgramSpec


class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.ask(question=question)


class Twice(dspy.Module):
    """Asks the model twice."""

    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.Predict("question -> answer")

    def forward(self, question):
        found = self.first(question=question)
        return self.second(question=f"{found.answer}!")


class Differs(dspy.Module):
    """Not the same on both engines, on every second question."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        answer = self.ask(question=question).answer
        number = int("".join(filter(str.isdigit, question)))
        native = __name__ != "compared_programs"  # then this module is the engine's copy of it
        return dspy.Prediction(answer=f"{answer}<script>alert(1)</script>" if native and number % 2 else answer, same=1.0)


class Fails(dspy.Module):
    """Fails natively on 1, in dspy on 2, and in both on 3."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question):
        native = __name__ != "compared_programs"  # then this module is the engine's copy of it
        if "3" in question or (native and "1" in question) or (not native and "2" in question):
            raise LookupError(f"no <answer> to {question}")
        return self.ask(question=question)


def build():
    return QA()


both = ProgramSpec.of_signature("qa", "question -> answer")
only_native = ProgramSpec("own", native=lambda: None)
seven = 7
