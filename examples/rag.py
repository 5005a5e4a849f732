"""An answer from passages, with the passage it rests on.

The passages are an actor of the tree: they can be added to while questions are answered, are searched by meaning and by
words at once, and with `path=` they outlive the process. The program retrieves, answers from what was found, and says
which passage it used; what it cites is looked up, never taken from the model's words.
"""

from __future__ import annotations

from dspex.engine import ChainOfThought, Module, Prediction
from dspex.engine.lm.dummy_vectors import DummyVectorizer
from dspex.engine.retrieval import IndexRetriever, PassageIndex
from dspex.runtime import open_runtime
from on_a_model import run

PASSAGES = {
    "eiffel-place": "The Eiffel Tower is a tower in Paris, the capital of France.",
    "colosseum": "The Colosseum is an amphitheatre in Rome, the capital of Italy.",
    "otters": "Otters are mammals that live in rivers and eat fish.",
    "eiffel-size": "The Eiffel Tower was finished in 1889 and is 330 metres high.",
}


class Answer(Module):
    """Answers from passages, and cites one."""

    def __init__(self, retrieve: IndexRetriever) -> None:
        super().__init__()
        self.retrieve = retrieve
        self.answer = ChainOfThought("context: list[str], question -> answer: str, passage: int")
        self.answer.predict.demos = [
            {
                "context": ["Otters eat fish."],
                "question": "What do otters eat?",
                "reasoning": "The first passage says it.",
                "answer": "fish",
                "passage": 1,
            }
        ]

    async def aforward(self, question: str) -> Prediction:
        hits = (await self.retrieve.acall(question)).hits
        found = await self.answer.acall(context=[hit.passage for hit in hits], question=question)
        # A model may name a passage that it was not given: then nothing is cited.
        cited = hits[found.passage - 1] if 1 <= found.passage <= len(hits) else None
        return Prediction(context=[hit.passage for hit in hits], cited=cited, **found)


async def ask() -> Prediction:
    """Asks one question."""
    async with open_runtime() as rt:
        # Counts of letter groups need no model; a service names one: Embedder("openai/text-embedding-3-small").
        index = await rt.start(PassageIndex(DummyVectorizer(), by="both"))
        await index.call(PassageIndex.add, list(PASSAGES.values()), keys=list(PASSAGES))
        return await Answer(IndexRetriever(index, k=2)).acall(question="In which city is the Eiffel Tower?")


async def example() -> None:
    found = await ask()
    print(found.answer)
    print(f"  from: {found.cited.passage} [{found.cited.key}]" if found.cited else "  (no passage of those it was given)")


if __name__ == "__main__":
    run(example, __doc__)
