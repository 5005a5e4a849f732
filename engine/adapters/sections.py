"""The `[[ ## field ## ]]` layout: the texts that the chat and the JSON adapter share.

The texts are those of dspy 3.4 to the byte; `tests/engine_adapters` compares them with the installed dspy.
"""

from __future__ import annotations

from ..signatures import FieldSpec
from ..types import ToolCalls
from .annotation import annotation_name, placeholder


def sections(parts: dict[str, str]) -> str:
    """Texts under the headers of their fields."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in parts.items()).strip()


def skeleton(specs: list[FieldSpec]) -> dict[str, str]:
    """What stands for each field where the layout is explained."""
    return {spec.name: placeholder(spec) for spec in specs}


def type_reminder(spec: FieldSpec) -> str:
    """The bracket after an output field in the reminder; nothing for a text."""
    if spec.annotation == ToolCalls:
        return ' (must be a JSON object like {"tool_calls": [{"name": "...", "args": {...}}]})'
    if spec.annotation is str:
        return ""
    return f" (must be formatted as a valid Python {annotation_name(spec.annotation)})"
