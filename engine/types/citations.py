"""`Citations`: which passages of which documents an answer rests on, as Anthropic's models report them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pydantic

from .base import NativeLanguageModel, Type

__all__ = ["Citations"]


class Citation(Type):
    """A passage of a document, by its characters, and the part of the answer that it supports."""

    __qualname__ = "Citations.Citation"

    type: str = "char_location"
    cited_text: str
    document_index: int
    document_title: str | None = None
    start_char_index: int
    end_char_index: int
    supported_text: str | None = None

    def format(self) -> dict[str, Any]:
        """The fields that are set."""
        made: dict[str, Any] = {
            "type": self.type,
            "cited_text": self.cited_text,
            "document_index": self.document_index,
            "start_char_index": self.start_char_index,
            "end_char_index": self.end_char_index,
        }
        if self.document_title:
            made["document_title"] = self.document_title
        if self.supported_text:
            made["supported_text"] = self.supported_text
        return made


def _citation(given: Any) -> Any:
    return Citation(**cast("dict[str, Any]", given)) if isinstance(given, dict) else given


class Citations(Type):
    """The citations of an answer, in order: iterate, index, or take `len`."""

    Citation = Citation

    citations: list[Citation]

    @classmethod
    def from_dict_list(cls, citations_dicts: list[dict[str, Any]]) -> Citations:
        """Citations from dicts of their fields."""
        return cls(citations=[Citation(**each) for each in citations_dicts])

    @classmethod
    def description(cls) -> str:
        return (
            "Citations with quoted text and source references. "
            "Include the exact text being cited and information about its source."
        )

    def format(self) -> list[dict[str, Any]]:
        """Each citation as a dict."""
        return [each.format() for each in self.citations]

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts citations, a list or dict of them, or one as a dict."""
        if isinstance(data, cls):
            return cast("Citations", data)
        if isinstance(data, list):
            items = cast("list[Any]", data)
            if all(isinstance(each, dict) and "cited_text" in each for each in items):
                return {"citations": [Citation(**each) for each in items]}
        elif isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            if "citations" in given:
                if isinstance(given["citations"], list):
                    return {"citations": [_citation(each) for each in cast("list[Any]", given["citations"])]}
            elif "cited_text" in given:
                return {"citations": [Citation(**given)]}
        raise ValueError(f"Received invalid value for `Citations`: {data}")

    def __iter__(self) -> Iterator[Citation]:  # pyright: ignore[reportIncompatibleMethodOverride] - of the citations
        return iter(self.citations)

    def __len__(self) -> int:
        return len(self.citations)

    def __getitem__(self, index: Any) -> Any:
        return cast("Any", self.citations)[index]

    @classmethod
    def is_native(cls, lm: NativeLanguageModel, lm_kwargs: dict[str, Any]) -> bool:
        """Leaves the field to Anthropic's models."""
        return lm.model.startswith("anthropic/")

    @classmethod
    def is_streamable(cls) -> bool:
        return True

    @classmethod
    def parse_stream_chunk(cls, chunk: Any) -> Citations | None:
        """The citation in an OpenAI-shaped chunk."""
        try:
            given = chunk.choices[0].delta.provider_specific_fields.get("citation")
            return cls.from_dict_list([given]) if given else None
        except Exception:  # no choices, no such field, or not a citation
            return None

    @classmethod
    def parse_lm_response(cls, response: str | dict[str, Any]) -> Citations | None:
        """The citations that came beside the answer."""
        given: Any = response.get("citations") if isinstance(response, dict) else None
        return cls.from_dict_list(cast("list[dict[str, Any]]", given)) if isinstance(given, list) else None
