"""Which `response_format` a JSON request asks for: a strict schema of the outputs where that can be had, else any JSON
object.

As dspy 3.4: the choice is made before the model is asked, from what the model supports and what the types allow. What
dspy does not do: a provider that turns the schema down is asked once more without it (`is_refusal_of_schema`).
"""

from __future__ import annotations

import logging
from typing import Any, cast, get_origin

import pydantic
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from ..failure import EngineError
from ..types import ToolCalls
from .language_model import LanguageModel
from .plan import Plan

_log = logging.getLogger(__name__)

JSON_OBJECT = {"type": "json_object"}


def response_format(lm: LanguageModel, plan: Plan, *, native_tools: bool) -> Any:
    """None (the model knows no such option), `{"type": "json_object"}`, or a pydantic model whose schema is strict.

    A `dict[...]` output rules the schema out: a strict schema must name all properties. So do tool calls that are to
    stand in the answer.
    """
    if "response_format" not in lm.supported_params:
        return None
    open_ended = any(get_origin(field.spec.annotation) is dict for field in plan.outputs.values())
    if open_ended or (plan.tool_calls is not None and not native_tools) or not lm.supports_response_schema:
        return dict(JSON_OBJECT)
    model = plan.own.get((response_format, native_tools))
    if model is None:
        try:
            model = _strict_model(plan, native_tools=native_tools)
        except (ValueError, PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
            _log.warning("Failed to build structured output schema; using JSON mode before execution.")
            return dict(JSON_OBJECT)
        plan.own[response_format, native_tools] = model
    return model


def is_refusal_of_schema(error: Exception, asked_for: object) -> bool:
    """Whether a provider turned a request down because of the schema in it: a 400 or 422 that speaks of the format."""
    if not isinstance(asked_for, type) or not isinstance(error, EngineError) or error.status not in (400, 422):
        return False
    text = error.message.lower()
    return any(word in text for word in ("response_format", "json_schema", "json schema", "structured output"))


def _strict_model(plan: Plan, *, native_tools: bool) -> type[pydantic.BaseModel]:
    """A model of the outputs whose JSON schema follows the rules of OpenAI's structured outputs: every property is
    required, no object takes others.
    """
    fields: dict[str, Any] = {}
    for field in plan.outputs.values():
        if native_tools and field.spec.annotation == ToolCalls:
            continue
        fields[field.name] = (field.spec.annotation, field.spec.to_info().default)
    model = pydantic.create_model("DSPyProgramOutputs", __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    schema = model.model_json_schema()
    _make_strict(schema)

    def strict_schema(*_: Any, **__: Any) -> dict[str, Any]:
        return schema

    # Where the LM clients look for the schema.
    model.model_json_schema = strict_schema  # pyright: ignore[reportAttributeAccessIssue]
    return model


def _make_strict(part: dict[str, Any]) -> None:
    if part.get("type") == "object":
        properties = cast("dict[str, Any]", part.setdefault("properties", {}))
        part["required"] = list(properties)
        part["additionalProperties"] = False
        for each in properties.values():
            if isinstance(each, dict):
                _make_strict(cast("dict[str, Any]", each))
    if part.get("type") == "array" and isinstance(part.get("items"), dict):
        _make_strict(part["items"])
    for definitions in ("$defs", "definitions"):
        for each in part.get(definitions, {}).values():
            _make_strict(each)
