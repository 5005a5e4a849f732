"""What comes out of a streamed program besides its `Prediction`: pieces of fields, and messages about its progress."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread
from anyio.streams.memory import MemoryObjectSendStream

from ..callbacks import BaseCallback
from ..settings import settings

__all__ = ["StatusMessage", "StatusMessageProvider", "StatusStreamingCallback", "StreamResponse", "sync_send_to_stream"]


@dataclass
class StreamResponse:
    """A piece of one output field.

    Attributes:
        predict_name: the predictor's path in the program, such as "think.predict".
        signature_field_name: the field.
        chunk: the text; nothing of the adapter's own marks.
        is_last_chunk: the field ends here.
    """

    predict_name: str | None
    signature_field_name: str
    chunk: str
    is_last_chunk: bool


@dataclass
class StatusMessage:
    """What the program is doing, for people to read."""

    message: str


class StatusMessageProvider:
    """Says what the program is doing. Override what you want to be told of; None or "" says nothing."""

    def tool_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """Before a tool is called."""
        return f"Calling tool {instance.name}..."

    def tool_end_status_message(self, outputs: Any) -> str | None:
        """After a tool was called."""
        return "Tool calling finished! Querying the LLM with tool calling results..."

    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """Before a module runs."""

    def module_end_status_message(self, outputs: Any) -> str | None:
        """After a module ran."""

    def lm_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        """Before an LM is asked."""

    def lm_end_status_message(self, outputs: Any) -> str | None:
        """After an LM was asked."""


class Outbox:
    """The stream that a streamed program writes to (`settings.send_stream`): anyio's, and safe to write to from threads.

    It has room for everything: a status message comes from a callback, which cannot wait.
    """

    def __init__(self) -> None:
        self._send: MemoryObjectSendStream[Any]
        self._send, self.receive = anyio.create_memory_object_stream[Any](math.inf)
        self._thread = threading.get_ident()

    async def send(self, item: Any) -> None:
        """Hand an item over. Raises `anyio.BrokenResourceError` when the reader has gone."""
        await self._send.send(item)

    def send_nowait(self, item: Any) -> None:
        """The same from a synchronous function, here or in a worker thread of this loop."""
        if threading.get_ident() == self._thread:
            self._send.send_nowait(item)
        else:
            anyio.from_thread.run_sync(self._send.send_nowait, item)

    def close(self) -> None:
        """Nothing more will be written."""
        self._send.close()


def sync_send_to_stream(stream: Any, message: Any) -> None:
    """Send from a synchronous function: a callback handler, on the loop or in one of its worker threads."""
    if isinstance(stream, Outbox) or _on_a_loop():
        stream.send_nowait(message)
    else:
        anyio.from_thread.run(stream.send, message)


def _on_a_loop() -> bool:
    try:
        anyio.get_current_task()
    except Exception:
        return False
    return True


class StatusStreamingCallback(BaseCallback):
    """Writes the provider's messages to the stream of the program that is running."""

    def __init__(self, status_message_provider: StatusMessageProvider | None = None) -> None:
        self.status_message_provider = status_message_provider or StatusMessageProvider()

    def _say(self, message: str | None) -> None:
        stream = settings.send_stream
        if stream is not None and message:
            sync_send_to_stream(stream, StatusMessage(message))

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if settings.send_stream is not None and instance.name != "finish":
            self._say(self.status_message_provider.tool_start_status_message(instance, inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if settings.send_stream is not None and outputs != "Completed.":
            self._say(self.status_message_provider.tool_end_status_message(outputs))

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if settings.send_stream is not None:
            self._say(self.status_message_provider.lm_start_status_message(instance, inputs))

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if settings.send_stream is not None:
            self._say(self.status_message_provider.lm_end_status_message(outputs))

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if settings.send_stream is not None:
            self._say(self.status_message_provider.module_start_status_message(instance, inputs))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if settings.send_stream is not None:
            self._say(self.status_message_provider.module_end_status_message(outputs))
