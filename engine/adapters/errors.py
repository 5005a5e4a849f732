"""What can go wrong between a signature and a model's text.

EngineError
└── AdapterError
    ├── AdapterParseError         the model's answer does not contain the outputs that the signature asks for
    └── FieldValueError           (also TypeError) a value cannot be written into the prompt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..failure import EngineError
from ..signatures import SignatureMeta


class AdapterError(EngineError):
    """Base of the errors of this room."""

    default_code = "adapter_error"


class AdapterParseError(AdapterError):
    """The answer of the model cannot be read as the outputs of the signature.

    The arguments and the text are dspy's. `lm_response` is the answer as received, `parsed_result` the fields that
    could be read, if reading got that far. The cause, where there is one (a validation error), is in `__cause__`.
    """

    default_code = "adapter_parse_error"

    def __init__(
        self,
        adapter_name: str,
        signature: SignatureMeta,
        lm_response: str,
        message: str | None = None,
        parsed_result: Mapping[str, Any] | None = None,
    ) -> None:
        self.adapter_name = adapter_name
        self.signature = signature
        self.lm_response = lm_response
        self.parsed_result = parsed_result
        expected = ", ".join(spec.name for spec in signature.specs if spec.kind == "output")
        parts = [
            message,
            f"Adapter {adapter_name} failed to parse the LM response. ",
            f"LM Response: {lm_response} ",
            f"Expected to find output fields in the LM response: [{expected}] ",
        ]
        if parsed_result is not None:
            parts.append(f"Actual output fields parsed from the LM response: [{', '.join(parsed_result)}] ")
        text = "".join(f"{part}\n\n" for part in parts if part)
        super().__init__(text)
        self.args = (text,)  # the blank line at the end is part of dspy's text


class FieldValueError(AdapterError, TypeError):
    """A value given for a field cannot be written into the prompt. `field` is its name."""

    default_code = "adapter_field_value"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field
