"""The pieces of a streamed answer as listeners know them: `chunk.choices[0].delta.content`, as dspy 3.4."""

from __future__ import annotations

import json
from typing import Any, cast

from .wire import Delta

__all__ = ["AttributeDict", "StreamChunk", "attributes", "chunk_of"]


class AttributeDict(dict[str, Any]):
    """A dict whose keys can also be read as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        """A plain copy. Options are accepted and make no difference."""
        return json.loads(json.dumps(self, default=str))


def attributes(value: Any) -> Any:
    """Dicts inside `value` as `AttributeDict`s."""
    if isinstance(value, dict):
        return AttributeDict({key: attributes(item) for key, item in cast("dict[str, Any]", value).items()})
    if isinstance(value, list | tuple):
        return [attributes(item) for item in cast("list[Any]", value)]
    return value


class StreamChunk(AttributeDict):
    """One piece of a streamed answer: `id`, `model`, `predict_id` and one of `choices`."""

    def json(self) -> str:
        """As JSON text."""
        return json.dumps(self)


def chunk_of(delta: Delta, *, model: str, predict_id: int | None) -> StreamChunk:
    """The chunk for a delta. `predict_id` is the `id()` of the predictor that asked."""
    piece: dict[str, Any] = {}
    if delta.text is not None:
        piece["content"] = delta.text
    if delta.reasoning is not None:
        piece["reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        piece["tool_calls"] = list(delta.tool_calls)
    if delta.citation is not None:
        piece["provider_specific_fields"] = {"citation": dict(delta.citation)}
    piece.setdefault("content", None)
    choice = {"index": 0, "delta": piece, "finish_reason": delta.finish_reason}
    return StreamChunk(
        id=delta.id, model=delta.model or model, predict_id=predict_id, choices=[attributes(choice)]
    )
