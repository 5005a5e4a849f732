"""A field of a signature: how it is declared, and the immutable record that is kept of it.

A program declares a field with `InputField` or `OutputField` and reads it back as pydantic's `FieldInfo`, whose
`json_schema_extra` holds what an adapter needs (`desc`, `prefix`, `constraints`, `__dspy_field_type`), as in dspy 3.4.
What a signature keeps is a `FieldSpec`: frozen, shared between a signature and everything derived from it, and flat: it
never refers to the spec it was made from. So the thousandth derivation costs what the first one did.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast, get_origin

import pydantic
from pydantic.fields import FieldInfo

from .errors import FieldDeclarationError
from .public import plain_field

FieldKind = Literal["input", "output"]

KIND_KEY = "__dspy_field_type"
UNDEFINED_TYPE_KEY = "IS_TYPE_UNDEFINED"

_EXTRA_ARGUMENTS = frozenset({"desc", "prefix", "format", "parser", KIND_KEY, UNDEFINED_TYPE_KEY})
_WITHOUT_EFFECT = ("prefix", "format", "parser")

# The words are prompt text: they are dspy's, to the letter.
_CONSTRAINT_WORDS = {
    "gt": "greater than: ",
    "ge": "greater than or equal to: ",
    "lt": "less than: ",
    "le": "less than or equal to: ",
    "min_length": "minimum length: ",
    "max_length": "maximum length: ",
    "multiple_of": "a multiple of the given number: ",
    "allow_inf_nan": "allow 'inf', '-inf', 'nan' values: ",
}

_WORD_BOUNDARY = re.compile(
    r"(?<=.)(?=[A-Z][a-z])"  # camel|Case, HTML|Parser
    r"|(?<=[a-z0-9])(?=[A-Z])"  # to|JSON
    r"|(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])"  # text|2|number
)


@functools.lru_cache(maxsize=1024)
def infer_prefix(attribute_name: str) -> str:
    """The readable form of a field name: `text2number` gives `Text 2 Number`, `HTMLParser` gives `HTML Parser`."""
    words = _WORD_BOUNDARY.sub("_", attribute_name).split("_")
    return " ".join(word if word.isupper() else word.capitalize() for word in words)


def InputField(**kwargs: Any) -> Any:
    """Declare an input field.

    `desc` (or `description`) is shown to the model; `default`, `gt`, `max_length` and the rest are `pydantic.Field`'s,
    and the constraints among them are also told to the model in words. `prefix`, `format` and `parser` are accepted for
    old programs, do nothing and raise a `DeprecationWarning`. Returns a `FieldInfo`, typed `Any` so that it can stand
    for a value of any type.
    """
    return _field("input", kwargs)


def OutputField(**kwargs: Any) -> Any:
    """Declare an output field: the options of `InputField`. A default makes it optional in the model's answer."""
    return _field("output", kwargs)


def _field(kind: FieldKind, options: dict[str, Any]) -> FieldInfo:
    for name in _WITHOUT_EFFECT:
        if name in options:
            message = (
                f"The {name!r} argument in InputField/OutputField is deprecated and has no effect in DSPy. "
                "It will be removed in a future version."
            )
            warnings.warn(message, DeprecationWarning, stacklevel=3)
    extra = {name: value for name, value in options.items() if name in _EXTRA_ARGUMENTS}
    extra[KIND_KEY] = kind
    if "description" in options and "desc" not in extra:
        extra["desc"] = options["description"]
    constraints = ", ".join(f"{_CONSTRAINT_WORDS[name]}{v}" for name, v in options.items() if name in _CONSTRAINT_WORDS)
    if constraints:
        extra["constraints"] = constraints
    for_pydantic = {name: value for name, value in options.items() if name not in _EXTRA_ARGUMENTS}
    for_pydantic["json_schema_extra"] = extra
    return cast("FieldInfo", pydantic.Field(**for_pydantic))


@dataclass(frozen=True, slots=True, eq=False)
class FieldSpec:
    """What a signature knows of one field. Immutable; shared by every signature that has the field."""

    name: str
    kind: FieldKind
    annotation: Any
    """The type of the field: any type expression, hence `Any`."""
    extra: tuple[tuple[str, Any], ...]
    """The items of the public field's `json_schema_extra`, in order; `prefix` and `desc` are always among them."""
    template: FieldInfo | None = None
    """Defaults, constraints and the other pydantic options of the declaration; None for a plain required field. Never
    handed out and never changed: the public field is a copy.
    """

    @classmethod
    def plain(cls, name: str, kind: FieldKind, annotation: Any, *, undefined_type: bool | None = None) -> FieldSpec:
        """A required field without options, as the string form declares it."""
        flag = () if undefined_type is None else ((UNDEFINED_TYPE_KEY, undefined_type),)
        extra = (*flag, (KIND_KEY, kind), ("prefix", f"{infer_prefix(name)}:"), ("desc", f"${{{name}}}"))
        return cls(name, kind, annotation, extra)

    @classmethod
    def from_info(
        cls, name: str, info: FieldInfo, annotation: Any, *, owner: str = "signature", undefined_type: bool = False
    ) -> FieldSpec:
        """The record of a declared field. Copies `info`; later changes to it have no effect on the spec.

        `undefined_type` says that the declaration named no type and `annotation` was assumed.

        Raises:
            FieldDeclarationError: `info` was made by neither `InputField` nor `OutputField`.
        """
        given = info.json_schema_extra
        extra: dict[str, Any] = dict(cast("Mapping[str, Any]", given)) if isinstance(given, Mapping) else {}
        kind = extra.get(KIND_KEY)
        if kind not in ("input", "output"):
            raise FieldDeclarationError(
                f"Field `{name}` in `{owner}` must be declared with InputField or OutputField, but field `{name}` has "
                f"`field.json_schema_extra={given}`. Write `{name}: <type> = InputField()` or `OutputField()`.",
                field=name,
            )
        template = plain_field(info)
        if get_origin(annotation) is Annotated:
            template = FieldInfo.from_annotated_attribute(annotation, template)
            annotation = template.annotation
        if undefined_type:
            extra[UNDEFINED_TYPE_KEY] = True
        extra.setdefault("prefix", f"{infer_prefix(name)}:")
        extra.setdefault("desc", f"${{{name}}}")
        return cls(name, kind, annotation, tuple(extra.items()), template)

    @property
    def options(self) -> Mapping[str, Any]:
        """`extra` as a read-only mapping."""
        return MappingProxyType(dict(self.extra))

    @property
    def required(self) -> bool:
        """Whether the field has neither a default nor a default factory."""
        return self.template is None or self.template.is_required()

    def default(self) -> Any:
        """A fresh default value (a factory is called each time); pydantic's `PydanticUndefined` if there is none."""
        return FieldInfo().default if self.template is None else self.template.get_default(call_default_factory=True)

    def updated(self, options: Mapping[str, Any], annotation: Any = None) -> FieldSpec:
        """The same field with some options, and if given the type, replaced."""
        merged = tuple({**dict(self.extra), **options}.items())
        return replace(self, extra=merged, annotation=self.annotation if annotation is None else annotation)

    def to_info(self) -> FieldInfo:
        """The public form of the field: a new `FieldInfo` that belongs to the caller."""
        info = FieldInfo() if self.template is None else plain_field(self.template)
        info.annotation = self.annotation
        info.json_schema_extra = dict(self.extra)
        return info
