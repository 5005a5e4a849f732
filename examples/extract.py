"""Extraction: nested pydantic models out of a text.

The signature's types become the JSON schema of the answer; where the provider binds answers to a schema, it is sent.
"""

from __future__ import annotations

from dspex.engine import InputField, OutputField, Predict, Prediction, Signature
from on_a_model import run
from pydantic import BaseModel, Field

TEXT = "On 3 May 2021 Ada Lovelace (ada@example.org) ordered two lamps at 30 euros and one chair at 80 euros."


class Person(BaseModel):
    name: str
    email: str | None = None


class Item(BaseModel):
    product: str
    count: int = Field(ge=0)
    price: float


class Order(BaseModel):
    buyer: Person
    items: list[Item] = Field(max_length=4)


class Extract(Signature):
    """Extract the order."""

    text: str = InputField()
    order: Order = OutputField()


async def extract() -> Prediction:
    """The order in the text."""
    read = Predict(Extract)
    order = Order(buyer=Person(name="Bob", email="bob@example.org"), items=[Item(product="pen", count=3, price=1.5)])
    read.demos = [{"text": "Bob (bob@example.org) ordered three pens at 1.50 euros.", "order": order}]
    return await read.acall(text=TEXT)


async def example() -> None:
    order: Order = (await extract()).order
    print(f"{order.buyer.name} <{order.buyer.email}>")
    for item in order.items:
        print(f"{item.count} x {item.product}, {item.price:.2f}")


if __name__ == "__main__":
    run(example, __doc__)
