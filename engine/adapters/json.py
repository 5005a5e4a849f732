"""The JSON adapter: sections in, one JSON object out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..signatures import SignatureMeta
from .base import LanguageModel
from .errors import AdapterParseError
from .plan import Record
from .repair import read_json
from .response_format import response_format
from .sections import SectionAdapter, sections, skeleton, type_reminder
from .values import jsonable


class JSONAdapter(SectionAdapter):
    """Asks for the outputs as a JSON object, under a strict schema where the model supports one. As dspy 3.4
    `JSONAdapter`.
    """

    def __init__(
        self,
        callbacks: Sequence[object] | None = None,
        use_native_function_calling: bool = True,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        super().__init__(callbacks, use_native_function_calling, parallel_tool_calls=parallel_tool_calls)

    def _request_options(
        self, lm: LanguageModel, lm_kwargs: Mapping[str, Any], signature: SignatureMeta
    ) -> dict[str, Any]:
        options = super()._request_options(lm, lm_kwargs, signature)
        chosen = response_format(lm, self._plan(signature))
        if chosen is not None:
            options["response_format"] = chosen
        return options

    def format_field_structure(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        parts = [
            "All interactions will be structured in the following way, with the appropriate values filled in.",
            "Inputs will have the following structure:",
            sections(skeleton([field.spec for field in plan.inputs])),
            "Outputs will be a JSON object with the following fields.",
            _object(skeleton([field.spec for field in plan.outputs.values()])),
        ]
        return "\n\n".join(parts).strip()

    def user_message_output_requirements(self, signature: SignatureMeta) -> str:
        outputs = self._plan(signature).outputs
        order = ", then ".join(f"`{name}`{type_reminder(field.spec)}" for name, field in outputs.items())
        return f"Respond with a JSON object in the following order of fields: {order}."

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        names = self._plan(signature).outputs
        return _object({name: outputs.get(name, missing_field_message) for name in names})

    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        plan = self._plan(signature)
        answer = _load_object(completion)
        if answer is None:
            inner = _first_braces(completion)
            if inner is not None:
                completion, answer = inner, _load_object(inner)
        if answer is None:
            raise AdapterParseError(
                adapter_name="JSONAdapter",
                signature=signature,
                lm_response=completion,
                message="LM response cannot be serialized to a JSON object.",
            )
        found = {name: value for name, value in answer.items() if name in plan.outputs}
        for name, value in found.items():
            try:
                found[name] = plan.outputs[name].coerce(value)
            except (ValueError, TypeError, RecursionError) as error:
                raise AdapterParseError(
                    adapter_name=type(self).__name__,
                    signature=signature,
                    lm_response=completion,
                    message=f"Failed to parse field {name}: {error}",
                    parsed_result=found,
                ) from error
        outputs = plan.completed(found)
        if len(outputs) != len(plan.outputs):
            raise AdapterParseError(
                adapter_name="JSONAdapter", signature=signature, lm_response=completion, parsed_result=outputs
            )
        return outputs


def _object(values: dict[str, Any]) -> str:
    return json.dumps(jsonable(values), indent=2, ensure_ascii=False)


def _load_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, repaired if need be; None if it holds something else or is beyond what can be read."""
    try:
        loaded = read_json(text)
    except ValueError:
        return None
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else None


def _first_braces(text: str) -> str | None:
    """The first balanced `{...}`, as `\\{(?:[^{}]|(?R))*\\}` would find it: the leftmost brace that is closed. Linear
    in the text.
    """
    opened: list[int] = []
    best: tuple[int, int] | None = None
    for position, character in enumerate(text):
        if character == "{":
            opened.append(position)
        elif character == "}" and opened:
            start = opened.pop()
            if best is None or start < best[0]:
                best = (start, position + 1)
    return None if best is None else text[best[0] : best[1]]
