"""The JSON adapter: sections in, one JSON object out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..signatures import SignatureMeta
from .chat import ChatAdapter
from .demos import Record
from .errors import AdapterParseError
from .field_text import FieldInfoWithName, text_in_field, with_fields
from .language_model import LanguageModel, Message
from .repair import read_json
from .response_format import JSON_OBJECT, is_refusal_of_schema, response_format
from .sections import sections, skeleton, type_reminder
from .values import json_of_fields

_log = logging.getLogger(__name__)


class JSONAdapter(ChatAdapter):
    """Asks for the outputs as a JSON object, under a strict schema where the model supports one. As dspy 3.4
    `JSONAdapter`.

    A provider that refuses the schema after all is asked again for any JSON object, which is logged and counted
    (`statistics().schema_refusals`); dspy fails then.
    """

    def __init__(
        self,
        callbacks: list[Any] | None = None,
        use_native_function_calling: bool = True,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        super().__init__(
            callbacks=callbacks,
            use_native_function_calling=use_native_function_calling,
            parallel_tool_calls=parallel_tool_calls,
        )

    async def acall(
        self,
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
        signature: SignatureMeta,
        demos: Sequence[Record],
        inputs: Record,
    ) -> list[dict[str, Any]]:
        """As `Adapter.acall`: there is no other format to fall back to."""
        options = dict(lm_kwargs)
        self._prepare_response_format(lm, options, signature)
        return await super().acall(lm, options, signature, demos, inputs)

    def _prepare_response_format(
        self, lm: LanguageModel, lm_kwargs: dict[str, Any], signature: SignatureMeta
    ) -> None:
        chosen = response_format(lm, self._plan(signature), native_tools=self.use_native_function_calling)
        if chosen is not None:
            lm_kwargs["response_format"] = chosen

    async def _ask(
        self, lm: LanguageModel, messages: list[Message], options: dict[str, Any]
    ) -> Sequence[str | Mapping[str, Any]]:
        try:
            return await super()._ask(lm, messages, options)
        except Exception as error:
            if not is_refusal_of_schema(error, options.get("response_format")):
                raise
            self._schema_refusals += 1
            _log.warning("%s refused the JSON schema of the outputs; asking for a JSON object instead.", lm.model)
        return await super()._ask(lm, messages, {**options, "response_format": dict(JSON_OBJECT)})

    def format_field_structure(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        inputs = skeleton([field.spec for field in plan.inputs])
        outputs = skeleton([field.spec for field in plan.outputs.values()])
        if self._values_are_fixed:
            shown = sections(inputs), json_of_fields(outputs)
        else:
            shown = (
                self.format_field_with_value(with_fields(signature, inputs), role="user"),
                self.format_field_with_value(with_fields(signature, outputs), role="assistant"),
            )
        parts = [
            "All interactions will be structured in the following way, with the appropriate values filled in.",
            "Inputs will have the following structure:",
            shown[0],
            "Outputs will be a JSON object with the following fields.",
            shown[1],
        ]
        return "\n\n".join(parts).strip()

    def user_message_output_requirements(self, signature: SignatureMeta) -> str | None:
        outputs = self._plan(signature).outputs
        order = ", then ".join(f"`{name}`{type_reminder(field.spec)}" for name, field in outputs.items())
        return f"Respond with a JSON object in the following order of fields: {order}."

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        values = {name: outputs.get(name, missing_field_message) for name in self._plan(signature).outputs}
        if self._values_are_fixed:
            return json_of_fields(values)
        return self.format_field_with_value(with_fields(signature, values), role="assistant")

    def format_field_with_value(  # as dspy's: the role is JSONAdapter's own
        self, fields_with_values: Mapping[FieldInfoWithName, Any], role: str = "user"
    ) -> str:
        """Values as sections in the role "user", as a JSON object in any other."""
        if role == "user":
            return sections({field.name: text_in_field(field, value) for field, value in fields_with_values.items()})
        return json_of_fields({field.name: value for field, value in fields_with_values.items()})

    def format_finetune_data(
        self, signature: SignatureMeta, demos: Sequence[Record], inputs: Record, outputs: Record
    ) -> dict[str, list[Message]]:
        """Not defined for JSON, as in dspy. Raises NotImplementedError."""
        raise NotImplementedError

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


ChatAdapter.fallback_class = JSONAdapter
JSONAdapter.fallback_class = None


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
