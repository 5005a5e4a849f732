"""Where a program would be called synchronously on an event loop: dspy blocks the loop then, and the native engine refuses.

    async def answer(question):
        return rag(question=question)            # await rag.acall(question=question)

Found through functions too: one that asks a program synchronously must not be called from an async function, whoever
wrote it. A notebook's cells run on a loop from the start.
"""

from __future__ import annotations

import ast
from typing import Final

from . import offers
from .meanings import Class, Function, Made, Object, Other, Ref, Unclear, Value, dotted
from .scopes import FunctionInfo, ModuleInfo, Record
from .values import Values
from .verdicts import Verdict

__all__ = ["Blocking", "LoopCalls"]

_BLOCKING_METHODS: Final = frozenset({"forward", "batch", "__call__"})


class Blocking:
    """One such call."""

    def __init__(self, record: Record, verdict: Verdict, what: str, through: bool = False) -> None:
        self.record: Final = record
        self.verdict: Final = verdict
        """CHANGES where it is certain that a program is called, UNKNOWN where it may be."""
        self.what: Final = what
        self.through: Final = through
        """It is a function that asks a model, not a program."""


class LoopCalls:
    """Finds them. Answers about functions are kept."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._asks: dict[int, bool] = {}
        self._may: dict[int, bool] = {}

    def in_module(self, module: ModuleInfo) -> list[Blocking]:
        """Every call of a file that would block a loop."""
        records = [record for function in module.functions if function.is_async for record in function.calls]
        if module.notebook:
            records += module.top_calls
        return [found for record in records if (found := self._blocks(record)) is not None]

    def _blocks(self, record: Record) -> Blocking | None:
        node = record.node
        assert isinstance(node, ast.Call)
        if isinstance(record.parent, ast.Await):
            return None
        values = self._values.expression(node.func, record.scope)
        surely = [value for value in values if self.asks_when_called(value)]
        what = dotted(node.func) or "this"
        if surely:
            # One that is certain beside others that are not: it may be the other.
            certain = not any(isinstance(value, Unclear) for value in values)
            through = all(isinstance(value, Function) for value in surely)
            return Blocking(record, Verdict.CHANGES if certain else Verdict.UNKNOWN, what, through)
        if any(isinstance(value, Unclear) for value in values) and _like_a_program(node, values):
            return Blocking(record, Verdict.UNKNOWN, what)
        if any(self._may_ask_when_called(value) for value in values) or self._calls_its_argument(node, record, values):
            return Blocking(record, Verdict.UNKNOWN, what, True)
        return None

    def _may_ask_when_called(self, value: Value) -> bool:
        """Whether a function of the project calls something that it was given, which may be a program."""
        if not isinstance(value, Function) or value.info.is_async or value.info.yields:
            return False
        known = self._may.get(id(value.info))
        if known is None:
            self._may[id(value.info)] = False  # it may call itself
            known = self._may[id(value.info)] = any(
                self._may_be_given(record) for record in value.info.calls if not isinstance(record.parent, ast.Await)
            )
        return known

    def _may_be_given(self, record: Record) -> bool:
        node = record.node
        assert isinstance(node, ast.Call)
        values = self._values.expression(node.func, record.scope)
        given = {value.what for value in values if isinstance(value, Unclear)} & {"parameter", "part"}
        return (bool(given) and _like_a_program(node, values)) or any(
            self._may_ask_when_called(value) for value in values
        )

    def _calls_its_argument(self, node: ast.Call, record: Record, values: tuple[Value, ...]) -> bool:
        """`map(program, questions)`."""
        if not isinstance(node.func, ast.Name) or node.func.id not in ("map", "filter") or not node.args:
            return False
        if not all(isinstance(value, Other) for value in values):
            return False
        return any(self.asks_when_called(value) for value in self._values.expression(node.args[0], record.scope))

    def may_ask(self, record: Record) -> bool:
        """Whether a call of who knows what may well be one of a program."""
        node = record.node
        return isinstance(node, ast.Call) and _like_a_program(
            node, self._values.expression(node.func, record.scope), strictly=True
        )

    def asks_when_called(self, value: Value) -> bool:
        """Whether calling it asks a model, synchronously."""
        match value:
            case Ref(("settings", "lm" | "rm")):
                return True
            case Made(path):
                return _made_asks(path)
            case Object(info):
                called = self._values.class_member(info, "__call__", False)
                own = [each for each in called if isinstance(each, Function)]
                if own:
                    return any(self.asks(each.info) for each in own)
                return any(isinstance(each, Ref) and _awaitable(each.path) for each in self._values.lineage(info))
            case Class(info):
                return any(
                    self.asks(each.info)
                    for each in self._values.class_member(info, "__init__", False)
                    if isinstance(each, Function)
                )
            case Function(info):
                return not info.is_async and not info.yields and self.asks(info)
            case _:
                return False

    def asks(self, function: FunctionInfo) -> bool:
        """Whether a function of the project asks a model, synchronously, itself or through others."""
        known = self._asks.get(id(function))
        if known is not None:
            return known
        self._asks[id(function)] = False  # it may call itself
        made = any(
            self.asks_when_called(value)
            for record in function.calls
            if isinstance(record.node, ast.Call) and not isinstance(record.parent, ast.Await)
            for value in self._values.expression(record.node.func, record.scope)
        )
        self._asks[id(function)] = made
        return made


def _made_asks(path: tuple[str, ...]) -> bool:
    """Whether calling this asks a model: a predictor, a method of one, an Evaluate, an optimizer's compile."""
    if path[:1] == ("syncify",):
        return True
    if len(path) >= 2 and path[-1].startswith("()."):
        method, cls = path[-1].removeprefix("()."), offers.judge(path[:-1]).target
        if method == "compile":
            return offers.is_optimizer(cls)
        if method == "execute":
            return offers.is_interpreter(cls)
        return method in _BLOCKING_METHODS and _awaitable(path[:-1])
    return _awaitable(path)


def _awaitable(path: tuple[str, ...]) -> bool:
    offer = offers.judge(path)
    known = offer.verdict is Verdict.NATIVE and offer.used == len(path)
    return known and offers.is_awaitable_class(offer.target)


def _like_a_program(node: ast.Call, values: tuple[Value, ...], *, strictly: bool = False) -> bool:
    """Whether a call of who knows what may well be one of a program: its inputs are named.

    `strictly`: also for methods of unknown objects, where a wrong no would break what is edited.
    """
    unclear = {value.what for value in values if isinstance(value, Unclear)}
    if not unclear or (unclear == {"name"} and len(values) == 1):
        return False
    named = bool(node.keywords) and not node.args
    match node.func:
        case ast.Name():
            return named or bool(unclear & {"parameter", "part"})
        case ast.Subscript():
            return True
        case ast.Call():
            return named
        case _:
            return "parameter" in unclear or (strictly and named)
