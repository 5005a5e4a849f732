"""`History`: what was said before, as an input field. The adapter writes it as turns of the conversation.

    class Chat(Signature):
        question: str = InputField()
        history: History = InputField()
        answer: str = OutputField()

    History(messages=[{"question": "Capital of France?", "answer": "Paris"}])
"""

from __future__ import annotations

from typing import Any

import pydantic

from .base import forget_docstring

__all__ = ["History"]


class History(pydantic.BaseModel):
    """Earlier turns: dicts with the fields of the signature, inputs and outputs together. The list may grow in place."""

    messages: list[dict[str, Any]]

    model_config = pydantic.ConfigDict(
        frozen=True, str_strip_whitespace=True, validate_assignment=True, extra="forbid"
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        forget_docstring(handler, schema)
        return schema
