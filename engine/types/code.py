"""`Code`: source code as an input or output, without the fences that models put around it.

    class Translate(Signature):
        source: Code["python"] = InputField()
        target: Code["java"] = OutputField()
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, cast

import pydantic

from .base import Type

__all__ = ["Code"]

_BLOCK = re.compile(r"```(?:[^\n]*)\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"```(.*?)```", re.DOTALL)


class Code(Type):
    """Code in `language`; `Code["java"]` is the type for another one."""

    code: str

    language: ClassVar[str] = "python"

    def __class_getitem__(cls, language: Any) -> Any:
        made = pydantic.create_model(f"{cls.__name__}_{language}", __base__=cls, __module__=cls.__module__)
        made.language = language
        return made

    def format(self) -> str:
        """The code itself."""
        return f"{self.code}"

    @pydantic.model_serializer()
    def serialize_model(self) -> Any:
        """The code itself."""
        return self.format()

    @classmethod
    def description(cls) -> str:
        return (
            "Code represented in a string, specified in the `code` field. If this is an output field, the code "
            f"field should follow the markdown code block format, e.g. \n```{cls.language.lower()}\n{{code}}\n```"
            f"\nProgramming language: {cls.language}"
        )

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, data: Any) -> Any:
        """Accepts code, a text (the first fenced block in it, else all of it) or `{"code": text}`."""
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            return {"code": _unfenced(data)}
        if isinstance(data, dict):
            given = cast("dict[str, Any]", data)
            if "code" not in given:
                raise ValueError("`code` field is required for `dspy.Code`")
            if not isinstance(given["code"], str):
                raise ValueError(f"`code` field must be a string, but received type: {type(given['code'])}")
            return {"code": _unfenced(given["code"])}
        raise ValueError(f"Received invalid value for `dspy.Code`: {data}")


def _unfenced(text: str) -> str:
    fenced = _BLOCK.search(text) or _INLINE.search(text)
    return fenced.group(1).strip() if fenced else text
