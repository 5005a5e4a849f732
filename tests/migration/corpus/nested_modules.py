"""Modules in modules, in lists and dicts, with helper methods and a reward."""

import dspy


class Summarize(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summarize = dspy.Predict("text -> summary")

    def forward(self, text: str):
        return self.summarize(text=text)


class Critique(dspy.Module):
    def __init__(self, strict: bool = False):
        super().__init__()
        signature = dspy.Signature("text, summary -> critique, score: float", "Judge a summary.")
        self.judge = dspy.ChainOfThought(signature) if strict else dspy.Predict(signature)

    def forward(self, text, summary):
        return self.judge(text=text, summary=summary)


class Report(dspy.Module):
    def __init__(self):
        super().__init__()
        self.parts = {"summary": Summarize(), "critique": Critique(strict=True)}
        self.titles = [dspy.Predict("summary -> title")]

    def _judge(self, text, summary):
        critique = self.parts["critique"](text=text, summary=summary)
        return critique.score, critique.critique

    def forward(self, text):
        summary = self.parts["summary"](text=text).summary
        score, critique = self._judge(text, summary)
        title = self.titles[0](summary=summary).title
        return dspy.Prediction(title=title, summary=summary, score=score, critique=critique)


def short(args, prediction):
    return 1.0 if len(prediction.summary) < 40 else 0.0


best = dspy.BestOfN(module=Summarize(), N=2, reward_fn=short, threshold=1.0)

ANSWERS = [
    {"summary": "It rained."},
    {"reasoning": "Short.", "critique": "good", "score": 0.9},
    {"title": "Rain"},
    {"summary": "It rained all day, and then it rained all night, and then it stopped."},
    {"summary": "Rain."},
]


def run():
    report = Report()(text="It rained all day.")
    chosen = best(text="It rained all day.")
    return {"title": report.title, "score": report.score, "critique": report.critique, "chosen": chosen.summary}
