"""The chat adapter: sections in, sections out, and a second try as JSON when the answer cannot be read."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..signatures import FieldSpec, SignatureMeta
from ..stream_progress import fallback_scope
from ..types import Type
from .annotation import description
from .base import Adapter
from .demos import Record
from .errors import AdapterParseError
from .field_text import FieldInfoWithName, text_in_field, with_fields
from .language_model import LanguageModel, Message
from .sections import sections, skeleton, type_reminder

_log = logging.getLogger(__name__)

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_COMPLETED = "[[ ## completed ## ]]\n"
_STRUCTURE = "All interactions will be structured in the following way, with the appropriate values filled in."


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer could not be read, so the request is about to be asked again as JSON: one more call of the model."""

    model: str
    """The model, by its name."""
    signature: SignatureMeta
    """What is asked."""
    error: AdapterParseError
    """Why the first answer could not be read; it carries that answer."""


class ChatAdapter(Adapter):
    """The default adapter: fields under `[[ ## name ## ]]` headers in both directions. As dspy 3.4 `ChatAdapter`.

    An answer that cannot be read is asked for again with `JSONAdapter`, a second call of the model that dspy makes
    silently. Here it is logged (at info, without texts), counted in `statistics()`, told to `on_fallback`, and can be
    turned off.
    """

    fallback_class: ClassVar[type[ChatAdapter] | None] = None
    """The adapter of the second try; None for one that has no other. `json.py`, which builds on this file, fills it
    in.
    """

    def __init__(
        self,
        callbacks: list[Any] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: list[type[Type]] | None = None,
        use_json_adapter_fallback: bool = True,
        parallel_tool_calls: bool | None = None,
        *,
        on_fallback: Callable[[Fallback], None] | None = None,
    ) -> None:
        super().__init__(callbacks, use_native_function_calling, native_response_types, parallel_tool_calls)
        self.use_json_adapter_fallback = use_json_adapter_fallback
        """Whether an `AdapterParseError` leads to a second request. No other error does."""
        self.on_fallback = on_fallback
        """Called before the second request; what it raises ends the call instead of it."""

    async def acall(
        self,
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
        signature: SignatureMeta,
        demos: Sequence[Record],
        inputs: Record,
    ) -> list[dict[str, Any]]:
        """As `Adapter.acall`, with the fallback. The error of a failed fallback names `JSONAdapter` and has the first
        in `__context__`.
        """
        with fallback_scope() as progress:
            try:
                return await super().acall(lm, lm_kwargs, signature, demos, inputs)
            except AdapterParseError as error:
                # What a reader has seen of the first answer cannot be taken back.
                if progress.emitted or not self.use_json_adapter_fallback or self.fallback_class is None:
                    raise
                self._fallbacks += 1
                _log.info("%s could not read the answer of %s; asking again as JSON.", type(self).__name__, lm.model)
                if self.on_fallback is not None:
                    self.on_fallback(Fallback(lm.model, signature, error))
                try:
                    return await self._make_json_adapter_fallback().acall(lm, lm_kwargs, signature, demos, inputs)
                except AdapterParseError:
                    self._fallback_failures += 1
                    raise

    def _make_json_adapter_fallback(self) -> Adapter:
        assert self.fallback_class is not None
        return self.fallback_class(
            use_native_function_calling=self.use_native_function_calling, parallel_tool_calls=self.parallel_tool_calls
        )

    # -- the system message --------------------------------------------------------------------------------------------

    def format_field_description(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        inputs = tuple(field.spec for field in plan.inputs)
        outputs = tuple(field.spec for field in plan.outputs.values())
        return f"Your input fields are:\n{description(inputs)}\nYour output fields are:\n{description(outputs)}"

    def format_field_structure(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        parts = [
            _STRUCTURE,
            self._explained(signature, [field.spec for field in plan.inputs]),
            self._explained(signature, [field.spec for field in plan.outputs.values()]),
            _COMPLETED,
        ]
        return "\n\n".join(parts).strip()

    def format_task_description(self, signature: SignatureMeta) -> str:
        lines = textwrap.dedent(signature.instructions).splitlines()
        margin = "\n" + " " * 8
        objective = margin.join(["", *lines])
        return f"In adhering to this structure, your objective is: {objective}"

    # -- turns ---------------------------------------------------------------------------------------------------------

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        blocks = [prefix]
        for field in self._plan(signature).inputs:
            name = field.name
            if name in inputs:
                blocks.append(field.header + field.text(inputs[name]))
        if main_request:
            reminder = self._reminder(signature)
            if reminder is not None:
                blocks.append(reminder)
        blocks.append(suffix)
        return "\n\n".join(blocks).strip()

    def _reminder(self, signature: SignatureMeta) -> str | None:
        if not self._turns_are_fixed:
            return self.user_message_output_requirements(signature)
        plan = self._plan(signature)
        if plan.reminder is None:
            plan.reminder = self.user_message_output_requirements(signature)
        return plan.reminder

    def user_message_output_requirements(self, signature: SignatureMeta) -> str | None:
        """The sentence at the end of a request that says what to answer with; None for none."""
        outputs = self._plan(signature).outputs
        order = ", then ".join(f"`[[ ## {name} ## ]]`{type_reminder(field.spec)}" for name, field in outputs.items())
        return (
            f"Respond with the corresponding output fields, starting with the field {order}, "
            "and then ending with the marker for `[[ ## completed ## ]]`."
        )

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        fields = self._plan(signature).outputs
        values = {name: outputs.get(name, missing_field_message) for name in fields}
        if self._values_are_fixed:
            text = "\n\n".join(fields[name].header + fields[name].text(value) for name, value in values.items()).strip()
        else:
            text = self.format_field_with_value(with_fields(signature, values))
        return f"{text}\n\n{_COMPLETED}"

    def format_field_with_value(self, fields_with_values: Mapping[FieldInfoWithName, Any]) -> str:
        """Values under the headers of their fields: how this adapter writes a demo's answer and explains the layout."""
        return sections({field.name: text_in_field(field, value) for field, value in fields_with_values.items()})

    def _explained(self, signature: SignatureMeta, specs: list[FieldSpec]) -> str:
        if self._values_are_fixed:
            return sections(skeleton(specs))
        return self.format_field_with_value(with_fields(signature, skeleton(specs)))

    def format_finetune_data(
        self, signature: SignatureMeta, demos: Sequence[Record], inputs: Record, outputs: Record
    ) -> dict[str, list[Message]]:
        """A training example in OpenAI's chat format: `{"messages": [...]}`, the last one being the answer."""
        answer = self.format_assistant_message_content(signature, outputs)
        messages = self.format(signature, demos, inputs)
        return {"messages": [*messages, {"role": "assistant", "content": answer}]}

    # -- the answer ----------------------------------------------------------------------------------------------------

    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        plan = self._plan(signature)
        found: dict[str, Any] = {}
        for name, text in _sections_of(completion):
            field = plan.outputs.get(name)
            if field is None or name in found:
                continue
            try:
                found[name] = field.coerce(text)
            except (ValueError, TypeError, RecursionError) as error:
                raise AdapterParseError(
                    adapter_name="ChatAdapter",
                    signature=signature,
                    lm_response=completion,
                    message=(
                        f"Failed to parse field {name} with value {text} from the LM response. Error message: {error}"
                    ),
                ) from error
        outputs = plan.completed(found)
        if len(outputs) != len(plan.outputs):
            raise AdapterParseError(
                adapter_name="ChatAdapter", signature=signature, lm_response=completion, parsed_result=outputs
            )
        return outputs


def _sections_of(completion: str) -> list[tuple[str, str]]:
    """The sections in order; what stands before the first header belongs to none.

    A header counts only at the beginning of its line, which may be indented, and may be followed by content. After an
    indented header the content is taken from the wrong place, as dspy does: the end of the header is counted from the
    first character that is no space, and cut from the beginning of the line.
    """
    result: list[tuple[str, str]] = []
    name: str | None = None
    lines: list[str] = []
    for line in completion.splitlines():
        if "[[ ## " in line:
            header = _HEADER.match(line.strip())
            if header is not None:
                if name is not None:
                    result.append((name, "\n".join(lines).strip()))
                name = header.group(1)
                rest = line[header.end() :].strip()
                lines = [rest] if rest else []
                continue
        lines.append(line)
    if name is not None:
        result.append((name, "\n".join(lines).strip()))
    return result
