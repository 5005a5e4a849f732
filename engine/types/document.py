"""`Document`: a text or PDF that the model may cite. Anthropic's models answer with `Citations` of it."""

from __future__ import annotations

from typing import Any, Literal, cast

import pydantic

from .base import Type

__all__ = ["Document"]


class Document(Type):
    """A source: its text (or a PDF in base64), a title, and context that is not cited."""

    data: str
    title: str | None = None
    media_type: Literal["text/plain", "application/pdf"] = "text/plain"
    context: str | None = None

    def format(self) -> list[dict[str, Any]]:
        """One `document` part with citations switched on."""
        block: dict[str, Any] = {
            "type": "document",
            "source": {
                "type": "base64" if self.media_type == "application/pdf" else "text",
                "media_type": self.media_type,
                "data": self.data,
            },
            "citations": {"enabled": True},
        }
        if self.title:
            block["title"] = self.title
        if self.context:
            block["context"] = self.context
        return [block]

    @classmethod
    def description(cls) -> str:
        return (
            "A document containing text content that can be referenced and cited. "
            "Include the full text content and optionally a title for proper referencing."
        )

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts a document, its text, or a dict of the fields."""
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            return {"data": data}
        if isinstance(data, dict):
            return cast("Any", data)
        raise ValueError(f"Received invalid value for `Document`: {data}")

    def __str__(self) -> str:
        title = f"'{self.title}': " if self.title else ""
        return f"Document({title}{len(self.data)} chars)"
