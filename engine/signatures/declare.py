"""From a declaration in code to field specs: the body of a class, or one entry of a dict."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, cast

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from .errors import (
    FieldDeclarationError,
    FieldTypeError,
    PlainAttributeError,
    SignatureFormatError,
    UnknownTypeError,
)
from .fields import FieldSpec
from .parse import check_name
from .resolve import is_type_expression

_PACKAGE = __name__.rpartition(".")[0]

# What a class body may hold besides fields; the list is pydantic's, whose models dspy's signatures are.
_NOT_FIELDS = (types.FunctionType, property, classmethod, staticmethod, type)


def class_specs(
    cls: type, declared: Mapping[str, FieldInfo], inherited: Mapping[str, FieldSpec]
) -> tuple[FieldSpec, ...]:
    """The fields of a class body on top of inherited ones: a field keeps its place when it is declared again.

    Raises:
        FieldDeclarationError: something in the body looks like a field and is not declared as one.
        UnknownTypeError, FieldTypeError: an annotation written as text is not a type.
        SignatureFormatError: a field has a name that fields cannot have.
    """
    specs = dict(inherited)
    annotations = inspect.get_annotations(cls)
    for name, info in declared.items():
        check_name(name)
        untyped = name not in annotations
        annotation = str if untyped else _evaluated(cls, name, annotations[name])
        specs[name] = FieldSpec.from_info(name, info, annotation, owner=cls.__name__, undefined_type=untyped)
        _check_constraints(specs[name])
    _refuse_undeclared(cls, annotations, declared)
    return tuple(specs.values())


def entry_spec(name: Any, declaration: Any) -> FieldSpec:
    """The field that `name: (type, field)` or `name: field` declares.

    Raises:
        SignatureFormatError: it is neither.
        FieldTypeError: the type is not one.
        FieldDeclarationError: the field was made by neither `InputField` nor `OutputField`.
    """
    if not isinstance(name, str):
        raise SignatureFormatError(f"Field names must be strings, but received: {name}.")
    check_name(name)
    if isinstance(declaration, FieldInfo):
        annotation, field = declaration.annotation, declaration
    elif isinstance(declaration, tuple) and len(cast("tuple[object, ...]", declaration)) == 2:
        annotation, field = cast("tuple[Any, Any]", declaration)
    else:
        raise SignatureFormatError(
            f"Field values must be tuples, but received: {declaration}. Write `{name!r}: (str, InputField())`.",
            field=name,
        )
    annotation = str if annotation is None else annotation
    check_type(name, annotation)
    if not isinstance(field, FieldInfo):
        raise SignatureFormatError(
            f"Field values must be Field instances, but received: {field}. Use InputField() or OutputField().",
            field=name,
        )
    spec = FieldSpec.from_info(name, field, annotation)
    _check_constraints(spec)
    return spec


def check_type(name: str, annotation: Any) -> None:
    """Raises `FieldTypeError` unless `annotation` can annotate the field `name`."""
    if not is_type_expression(annotation):
        raise FieldTypeError(
            f"Field types must be types, but received: {annotation} of type {type(annotation)}. (Field `{name}`.)",
            field=name,
            type_text=str(annotation),
        )


def _check_constraints(spec: FieldSpec) -> None:
    """`ge="x"` on an int can never be checked: better said here than at the first call."""
    if spec.template is None or not spec.template.metadata:
        return
    try:
        constrained: Any = Annotated[spec.annotation, spec.template]  # pyright: ignore[reportInvalidTypeForm, reportUnknownMemberType]
        pydantic.TypeAdapter(constrained)
    except pydantic.PydanticUserError:
        return  # a type that pydantic cannot validate, or not yet: a matter of the adapter that renders it
    except (SchemaError, TypeError, ValueError) as error:
        raise FieldDeclarationError(
            f"The constraints of field `{spec.name}` do not fit its type `{spec.annotation}`: {error}", field=spec.name
        ) from error


def _evaluated(cls: type, name: str, annotation: Any) -> Any:
    """Resolves an annotation that was kept as text (`from __future__ import annotations`, quotes)."""
    if not isinstance(annotation, (str, typing.ForwardRef)):
        return annotation
    holder = type(cls.__name__, (), {"__annotations__": {name: annotation}, "__module__": cls.__module__})
    try:
        return typing.get_type_hints(holder, localns=_defining_scope(cls), include_extras=True)[name]
    except NameError as error:
        raise UnknownTypeError(
            f"Unknown name: {error.name} (in the type of field `{name}` of `{cls.__name__}`). Define or import it, "
            "outside `if TYPE_CHECKING`, before the signature is defined.",
            field=name,
            type_text=str(annotation),
        ) from error
    except (SyntaxError, TypeError, AttributeError) as error:
        raise FieldTypeError(
            f"Field `{name}` of `{cls.__name__}` has the annotation {annotation!r}, which is not a type: {error}",
            field=name,
            type_text=str(annotation),
        ) from error


def _defining_scope(cls: type) -> dict[str, Any]:
    """The names where the class statement stands, for signatures that are defined inside a function."""
    frame = inspect.currentframe()
    try:
        while frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{_PACKAGE}."):
            frame = frame.f_back
        if frame is None or frame.f_globals.get("__name__") != cls.__module__:
            return {}
        return {**frame.f_globals, **frame.f_locals}
    finally:
        del frame


def _refuse_undeclared(cls: type, annotations: Mapping[str, Any], declared: Mapping[str, FieldInfo]) -> None:
    """A class body may hold methods, private names and `ClassVar`s beside its fields; anything else is a forgotten
    declaration.
    """
    for name, annotation in annotations.items():
        if name not in declared and not name.startswith("_") and not _is_class_var(annotation):
            raise FieldDeclarationError(
                f"Field `{name}` in `{cls.__name__}` must be declared with InputField or OutputField, but field `{name}` has "
                f"`field.json_schema_extra=None`. Write `{name}: ... = InputField()` or `OutputField()`, or annotate it as "
                "a ClassVar if it is not a field.",
                field=name,
            )
    for name, value in vars(cls).items():
        if name.startswith("_") or name in annotations or isinstance(value, _NOT_FIELDS) or hasattr(value, "__get__"):
            continue
        if name == "model_config":  # pydantic's own: it concerns records of the signature
            continue
        raise PlainAttributeError(
            f"A non-annotated attribute was detected: `{name} = {value!r}`. All model fields require a type annotation; if "
            f"`{name}` is not meant to be a field of `{cls.__name__}`, annotate it as a `ClassVar`; if it is, declare it with "
            "InputField or OutputField.",
            field=name,
        )


def _is_class_var(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2] == "ClassVar"
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar
