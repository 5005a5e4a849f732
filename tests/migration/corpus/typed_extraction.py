"""Records from text, by pydantic models and by an adapter for one block."""

from __future__ import annotations

from enum import Enum
from typing import Optional

import dspy as d
from pydantic import BaseModel, Field


class Currency(str, Enum):
    EUR = "EUR"
    CHF = "CHF"


class Item(BaseModel):
    name: str = Field(description="as written")
    price: float
    currency: Currency = Currency.EUR


class Invoice(BaseModel):
    number: str
    items: list[Item]
    note: Optional[str] = None


class ReadInvoice(d.Signature):
    """Read an invoice."""

    text: str = d.InputField()
    language: Optional[str] = d.InputField(desc="if it is known")
    invoice: Invoice = d.OutputField()
    complete: bool = d.OutputField(desc="whether anything was unreadable")


reader = d.ChainOfThought(ReadInvoice)

ANSWERS = [
    {
        "reasoning": "One line.",
        "invoice": {"number": "7", "items": [{"name": "Lamp", "price": 20.5, "currency": "CHF"}], "note": None},
        "complete": True,
    },
]


def run():
    made = reader(text="Invoice 7: lamp 20.50 CHF", language="en")
    return {"invoice": made.invoice.model_dump(mode="json"), "complete": made.complete}


def as_json(text):
    with d.context(adapter=d.JSONAdapter()):
        return reader(text=text, language=None)
