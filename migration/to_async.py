"""Which calls and functions become async with `dspex convert --async`, found before anything is edited.

    def forward(self, question):                     async def aforward(self, question):
        hop = self.query(question=question)    ->        hop = (await self.query.acall(question=question))

A program's `forward` becomes `aforward` where every call in it that asks a model can be awaited; the methods of its own
that ask one and are called only from there go with it. In functions that are async already, a call of a program is
awaited. A family of classes moves together or not at all: a subclass must not be left with half of its parent's.
"""

from __future__ import annotations

import ast
from collections import defaultdict

from . import offers
from .loops import LoopCalls
from .meanings import Class, Function, Made, Object, Ref, Unclear, Value
from .project import Project
from .rewriting import Asked, Span
from .scopes import ClassInfo, FunctionInfo, ModuleInfo, Record
from .values import Values
from .verdicts import Verdict

__all__ = ["AsyncEdits", "async_edits"]


class AsyncEdits:
    """What is to be edited, by file."""

    def __init__(self) -> None:
        self._awaited: dict[str, set[Span]] = defaultdict(set)
        self._helpers: dict[str, set[Span]] = defaultdict(set)
        self._functions: dict[str, set[Span]] = defaultdict(set)
        self.reasons: dict[str, list[str]] = defaultdict(list)
        """What stays synchronous, and why."""
        self.fixed: dict[str, set[tuple[int, int]]] = defaultdict(set)
        """Calls on a loop that are awaited now: line, and column from 0 in bytes."""

    def of(self, path: str, lines: list[str]) -> Asked:
        """For one file; `lines` are its text, for the columns."""
        return Asked(
            frozenset(_in_characters(span, lines) for span in self._awaited[path]),
            frozenset(_in_characters(span, lines) for span in self._helpers[path]),
            frozenset(_in_characters(span, lines) for span in self._functions[path]),
        )

    def await_program(self, record: Record) -> None:
        """This call becomes `await x.acall(...)`."""
        self._awaited[record.scope.module.path].add(_span(record.node))

    def await_helper(self, record: Record) -> None:
        """This call is awaited as it is."""
        self._helpers[record.scope.module.path].add(_span(record.node))

    def make_async(self, function: FunctionInfo, lines: list[str]) -> None:
        """This function becomes async."""
        node = function.node
        assert isinstance(node, ast.FunctionDef)
        line = lines[node.lineno - 1].encode("utf-8", "surrogatepass")
        column = line.index(node.name.encode(), node.col_offset + len("def"))
        self._functions[function.module.path].add((node.lineno, column, 0, 0))


def async_edits(project: Project, values: Values, texts: dict[str, list[str]]) -> AsyncEdits:
    """Looks at every program of a project."""
    return _Search(project, values, texts).found()


class _Search:
    def __init__(self, project: Project, values: Values, texts: dict[str, list[str]]) -> None:
        self._project = project
        self._values = values
        self._loops = LoopCalls(values)
        self._texts = texts
        self._edits = AsyncEdits()
        self._classes = [
            info for module in project.modules.values() for info in module.classes if self._is_program(info)
        ]

    def found(self) -> AsyncEdits:
        for family in self._families():
            self._family(family)
        for module in self._project.modules.values():
            if not module.notebook:
                self._async_functions(module)
        return self._edits

    def _is_program(self, info: ClassInfo) -> bool:
        return any(
            isinstance(value, Ref) and offers.is_program_class(offers.judge(value.path).target)
            for value in self._values.lineage(info)
        )

    # -- calls on a loop ---------------------------------------------------------------------------------------------

    def _async_functions(self, module: ModuleInfo) -> None:
        for blocking in self._loops.in_module(module):
            node = blocking.record.node
            assert isinstance(node, ast.Call)
            if self._can_await(blocking.record):
                self._edits.await_program(blocking.record)
                self._edits.fixed[module.path].add((node.lineno, node.col_offset))
            else:
                self._edits.reasons[module.path].append(
                    f"{node.lineno}: {blocking.what}(...) is called on an event loop and cannot be awaited as it is"
                )

    def _can_await(self, record: Record) -> bool:
        """Whether a call is certainly one of a program, model or the like, and has an async form."""
        node = record.node
        if not isinstance(node, ast.Call) or isinstance(record.parent, ast.GeneratorExp) or _in_generator(record):
            return False
        found = self._values.expression(node.func, record.scope)
        return bool(found) and all(self._has_acall(value) for value in found)

    def _has_acall(self, value: Value) -> bool:
        if isinstance(value, Made):
            offer = offers.judge(value.path)
            made = offer.verdict is Verdict.NATIVE and offer.used == len(value.path)
            return made and offers.is_class(offer.target) and hasattr(offer.target, "acall")
        if isinstance(value, Object):
            called = self._values.class_member(value.info, "__call__", False)
            return self._is_program(value.info) and not any(isinstance(each, Function) for each in called)
        return value == Ref(("settings", "lm"))

    # -- programs ----------------------------------------------------------------------------------------------------

    def _families(self) -> list[list[ClassInfo]]:
        """Programs that derive from each other."""
        root: dict[int, int] = {id(info): id(info) for info in self._classes}

        def top(key: int) -> int:
            while root[key] != key:
                key = root[key]
            return key

        for info in self._classes:
            for value in self._values.lineage(info):
                if isinstance(value, Class) and id(value.info) in root:
                    root[top(id(value.info))] = top(id(info))
        made: dict[int, list[ClassInfo]] = defaultdict(list)
        for info in self._classes:
            made[top(id(info))].append(info)
        return list(made.values())

    def _family(self, family: list[ClassInfo]) -> None:
        chosen: list[tuple[FunctionInfo, set[int], list[Record], list[Record]]] = []
        for info in family:
            forwards = self._own(info, "forward")
            if self._own(info, "aforward") or self._own(info, "acall"):
                if forwards:
                    return  # it is async already, and keeps its synchronous form too
                continue
            if not forwards:
                continue
            why = self._why_not(info, forwards[0])
            if why:
                for each in family:
                    self._edits.reasons[each.module.path].append(
                        f"{each.node.lineno}: {each.name} stays synchronous: {why}"
                    )
                return
            chosen.append((forwards[0], *self._parts(info, forwards[0])))
        for forward, _, awaited, helped in chosen:
            for record in awaited:
                self._edits.await_program(record)
            for record in helped:
                self._edits.await_helper(record)
            self._edits.make_async(forward, self._texts[forward.module.path])
            for helper in self._helpers(forward):
                self._edits.make_async(helper, self._texts[helper.module.path])

    def _own(self, info: ClassInfo, name: str) -> list[FunctionInfo]:
        return [binding.function for binding in info.scope.bindings.get(name, ()) if binding.function is not None]

    def _helpers(self, forward: FunctionInfo) -> list[FunctionInfo]:
        """Methods of the same class that ask a model and are called from a function that becomes async."""
        found: list[FunctionInfo] = []
        waiting = [forward]
        while waiting:
            function = waiting.pop()
            for record in function.calls:
                for value in self._values.expression(_func(record), record.scope):
                    if (
                        isinstance(value, Function)
                        and self._goes_along(value.info, forward)
                        and value.info not in found
                    ):
                        found.append(value.info)
                        waiting.append(value.info)
        return found

    def _goes_along(self, function: FunctionInfo, forward: FunctionInfo) -> bool:
        return (
            function.cls is forward.cls
            and function is not forward
            and not function.is_async
            and self._loops.asks(function)
        )

    def _parts(self, info: ClassInfo, forward: FunctionInfo) -> tuple[set[int], list[Record], list[Record]]:
        helpers = self._helpers(forward)
        awaited: list[Record] = []
        helped: list[Record] = []
        for function in [forward, *helpers]:
            for record in function.calls:
                found = self._values.expression(_func(record), record.scope)
                if any(isinstance(value, Function) and value.info in helpers for value in found):
                    helped.append(record)
                elif any(self._loops.asks_when_called(value) for value in found):
                    awaited.append(record)
        return {id(helper) for helper in helpers}, awaited, helped

    def _why_not(self, info: ClassInfo, forward: FunctionInfo) -> str:
        helpers = self._helpers(forward)
        if not self._loops.asks(forward):
            return "nothing in its forward asks a model in a way that is seen"
        for function in [forward, *helpers]:
            if function.yields:
                return f"{function.name} is a generator"
            if function.decorators:
                return f"{function.name} has decorators"
            for record in function.calls:
                why = self._call_why_not(record, helpers)
                if why:
                    return why
            if self._lambdas_ask(function):
                return f"a function inside {function.name} asks a model"
        return self._used_otherwise([forward, *helpers])

    def _call_why_not(self, record: Record, helpers: list[FunctionInfo]) -> str:
        found = self._values.expression(_func(record), record.scope)
        line = getattr(record.node, "lineno", 0)
        if any(isinstance(value, Function) and value.info in helpers for value in found):
            return (
                "" if len(found) == 1 and not _in_generator(record) else f"line {line} calls one of several functions"
            )
        if any(self._loops.asks_when_called(value) for value in found):
            return (
                "" if self._can_await(record) else f"line {line} asks a model in a way that cannot be awaited as it is"
            )
        if any(isinstance(value, Unclear) for value in found) and self._loops.may_ask(record):
            return f"line {line} calls something that may be a program"
        return ""

    def _lambdas_ask(self, function: FunctionInfo) -> bool:
        inside = [
            each
            for each in function.module.functions
            if each is not function and each.scope.parent is not None and each.scope.parent.function is function
        ]
        return any(self._loops.asks(each) or self._lambdas_ask(each) for each in inside)

    def _used_otherwise(self, functions: list[FunctionInfo]) -> str:
        """Whether somebody calls or hands on one of these in a way that would not be awaited."""
        awaited = {id(record.node) for function in functions for record in function.calls}
        names = {function.name.rpartition(".")[2] for function in functions}
        for module in self._project.modules.values():
            funcs = {id(_func(record)): record for record in module.calls}
            for record in module.names:
                node = record.node
                if not isinstance(node, ast.Attribute) or node.attr not in names:
                    continue
                call = funcs.get(id(node))
                if call is not None and id(call.node) in awaited and node.attr != "forward":
                    continue
                return f"`{node.attr}` is used in {module.path}:{node.lineno}, which would have to await it"
        return ""


def _func(record: Record) -> ast.expr:
    assert isinstance(record.node, ast.Call)
    return record.node.func


def _in_generator(record: Record) -> bool:
    """Inside a comprehension an await is allowed, inside a generator expression it makes another thing of it."""
    return record.scope.kind == "inner" and record.scope.lazy


def _span(node: ast.AST) -> Span:
    assert isinstance(node, ast.Call)
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _in_characters(span: Span, lines: list[str]) -> Span:
    first, column, last, end = span
    return first, _count(lines, first, column), last, _count(lines, last, end) if last else end


def _count(lines: list[str], line: int, column: int) -> int:
    return len(lines[line - 1].encode("utf-8", "surrogatepass")[:column].decode("utf-8", "replace"))
