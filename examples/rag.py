"""An answer from passages: find the ones that fit the question, then answer from them.

The retriever here counts common words, so that the example needs nothing installed; anything that returns passages may
stand in its place.
"""

from __future__ import annotations

import re

from dspex.engine import ChainOfThought, Module, Prediction
from on_a_model import run

PASSAGES = (
    "The Eiffel Tower is a tower in Paris, the capital of France.",
    "The Colosseum is an amphitheatre in Rome, the capital of Italy.",
    "Otters are mammals that live in rivers and eat fish.",
    "The Eiffel Tower was finished in 1889 and is 330 metres high.",
)


def words(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) > 3}


def retrieve(question: str, k: int = 2) -> list[str]:
    """The `k` passages with the most words of the question, best first."""
    return sorted(PASSAGES, key=lambda passage: -len(words(passage) & words(question)))[:k]


class Answer(Module):
    """Answers from passages, and says which."""

    def __init__(self) -> None:
        super().__init__()
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
        context = retrieve(question)
        found = await self.answer.acall(context=context, question=question)
        return Prediction(context=context, **found)


async def ask() -> Prediction:
    """Asks one question."""
    return await Answer().acall(question="In which city is the Eiffel Tower?")


async def example() -> None:
    found = await ask()
    print(f"{found.answer} (from {found.context!r})")


if __name__ == "__main__":
    run(example, __doc__)
