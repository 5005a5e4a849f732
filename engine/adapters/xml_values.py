"""Values as XML and back, by their JSON schema: how the XML adapter writes models, lists and dicts.

A list is written as `<item>` elements, a key that is no name as `<entry key="...">`. Reading is lenient where models
are: an empty element is None, an empty list or an empty dict as the schema has it, and JSON inside an element is left
for the reader of the field. As dspy 3.4 `XMLAdapter`.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Union, cast, get_args, get_origin
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, TypeAdapter

from ..signatures import FieldSpec
from ..types import Type

_OUR_TYPES = Type.__module__.rpartition(".")[0]

Schema = dict[str, Any]


def escaped(text: str) -> str:
    """Text that stays text between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


@functools.lru_cache(maxsize=1024)
def is_nested(spec: FieldSpec) -> bool:
    """Whether values of the field are written as elements."""
    return nests(spec.annotation)


def nests(annotation: Any) -> bool:
    """Whether values of the type are written as elements: models, typed dicts, lists and dicts, or one of them or None.
    Our own types are not.
    """
    arguments = [each for each in get_args(annotation) if each is not type(None)]
    if len(arguments) == 1 and get_origin(annotation) in (Union, types.UnionType):
        annotation = arguments[0]
    origin = get_origin(annotation)
    item = get_args(annotation)[0] if origin is list and get_args(annotation) else annotation
    if isinstance(item, type) and issubclass(item, BaseModel) and item.__module__.startswith(_OUR_TYPES):
        return False
    if origin in (list, dict):
        return True
    if not isinstance(annotation, type):
        return False
    is_typed_dict = dict in annotation.__mro__ and hasattr(annotation, "__required_keys__")
    return is_typed_dict or issubclass(annotation, BaseModel)


def value_to_xml(value: Any, tag: str, key: str | None = None) -> str:
    """A value of dicts, lists and scalars as an element."""
    attributes = f" key={quoteattr(key)}" if key is not None else ""
    if value is None:
        return f"<{tag}{attributes} />"
    if isinstance(value, list):
        children = "".join(value_to_xml(each, "item") for each in cast("list[Any]", value))
        return f"<{tag}{attributes}>{children}</{tag}>" if children else f"<{tag}{attributes} />"
    if isinstance(value, dict):
        items = [(str(name), child) for name, child in cast("dict[Any, Any]", value).items()]
        children = "".join(
            value_to_xml(child, name) if _is_tag(name) else value_to_xml(child, "entry", name) for name, child in items
        )
        return f"<{tag}{attributes}>{children}</{tag}>"
    return f"<{tag}{attributes}>{escaped(str(value))}</{tag}>"


def _is_tag(name: str) -> bool:
    return (name[:1] + name[1:].replace("-", "_").replace(".", "_")).isidentifier()


def skeleton_of(schema: Schema, tag: str) -> str:
    """What a value of the schema looks like, with `...` for its texts and for a model inside itself."""
    return _skeleton(tag, schema, schema.get("$defs", {}), frozenset())


def _skeleton(tag: str, schema: Schema, definitions: Schema, seen: frozenset[str]) -> str:
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        if name in seen:
            return f"<{tag}>...</{tag}>"
        return _skeleton(tag, definitions[name], definitions, seen | {name})
    if choices := schema.get("anyOf"):
        choice = next((each for each in choices if each.get("type") != "null"), choices[0])
        return _skeleton(tag, choice, definitions, seen)
    if schema.get("type") == "array":
        return f"<{tag}>{_skeleton('item', schema.get('items', {}), definitions, seen)}</{tag}>"
    properties = schema.get("properties", {}).items()
    children = "".join(_skeleton(name, each, definitions, seen) for name, each in properties)
    return f"<{tag}>{children}</{tag}>" if children else f"<{tag}>...</{tag}>"


def children_of(element: ElementTree.Element) -> dict[str, list[ElementTree.Element]]:
    """The elements inside, by tag (an `<entry>` by its key), in order."""
    children: dict[str, list[ElementTree.Element]] = {}
    for child in element:
        name = child.attrib.get("key", child.tag) if child.tag == "entry" else child.tag
        children.setdefault(name, []).append(child)
    return children


def value_of(elements: list[ElementTree.Element], schema: Schema, definitions: Schema) -> Any:
    """What elements of one name hold, as dicts, lists and texts in the shape of the schema."""
    schema = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    first = elements[0]
    if choices := schema.get("anyOf"):
        if {"type": "null"} in choices and not len(first) and not _text(first):
            return None
        choices = [each for each in choices if each.get("type") != "null"]
        schema = choices[0]
        if len(first):
            schema = next((each for each in choices if each.get("type") != "string"), schema)
    if schema.get("type") == "array":
        return _list_of(elements, schema, definitions)
    if schema.get("type") == "string" and len(first):
        # Markup in a text: it is the text.
        return (first.text or "") + "".join(ElementTree.tostring(child, encoding="unicode") for child in first)
    children = children_of(first)
    if not children:
        if schema.get("type") == "object" and not _text(first):
            return {}
        values = [_text(each) for each in elements]
        return values[0] if len(values) == 1 else values
    properties = schema.get("properties", {})
    others: Any = schema.get("additionalProperties", {})
    other = cast("Schema", others) if isinstance(others, dict) else Schema()
    return {name: value_of(found, properties.get(name, other), definitions) for name, found in children.items()}


def _list_of(elements: list[ElementTree.Element], schema: Schema, definitions: Schema) -> Any:
    if len(elements) == 1:
        if not len(elements[0]):
            text = _text(elements[0])
            if not text:
                return []
            if text.startswith("["):
                return text
        elements = children_of(elements[0]).get("item") or elements
    return [value_of([each], schema.get("items", {}), definitions) for each in elements]


def _text(element: ElementTree.Element) -> str:
    return (element.text or "").strip()


class XMLField:
    """What reading and showing one output needs, worked out once: its validator and its JSON schema."""

    __slots__ = ("adapter", "candidates", "definitions", "schema", "skeleton")

    def __init__(self, spec: FieldSpec) -> None:
        self.adapter: TypeAdapter[Any] = TypeAdapter(spec.annotation)
        self.schema: Schema = self.adapter.json_schema(by_alias=False)
        self.definitions: Schema = self.schema.get("$defs", {})
        self.candidates: list[Schema] = [self.schema, *self.schema.get("anyOf", [])]
        """The shapes to read a value in: the whole type, then each choice of a union."""
        self.skeleton = skeleton_of(self.schema, spec.name) if is_nested(spec) else None
        """What the model is shown, if it is elements."""


@functools.lru_cache(maxsize=1024)
def xml_field(spec: FieldSpec) -> XMLField:
    """What is known of a field, by its spec."""
    return XMLField(spec)
