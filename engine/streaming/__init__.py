"""Streaming: `streamify` a program, `StreamListener` its fields, hear of its progress."""

from .listener import StreamListener, find_predictor_for_stream_listeners
from .messages import (
    StatusMessage,
    StatusMessageProvider,
    StatusStreamingCallback,
    StreamResponse,
    sync_send_to_stream,
)
from .streamify import apply_sync_streaming, streamify, streaming_response

__all__ = [
    "StatusMessage",
    "StatusMessageProvider",
    "StatusStreamingCallback",
    "StreamListener",
    "StreamResponse",
    "apply_sync_streaming",
    "find_predictor_for_stream_listeners",
    "streamify",
    "streaming_response",
    "sync_send_to_stream",
]
