"""The model as an adapter sees it, and the messages it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

Message = dict[str, Any]
"""`{"role": ..., "content": ...}`, as the chat APIs take it."""


class LanguageModel(Protocol):
    """What an adapter needs of a model."""

    @property
    def model(self) -> str: ...
    @property
    def model_type(self) -> str: ...
    @property
    def kwargs(self) -> dict[str, Any]: ...
    @property
    def supported_params(self) -> AbstractSet[str]: ...
    @property
    def supports_response_schema(self) -> bool: ...
    @property
    def supports_function_calling(self) -> bool: ...
    @property
    def supports_reasoning(self) -> bool: ...

    async def acall(
        self, prompt: str | None = None, *, messages: list[Message] | None = None, **kwargs: Any
    ) -> Sequence[str | Mapping[str, Any]]: ...
