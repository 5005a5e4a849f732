"""The chat adapter: sections in, sections out, and a second try as JSON when the answer cannot be read."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..signatures import SignatureMeta
from .base import LanguageModel
from .errors import AdapterParseError
from .json import JSONAdapter
from .plan import Record
from .sections import SectionAdapter, sections, skeleton, type_reminder

_log = logging.getLogger(__name__)

_HEADER = re.compile(r"\[\[ ## (\w+) ## \]\]")
_COMPLETED = "[[ ## completed ## ]]\n"


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer could not be read as sections, so the request is about to be asked again as JSON: one more call of the
    model.
    """

    model: str
    """The model, by its name."""
    signature: SignatureMeta
    """What is asked."""
    error: AdapterParseError
    """Why the first answer could not be read; it carries that answer."""


class ChatAdapter(SectionAdapter):
    """The default adapter: fields under `[[ ## name ## ]]` headers in both directions. As dspy 3.4 `ChatAdapter`.

    An answer that cannot be read is asked for again with `JSONAdapter`, a second call of the model that dspy makes
    silently. Here it is logged (at info, without texts), counted in `statistics()`, told to `on_fallback`, and can be
    turned off.
    """

    def __init__(
        self,
        callbacks: Sequence[object] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: Sequence[type] | None = None,
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
        try:
            return await super().acall(lm, lm_kwargs, signature, demos, inputs)
        except AdapterParseError as error:
            if not self.use_json_adapter_fallback:
                raise
            self._fallbacks += 1
            _log.info("The answer of %s could not be read as sections; asking again as JSON.", lm.model)
            if self.on_fallback is not None:
                self.on_fallback(Fallback(lm.model, signature, error))
            try:
                return await self._json_adapter().acall(lm, lm_kwargs, signature, demos, inputs)
            except AdapterParseError:
                self._fallback_failures += 1
                raise

    def _json_adapter(self) -> JSONAdapter:
        return JSONAdapter(
            use_native_function_calling=self.use_native_function_calling, parallel_tool_calls=self.parallel_tool_calls
        )

    def format_field_structure(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        parts = [
            "All interactions will be structured in the following way, with the appropriate values filled in.",
            sections(skeleton([field.spec for field in plan.inputs])),
            sections(skeleton([field.spec for field in plan.outputs.values()])),
            _COMPLETED,
        ]
        return "\n\n".join(parts).strip()

    def user_message_output_requirements(self, signature: SignatureMeta) -> str:
        outputs = self._plan(signature).outputs
        order = ", then ".join(f"`[[ ## {name} ## ]]`{type_reminder(field.spec)}" for name, field in outputs.items())
        return (
            f"Respond with the corresponding output fields, starting with the field {order}, "
            "and then ending with the marker for `[[ ## completed ## ]]`."
        )

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        blocks: list[str] = []
        for name, field in self._plan(signature).outputs.items():
            value = outputs.get(name, missing_field_message)
            blocks.append(field.header + field.text(value))
        return "\n\n".join(blocks).strip() + "\n\n" + _COMPLETED

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

    A header counts only at the beginning of its line, which may be indented, and may be followed by content. (dspy 3.4
    cuts an indented header at the wrong place and leaves its brackets in the value.)
    """
    result: list[tuple[str, str]] = []
    name: str | None = None
    lines: list[str] = []
    for line in completion.splitlines():
        if "[[ ## " in line:
            stripped = line.strip()
            header = _HEADER.match(stripped)
            if header is not None:
                if name is not None:
                    result.append((name, "\n".join(lines).strip()))
                name = header.group(1)
                rest = stripped[header.end() :].strip()
                lines = [rest] if rest else []
                continue
        lines.append(line)
    if name is not None:
        result.append((name, "\n".join(lines).strip()))
    return result
