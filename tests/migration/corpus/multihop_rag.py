"""Multi-hop question answering over a search function of the program's own."""

import dspy

PASSAGES = {
    "largest lake of the alps": ["Lake Geneva | Lake Geneva lies between Switzerland and France."],
    "rivers of lake geneva": ["Rhone | The Rhone enters and leaves Lake Geneva."],
}


def search(query: str, k: int = 3) -> list[str]:
    found = PASSAGES.get(query.strip().lower(), [])
    return found[:k]


def deduplicate(passages):
    return list(dict.fromkeys(passages))


class GenerateQuery(dspy.Signature):
    """Write a search query that helps to answer the question."""

    context = dspy.InputField(desc="what is known so far")
    question = dspy.InputField()
    query = dspy.OutputField()


class MultiHop(dspy.Module):
    def __init__(self, max_hops=2, passages_per_hop=3):
        super().__init__()
        self.generate_query = [dspy.ChainOfThought(GenerateQuery) for _ in range(max_hops)]
        self.generate_answer = dspy.ChainOfThought("context, question -> answer")
        self.max_hops = max_hops
        self.passages_per_hop = passages_per_hop

    def forward(self, question):
        context = []
        for hop in range(self.max_hops):
            query = self.generate_query[hop](context=context, question=question).query
            context = deduplicate(context + search(query, k=self.passages_per_hop))
        prediction = self.generate_answer(context=context, question=question)
        return dspy.Prediction(context=context, answer=prediction.answer)


ANSWERS = [
    {"reasoning": "First the lake.", "query": "largest lake of the Alps"},
    {"reasoning": "Then the river.", "query": "rivers of Lake Geneva"},
    {"reasoning": "The passage says so.", "answer": "the Rhone"},
]


def run():
    found = MultiHop()(question="Which river leaves the largest lake of the Alps?")
    return {"answer": found.answer, "context": found.context}


if __name__ == "__main__":
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    print(run())
