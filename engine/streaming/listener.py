"""`StreamListener`: picks one output field of one predictor out of a stream of answers."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..adapters import Adapter, ChatAdapter, JSONAdapter, XMLAdapter
from ..module import Module
from ..settings import settings
from ..types import Type
from .fields import ChatFieldReader, FieldReader, JSONFieldReader, XMLFieldReader
from .messages import StreamResponse

__all__ = ["ADAPTER_SUPPORT_STREAMING", "StreamListener", "find_predictor_for_stream_listeners"]

ADAPTER_SUPPORT_STREAMING: tuple[type[Adapter], ...] = (ChatAdapter, XMLAdapter, JSONAdapter)
# The most derived first: XML and JSON adapters are chat adapters too.
_READERS: Mapping[type[Adapter], Callable[[str], FieldReader]] = {
    JSONAdapter: JSONFieldReader,
    XMLAdapter: XMLFieldReader,
    ChatAdapter: ChatFieldReader,
}


class StreamListener:
    """Listens for one field.

    Attributes:
        stream_start: the field has begun.
        stream_end: the field is complete.
        cache_hit: it came all at once, so nothing was streamed.
    """

    def __init__(
        self,
        signature_field_name: str,
        predict: Any = None,
        predict_name: str | None = None,
        allow_reuse: bool = False,
    ) -> None:
        """Listen for `signature_field_name`.

        Args:
            predict: the predictor to listen to; None lets `streamify` find the one that has the field.
            predict_name: what to call it in the responses; found together with `predict`.
            allow_reuse: listen again after the field has ended, for a predictor that is called several times.
        """
        self.signature_field_name = signature_field_name
        self.predict = predict
        self.predict_name = predict_name
        self.allow_reuse = allow_reuse
        self._reader: FieldReader | None = None

    @property
    def stream_start(self) -> bool:
        return self._reader is not None and self._reader.started

    @property
    def stream_end(self) -> bool:
        return self._reader is not None and self._reader.ended

    @property
    def cache_hit(self) -> bool:
        return self._reader is not None and self._reader.at_once

    def receive(self, chunk: Any) -> StreamResponse | None:
        """What a chunk of the predictor's answer holds of the field.

        Raises:
            ValueError: the adapter in force is not one whose answers can be streamed.
        """
        if self._reader is not None and self._reader.ended:
            if not self.allow_reuse:
                return None
            self._reader = None
        reader = self._reader
        if reader is None:
            reader = self._reader = _reader_for(settings.adapter, self.signature_field_name)
        kind = self._streamable_type()
        if kind is not None:
            parsed = kind.parse_stream_chunk(chunk)
            if parsed:
                return StreamResponse(self.predict_name, self.signature_field_name, parsed, reader.ended)
        try:
            text = chunk.choices[0].delta.content
        except Exception:
            return None  # a chunk of somebody else's making
        if text is None:
            return None
        piece = reader.take(text)
        return None if piece is None else self._response(piece.text, piece.last)

    def finalize(self) -> StreamResponse | None:
        """What was held back, once the program has ended."""
        piece = None if self._reader is None else self._reader.rest()
        return None if piece is None else self._response(piece.text, piece.last)

    def _response(self, text: str, last: bool) -> StreamResponse:
        return StreamResponse(self.predict_name, self.signature_field_name, text, last)

    def _streamable_type(self) -> type[Type] | None:
        """The field's type, when it reads chunks by itself (reasoning, citations)."""
        try:
            annotation = self.predict.signature.output_fields[self.signature_field_name].annotation
        except Exception:
            return None
        if inspect.isclass(annotation) and issubclass(annotation, Type) and annotation.is_streamable():
            return annotation
        return None


def _reader_for(adapter: Adapter | None, name: str) -> FieldReader:
    kinds = type(adapter).__mro__ if adapter is not None else (ChatAdapter,)
    for kind in kinds:
        reader = _READERS.get(kind)
        if reader is not None:
            return reader(name)
    supported = ", ".join(kind.__name__ for kind in ADAPTER_SUPPORT_STREAMING)
    raise ValueError(
        f"Unsupported adapter for streaming: {type(adapter).__name__}, please use one of the following adapters: "
        f"{supported}"
    )


def find_predictor_for_stream_listeners(
    program: Module, stream_listeners: Sequence[StreamListener]
) -> dict[int, list[StreamListener]]:
    """The listeners by the `id()` of their predictor; those without one get the predictor that has their field.

    Raises:
        ValueError: no predictor of the program has the field, or several have.
    """
    wanted = {listener.signature_field_name for listener in stream_listeners if not listener.predict}
    found: dict[str, tuple[str, Any]] = {}
    for name, predictor in program.named_predictors():
        for field_name in predictor.signature.output_fields:
            if field_name not in wanted:
                continue
            if field_name in found:
                raise ValueError(
                    f"Signature field {field_name} is not unique in the program, cannot automatically determine which "
                    "predictor to use for streaming. Please specify the predictor to listen to."
                )
            found[field_name] = (name, predictor)
    by_predictor: dict[int, list[StreamListener]] = defaultdict(list)
    for listener in stream_listeners:
        if not listener.predict:
            if listener.signature_field_name not in found:
                raise ValueError(
                    f"Signature field {listener.signature_field_name} is not a field of any predictor in the program, "
                    "cannot automatically determine which predictor to use for streaming. Please verify your field "
                    "name or specify the predictor to listen to."
                )
            listener.predict_name, listener.predict = found[listener.signature_field_name]
        by_predictor[id(listener.predict)].append(listener)
    return by_predictor
