"""What is written down while a file is judged: uses, what keeps it from being imported, who names whom, what programs there
are. And the questions that every part of the judging asks.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import Final

from . import offers
from .meanings import Class, Function, Made, Object, Ref, Value, dotted
from .scopes import ClassInfo, ModuleInfo, Record
from .values import Values
from .verdicts import Place, Rule, Use, Verdict

__all__ = ["BREAKING", "FileUses", "Notes", "Unit", "is_private", "place_of", "shown_name"]

Unit = tuple[str, str]
"""A definition: the path of its file, and its name."""

BREAKING: Final[frozenset[Rule]] = frozenset(
    {
        "not-offered",
        "removed",
        "unknown-name",
        "private",
        "patched",
        "keyword",
        "rebound",
        "star-import",
        "own-dspy",
        "dynamic",
    }
)
"""Where such a thing stands at the top of a file, nothing of the file can be relied on."""


class FileUses:
    """What was found in one file."""

    def __init__(self, module: ModuleInfo) -> None:
        self.module: Final = module
        self.uses: list[Use] = []
        self.breaking: list[Use] = []
        """Those that keep the file from being imported natively."""
        self.edges: dict[str, set[Unit]] = defaultdict(set)
        """From a definition to those that it names."""
        self.modules: dict[str, set[str]] = defaultdict(set)
        """By definition, what it is made of."""
        self.imported: list[tuple[Record, str, str]] = []
        """Of the project: where, path, name ("" for the module)."""
        self.classes: dict[str, ClassInfo] = {}
        """Programs that are classes, by name."""
        self.predictors: list[tuple[str, Record, str]] = []
        """Programs that are objects: name, call, class."""

    @property
    def concerned(self) -> bool:
        """Whether the file has anything to do with dspy."""
        return bool(self.uses)


class Notes:
    """Writes them down for one file."""

    def __init__(self, module: ModuleInfo, values: Values) -> None:
        self.values: Final = values
        self.found: Final = FileUses(module)
        self._aside: list[tuple[ast.AST, Record, str, Verdict, Rule, str, str]] = []

    def add(
        self, node: ast.AST, record: Record, name: str, verdict: Verdict, rule: Rule, reason: str, advice: str = ""
    ) -> None:
        """Write down one use."""
        use = Use(place_of(node), name, verdict, rule, reason, advice, record.unit)
        self.found.uses.append(use)
        caught = record.guarded and isinstance(record.node, ast.Import | ast.ImportFrom)
        if verdict is not Verdict.NATIVE and record.eager and rule in BREAKING and not caught:
            self.found.breaking.append(use)

    def put_aside(
        self, node: ast.AST, record: Record, name: str, verdict: Verdict, rule: Rule, reason: str, advice: str = ""
    ) -> None:
        """Write it down later, and only if the file uses dspy at all."""
        self._aside.append((node, record, name, verdict, rule, reason, advice))

    def finish(self) -> FileUses:
        """All of it."""
        if self.found.uses:
            for node, record, name, verdict, rule, reason, advice in self._aside:
                self.add(node, record, name, verdict, rule, reason, advice)
        return self.found

    def offer(self, node: ast.AST, record: Record, path: tuple[str, ...]) -> offers.Offer:
        """Write down a use of dspy's name as what the engine has of it."""
        offer = offers.judge(path)
        shown = path[: max(offer.used, 1)] if offer.used < len(path) else path
        self.add(node, record, shown_name(shown), offer.verdict, offer.rule, offer.reason, offer.advice)
        return offer

    def patched(self, node: ast.AST, record: Record, name: str) -> None:
        """Write down that the program changes something of dspy's."""
        reason = f"the program changes {name}, and the engine's parts do not have the same seams"
        self.add(
            node,
            record,
            name,
            Verdict.UNKNOWN,
            "patched",
            reason,
            "derive a class and use that, or keep it in the legacy pool",
        )

    def bare(self, node: ast.AST, record: Record, path: tuple[str, ...]) -> None:
        """dspy, or a module of it, as a value: understood where it is only renamed or tested."""
        parent = record.parent
        if parent is None or isinstance(parent, ast.Assign | ast.AnnAssign | ast.Compare | ast.BoolOp | ast.UnaryOp):
            return
        if isinstance(parent, ast.If | ast.IfExp | ast.Assert | ast.While | ast.Attribute | ast.Expr):
            return
        if isinstance(parent, ast.Call):
            name = dotted(parent.func)
            if name in ("getattr", "hasattr") and len(parent.args) > 1:
                return  # judged as a call
            if name.rpartition(".")[2] in ("setattr", "delattr", "object"):
                return  # as above
            for value in self.values.expression(parent.func, record.scope):
                if isinstance(value, Function) and any(
                    argument.arg == "dspy" for argument in value.info.node.args.args
                ):
                    return  # a factory that is given the namespace
        reason = f"`{shown_name(path)}` itself is handed on, and what is taken from it is not seen here"
        self.add(node, record, shown_name(path), Verdict.UNKNOWN, "dynamic", reason, "name what is used of it")

    def is_dspy(self, value: Value) -> bool:
        """Whether a value is dspy's, made by it, or derived from it."""
        if isinstance(value, Object | Class):
            return bool(self.dspy_bases(value.info))
        return isinstance(value, Ref | Made)

    def steps(self, info: ClassInfo) -> frozenset[str]:
        """The private steps that a class has from dspy."""
        return frozenset(name for path in self.dspy_bases(info) for name in offers.steps_of(path))

    def dspy_bases(self, info: ClassInfo) -> list[tuple[str, ...]]:
        """The classes of dspy's that a class derives from."""
        return [value.path for value in self.values.lineage(info) if isinstance(value, Ref)]


def place_of(node: ast.AST) -> Place:
    """Where a node stands; columns in characters are counted later, from the text."""
    line = getattr(node, "lineno", 1)
    column = getattr(node, "col_offset", 0)
    if isinstance(node, ast.ClassDef):  # its head is enough
        return Place(line, column + 1, line, column + len("class ") + len(node.name) + 1)
    return Place(
        line,
        column + 1,
        getattr(node, "end_lineno", None) or line,
        (getattr(node, "end_col_offset", None) or column) + 1,
    )


def shown_name(path: tuple[str, ...]) -> str:
    """A path as it is written."""
    if path[:1] == ("dsp*",):
        return ".".join(["dsp", *path[1:]])
    return ".".join(["dspy", *path]).replace(".().", "().").replace(".()", "()")


def is_private(name: str) -> bool:
    """Whether a name is dspy's own affair."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_compiled"
