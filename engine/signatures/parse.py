"""The string form: `"question, context: list[str] -> answer: str, score: float"` to field specs.

A string that uses standard names only means the same everywhere, so its specs are kept (the 512 last used). One that
names a type of the caller is read each time.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import DuplicateFieldError, FieldNameError, SignatureFormatError, SignatureSyntaxError, UnknownTypeError
from .fields import FieldInfo, FieldKind, FieldSpec, InputField, OutputField
from .resolve import TypeReader, TypeScope


def parse_signature(text: str, custom_types: Mapping[str, Any] | None = None) -> tuple[FieldSpec, ...]:
    """The fields that `text` describes, inputs first, each side in order; a field without a type is a `str`.

    Raises:
        SignatureFormatError: there is not exactly one `->`.
        SignatureSyntaxError: a side is not a list of fields.
        DuplicateFieldError: a name occurs twice.
        UnknownTypeError, FieldTypeError: a type is not known, or is not a type.
    """
    if not custom_types:
        standard = _parse_standard(text)
        if standard is not None:
            return standard
    return _parse(text, TypeScope(custom_types))


@functools.lru_cache(maxsize=512)
def _parse_standard(text: str) -> tuple[FieldSpec, ...] | None:
    scope = TypeScope(search_callers=False)
    try:
        return _parse(text, scope)
    except UnknownTypeError:
        if scope.needs_caller:
            return None
        raise


def _parse(text: str, scope: TypeScope) -> tuple[FieldSpec, ...]:
    if text.count("->") != 1:
        raise SignatureFormatError(
            f"Invalid signature format: '{text}', must contain exactly one '->'. Write the inputs, an arrow and the "
            "outputs: 'question -> answer'."
        )
    inputs, outputs = text.split("->")
    specs = (*_side("input", inputs, scope), *_side("output", outputs, scope))
    names = [spec.name for spec in specs]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise DuplicateFieldError(
            "Input and output fields must have distinct names, but found duplicates: "
            f"'{', '.join(duplicates)}'. Rename one of each pair.",
            field=duplicates[0],
        )
    return specs


def _side(kind: FieldKind, text: str, scope: TypeScope) -> Iterator[FieldSpec]:
    for argument in _arguments(text):
        name, node = argument.arg, argument.annotation
        check_name(name)
        annotation = str if node is None else TypeReader(name, scope).read(node)
        undefined = (node is None) if kind == "input" else None
        if hasattr(annotation, "__metadata__"):  # Annotated[...] brings pydantic options of its own
            declared: FieldInfo = InputField(IS_TYPE_UNDEFINED=False) if kind == "input" else OutputField()
            yield FieldSpec.from_info(name, declared, annotation)
        else:
            yield FieldSpec.plain(name, kind, annotation, undefined_type=undefined)


def _arguments(text: str) -> list[ast.arg]:
    """Python's own grammar for `name: type, ...` is that of a parameter list."""
    problem: SyntaxError | None = None
    try:
        statements = ast.parse(f"def _({text}\n): pass").body
    except SyntaxError as error:
        problem, statements = error, []
    function = statements[0] if len(statements) == 1 else None
    if not isinstance(function, ast.FunctionDef):
        reason = f": {problem.msg}" if problem is not None else ""
        raise SignatureSyntaxError(
            f"Invalid signature format: '{text.strip()}' is not a list of fields{reason}. Separate fields by commas, "
            "give a type after a colon, and use names that are not Python keywords."
        ) from problem
    a = function.args
    if a.posonlyargs or a.vararg or a.kwonlyargs or a.kwarg:
        raise SignatureSyntaxError(
            f"Invalid signature format: '{text.strip()}': `*` and `/` have no meaning between fields. Leave them out."
        )
    if a.defaults:
        raise SignatureSyntaxError(
            f"Invalid signature format: '{text.strip()}': a default cannot be given in the string form. Declare the "
            "signature as a class and use InputField(default=...) or OutputField(default=...)."
        )
    return a.args


def check_name(name: str) -> None:
    """Raises `FieldNameError` unless `name` can name a field."""
    if name.startswith("_"):
        plain = name.lstrip("_") or "my_field"
        raise FieldNameError(
            f"Fields must not use names with leading underscores; e.g., use {plain!r} instead of {name!r}.", field=name
        )
    if not name.isidentifier():
        raise FieldNameError(f"Invalid field name: {name!r}. A field name is a Python identifier.", field=name)
