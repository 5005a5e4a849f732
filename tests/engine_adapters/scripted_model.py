"""A model at the boundary of both engines' adapters: answers as told, and keeps what it was asked. No tests here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ScriptedModel:
    """Each answer is used once; a list is a choice of several answers, an exception is raised."""

    model = "scripted/one"
    model_type = "chat"

    def __init__(
        self,
        *answers: str | Mapping[str, Any] | list[Any] | Exception,
        schema: bool = True,
        capable: bool = False,
        params: set[str] | None = None,
    ) -> None:
        self.answers = list(answers)
        self.supports_response_schema = schema
        self.supports_function_calling = self.supports_reasoning = capable
        self.supported_params = {"response_format", "temperature"} if params is None else params
        self.kwargs: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []

    def __call__(
        self, prompt: str | None = None, messages: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> list[Any]:
        self.asked.append({"messages": messages, **kwargs})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, list) else [answer]

    async def acall(
        self, prompt: str | None = None, messages: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> list[Any]:
        return self(prompt, messages, **kwargs)

    def requests(self) -> list[dict[str, Any]]:
        """What was asked, with schemas for the models that carry them."""
        return [
            {key: value.model_json_schema() if isinstance(value, type) else value for key, value in request.items()}
            for request in self.asked
        ]
