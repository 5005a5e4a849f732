"""Every use of dspy in a file, judged: imports, names, assignments, texts; calls and classes in files of their own.

A place is judged by all that its expression may stand for, and the worst counts. What is neither dspy's nor made of it
leaves no trace.
"""

from __future__ import annotations

import ast
import re
from typing import Final

from . import offers
from .calls import CallJudge
from .class_uses import ClassJudge
from .findings import FileUses, Notes, is_private, shown_name
from .meanings import Class, Function, Made, Module, Object, Other, Ref, Unclear, Value, dotted, is_standard
from .project import Project
from .scopes import ModuleInfo, Record
from .values import Values
from .verdicts import Verdict

__all__ = ["judged_uses"]

_TRACERS: Final = frozenset({"autolog", "DSPyInstrumentor", "DSPyCallback", "TraceloopSDK"})
_DOTTED: Final = re.compile(r"dspy(\.\w+)+")
_LOADERS: Final = re.compile(r"import|load|lazy|modul", re.IGNORECASE)
_ASIDE: Final = "watch the native engine by callbacks (dspy.BaseCallback), which are the same"
_HARMLESS: Final = frozenset(
    {
        *(
            "print",
            "version",
            "distribution",
            "find_spec",
            "info",
            "debug",
            "warning",
            "error",
            "importorskip",
            "import_module",
        ),
        *("__import__", "append", "add_argument", "startswith", "endswith", "split", "replace", "join", "get", "field"),
    }
)


def judged_uses(module: ModuleInfo, project: Project, values: Values) -> FileUses:
    """All uses in a file."""
    return _Judge(module, project, values).judge()


class _Judge:
    def __init__(self, module: ModuleInfo, project: Project, values: Values) -> None:
        self._module = module
        self._project = project
        self._values = values
        self._notes = Notes(module, values)

    def judge(self) -> FileUses:
        for record in self._module.imports:
            self._import(record)
        for record in self._module.names:
            self._name(record)
        calls = CallJudge(self._module, self._project, self._notes)
        for record in self._module.calls:
            calls.judge(record)
        for record in self._module.stores:
            self._store(record)
        for record in self._module.texts:
            self._text(record)
        classes = ClassJudge(self._notes)
        for info in self._module.classes:
            classes.judge(info)
        return self._notes.finish()

    # -- imports -----------------------------------------------------------------------------------------------------

    def _import(self, record: Record) -> None:
        node = record.node
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._imported(alias, record, self._project.resolve(self._module, alias.name, 0), alias.name)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            target = self._project.resolve(self._module, source, node.level)
            for alias in node.names:
                self._from(alias, record, target, source)

    def _imported(self, node: ast.alias, record: Record, target: Value, name: str) -> None:
        match target:
            case Ref(path):
                self._notes.offer(node, record, path)
            case Module(info):
                if name.partition(".")[0] == "dspy":
                    self._own_dspy(node, record)
                self._notes.found.imported.append((record, info.path, ""))
            case Unclear("module"):
                self._not_read(node, record, name)
            case _:
                self._outside(node, record, name)

    def _from(self, alias: ast.alias, record: Record, target: Value, source: str) -> None:
        star = alias.name == "*"
        match target:
            case Ref(path):
                self._notes.offer(alias, record, path if star else (*path, alias.name))
            case Module(info):
                if (
                    source.partition(".")[0] == "dspy"
                    and isinstance(record.node, ast.ImportFrom)
                    and not record.node.level
                ):
                    self._own_dspy(alias, record)
                below = None if star else self._project.below(info, alias.name)
                if below is not None and alias.name not in info.scope.bindings:
                    self._notes.found.imported.append((record, below.path, ""))
                else:
                    self._notes.found.imported.append((record, info.path, "" if star else alias.name))
            case Unclear("module", name):
                level = record.node.level if isinstance(record.node, ast.ImportFrom) else 0
                whole = self._project.resolve(self._module, f"{source}.{alias.name}".strip("."), level)
                if isinstance(whole, Module):
                    self._notes.found.imported.append((record, whole.info.path, ""))
                elif isinstance(whole, Unclear):
                    self._not_read(alias, record, f"{name}.{alias.name}")
            case Other() if star and not is_standard(source):
                reason = f"every name of {source} may come in, a name of dspy's among them"
                self._notes.put_aside(
                    alias,
                    record,
                    f"{source}.*",
                    Verdict.UNKNOWN,
                    "star-import",
                    reason,
                    "import the names that are used",
                )
            case _:
                self._outside(alias, record, f"{source}.{alias.name}")

    def _own_dspy(self, node: ast.AST, record: Record) -> None:
        self._notes.add(
            node,
            record,
            "dspy",
            Verdict.UNKNOWN,
            "own-dspy",
            "the project has a module `dspy` of its own, which may be what is imported",
            "rename it, or check it apart",
        )

    def _not_read(self, node: ast.AST, record: Record, name: str) -> None:
        self._notes.put_aside(
            node,
            record,
            name,
            Verdict.UNKNOWN,
            "not-read",
            f"{name} was not among the files read",
            "give its folder as well, so that what it does with dspy is seen",
        )

    def _outside(self, node: ast.AST, record: Record, name: str) -> None:
        parts = name.split(".")
        if parts[0] == "litellm":
            reason = "the native engine calls providers through their own SDKs: settings of litellm do nothing there"
            self._notes.put_aside(
                node, record, name, Verdict.CHANGES, "litellm", reason, "give the option to dspy.LM instead"
            )
        elif any(part.lower().startswith("dspy") for part in parts[1:]) or parts[-1] in _TRACERS:
            reason = f"{name} reaches into dspy, and sees nothing of the native engine"
            self._notes.put_aside(node, record, name, Verdict.CHANGES, "tracing", reason, _ASIDE)

    # -- names -------------------------------------------------------------------------------------------------------

    def _name(self, record: Record) -> None:
        node = record.node
        assert isinstance(node, ast.Name | ast.Attribute)
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.append(base.attr)
            base = base.value
        attributes.reverse()
        if isinstance(base, ast.Name):
            self._edges(record, base.id)
        if not attributes and not isinstance(base, ast.Name):
            return
        before = self._values.expression(base, record.scope)
        self._mixed(node, record, before, base)
        for value in before:
            self._chain(node, record, value, attributes)

    def _mixed(self, node: ast.AST, record: Record, values: tuple[Value, ...], base: ast.expr) -> None:
        if len(values) < 2 or not isinstance(base, ast.Name):
            return
        if any(isinstance(value, Ref) for value in values) and any(
            not isinstance(value, Ref | Made) for value in values
        ):
            reason = f"`{base.id}` is bound to dspy's and to something else"
            self._notes.add(node, record, base.id, Verdict.UNKNOWN, "rebound", reason, "give the two different names")

    def _edges(self, record: Record, name: str) -> None:
        found = self._values.find(record.scope, name)
        if found is None or found.kind != "module":
            return
        edges = self._notes.found.edges[record.unit]
        edges.add((self._module.path, name))
        for binding in found.bindings[name]:
            if binding.kind == "from":
                target = self._project.resolve(self._module, binding.module, binding.level)
                if isinstance(target, Module):
                    edges.add((target.info.path, binding.alias))
        for value in self._values.name(record.scope, name):
            if isinstance(value, Class | Object | Function):
                edges.add((value.info.module.path, value.info.unit))

    def _chain(self, node: ast.expr, record: Record, value: Value, attributes: list[str]) -> None:
        match value:
            case Ref(path):
                if isinstance(_start(node), ast.Call) and offers.judge((*path, *attributes)).verdict is Verdict.NATIVE:
                    return  # `super().forward`
                offer = self._notes.offer(node, record, (*path, *attributes))
                if offers.is_module(offer.target) and offer.used == len(path) + len(attributes):
                    self._notes.bare(node, record, (*path, *attributes))
                elif offers.is_program_class(offer.target):
                    self._notes.found.modules[record.unit].add(offer.target.__name__)
            case Made(path):
                for attribute in attributes:
                    if is_private(attribute):
                        name = f"{shown_name(path)}.{attribute}"
                        reason = f"`{attribute}` is private to dspy"
                        self._notes.add(node, record, name, Verdict.UNKNOWN, "private", reason, offers.LOOK)
            case Object(info) | Class(info):
                if attributes and attributes[0] in self._notes.steps(info):
                    reason = f"`{attributes[0]}` is a step of dspy's own that the engine does not have"
                    self._notes.add(node, record, attributes[0], Verdict.UNKNOWN, "private", reason, offers.LOOK)
                self._follow(node, record, value, attributes)
            case Module(info):
                self._through(node, record, info, attributes)
            case Other(name) if name.partition(".")[0] == "litellm":
                reason = (
                    "the native engine calls providers through their own SDKs: settings of litellm do nothing there"
                )
                self._notes.put_aside(
                    node,
                    record,
                    ".".join([name, *attributes]),
                    Verdict.CHANGES,
                    "litellm",
                    reason,
                    "give the option to dspy.LM",
                )
            case Other(name) if name and attributes and attributes[0] == "dspy":
                shown = ".".join([name, *attributes])
                reason = f"{shown} reaches into dspy, and sees nothing of the native engine"
                self._notes.put_aside(node, record, shown, Verdict.CHANGES, "tracing", reason, _ASIDE)
            case _:
                pass

    def _follow(self, node: ast.expr, record: Record, value: Value, attributes: list[str]) -> None:
        """`self.dspy.Predict`: names of dspy's that an object of the project holds."""
        values: tuple[Value, ...] = (value,)
        for number, attribute in enumerate(attributes):
            values = tuple(got for each in values for got in self._values.attribute(each, attribute))
            for each in values:
                if isinstance(each, Ref) and len(each.path) < 2:
                    self._chain(node, record, each, attributes[number + 1 :])
            values = tuple(each for each in values if not isinstance(each, Ref))

    def _through(self, node: ast.expr, record: Record, info: ModuleInfo, attributes: list[str]) -> None:
        """`programs.RAG`, `programs.dspy.Predict`: names reached through a module of the project."""
        if not attributes:
            return
        self._notes.found.edges[record.unit].add((info.path, attributes[0]))
        for value in self._values.member(info, attributes[0]):
            if isinstance(value, Class | Object | Function):
                self._notes.found.edges[record.unit].add((value.info.module.path, value.info.unit))
            elif isinstance(value, Ref | Module):
                self._chain(node, record, value, attributes[1:])

    # -- assignments and texts ---------------------------------------------------------------------------------------

    def _store(self, record: Record) -> None:
        node = record.node
        if not isinstance(node, ast.Attribute):
            return
        for value in self._values.expression(node.value, record.scope):
            if isinstance(value, Ref) and value.path[:1] != ("settings",) and (value.path, node.attr) != ((), "cache"):
                self._notes.patched(node, record, f"{shown_name(value.path)}.{node.attr}")
            elif isinstance(value, Made) and is_private(node.attr):
                reason = f"`{node.attr}` is private to dspy"
                self._notes.add(
                    node,
                    record,
                    f"{shown_name(value.path)}.{node.attr}",
                    Verdict.UNKNOWN,
                    "private",
                    reason,
                    offers.LOOK,
                )

    def _text(self, record: Record) -> None:
        node, parent = record.node, record.parent
        assert isinstance(node, ast.Constant)
        text = str(node.value)
        is_name = text == "dspy" or _DOTTED.fullmatch(text) is not None
        if isinstance(parent, ast.Call) and "->" in text:
            for match in _DOTTED.finditer(text):  # a signature with types of dspy's
                if offers.judge(tuple(match.group().split(".")[1:])).verdict is not Verdict.NATIVE:
                    self._notes.offer(node, record, tuple(match.group().split(".")[1:]))
        elif isinstance(parent, ast.Call):
            name = dotted(parent.func)
            last = name.rpartition(".")[2] or getattr(parent.func, "attr", "")
            if last == "getLogger" and is_name:
                reason = "records of the engine go to `dspex.engine`, and to dspy's names only after install_as"
                self._notes.put_aside(
                    node, record, text, Verdict.CHANGES, "logger", reason, 'ask for logging.getLogger("dspex.engine")'
                )
            elif last in ("patch", "setattr", "delattr", "multiple") and is_name:
                self._notes.patched(node, record, text)
            elif (
                ("modules" in name.split(".") and is_name)
                or (_LOADERS.search(last) is not None and last not in _HARMLESS and is_name)
                or (
                    last in ("run_module", "resolve_name", "locate", "import_string", "load_class")
                    and text.startswith("dspy")
                )
                or (_DOTTED.fullmatch(text) is not None and last not in _HARMLESS)
            ):
                self._dynamic_text(node, record, text)
        elif (isinstance(parent, ast.Subscript) and is_name and dotted(parent.value).endswith("modules")) or (
            isinstance(parent, ast.JoinedStr | ast.BinOp) and text.endswith("dspy.")
        ):
            self._dynamic_text(node, record, text)

    def _dynamic_text(self, node: ast.AST, record: Record, text: str) -> None:
        reason = f"{text!r} names something of dspy's that is looked up when the program runs"
        self._notes.add(node, record, text, Verdict.UNKNOWN, "dynamic", reason, "name it in the code")


def _start(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node
