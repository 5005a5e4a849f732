"""The `[[ ## field ## ]]` layout of requests, which the chat and the JSON adapter share.

The texts are those of dspy 3.4 to the byte; `tests/engine_adapters` compares them with the installed dspy.
"""

from __future__ import annotations

import textwrap
from abc import abstractmethod

from ..signatures import FieldSpec, SignatureMeta
from .annotation import annotation_name, description, placeholder
from .base import Adapter
from .plan import Record


class SectionAdapter(Adapter):
    """Base of the adapters that write each field of a request under a header line."""

    def format_field_description(self, signature: SignatureMeta) -> str:
        plan = self._plan(signature)
        inputs = tuple(field.spec for field in plan.inputs)
        outputs = tuple(field.spec for field in plan.outputs.values())
        return f"Your input fields are:\n{description(inputs)}\nYour output fields are:\n{description(outputs)}"

    def format_task_description(self, signature: SignatureMeta) -> str:
        lines = textwrap.dedent(signature.instructions).splitlines()
        margin = "\n" + " " * 8
        return f"In adhering to this structure, your objective is: {''.join(margin + line for line in lines)}"

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        blocks = [prefix]
        for field in self._plan(signature).inputs:
            name = field.name
            if name in inputs:
                blocks.append(field.header + field.text(inputs[name]))
        if main_request:
            blocks.append(self._reminder(signature))
        blocks.append(suffix)
        return "\n\n".join(blocks).strip()

    def _reminder(self, signature: SignatureMeta) -> str:
        if not self._turns_are_fixed:
            return self.user_message_output_requirements(signature)
        plan = self._plan(signature)
        if plan.reminder is None:
            plan.reminder = self.user_message_output_requirements(signature)
        return plan.reminder

    @abstractmethod
    def user_message_output_requirements(self, signature: SignatureMeta) -> str:
        """The sentence at the end of a request that says what to answer with."""


def sections(parts: dict[str, str]) -> str:
    """Texts under the headers of their fields."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in parts.items()).strip()


def skeleton(specs: list[FieldSpec]) -> dict[str, str]:
    """What stands for each field where the layout is explained."""
    return {spec.name: placeholder(spec) for spec in specs}


def type_reminder(spec: FieldSpec) -> str:
    """The bracket after an output field in the reminder; nothing for a text."""
    if spec.annotation is str:
        return ""
    return f" (must be formatted as a valid Python {annotation_name(spec.annotation)})"
