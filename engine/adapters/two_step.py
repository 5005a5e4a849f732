"""The two-step adapter: the model answers freely, and a second model extracts the outputs from what it wrote.

For reasoning models, which think worse when they must keep to a format. As dspy 3.4 `TwoStepAdapter`.

    TwoStepAdapter(LM("openai/gpt-4o-mini"))     # the extraction model; the main one is the settings' or the call's
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..signatures import InputField, SignatureMeta, make_signature
from ..sync import run_sync
from .annotation import description
from .base import Adapter
from .chat import ChatAdapter
from .demos import Record
from .errors import AdapterParseError
from .language_model import LanguageModel, Message


class TwoStepAdapter(Adapter):
    """Asks in plain words, then has `extraction_model` read the answer, through a `ChatAdapter` with its fallback."""

    def __init__(self, extraction_model: LanguageModel, **kwargs: Any) -> None:
        """Take the second model, and the options of `Adapter`. Raises ValueError if that is no language model."""
        super().__init__(**kwargs)
        if not callable(getattr(extraction_model, "acall", None)) or not hasattr(extraction_model, "model"):
            raise ValueError("extraction_model must be an instance of dspy.BaseLM")
        self.extraction_model = extraction_model
        self._extractor = ChatAdapter()

    async def acall(
        self,
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
        signature: SignatureMeta,
        demos: Sequence[Record],
        inputs: Record,
    ) -> list[dict[str, Any]]:
        """As `Adapter.acall`, with one request to the extraction model for each answer.

        Raises:
            AdapterParseError: the outputs could not be extracted; the cause is the extraction's error.
        """
        self._calls += 1
        options = dict(lm_kwargs)
        asked = self._call_preprocess(lm, options, signature, inputs)
        messages = self.format(asked, demos, inputs)
        answers = await self._ask(lm, messages, options)
        return [await self._extracted(asked, signature, answer) for answer in answers]

    async def _extracted(
        self, asked: SignatureMeta, signature: SignatureMeta, answer: str | Mapping[str, Any]
    ) -> dict[str, Any]:
        text, calls = self._parts_of(signature, answer)
        found: dict[str, Any] = {}
        if calls is None or (text and self._plan(asked).outputs):
            try:
                found = await self._extract(asked, text)
            except AdapterParseError:
                if calls is None:
                    raise
        return self._finished(signature, answer, found)

    async def _extract(self, signature: SignatureMeta, text: str) -> dict[str, Any]:
        extraction = self._create_extractor_signature(signature)
        try:
            return (await self._extractor.acall(self.extraction_model, {}, extraction, [], {"text": text}))[0]
        except AdapterParseError as error:
            self._parse_failures += 1
            raise AdapterParseError(
                adapter_name="TwoStepAdapter",
                signature=signature,
                lm_response=text,
                message=f"Failed to parse response from the original completion: {error}",
            ) from error

    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        """Asks the extraction model, from synchronous code (`acall` does the same without blocking)."""
        return run_sync(self._extract, signature, completion)

    def format(self, signature: SignatureMeta, demos: Sequence[Record], inputs: Record) -> list[Message]:
        return [
            {"role": "system", "content": self.format_task_description(signature)},
            *self.format_demos(signature, demos),
            {"role": "user", "content": self.format_user_message_content(signature, inputs)},
        ]

    def format_task_description(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        if plan.system is None:
            inputs = description(tuple(field.spec for field in plan.inputs))
            outputs = description(tuple(field.spec for field in plan.outputs.values()))
            lines = [
                "You are a helpful assistant that can solve tasks based on user input.",
                f"As input, you will be provided with:\n{inputs}",
                f"Your outputs must contain:\n{outputs}",
                "You should lay out your outputs in detail so that your answer can be understood by another agent",
            ]
            if signature.instructions:
                lines.append(f"Specific instructions: {signature.instructions}")
            plan.system = "\n".join(lines)
        return plan.system

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        values = [f"{field.name}: {inputs[field.name]}" for field in self._plan(signature).inputs if field.name in inputs]
        return "\n\n".join([prefix, *values, suffix]).strip()

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        values = [f"{name}: {outputs[name]}" for name in self._plan(signature).outputs if name in outputs]
        return "\n\n".join(values).strip()

    def _create_extractor_signature(self, original_signature: SignatureMeta) -> SignatureMeta:
        """`text -> outputs`; made once per signature."""
        plan = self._plan(original_signature)
        made = plan.own.get("extraction")
        if made is None:
            names = ", ".join(f"`{name}`" for name in plan.outputs)
            fields: dict[str, Any] = {"text": (str, InputField())}
            for name, field in plan.outputs.items():
                fields[name] = (field.spec.annotation, field.spec.to_info())
            # The gap in the middle is part of dspy's text.
            made = plan.own["extraction"] = make_signature(
                fields,
                "The input is a text that should contain all the necessary information to produce the fields "
                f"{names}. {' ' * 12}Your job is to extract the fields from the text verbatim. Extract precisely the "
                "appropriate value (content) for each field.",
            )
        return cast("SignatureMeta", made)
