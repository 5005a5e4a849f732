"""Classes, judged: what they derive from, and which steps of dspy's they override."""

from __future__ import annotations

import ast
from typing import Final

from . import offers
from .findings import Notes
from .meanings import Class, Function, Made, Other, Ref, Unclear, Value, is_standard
from .scopes import ClassInfo, Record
from .verdicts import Verdict

__all__ = ["ClassJudge"]

_MIXINS: Final = frozenset({"abc.ABC", "typing.Generic", "typing.Protocol", "", "enum.Enum", "object"})
_TENSORS: Final = ("torch", "tensorflow", "keras", "jax", "flax", "lightning", "pytorch_lightning", "mlx")


class ClassJudge:
    """Judges the classes of one file."""

    def __init__(self, notes: Notes) -> None:
        self._values = notes.values
        self._notes = notes

    def judge(self, info: ClassInfo) -> None:
        """One class."""
        lineage = self._values.lineage(info)
        refs = [value for value in lineage if isinstance(value, Ref)]
        record = Record(info.node, None, info.outer, info.unit, info.outer.function is None, False)
        for value in lineage:
            if isinstance(value, Class):
                self._notes.found.edges[info.unit].add((value.info.module.path, value.info.unit))
        methods = {each.name for each in info.node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        is_program = any(_is_program(value.path) for value in refs)
        if is_program:
            self._notes.found.classes[info.name] = info
        strange = [value for value in lineage if _is_strange(value)]
        runs = bool(methods & {"forward", "aforward"})
        unread = any(isinstance(value, Unclear) for value in strange) and self._uses_dspy(info)
        if strange and (refs or runs or unread):
            self._base(info, record, strange)
            if runs:
                self._notes.found.classes[info.name] = info
        if not refs:
            return
        if any(keyword.arg == "metaclass" for keyword in info.node.keywords):
            reason = "it has a metaclass of its own"
            self._notes.add(
                info.node, record, info.name, Verdict.UNKNOWN, "base-class", reason, "do without the metaclass"
            )
        for name in sorted(methods & self._notes.steps(info)):
            reason = f"`{name}` is a step of dspy's own that the engine does not have: it would not be called"
            self._notes.add(info.node, record, f"{info.name}.{name}", Verdict.UNKNOWN, "private", reason, offers.LOOK)
        for name in sorted(methods & {"__getattribute__", "__setattr__", "__init_subclass__"}):
            reason = f"`{name}` changes what the engine sees of it"
            self._notes.add(info.node, record, f"{info.name}.{name}", Verdict.UNKNOWN, "private", reason, offers.LOOK)
        if "forward" in methods and "aforward" not in methods and any(_is_predictor(value.path) for value in refs):
            reason = "its `forward` is its own and its `aforward` is not, so an awaited call goes past it"
            advice = "write an aforward that does the same"
            self._notes.add(info.node, record, f"{info.name}.forward", Verdict.CHANGES, "method", reason, advice)
        if is_program and "__call__" in methods:
            reason = "its `__call__` is its own, and the engine's async calls go past it"
            self._notes.add(
                info.node,
                record,
                f"{info.name}.__call__",
                Verdict.CHANGES,
                "method",
                reason,
                "name it forward (or aforward)",
            )

    def _uses_dspy(self, info: ClassInfo) -> bool:
        first, last = info.node.lineno, info.node.end_lineno or info.node.lineno
        return any(first <= use.place.line <= last and use.name.startswith("dspy") for use in self._notes.found.uses)

    def _base(self, info: ClassInfo, record: Record, strange: list[Value]) -> None:
        names = ", ".join(dict.fromkeys(_strange_name(value) for value in strange))
        reason = f"it derives from {names}, which was not read: what it does with dspy is not seen"
        self._notes.add(
            info.node,
            record,
            info.name,
            Verdict.UNKNOWN,
            "base-class",
            reason,
            "give the file of the base class as well",
        )


def _is_program(path: tuple[str, ...]) -> bool:
    return offers.is_program_class(offers.judge(path).target) or path[-1:] in (
        ("Module",),
        ("Program",),
        ("Flex",),
        ("Retrieve",),
    )


def _is_predictor(path: tuple[str, ...]) -> bool:
    """Whether it has an async form that a subclass may leave behind."""
    target = offers.judge(path).target
    return offers.is_program_class(target) and hasattr(target, "aforward")


def _is_strange(value: Value) -> bool:
    """A base of which nothing is known."""
    match value:
        case Unclear() | Function() | Made():
            return True
        case Other(name):
            first = name.partition(".")[0]
            return name not in _MIXINS and first not in (*_TENSORS, "dspex") and not is_standard(first)
        case _:
            return False


def _strange_name(value: Value) -> str:
    match value:
        case Unclear(_, name) | Other(name):
            return name or "something"
        case Function(info):
            return f"what {info.name}() gives"
        case _:
            return "something that is made when the program runs"
