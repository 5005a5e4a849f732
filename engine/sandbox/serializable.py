"""`SandboxSerializable`: values that say themselves how they get into a sandbox, such as data frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from .repl import REPLVariable, described

__all__ = ["SandboxSerializable", "build_repl_variable"]


class SandboxSerializable(ABC):
    """Base of such types. They may be field types of a signature, where any value passes and is shown as its `str`."""

    @abstractmethod
    def sandbox_setup(self) -> str:
        """Statements that run first, usually imports. The model is told of them."""

    @abstractmethod
    def to_sandbox(self) -> bytes:
        """The value as bytes or text."""

    @abstractmethod
    def sandbox_assignment(self, var_name: str, data_expr: str) -> str:
        """Code that makes the variable `var_name` of the data, which `data_expr` evaluates to: str where the bytes are
        UTF-8, else bytes.
        """

    @abstractmethod
    def rlm_preview(self, max_chars: int = 500) -> str:
        """A short description for the model."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source_type: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def same(value: Any) -> Any:
            return value

        return core_schema.no_info_plain_validator_function(
            same, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    def to_repl_variable(self, name: str, field_info: Any = None) -> REPLVariable:
        """How the model is told of it."""
        return build_repl_variable(self, name, field_info=field_info)


def build_repl_variable(obj: SandboxSerializable, name: str, field_info: Any = None) -> REPLVariable:
    """`SandboxSerializable.to_repl_variable`, for a value with the same methods."""
    variable = REPLVariable.from_value(name, obj, field_info=field_info)
    return described(obj.rlm_preview(), obj.sandbox_setup(), variable)
