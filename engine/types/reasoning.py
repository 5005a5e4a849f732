"""`Reasoning`: the thoughts before an answer, from the model's own reasoning where it has that, else from the prompt.

It behaves as the text it holds: all methods of `str`, `==`, `+`, `in`, slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pydantic

from .base import NativeLanguageModel, Type

__all__ = ["Reasoning"]


class Reasoning(Type):
    """A reasoning text. A str validates as one; prompts show the field as a `str`."""

    content: str

    def format(self) -> str:
        """The text."""
        return f"{self.content}"

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts a reasoning, a text or `{"content": text}`."""
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            return {"content": data}
        if isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            if "content" not in given:
                raise ValueError("`content` field is required for `dspy.Reasoning`")
            if not isinstance(given["content"], str):
                raise ValueError(f"`content` field must be a string, but received type: {type(given['content'])}")
            return {"content": given["content"]}
        raise ValueError(f"Received invalid value for `dspy.Reasoning`: {data}")

    @classmethod
    def is_native(cls, lm: NativeLanguageModel, lm_kwargs: dict[str, Any]) -> bool:
        """Leaves the field to a model that reasons by itself, at the effort that the call or the LM names, else "low".

        Not when the effort is None, and not for gpt-5 over the chat API, which does not give its reasoning out.
        """
        effort = lm_kwargs.get("reasoning_effort", lm.kwargs.get("reasoning_effort", "low"))
        if effort is None or not lm.supports_reasoning:
            return False
        if "gpt-5" in lm.model and lm.model_type == "chat":
            return False
        lm_kwargs["reasoning_effort"] = effort
        return True

    @classmethod
    def parse_lm_response(cls, response: str | dict[str, Any]) -> Reasoning | None:
        """The reasoning that came beside the answer."""
        if isinstance(response, dict) and "reasoning_content" in response:
            return Reasoning(content=response["reasoning_content"])
        return None

    @classmethod
    def parse_stream_chunk(cls, chunk: Any) -> str | None:
        """The piece of reasoning in an OpenAI-shaped chunk."""
        try:
            choices = getattr(chunk, "choices", None)
            return getattr(choices[0].delta, "reasoning_content", None) if choices else None
        except Exception:
            return None

    @classmethod
    def is_streamable(cls) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{self.content!r}"

    def __str__(self) -> str:
        return self.content

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Reasoning):
            return self.content == other.content
        return isinstance(other, str) and self.content == other

    __hash__ = None  # pyright: ignore[reportAssignmentType] - mutable, as every pydantic model

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, key: Any) -> str:
        return self.content[key]

    def __contains__(self, item: Any) -> bool:
        return item in self.content

    def __iter__(self) -> Iterator[str]:  # pyright: ignore[reportIncompatibleMethodOverride] - a text's, not a model's
        return iter(self.content)

    def __add__(self, other: object) -> Any:
        if isinstance(other, Reasoning):
            return Reasoning(content=self.content + other.content)
        return self.content + other if isinstance(other, str) else NotImplemented

    def __radd__(self, other: object) -> Any:
        if isinstance(other, Reasoning):
            return Reasoning(content=other.content + self.content)
        return other + self.content if isinstance(other, str) else NotImplemented

    def __getattr__(self, name: str) -> Any:
        """The methods of `str`."""
        if hasattr(str, name):
            return getattr(self.content, name)
        raise AttributeError(
            f"`{type(self).__name__}` object has no attribute '{name}'. "
            f"If you are using `dspy.ChainOfThought`, note that the 'reasoning' field in ChainOfThought is now a "
            "`dspy.Reasoning` object (not a plain string). "
            f"You can convert it to a string with str(reasoning) or access the content with reasoning.content."
        )

