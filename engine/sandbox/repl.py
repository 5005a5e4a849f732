"""What a model sees of a session in which it programs: the variables, and what it did so far.

Texts are those of dspy 3.4, since they are prompt. All three are immutable; in a prompt each is its `format()`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pydantic

from ..adapters.values import jsonable

__all__ = ["REPLEntry", "REPLHistory", "REPLVariable"]


class REPLVariable(pydantic.BaseModel):
    """A variable as the model is told of it: its type, length and beginning and end, not its value."""

    name: str
    type_name: str
    desc: str = ""
    constraints: str = ""
    total_length: int
    preview: str

    model_config = pydantic.ConfigDict(frozen=True)

    @classmethod
    def from_value(
        cls, name: str, value: Any, field_info: Any = None, preview_chars: int = 1000
    ) -> REPLVariable:
        """Describe `value`.

        Args:
            field_info: the signature's field, whose description and constraints are told too.
            preview_chars: characters that are shown of it.
        """
        plain = jsonable(value)
        text = json.dumps(plain, indent=2) if isinstance(plain, dict | list) else str(plain)
        extra: dict[str, Any] = getattr(field_info, "json_schema_extra", None) or {}
        desc = extra.get("desc", "")
        return cls(
            name=name,
            type_name=type(value).__name__,
            desc="" if desc.startswith("${") else desc,
            constraints=extra.get("constraints", ""),
            total_length=len(text),
            preview=_ends(text, preview_chars, "..."),
        )

    def format(self) -> str:
        """For the prompt."""
        lines = [f"Variable: `{self.name}` (access it in your code)", f"Type: {self.type_name}"]
        if self.desc:
            lines.append(f"Description: {self.desc}")
        if self.constraints:
            lines.append(f"Constraints: {self.constraints}")
        lines.append(f"Total length: {self.total_length:,} characters")
        lines.append(f"Preview:\n```\n{self.preview}\n```")
        return "\n".join(lines)

    @pydantic.model_serializer()
    def serialize_model(self) -> str:
        """As `format`."""
        return self.format()


class REPLEntry(pydantic.BaseModel):
    """One step: what the model thought, the code it wrote, what came out."""

    reasoning: str = ""
    code: str
    output: str

    model_config = pydantic.ConfigDict(frozen=True)

    @staticmethod
    def format_output(output: str, max_output_chars: int = 10_000) -> str:
        """Output for the prompt, with its length; a long one shows its beginning and its end."""
        omitted = len(output) - max_output_chars
        shown = _ends(output, max_output_chars, f"\n\n... ({omitted:,} characters omitted) ...\n\n")
        return f"Output ({len(output):,} chars):\n{shown}"

    def format(self, index: int, max_output_chars: int = 10_000) -> str:
        """For the prompt, as step `index` + 1."""
        reasoning = f"Reasoning: {self.reasoning}\n" if self.reasoning else ""
        output = self.format_output(self.output, max_output_chars)
        return f"=== Step {index + 1} ===\n{reasoning}Code:\n```python\n{self.code}\n```\n{output}"


class REPLHistory(pydantic.BaseModel):
    """All steps of a session, in order."""

    entries: list[REPLEntry] = pydantic.Field(default_factory=list[REPLEntry])
    max_output_chars: int = 10_000

    model_config = pydantic.ConfigDict(frozen=True)

    def format(self) -> str:
        """For the prompt."""
        if not self.entries:
            return "You have not interacted with the REPL environment yet."
        return "\n".join(entry.format(index, self.max_output_chars) for index, entry in enumerate(self.entries))

    @pydantic.model_serializer()
    def serialize_model(self) -> str:
        """As `format`."""
        return self.format()

    def append(self, *, reasoning: str = "", code: str, output: str) -> REPLHistory:
        """A history with one step more."""
        entry = REPLEntry(reasoning=reasoning, code=code, output=output)
        return REPLHistory(entries=[*self.entries, entry], max_output_chars=self.max_output_chars)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[REPLEntry]:  # pyright: ignore[reportIncompatibleMethodOverride] - the steps, as in dspy
        return iter(self.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)


def _ends(text: str, limit: int, between: str) -> str:
    if len(text) <= limit:
        return text
    head = limit // 2
    tail = limit - head if limit > 0 else head
    return text[:head] + between + text[-tail:]


def described(preview: str, setup: str, variable: REPLVariable) -> REPLVariable:
    """`variable` with another preview, and a note on the imports its set-up makes."""
    desc = variable.desc
    if setup.strip():
        note = f"Sandbox imports available:\n{setup.strip()}"
        desc = f"{desc}\n{note}" if desc else note
    update: dict[str, Any] = {"preview": preview, "total_length": len(preview), "desc": desc}
    return variable.model_copy(update=update)
