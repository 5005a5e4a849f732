"""Calls from a program in a worker back to the host: tools, metrics, language models that live there.

User code in a worker does:

    import dspex_host
    found = dspex_host.call("search", query="...")

`search` must be among the callables that the pool was given (`PoolOptions.callables`). The module exists in workers only.
Calls block the thread that makes them; several threads may call at once. `dspex_host.traceparent()` is the W3C header of the
trace that the request belongs to, for requests of the program's own; None when it is not traced.
"""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from . import wire
from .spans import Spans


class HostCallFailed(RuntimeError):
    """The callable raised in the host: its class's name and text. Also: no callable has that name."""


class HostCalls:
    """Questions on their way. `answered` is called by the thread that reads the channel."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self.request: int | None = None
        """The request in hand, whose cancellation cancels the call in the host too."""
        self.keeps_rollouts = False
        """Whether the host is told the `rollout_id` of calls to its model: it knows what that is (it optimizes)."""
        self.traceparent: str | None = None
        """The W3C header of its trace, if it is traced."""
        self.spans: Spans | None = None
        module = types.ModuleType("dspex_host", __doc__)
        module.call = self.call  # type: ignore[attr-defined]
        module.HostCallFailed = HostCallFailed  # type: ignore[attr-defined]
        module.traceparent = lambda: self.traceparent  # type: ignore[attr-defined]
        sys.modules["dspex_host"] = module

    def call(self, name: str, /, **arguments: object) -> Any:
        """The result of the host's callable `name`. Raises `HostCallFailed`; `Unencodable` for values that cannot go."""
        encoded = wire.to_wire(arguments, name)
        if self.request is None:
            raise HostCallFailed(f"{name!r} was called outside of a request")
        with self._lock:
            number = next(self._numbers)
            inbox = self._waiting[number] = queue.SimpleQueue()
        try:
            asked = {"op": "ask", "id": self.request, "call": number, "name": name, "arguments": encoded}
            self._send(asked if self.spans is None else {**asked, "span": self.spans.current})
            answer = inbox.get()
        finally:
            self._waiting.pop(number, None)
        if answer.get("ok") is True:
            return answer.get("value")
        raise HostCallFailed(str(answer.get("message")))

    def answered(self, message: dict[str, Any]) -> None:
        """An answer to nobody (its caller was interrupted) is dropped."""
        inbox = self._waiting.get(message["call"])
        if inbox is not None:
            inbox.put(message)
