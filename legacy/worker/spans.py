"""Tells the host of a traced request's calls, as dspy's callbacks tell us: see `dspex.legacy.tracing`.

A call's parent is the innermost call around it that the host knows of, by dspy's own `ACTIVE_CALL_ID`, which its threads
and tasks inherit. Whatever goes wrong here is nothing to the program.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from . import wire

_OPTIONS = (
    "temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "max_tokens", "max_completion_tokens",
    "seed", "n",
)  # fmt: skip

_NOWHERE = (None, False)
_RECENT = 64
"""Entries of a history among which a call's own is looked for: threads of one program may add theirs in between."""


class Spans:
    """The calls of one request. `send` may be called from any thread."""

    def __init__(self, send: Callable[[dict[str, Any]], None], request: int) -> None:
        self._send = send
        self._request = request
        self._numbers = itertools.count(1)
        self._begun = 0
        self._known: dict[str, tuple[int | None, bool]] = {}
        """By dspy's id of a call: its number, or that of the call around it, and whether the number is its own."""
        self._asked: dict[str, tuple[Any, Any]] = {}
        self._active: Any = importlib.import_module("dspy.utils.callback").ACTIVE_CALL_ID

    def callback(self, dspy: Any) -> Any:
        """The `BaseCallback` of dspy's that tells of calls."""
        return _callback_class(dspy)(self)

    @property
    def current(self) -> int | None:
        """The innermost call of the calling thread or task that the host knows of."""
        return self._known.get(cast("str", self._active.get() or ""), _NOWHERE)[0]

    @property
    def lost(self) -> int:
        """Calls that were too many to be told."""
        return max(0, self._begun - wire.SPANS)

    def began(self, call: str, kind: str, name: str, facts: Mapping[str, Any]) -> None:
        """A call has begun. One too many is not told; its own calls then belong to the one around it."""
        parent = self.current
        number = self._begun = next(self._numbers)
        if number > wire.SPANS:
            self._known[call] = (parent, False)
            return
        self._known[call] = (number, True)
        span = {"op": "span", "id": self._request, "span": number, "parent": parent, "at": time.time_ns()}
        self._send({**span, "kind": kind, "name": name, "facts": dict(facts)})

    def passed(self, call: str) -> None:
        """A call that is not told of has begun: what it calls belongs to the one around it."""
        self._known[call] = (self.current, False)

    def ended(self, call: str, error: BaseException | None, facts: Mapping[str, Any]) -> None:
        """A call is over."""
        number, told = self._known.pop(call, _NOWHERE)
        if not told:
            return
        span = {"op": "span_end", "id": self._request, "span": number, "at": time.time_ns()}
        self._send({**span, "error": None if error is None else type(error).__qualname__, "facts": dict(facts)})

    def asked(self, call: str, lm: Any, inputs: Mapping[str, Any]) -> None:
        """A language model is asked."""
        if getattr(lm, "asks_the_host", False):
            self.passed(call)  # the host makes the call, and knows more of it
            return
        self._asked[call] = (lm, inputs.get("messages"))
        options: dict[str, Any] = {**getattr(lm, "kwargs", {}), **(inputs.get("kwargs") or {})}
        facts: dict[str, Any] = {name: options[name] for name in _OPTIONS if isinstance(options.get(name), int | float)}
        for name in ("api_base", "base_url"):
            if isinstance(options.get(name), str):
                facts["api_base"] = options[name]
        facts["api"] = str(getattr(lm, "model_type", "chat"))
        facts["json"] = options.get("response_format") is not None
        self.began(call, "lm", str(getattr(lm, "model", "")), facts)

    def answered(self, call: str, error: BaseException | None) -> None:
        """It has answered, or failed. What it used is in the entry that dspy has just added to its history."""
        lm, messages = self._asked.pop(call, (None, None))
        if lm is None:
            self.ended(call, error, {})
            return
        facts: dict[str, Any] = {}
        if error is None:
            entries: list[Any] = getattr(lm, "history", [])[-_RECENT:]
            entry = next((each for each in reversed(entries) if each.get("messages") is messages), None)
            if entry is None and len(entries) == 1:
                entry = entries[0]
            if entry is not None:
                facts = _answer_facts(entry)
        self.ended(call, error, facts)


def _answer_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    usage: Any = entry.get("usage") or {}
    for name in ("prompt_tokens", "completion_tokens"):
        if isinstance(usage.get(name), int):
            facts[name] = usage[name]
    if isinstance(entry.get("response_model"), str):
        facts["model"] = entry["response_model"]
    response: Any = entry.get("response")
    answers = _answers(response)
    facts["finish_reasons"] = [str(each.finish_reason) for each in answers if getattr(each, "finish_reason", None)]
    # That engine's responses do not say that they were kept; but what they used then is not in the entry.
    kept = not usage and any(getattr(each, "usage", None) is not None for each in answers)
    facts["cache_hit"] = kept or bool(getattr(response, "cache_hit", False))
    return facts


def _answers(response: Any) -> list[Any]:
    """A completion's choices in OpenAI's shape; or, by dspy 3.4's own engine, its own response or a tuple of them."""
    if isinstance(response, tuple):
        return list(cast("tuple[Any, ...]", response))
    return list(getattr(response, "choices", None) or [response])


_made: dict[int, Any] = {}


def _callback_class(dspy: Any) -> Any:
    """A class below dspy's `BaseCallback`, which only exists once dspy is imported."""
    base: Any = importlib.import_module("dspy.utils.callback").BaseCallback
    known = _made.get(id(base))
    if known is not None:
        return known

    class Told(base):
        def __init__(self, spans: Spans) -> None:
            self._spans = spans

        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            agent = "tools" in vars(instance)
            self._spans.began(call_id, "module", type(instance).__name__, {"agent": agent})

        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self._spans.ended(call_id, exception, {})

        def on_tool_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            self._spans.began(call_id, "tool", str(instance.name), {})

        def on_tool_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self._spans.ended(call_id, exception, {})

        def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            self._spans.asked(call_id, instance, inputs)

        def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self._spans.answered(call_id, exception)

    made = _made[id(base)] = Told
    return made
