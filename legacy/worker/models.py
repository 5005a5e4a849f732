"""Language models of a worker: one `dspy.LM` per distinct settings, or one whose calls are served by the host."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from . import wire
from .host_calls import HostCalls

_LIMIT = 32
HOST_LM = "dspex.lm"
"""The name under which the host serves language model calls."""


class Models:
    """Bounded: per-user keys must not make a worker grow without end."""

    def __init__(self, dspy: Any, host: HostCalls) -> None:
        self._dspy = dspy
        self._host = host
        self._models: dict[str, Any] = {}
        self._host_class: Any = None

    def model(self, settings: Mapping[str, Any]) -> Any:
        """The language model of these settings; making one calls nothing."""
        key = json.dumps(wire.to_wire(settings), sort_keys=True)
        if key not in self._models:
            if len(self._models) >= _LIMIT:
                self._models.pop(next(iter(self._models)))
            self._models[key] = self._of_host(settings) if settings.get("host") else self._of_dspy(settings)
        return self._models[key]

    def _of_dspy(self, settings: Mapping[str, Any]) -> Any:
        arguments = {name: settings[name] for name in ("api_base", "api_key") if settings[name] is not None}
        arguments.update(settings["options"])
        if "engine" in inspect.signature(self._dspy.LM.__init__).parameters:
            # dspy 3.4 on: the engine of its own. "auto" may import litellm in mid-request: 8 s and 170 MB.
            arguments.setdefault("engine", "lm15")
        return self._dspy.LM(settings["model"], cache=settings["cache"], **arguments)

    def _of_host(self, settings: Mapping[str, Any]) -> Any:
        if self._host_class is None:
            self._host_class = _host_lm_class(self._dspy, self._host)
        return self._host_class(settings["model"], cache=False, **settings["options"])


def _host_lm_class(dspy: Any, host: HostCalls) -> Any:
    """A `BaseLM` whose `forward` asks the host, which has the keys, the limits, the cache and the usage in one place."""

    class HostLM(dspy.BaseLM):
        asks_the_host = True

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            asked: list[Any] = messages if messages else [{"role": "user", "content": prompt}]
            own = cast("dict[str, Any]", self.kwargs)
            options = {name: value for name, value in {**own, **kwargs}.items() if value is not None}
            if not host.keeps_rollouts:
                options.pop("rollout_id", None)
            schema = options.pop("response_format", None)
            if isinstance(schema, type):
                schema = {"type": "json_schema", "json_schema": cast("Any", schema).model_json_schema()}
            if schema is not None:
                options["response_format"] = schema
            answer = host.call(HOST_LM, model=self.model, messages=asked, options=options)
            return _as_completion(answer, self.model)

        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            import asyncio

            return await asyncio.to_thread(self.forward, prompt, messages, **kwargs)

    return HostLM


def _as_completion(answer: Any, model: str) -> Any:
    """The OpenAI-shaped object that dspy reads: `answer` is a text, or {"text" or "texts", "usage", "tool_calls"}."""
    facts: dict[str, Any] = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {"text": answer}
    texts: list[Any] = facts["texts"] if "texts" in facts else [facts.get("text")]
    asked: list[dict[str, Any]] = facts.get("tool_calls") or []
    calls = [
        SimpleNamespace(
            id=call.get("id"),
            type="function",
            function=SimpleNamespace(name=call["name"], arguments=json.dumps(call.get("arguments", {}))),
        )
        for call in asked
    ]
    told: dict[str, Any] = facts.get("usage") or {}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, **told}
    choices = [
        SimpleNamespace(
            index=index,
            finish_reason="stop",
            message=SimpleNamespace(role="assistant", content=text, tool_calls=calls or None),
        )
        for index, text in enumerate(texts)
    ]
    return SimpleNamespace(choices=choices, usage=usage, model=facts.get("model") or model)
