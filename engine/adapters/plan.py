"""A signature compiled for one adapter: everything about a prompt that does not depend on the call.

Field headers, renderers, coercers, the system text and the demos that were last shown are worked out once; a call looks
them up and fills in its inputs. A plan is found by the signature class it was made for, is dropped with it, and is made
anew when the signature was edited in place. It never outlives nor holds its signature.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast, get_args, get_origin

from ..signatures import FieldSpec, SignatureMeta
from ..types import History, Tool, ToolCalls, Type
from .annotation import allows_none
from .coerce import Coercer, coercer
from .demos import RenderedDemos
from .values import passages, text_of


class FieldPlan:
    """One field of a plan. Belongs to the spec of the field (`field_plan`), not to any signature."""

    __slots__ = ("coerce", "header", "is_text", "name", "nullable", "required", "spec")

    def __init__(self, spec: FieldSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.header = f"[[ ## {spec.name} ## ]]\n"
        self.is_text = spec.annotation is str
        self.coerce: Coercer = coercer(spec.annotation)
        self.required = spec.required
        self.nullable = allows_none(spec.annotation)

    def text(self, value: Any) -> str:
        """`value` as it stands in the prompt.

        Raises:
            FieldValueError: `value` is a list that cannot be written into a `str` field.
        """
        if type(value) is str:
            return value
        if self.is_text and isinstance(value, list):
            return passages(self.name, value)  # pyright: ignore[reportUnknownArgumentType] - any list
        return text_of(value)


@functools.lru_cache(maxsize=1024)
def field_plan(spec: FieldSpec) -> FieldPlan:
    """The plan of a field; the same for all signatures that share its spec."""
    return FieldPlan(spec)


class Plan:
    """A signature compiled for one adapter class. Texts are None until they are first needed."""

    __slots__ = (
        "_derived",
        "custom_outputs",
        "demos",
        "history",
        "inputs",
        "instructions",
        "names",
        "outputs",
        "own",
        "reminder",
        "specs",
        "system",
        "tool_calls",
        "tools",
        "version",
    )

    def __init__(self, signature: SignatureMeta) -> None:
        self.version = signature.version
        self.specs = signature.specs
        self.instructions = signature.instructions
        fields = [field_plan(spec) for spec in self.specs]
        self.inputs = tuple(field for field in fields if field.spec.kind == "input")
        self.outputs = {field.name: field for field in fields if field.spec.kind == "output"}
        self.names = tuple(field.name for field in fields)
        self.system: str | None = None
        self.reminder: str | None = None
        self.demos = RenderedDemos(self.names)
        self.own: dict[Any, Any] = {}
        """What else an adapter works out once per signature."""
        self.history = _first(fields, "input", _is_history)
        """The input that is the conversation so far, by name."""
        self.tools = _first(fields, "input", _is_tools)
        """The input that is the tools."""
        self.tool_calls = _first(fields, "output", _is_tool_calls)
        """The output that is the calls of tools."""
        self.custom_outputs = tuple(
            (field.name, field.spec.annotation)
            for field in self.outputs.values()
            if isinstance(field.spec.annotation, type) and issubclass(field.spec.annotation, Type)
        )
        """The outputs of a custom type, which the model may provide by itself."""
        self._derived: dict[tuple[str, ...], SignatureMeta] = {}

    def is_of(self, signature: SignatureMeta) -> bool:
        """Whether the plan is still that of the signature."""
        return self.version is signature.version

    def without(self, signature: SignatureMeta, names: tuple[str, ...]) -> SignatureMeta:
        """`signature`, whose plan this is, less some fields; the same class each time, so that it keeps its plan."""
        derived = self._derived.get(names)
        if derived is None:
            derived = signature
            for name in names:
                derived = cast("Any", derived).delete(name)
            self._derived[names] = derived
        return derived

    def completed(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs in the order of the signature: those found, and the defaults of optional ones that were not.

        An output is optional when it has a default, a default factory or a type that allows None, in this order. A
        required output that was not found is absent.
        """
        result: dict[str, Any] = {}
        for name, field in self.outputs.items():
            if name in found:
                result[name] = found[name]
            elif not field.required:
                result[name] = field.spec.default()
            elif field.nullable:
                result[name] = None
        return result


def _first(fields: list[FieldPlan], kind: str, is_one: Callable[[Any], bool]) -> str | None:
    return next((field.name for field in fields if field.spec.kind == kind and is_one(field.spec.annotation)), None)


def _is_history(annotation: Any) -> bool:
    return annotation == History


def _is_tool_calls(annotation: Any) -> bool:
    return annotation == ToolCalls


def _is_tools(annotation: Any) -> bool:
    return annotation == Tool or (get_origin(annotation) is list and get_args(annotation)[0] == Tool)
