"""Classification: one of a few labels, and how sure the model is.

The answer is a `Literal`: whatever the model writes, what the program gets is one of these, or an error.
"""

from __future__ import annotations

from typing import Literal

from dspex.engine import InputField, OutputField, Parallel, Predict, Prediction, Signature
from on_a_model import run

MESSAGES = ("The package came broken and nobody answers my mails.", "Thank you, it works very well!")


class Sort(Signature):
    """Sort a message of a customer."""

    message: str = InputField()
    kind: Literal["complaint", "praise", "question"] = OutputField()
    urgency: int = OutputField(desc="from 1 to 5", ge=1, le=5)


async def classify() -> list[Prediction]:
    """Sorts the messages, all at once."""
    sort = Predict(Sort)
    sort.demos = [
        {"message": "Where is my order?", "kind": "question", "urgency": 3},
        {"message": "I love it.", "kind": "praise", "urgency": 1},
        {"message": "This is broken. I want my money back!", "kind": "complaint", "urgency": 5},
    ]
    return await Parallel().acall([(sort, {"message": message}) for message in MESSAGES])


async def example() -> None:
    for message, found in zip(MESSAGES, await classify(), strict=True):
        print(f"{found.kind} (urgency {found.urgency}): {message}")


if __name__ == "__main__":
    run(example, __doc__)
