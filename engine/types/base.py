"""The base of the custom types: values that go to the model as content parts instead of text.

    class Page(Type):
        url: str

        def format(self):
            return [{"type": "image_url", "image_url": {"url": self.url}}]

A prompt is written as text first. A custom value stands in it as JSON between two markers, and when the message is
complete the text is split at the markers into content parts (`content_parts`). That is how dspy 3.4 does it, and what
lets an image travel through a list, a dict, a demo or a tool's result. It also means that the markers are reserved: a
text that holds them becomes parts, whoever wrote it, exactly as in dspy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Protocol, cast, get_args, get_origin

import json_repair
import pydantic

__all__ = [
    "CUSTOM_TYPE_END_IDENTIFIER",
    "CUSTOM_TYPE_START_IDENTIFIER",
    "NativeLanguageModel",
    "Type",
    "content_parts",
    "forget_docstring",
    "split_message_content_for_custom_types",
]

CUSTOM_TYPE_START_IDENTIFIER = "<<CUSTOM-TYPE-START-IDENTIFIER>>"
CUSTOM_TYPE_END_IDENTIFIER = "<<CUSTOM-TYPE-END-IDENTIFIER>>"

_ROOM = __name__.rpartition(".")[0]
_MARKED = re.compile(f"{CUSTOM_TYPE_START_IDENTIFIER}(.*?){CUSTOM_TYPE_END_IDENTIFIER}", re.DOTALL)


class NativeLanguageModel(Protocol):
    """What a type may ask of a model when it decides whether the model's own feature can stand for a field."""

    @property
    def model(self) -> str: ...
    @property
    def model_type(self) -> str: ...
    @property
    def kwargs(self) -> dict[str, Any]: ...
    @property
    def supports_reasoning(self) -> bool: ...


class Type(pydantic.BaseModel):
    """Base of the custom types, dspy's `Type`. Subclasses implement `format`; the other hooks have defaults."""

    def format(self) -> Any:
        """The value as content parts of the OpenAI chat API (a list of dicts), or as text that stands in the prompt."""
        raise NotImplementedError

    @classmethod
    def description(cls) -> str:
        """What the model is told of the type, below each field that has it. Empty for nothing."""
        return ""

    @classmethod
    def extract_custom_type_from_annotation(cls, annotation: Any) -> list[type[Type]]:
        """The custom types in an annotation at any depth, in order: `list[dict[str, Image]]` has `Image`."""
        try:
            if isinstance(annotation, type) and issubclass(annotation, cls):
                return [annotation]
        except TypeError:  # a generic alias that calls itself a class
            pass
        if get_origin(annotation) is None:
            return []
        return [found for part in get_args(annotation) for found in cls.extract_custom_type_from_annotation(part)]

    @pydantic.model_serializer()
    def serialize_model(self) -> Any:
        """Content parts as JSON between the markers; text as it is."""
        formatted = self.format()
        if isinstance(formatted, list):
            text = json.dumps(formatted, ensure_ascii=False)
            return f"{CUSTOM_TYPE_START_IDENTIFIER}{text}{CUSTOM_TYPE_END_IDENTIFIER}"
        return formatted

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.__module__.startswith(_ROOM):
            forget_docstring(handler, schema)
        return schema

    @classmethod
    def adapt_to_native_lm_feature(
        cls, signature: Any, field_name: str, lm: NativeLanguageModel, lm_kwargs: dict[str, Any]
    ) -> Any:
        """The signature without the field when the model provides its value by itself, else the signature as given.

        May add request options to `lm_kwargs`, which belongs to the call.
        """
        return signature.delete(field_name) if cls.is_native(lm, lm_kwargs) else signature

    @classmethod
    def is_native(cls, lm: NativeLanguageModel, lm_kwargs: dict[str, Any]) -> bool:
        """Whether the model provides values of this type by itself, given the options of the request, to which this may
        add. What `adapt_to_native_lm_feature` decides by; override either.
        """
        return False

    @classmethod
    def is_streamable(cls) -> bool:
        """Whether parts of a value can be given out while the answer is still coming in."""
        return False

    @classmethod
    def parse_stream_chunk(cls, chunk: Any) -> Any:
        """What a chunk of a streamed answer holds for this type; None for nothing."""
        return None

    @classmethod
    def parse_lm_response(cls, response: str | dict[str, Any]) -> Any:
        """The value in an answer, where it came beside the text; None if the answer holds none."""
        return None


def forget_docstring(handler: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """Takes the docstring of one of our classes out of its JSON schema and returns what the schema refers to.

    pydantic writes docstrings into schemas, and schemas stand in prompts: ours are for people, not for models.
    """
    own: dict[str, Any] = handler.resolve_ref_schema(schema)
    own.pop("description", None)
    return own


def content_parts(text: str) -> list[dict[str, Any]]:
    """A text with marked values as a list of content parts. What cannot be read between markers stays text."""
    parts: list[dict[str, Any]] = []
    end = 0
    for marked in _MARKED.finditer(text):
        if marked.start() > end:
            parts.append({"type": "text", "text": text[end : marked.start()]})
        payload = marked.group(1).strip()
        loaded = _load(payload)
        if isinstance(loaded, list):
            for part in cast("list[Any]", loaded):
                if not isinstance(part, dict):
                    part = {"type": "text", "text": str(part)}
                parts.append(cast("dict[str, Any]", part))
        else:
            parts.append({"type": "text", "text": payload})
        end = marked.end()
    if end < len(text):
        parts.append({"type": "text", "text": text[end:]})
    return parts


def split_message_content_for_custom_types(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Splits the text of user messages that hold marked values into content parts, in place, and returns the list."""
    for message in messages:
        content = message["content"]
        if message["role"] == "user" and _MARKED.search(content):
            message["content"] = content_parts(content)
    return messages


def _load(payload: str) -> Any:
    read: tuple[Callable[[str], Any], ...] = (json.loads, _quoted_twice, json_repair.loads)
    for reader in read:
        try:
            return reader(payload)
        except Exception:
            continue
    return None


def _quoted_twice(payload: str) -> Any:
    """A value inside a list or dict is a JSON string in the JSON of its container, and so is quoted twice."""
    return json.loads(json.loads(f'"{payload}"'))
