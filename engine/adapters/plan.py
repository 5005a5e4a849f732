"""A signature compiled for one adapter: everything about a prompt that does not depend on the call.

Field headers, renderers, coercers, the system text and the demos that were last shown are worked out once; a call looks
them up and fills in its inputs. A plan is found by the signature class it was made for, is dropped with it, and is made
anew when the signature was edited in place. It never outlives nor holds its signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast, get_args, get_origin

from ..signatures import FieldSpec, SignatureMeta
from ..types import History, Tool, ToolCalls, Type
from .annotation import allows_none
from .coerce import Coercer, coercer
from .values import passages, text_of

_DEMOS_KEPT = 1024


class Record(Protocol):
    """What a demo or the inputs of a call may be: a dict, an `Example`, anything that is read by key."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def get(self, name: str, default: Any = ..., /) -> Any: ...


class FieldPlan:
    """One field of a plan."""

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
        fields = [FieldPlan(spec) for spec in self.specs]
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
            (field.name, cast("type[Type]", field.spec.annotation))
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


class RenderedDemo:
    """A demo as messages, and the values it was rendered from."""

    __slots__ = ("answer", "complete", "kept", "request")

    def __init__(self, complete: bool, request: str, answer: str, kept: tuple[Any, ...]) -> None:
        self.complete = complete
        self.request = request
        self.answer = answer
        self.kept = kept


class RenderedDemos:
    """The demos that were last rendered, at most 1,024.

    A demo may be changed at any time, by itself or deep inside, so a rendering counts only as long as every value it
    was made from is still there: scalars are compared by identity, lists and dicts element by element. A demo with any
    other value (a model, an array: things that can change unseen) is rendered each time.
    """

    __slots__ = ("_by_id", "_names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._by_id: dict[int, RenderedDemo] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, demo: Record) -> RenderedDemo | None:
        """The rendering of `demo`, if it is still true."""
        # The id only finds the entry: whether it is right is decided by its values, which the entry keeps alive.
        rendered = self._by_id.get(id(demo))
        if rendered is None:
            return None
        for name, kept in zip(self._names, rendered.kept, strict=True):
            if name in demo:
                value = demo[name]
                if value is not kept and not _unchanged(value, kept):
                    return None
            elif kept is not _ABSENT:
                return None
        return rendered

    def keep(self, demo: Record, complete: bool, request: str, answer: str) -> None:
        """Remembers a rendering, if all its values can be watched."""
        kept = tuple(_watched(demo[name]) if name in demo else _ABSENT for name in self._names)
        if any(each is _UNWATCHABLE for each in kept):
            return
        self._by_id.pop(id(demo), None)
        while len(self._by_id) >= _DEMOS_KEPT:
            self._by_id.pop(next(iter(self._by_id)))
        self._by_id[id(demo)] = RenderedDemo(complete, request, answer, kept)


_ABSENT: Any = object()
_UNWATCHABLE: Any = object()
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


class _Items:
    __slots__ = ("items", "kind")

    def __init__(self, kind: type[Any], items: tuple[Any, ...]) -> None:
        self.kind = kind
        self.items = items


def _elements(value: Any) -> list[Any]:
    """What a list or tuple holds, or the keys and then the values of a dict."""
    return [*value, *value.values()] if isinstance(value, dict) else [*value]


def _watched(value: Any, depth: int = 0) -> Any:
    kind = cast("type[Any]", type(value))
    if kind in _SCALARS or (issubclass(kind, Type) and kind.model_config.get("frozen")):
        return value
    if kind not in (list, tuple, dict) or depth > 8:
        return _UNWATCHABLE
    items = tuple(_watched(each, depth + 1) for each in _elements(value))
    return _UNWATCHABLE if any(each is _UNWATCHABLE for each in items) else _Items(kind, items)


def _unchanged(value: Any, kept: Any) -> bool:
    if value is kept:
        return True
    if type(kept) is not _Items or type(value) is not kept.kind:
        return False
    now = _elements(value)
    return len(now) == len(kept.items) and all(map(_unchanged, now, kept.items))
