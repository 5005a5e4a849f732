"""One deterministic model for both engines, and what was seen of an optimization: requests, records, programs.

The model's answer depends on the request alone: its messages, its rollout and its temperature. So two optimizers that ask
the same get the same, in whatever order.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = Callable[[list[dict[str, Any]], dict[str, Any]], dict[str, str]]


class Shape(dict[str, Any]):
    """A dict that can be read by attribute, all the way down: what both engines take for a completion."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        value = self[name]
        if isinstance(value, dict):
            return Shape(value)
        if isinstance(value, list):
            return [Shape(each) if isinstance(each, dict) else each for each in value]
        return value


def model(ns: Any, answer: Answer, asked: list[Any]) -> Any:
    """An LM of either engine. `answer` gives the output fields, or raises; `asked` receives every request."""

    class Scripted(ns.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            kwargs = {**self.kwargs, **kwargs}
            request = {
                "messages": messages,
                "temperature": kwargs.get("temperature"),
                "rollout_id": kwargs.get("rollout_id"),
            }
            asked.append(json.loads(json.dumps(request)))
            fields = answer(messages, kwargs)
            if "respond in json" in json.dumps(messages).lower() or "JSON object" in json.dumps(messages):
                text = json.dumps(fields)
            else:
                text = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
                text += "\n\n[[ ## completed ## ]]"
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return Shape({"model": "stub", "choices": [choice], "usage": {}})

    return Scripted("stub", cache=False)


def draw(*parts: Any) -> float:
    """A number of [0, 1) that depends on the parts alone."""
    return int(hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8], 16) / 2**32


def in_no_order(requests: list[Any]) -> list[str]:
    return sorted(json.dumps(each, sort_keys=True) for each in requests)


@contextmanager
def records(*loggers: str) -> Iterator[list[tuple[str, str]]]:
    """Level and text of what is logged below these loggers."""
    seen: list[tuple[str, str]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((record.levelname, record.getMessage()))

    handler = Keep()
    kept = [(logging.getLogger(name), logging.getLogger(name).level) for name in loggers]
    for logger, _ in kept:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield seen
    finally:
        for logger, level in kept:
            logger.removeHandler(handler)
            logger.setLevel(level)
