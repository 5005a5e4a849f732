"""One file as data: its scopes, what each name is bound to, its functions and classes, and every place that may be a use of
dspy. `reading.py` fills it in.
"""

from __future__ import annotations

import ast
from typing import Final, Literal, final

__all__ = ["Binding", "BindingKind", "ClassInfo", "FunctionInfo", "ModuleInfo", "Record", "Scope", "last_name"]

BindingKind = Literal["import", "from", "value", "class", "function", "parameter", "part", "annotated", "none"]


@final
class Binding:
    """One thing that a name is bound to."""

    __slots__ = ("alias", "cls", "fallback", "function", "kind", "level", "module", "node", "scope")

    def __init__(self, kind: BindingKind, node: ast.AST, scope: Scope) -> None:
        self.kind: Final = kind
        self.node: Final = node
        """The value of a "value"; of a "part" what it is a part of: the iterable, the context, the tuple."""
        self.scope: Final = scope
        self.module = ""
        """Of an import."""
        self.level = 0
        self.alias = ""
        self.cls: ClassInfo | None = None
        self.function: FunctionInfo | None = None
        self.fallback = False
        """Made only where an import has failed."""


@final
class Scope:
    """A module, class, function, lambda or comprehension."""

    __slots__ = ("bindings", "cls", "function", "globals", "kind", "lazy", "module", "parent", "stars")

    def __init__(
        self,
        kind: Literal["module", "class", "function", "inner"],
        parent: Scope | None,
        module: ModuleInfo,
        *,
        function: FunctionInfo | None = None,
        cls: ClassInfo | None = None,
    ) -> None:
        self.kind: Final = kind
        self.parent: Final = parent
        self.module: Final = module
        self.function = function
        """The function whose code this is, if any."""
        self.cls = cls
        """Of a class's scope, the class."""
        self.lazy = False
        """Of a comprehension: it is a generator, which runs when it is asked."""
        self.bindings: dict[str, list[Binding]] = {}
        self.globals: set[str] = set()
        self.stars: list[Binding] = []


@final
class FunctionInfo:
    """A function, method or lambda."""

    __slots__ = ("calls", "cls", "is_async", "module", "name", "node", "returns", "scope", "unit", "yields")

    def __init__(
        self,
        name: str,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        module: ModuleInfo,
        cls: ClassInfo | None,
    ) -> None:
        self.name: Final = name
        self.node: Final = node
        self.module: Final = module
        self.cls: Final = cls
        """The class whose method it is."""
        self.is_async: Final = isinstance(node, ast.AsyncFunctionDef)
        self.scope: Scope
        self.returns: list[ast.expr] = []
        self.calls: list[Record] = []
        """Calls in its own code, not in that of functions inside it."""
        self.yields = False
        self.unit = ""

    @property
    def first_parameter(self) -> str:
        """The name of `self`, or "" for none."""
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        return arguments[0].arg if arguments else ""

    @property
    def decorators(self) -> tuple[str, ...]:
        """Names of decorators, without their modules."""
        return tuple(last_name(each) for each in getattr(self.node, "decorator_list", ()))


@final
class ClassInfo:
    """A class of the project."""

    __slots__ = ("attributes", "module", "name", "node", "outer", "scope", "unit")

    def __init__(self, name: str, node: ast.ClassDef, module: ModuleInfo, outer: Scope) -> None:
        self.name: Final = name
        """Dotted, within the file."""
        self.node: Final = node
        self.module: Final = module
        self.outer: Final = outer
        """Where its bases are looked up."""
        self.scope: Scope
        self.attributes: dict[str, list[Binding]] = {}
        """What its methods assign to `self`."""
        self.unit = ""


@final
class Record:
    """A place to be judged: a name with its attributes, a call, an import, a text, an assignment to an attribute."""

    __slots__ = ("eager", "guarded", "node", "parent", "scope", "unit", "value")

    def __init__(
        self, node: ast.AST, parent: ast.AST | None, scope: Scope, unit: str, eager: bool, guarded: bool
    ) -> None:
        self.node: Final = node
        self.value: ast.expr | None = None
        """Of an assignment to an attribute, what is assigned."""
        self.parent: Final = parent
        self.scope: Final = scope
        self.unit: Final = unit
        """The top-level definition around it; "" for the module's own code."""
        self.eager: Final = eager
        """Runs when the module is imported."""
        self.guarded: Final = guarded
        """In a `try` that catches the failure of an import, or under a condition."""


@final
class ModuleInfo:
    """One file, or the cells of one notebook."""

    def __init__(self, path: str, *, notebook: bool = False) -> None:
        self.path: Final = path
        self.notebook: Final = notebook
        """Its top-level code runs on an event loop."""
        self.scope: Final = Scope("module", None, self)
        self.names: list[Record] = []
        self.calls: list[Record] = []
        self.imports: list[Record] = []
        self.texts: list[Record] = []
        self.stores: list[Record] = []
        self.classes: list[ClassInfo] = []
        self.functions: list[FunctionInfo] = []
        self.comprehensions: dict[int, Scope] = {}
        """By the identity of the node, where its element is worked out."""
        self.top_calls: list[Record] = []
        """Calls in the module's own code."""


def last_name(node: ast.expr) -> str:
    """A name without its module, of a call what is called; "" for any other expression."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
