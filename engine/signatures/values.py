"""Records of a signature: pydantic models, made when a program first calls its signature or asks for a schema.

    Grade(essay="...", score=7.5).score

A signature is a subclass of `pydantic.BaseModel` by name, as in dspy, but not a finished model, because making a model
costs twenty times what making a signature does. Each signature has a model of its own behind it, with the fields, the
methods and the `model_config` of its body, and hands pydantic's questions (`model_json_schema`, `model_validate`, ...)
on to it.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, ClassVar, cast

import pydantic
from pydantic.fields import FieldInfo

from .fields import FieldSpec

__all__ = ["MODEL_API", "SIGNATURE_OF", "OfTheModel", "model_of"]

_CLASS_HOOKS = frozenset({"__pydantic_init_subclass__", "__pydantic_on_complete__"})


class OfTheModel:
    """An attribute of pydantic's that a signature hands on to its model."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, signature: Any) -> Any:
        return getattr(signature.validator(), self._name)


MODEL_API = {
    name: OfTheModel(name)
    for name in dir(pydantic.BaseModel)
    if (not name.startswith("_") or name.startswith("__pydantic")) and name not in _CLASS_HOOKS
}
"""What a signature hands on. Names that the signature has itself come before these."""

SIGNATURE_OF = "__dspex_signature__"
"""The attribute by which a record's class knows its signature."""

_OF_THE_CLASS = frozenset({"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "__annotations__"})
_MAKE_MODEL: Any = type(pydantic.BaseModel)


def model_of(signature: type, bodies: tuple[type, ...], specs: tuple[FieldSpec, ...]) -> type[pydantic.BaseModel]:
    """A model with the fields `specs` and the other contents of `bodies`, the later ones first."""
    namespace: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for body in reversed(bodies):
        for name, value in vars(body).items():
            if name in _OF_THE_CLASS or (name.startswith("_") and not isinstance(value, types.FunctionType)):
                continue
            namespace[name] = value
            binds = hasattr(cast("object", value), "__get__")  # methods and properties; the rest is plain data
            if name != "model_config" and not binds and not isinstance(value, type):
                annotations[name] = ClassVar[Any]
    for spec in specs:
        constraints: tuple[Any, ...] = () if spec.template is None else tuple(spec.template.metadata)
        annotations[spec.name] = Annotated[spec.annotation, *constraints] if constraints else spec.annotation
        namespace[spec.name] = _field(spec)
    namespace |= {
        "__module__": signature.__module__,
        "__qualname__": signature.__qualname__,
        "__doc__": signature.__doc__,
        "__annotations__": annotations,
        "__reduce__": _reduced,
        SIGNATURE_OF: signature,
    }
    annotations[SIGNATURE_OF] = ClassVar[Any]
    return cast("type[pydantic.BaseModel]", _MAKE_MODEL(signature.__name__, (pydantic.BaseModel,), namespace))


def _field(spec: FieldSpec) -> FieldInfo:
    """The field for pydantic's own use. It reads what the constructor was given, so the options are given again."""
    given: dict[str, Any] = {}
    if spec.template is not None:
        known = cast("dict[str, Any]", spec.template._attributes_set)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        given = {name: value for name, value in known.items() if name != "annotation"}
    given["json_schema_extra"] = dict(spec.extra)
    return cast("FieldInfo", pydantic.Field(**given))


def _reduced(record: pydantic.BaseModel) -> tuple[Any, ...]:
    # The model stands in no module under its name; the signature may, and cloudpickle carries it if not.
    return _revived, (getattr(type(record), SIGNATURE_OF), dict(record), record.model_fields_set)


def _revived(signature: Any, values: dict[str, Any], given: set[str]) -> Any:
    return signature.model_construct(given, **values)
