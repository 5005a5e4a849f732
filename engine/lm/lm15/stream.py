"""The events of a stream, put together to a `Response`."""

from __future__ import annotations

import json
from typing import Any

from ..errors import LMStreamAssemblyError
from ..wire import Delta
from .types import (
    CitationPart,
    Message,
    Request,
    Response,
    StreamDeltaEvent,
    StreamEndEvent,
    StreamEvent,
    StreamStartEvent,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
    Usage,
)

__all__ = ["StreamAccumulator"]


class StreamAccumulator:
    """Takes the events of one answer in order."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._id: str | None = None
        self._model = request.model
        self._parts: dict[tuple[int, str], dict[str, Any]] = {}
        self._logprobs: list[TokenLogprob] = []
        self._end: StreamEndEvent | None = None

    def push(self, event: StreamEvent) -> Delta | None:
        """Take an event; what of it is worth forwarding."""
        if isinstance(event, StreamStartEvent):
            self._id, self._model = event.id, event.model or self._model
            return None
        if isinstance(event, StreamEndEvent):
            self._end = event
            finish = event.finish_reason or "stop"
            return self._delta(finish_reason="tool_calls" if finish == "tool_call" else finish)
        if not isinstance(event, StreamDeltaEvent):
            return None
        delta = event.delta
        part = self._parts.setdefault((delta.part_index, delta.type), {"text": "", "delta": delta})
        if delta.type == "text":
            part["text"] += delta.text
            self._logprobs += delta.logprobs
            return self._delta(text=delta.text)
        if delta.type == "thinking":
            part["text"] += delta.text
            return self._delta(reasoning=delta.text)
        if delta.type == "citation":
            part["delta"] = delta
            cited = {"text": delta.text, "title": delta.title, "url": delta.url}
            return self._delta(citation={key: value for key, value in cited.items() if value is not None})
        part["text"] += delta.input
        part["id"], part["name"] = delta.id or part.get("id"), delta.name or part.get("name")
        function: dict[str, Any] = {"arguments": delta.input}
        if delta.name is not None:
            function["name"] = delta.name
        index = [key for key in sorted(self._parts) if key[1] == "tool_call"].index((delta.part_index, "tool_call"))
        call: dict[str, Any] = {"index": index, "type": "function", "function": function}
        if delta.id is not None:
            call["id"] = delta.id
        return self._delta(tool_calls=(call,))

    def _delta(self, **what: Any) -> Delta:
        return Delta(id=self._id, model=self._model, **what)

    def response(self) -> Response:
        """The answer.

        Raises:
            LMStreamAssemblyError: there was no end event, or a tool call whose input is not JSON.
        """
        parts: list[Any] = []
        for (_, kind), part in sorted(self._parts.items()):
            if kind == "text":
                parts.append(TextPart(part["text"]))
            elif kind == "thinking":
                parts.append(ThinkingPart(part["text"]))
            elif kind == "citation":
                delta = part["delta"]
                parts.append(CitationPart(url=delta.url, title=delta.title, text=delta.text))
            else:
                try:
                    parts.append(ToolCallPart(part["id"] or "call", part["name"], json.loads(part["text"] or "{}")))
                except (ValueError, TypeError) as error:
                    raise self._broken(f"a tool call's input is not whole: {error}", parts) from error
        if self._end is None:
            raise self._broken("the stream had no end event", parts)
        return Response(
            id=self._id,
            model=self._model,
            message=Message("assistant", tuple(parts) or (TextPart(""),)),
            finish_reason=self._end.finish_reason or "stop",
            usage=self._end.usage or Usage(),
            logprobs=tuple(self._logprobs) or None,
            provider_data=self._end.provider_data,
        )

    def _broken(self, why: str, parts: list[Any]) -> LMStreamAssemblyError:
        text = "".join(part.text for part in parts if isinstance(part, TextPart))
        return LMStreamAssemblyError(f"The stream is no whole answer: {why}.", partial=text, model=self._request.model)
