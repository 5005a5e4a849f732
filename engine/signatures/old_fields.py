"""Fields as dspy had them before signatures were typed; kept because programs of that time still name the classes."""

from __future__ import annotations

from typing import Any

__all__ = ["OldField", "OldInputField", "OldOutputField"]


class OldField:
    """A prefix, a description and a formatter; the first two may be left to be inferred by `finalize`."""

    def __init__(self, *, prefix: str | None = None, desc: str | None = None, input: bool, format: Any = None) -> None:
        self.prefix = prefix
        self.desc = desc
        self.format = format

    def finalize(self, key: str, inferred_prefix: str) -> None:
        """Fill in what was not given, for a field called `key`."""
        if self.prefix is None:
            self.prefix = f"{inferred_prefix}:"
        if self.desc is None:
            self.desc = f"${{{key}}}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prefix={self.prefix}, desc={self.desc})"

    def __eq__(self, value: object) -> bool:
        return vars(self) == vars(value)

    __hash__ = None  # pyright: ignore[reportAssignmentType] - as dspy's: equal by value, and mutable


class OldInputField(OldField):
    """An input."""

    def __init__(self, *, prefix: str | None = None, desc: str | None = None, format: Any = None) -> None:
        super().__init__(prefix=prefix, desc=desc, input=True, format=format)


class OldOutputField(OldField):
    """An output."""

    def __init__(self, *, prefix: str | None = None, desc: str | None = None, format: Any = None) -> None:
        super().__init__(prefix=prefix, desc=desc, input=False, format=format)
