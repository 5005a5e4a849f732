"""`File`: a file for the model, as data or by the id it was uploaded under. Making one reads no file."""

from __future__ import annotations

import base64
import mimetypes
import os
from typing import Any, cast

import pydantic

from .base import Type

__all__ = ["File", "encode_file_to_dict"]

_NEEDS_ONE = "Value of `dspy.File` must contain at least one of: file_data, file_id, or filename"
_KEYS = ("file_data", "file_id", "filename")
_UNKNOWN_KIND = "application/octet-stream"


class File(Type):
    """A file: a data URI, or the id of an uploaded file, and a name."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None

    model_config = pydantic.ConfigDict(
        frozen=True, str_strip_whitespace=True, validate_assignment=True, extra="forbid"
    )

    def __init__(self, *args: Any, **data: Any) -> None:
        """Make a file of raw bytes, a data URI, a dict of the fields or a `File`; or of the fields by name.

        Raises:
            TypeError: more than one source, or a field given twice.
            ValueError: a text that is no data URI, an unknown kind of source, or no field at all.
        """
        if len(args) > 1:
            raise TypeError(f"File expected at most 1 positional argument, received {len(args)}")
        if args:
            made = encode_file_to_dict(args[0])
            twice = sorted(set(made) & set(data))
            if twice:
                raise TypeError(
                    f"File received {', '.join(twice)} from both the positional source and keyword arguments"
                )
            data = {**made, **data}
        super().__init__(**data)

    @pydantic.model_validator(mode="before")
    @classmethod
    def validate_input(cls, values: Any) -> Any:
        """Accepts what the constructor accepts."""
        if isinstance(values, cls):
            return {key: getattr(values, key) for key in _KEYS}
        return encode_file_to_dict(values)

    def format(self) -> list[dict[str, Any]]:
        """One `file` part with the fields that are set."""
        return [{"type": "file", "file": {key: getattr(self, key) for key in _KEYS if getattr(self, key)}}]

    @classmethod
    def from_path(cls, file_path: str, filename: str | None = None, mime_type: str | None = None) -> File:
        """Read a file. Its name and kind are those of the path unless given. Raises ValueError if there is none."""
        if not os.path.isfile(file_path):
            raise ValueError(f"File not found: {file_path}")
        with open(file_path, "rb") as file:
            content = file.read()
        name = os.path.basename(file_path) if filename is None else filename
        kind = mimetypes.guess_type(file_path)[0] or _UNKNOWN_KIND if mime_type is None else mime_type
        return cls.from_bytes(content, filename=name, mime_type=kind)

    @classmethod
    def from_bytes(cls, file_bytes: bytes, filename: str | None = None, mime_type: str = _UNKNOWN_KIND) -> File:
        """A file of raw bytes."""
        data = base64.b64encode(file_bytes).decode()
        return cls(file_data=f"data:{mime_type};base64,{data}", filename=filename)

    @classmethod
    def from_file_id(cls, file_id: str, filename: str | None = None) -> File:
        """A file that the provider already has."""
        return cls(file_id=file_id, filename=filename)

    def __str__(self) -> str:
        return cast("str", self.serialize_model())

    def __repr__(self) -> str:
        parts: list[str] = []
        data = self.file_data
        if data is not None and data.startswith("data:"):
            kind = data.split(";")[0].split(":")[1]
            size = len(data.split("base64,")[1]) if "base64," in data else len(data)
            parts.append(f"file_data=<DATA_URI({kind}, {size} chars)>")
        elif data is not None:
            parts.append(f"file_data=<DATA({len(data)} chars)>")
        if self.file_id is not None:
            parts.append(f"file_id='{self.file_id}'")
        if self.filename is not None:
            parts.append(f"filename='{self.filename}'")
        return f"File({', '.join(parts)})"


def encode_file_to_dict(file_input: Any) -> dict[str, Any]:
    """The fields of anything `File` takes. Raises ValueError for what it does not take."""
    if isinstance(file_input, File):
        return {key: value for key in _KEYS if (value := getattr(file_input, key)) is not None}
    if isinstance(file_input, dict):
        given = cast("dict[str, Any]", file_input)
        if any(key in given for key in _KEYS):
            return given
        raise ValueError(_NEEDS_ONE)
    if isinstance(file_input, str):
        if file_input.startswith("data:"):
            return {"file_data": file_input}
        raise ValueError(
            f"String file inputs must be data URIs, received: {file_input}. Load local files with File.from_path()."
        )
    if isinstance(file_input, bytes):
        return {"file_data": File.from_bytes(file_input).file_data}
    raise ValueError(f"Unsupported file input type: {type(file_input)}")
