"""From a type written as text to the type: an `ast` walk, never `eval`.

A name is looked up, in this order: the types given by the caller (`custom_types`), `typing`, the builtin types, the
scopes of the calling functions from the innermost outwards (at most 100), and, for a dotted name, the modules that are
already imported. Nothing is imported and nothing but attribute access, subscription and `|` on types is executed, so a
signature that was read from a file can at worst name a type that the program already has.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Optional, Union, cast, get_origin

import pydantic

from .errors import FieldTypeError, UnknownTypeError

_MAX_FRAMES = 100
_MISSING: Any = object()

# Frames of this room and of the rest of the engine are never the caller.
_ENGINE_PACKAGE = __name__.rpartition(".signatures.")[0]

_STANDARD: dict[str, Any] = {
    **{name: value for name, value in vars(builtins).items() if isinstance(value, type)},
    **{name: getattr(typing, name) for name in cast("list[str]", vars(typing)["__all__"])},
    "NoneType": type(None),
}
_SPECIAL_FORM = type(Optional)
_NOT_ALONE: tuple[Any, ...] = (Optional, Union, Literal, vars(typing)["Callable"])
_TYPE_LIKE = (type, types.GenericAlias, types.UnionType, _SPECIAL_FORM, typing.TypeVar, typing.NewType)


def is_type_expression(value: object) -> bool:
    """Whether `value` can annotate a field: a class, a generic alias, a union, a special form, a `NewType`."""
    return isinstance(value, _TYPE_LIKE) or get_origin(value) is not None or type(value).__name__ == "TypeAliasType"


class TypeScope:
    """Where names are looked up. `needs_caller` turns true when a name was in none of the standard places."""

    def __init__(self, custom_types: Mapping[str, Any] | None = None, *, search_callers: bool = True) -> None:
        self._custom = custom_types or {}
        self._search_callers = search_callers
        self.needs_caller = False

    def lookup(self, name: str) -> Any:
        """The object called `name`, or `MISSING`."""
        if name in self._custom:
            return self._custom[name]
        if name in _STANDARD:
            return _STANDARD[name]
        self.needs_caller = True
        if not self._search_callers:
            return _MISSING
        found = _from_callers(name)
        return sys.modules.get(name, _MISSING) if found is _MISSING else found

    def dotted(self, name: str) -> Any:
        """A custom type that was given under a dotted name, or `MISSING`."""
        return self._custom.get(name, _MISSING)


def _from_callers(name: str) -> Any:
    frame = inspect.currentframe()
    try:
        for _ in range(_MAX_FRAMES):
            if frame is None:
                return _MISSING
            module = str(frame.f_globals.get("__name__", ""))
            if not (module == _ENGINE_PACKAGE or module.startswith(f"{_ENGINE_PACKAGE}.")):
                for names in (frame.f_locals, frame.f_globals):
                    if name in names:
                        return names[name]
            frame = frame.f_back
        return _MISSING
    finally:
        del frame


class TypeReader:
    """Reads the annotation of one field. Errors name the field, the text and what to do."""

    def __init__(self, field: str, scope: TypeScope) -> None:
        self._field = field
        self._scope = scope

    def read(self, node: ast.expr) -> Any:
        """The type that `node` describes.

        Raises:
            UnknownTypeError: a name or attribute does not exist.
            FieldTypeError: the annotation is not a type, or uses syntax that has no meaning here.
        """
        value = self._evaluate(node)
        if isinstance(node, ast.List):
            self._unhandled(node)
        if value in _NOT_ALONE:
            self._refuse(node, f"Field types must be types, but received: {value} of type {type(value)}. It needs arguments")
        if value is None:
            return str if isinstance(node, ast.Constant) else type(None)
        if not is_type_expression(value):
            self._refuse(node, f"Field types must be types, but received: {value} of type {type(value)}")
        return value

    def _evaluate(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                found = self._scope.lookup(name)
                return self._unknown(node, name) if found is _MISSING else found
            case ast.Attribute(attr=attribute):
                return self._attribute(node, attribute)
            case ast.Subscript():
                return self._subscript(node)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return Union[self._evaluate(left), self._evaluate(right)]  # noqa: UP007 - as dspy: always typing.Union
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List(elts=elements):
                return [self._evaluate(element) for element in elements]
            case ast.Tuple(elts=elements):
                return tuple(self._evaluate(element) for element in elements)
            case ast.Call(func=ast.Name(id="Field"), args=[]):
                return pydantic.Field(**{str(k.arg): self._evaluate(k.value) for k in node.keywords})
            case _:
                self._unhandled(node)

    def _attribute(self, node: ast.Attribute, attribute: str) -> Any:
        given = self._scope.dotted(ast.unparse(node))
        if given is not _MISSING:
            return given
        owner = self._evaluate(node.value)
        reachable = not attribute.startswith("_") and isinstance(owner, (types.ModuleType, type))
        found = getattr(owner, attribute, _MISSING) if reachable else _MISSING
        if found is _MISSING:
            self._unknown(node, ast.unparse(node), f"Unknown attribute: {attribute} on {owner}")
        return found

    def _subscript(self, node: ast.Subscript) -> Any:
        base = self._evaluate(node.value)
        elements = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        arguments = tuple(self._evaluate(element) for element in elements)
        if base is Optional and len(arguments) != 1:
            self._refuse(node, "Optional must have exactly one type argument")
        if not is_type_expression(base):
            self._refuse(node, f"`{ast.unparse(node.value)}` is not a generic type")
        if base is not Literal and get_origin(base) is not typing.Annotated:
            self._check_arguments(node, base, arguments)
        try:
            return base[arguments[0] if base is Optional else arguments]
        except Exception as error:
            raise FieldTypeError(
                f"Field `{self._field}`: `{ast.unparse(node)}` is not a type: {error}",
                field=self._field,
                type_text=ast.unparse(node),
            ) from error

    def _check_arguments(self, node: ast.Subscript, base: Any, arguments: tuple[Any, ...]) -> None:
        """`list["str"]` and `list[3]` would pass Python and fail far from here, at the first call."""
        if base is typing.Annotated:
            arguments = arguments[:1]
        for argument in arguments:
            allowed = argument is None or argument is ... or isinstance(argument, list) or is_type_expression(argument)
            if not allowed and not hasattr(base, "__get_pydantic_core_schema__") and self._is_container(base):
                self._refuse(node, f"{argument!r} is not a type")

    @staticmethod
    def _is_container(base: Any) -> bool:
        containers = (list, dict, tuple, set, frozenset)
        return base in containers or base in (Union, Optional) or get_origin(base) in containers

    def _unknown(self, node: ast.expr, name: str, reason: str | None = None) -> NoReturn:
        text = ast.unparse(node)
        raise UnknownTypeError(
            f"{reason or f'Unknown name: {name}'} (in the type `{text}` of field `{self._field}`). Define or import it where "
            f"the signature is written, or pass it: Signature(..., custom_types={{{name.split('.')[0]!r}: ...}}).",
            field=self._field,
            type_text=text,
        )

    def _unhandled(self, node: ast.expr) -> NoReturn:
        self._refuse(
            node,
            "Failed to parse string-base Signature due to unhandled AST node type in annotation: "
            f"{ast.dump(node)}. Please consider using class-based DSPy Signatures instead",
        )

    def _refuse(self, node: ast.expr, reason: str) -> NoReturn:
        text = ast.unparse(node)
        message = (
            f"Field `{self._field}` cannot have the type `{text}`: {reason}. Write a type such as `list[str]`, or "
            "declare the signature as a class."
        )
        raise FieldTypeError(message, field=self._field, type_text=text)
