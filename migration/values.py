"""What an expression stands for, as far as reading tells: a name of dspy's, an object made by one, something of the
project's, or something that is not known.

Evaluation follows every binding of a name: a name that is bound twice has two values. It never guesses: what it cannot
follow is `Unclear`, and what is certainly not dspy's is `Other`.
"""

from __future__ import annotations

import ast
from typing import Any, Final, cast

from . import offers
from .meanings import OTHER, Class, Function, Made, Module, Object, Other, Ref, Unclear, Value, dotted
from .project import Project
from .scopes import Binding, ClassInfo, FunctionInfo, ModuleInfo, Scope

__all__ = ["Values"]

_NOTHING: Final[tuple[Value, ...]] = ()
_BUILTINS: Final = frozenset(
    dir(__builtins__) if not isinstance(__builtins__, dict) else cast("dict[str, Any]", __builtins__)
)
_SAME_OBJECT: Final = frozenset({"deepcopy", "reset_copy", "copy", "with_instructions", "append", "prepend"})
_TAKES_OUT: Final = frozenset({"get", "pop", "setdefault"})
_COPIES: Final = frozenset({"copy.deepcopy", "copy.copy", "typing.cast"})
_DEEP: Final = 40


def _counting(bindings: list[Binding]) -> list[Binding]:
    """The bindings that count: one that stands in for a failed import does not where the import is there too."""
    real = [binding for binding in bindings if not binding.fallback]
    return real or bindings


def _one(values: list[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))


class Values:
    """Evaluates the expressions of a project. Answers are kept."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._names: dict[tuple[int, str], tuple[Value, ...]] = {}
        self._open: set[tuple[int, str]] = set()
        self._met: set[tuple[int, str]] = set()
        """Names that were met again while they were being worked out: what depends on them is not kept yet."""
        self._returned: dict[int, tuple[Value, ...]] = {}
        self._bases: dict[int, tuple[Value, ...]] = {}
        self._depth = 0
        self._inside: set[int] = set()
        """Names whose elements are being looked for, by their first binding."""

    # -- names -------------------------------------------------------------------------------------------------------

    def find(self, scope: Scope, name: str) -> Scope | None:
        """The scope that binds a name, as Python looks for it from here; None for a builtin or an unknown name."""
        at: Scope | None = scope
        first = True
        while at is not None:
            if name in at.globals:
                return scope.module.scope
            if name in at.bindings and (first or at.kind != "class"):
                if all(
                    binding.kind == "part" and isinstance(binding.node, ast.Nonlocal) for binding in at.bindings[name]
                ):
                    at = at.parent
                    continue
                return at
            first = first and at.kind == "inner"
            at = at.parent
        return None

    def name(self, scope: Scope, name: str) -> tuple[Value, ...]:
        """What a name stands for here."""
        found = self.find(scope, name)
        if found is None:
            return self._free(scope.module, name)
        key = (id(found), name)
        known = self._names.get(key)
        if known is not None:
            return known
        if key in self._open:  # it is defined by itself: `x = f(x)`
            self._met.add(key)
            return _NOTHING
        self._open.add(key)
        try:
            made = _one([value for binding in _counting(found.bindings[name]) for value in self.binding(binding)])
        finally:
            self._open.discard(key)
        self._keep(key, made)
        return made

    def _keep(self, key: tuple[int, str], made: tuple[Value, ...]) -> None:
        self._met.discard(key)
        if not self._met:
            self._names[key] = made

    def _free(self, module: ModuleInfo, name: str) -> tuple[Value, ...]:
        found: list[Value] = []
        for star in module.scope.stars:
            target = self._project.resolve(module, star.module, star.level)
            if isinstance(target, Ref):
                if offers.judge((*target.path, name)).rule not in ("unknown-name", "private"):
                    found.append(Ref((*target.path, name)))
            elif isinstance(target, Module):
                if target.info is not module:
                    found += self.member(target.info, name, missing=False)
            elif isinstance(target, Unclear):
                found.append(Unclear("name", name))
        if found:
            return _one(found)
        return (OTHER,) if name in _BUILTINS else (Unclear("name", name),)

    def member(self, module: ModuleInfo, name: str, *, missing: bool = True) -> tuple[Value, ...]:
        """A name of another module of the project."""
        if name in module.scope.bindings:
            return self.name(module.scope, name)
        below = self._project.below(module, name)
        if below is not None:
            return (Module(below),)
        if module.scope.stars:
            values = self._free(module, name)
            if not (not missing and all(isinstance(value, Other | Unclear) for value in values)):
                return values
        return (Unclear("attribute", name),) if missing else _NOTHING

    def binding(self, binding: Binding) -> tuple[Value, ...]:
        """What one binding gives."""
        match binding.kind:
            case "none":
                return _NOTHING
            case "class":
                return (Class(binding.cls),) if binding.cls is not None else (OTHER,)
            case "function":
                return self._defined(binding)
            case "import":
                return (self._project.resolve(binding.scope.module, binding.module, 0),)
            case "from":
                return self._imported(binding)
            case "parameter":
                return self._parameter(binding)
            case "part":
                return self._part(binding)
            case "annotated":
                known = self.annotated(cast("ast.expr", binding.node), binding.scope)
                return known or (Unclear("part"),)
            case "value":
                return self.expression(cast("ast.expr", binding.node), binding.scope)

    def _defined(self, binding: Binding) -> tuple[Value, ...]:
        function = binding.function
        if function is None:
            return (OTHER,)
        decorated = [name for name in function.decorators if name not in _PLAIN_DECORATORS]
        if "property" in function.decorators or "cached_property" in function.decorators:
            return self.returned(function)
        if decorated and any(
            _wraps(self, each, binding.scope) for each in getattr(function.node, "decorator_list", ())
        ):
            return (Function(function), Unclear("result"))
        return (Function(function),)

    def _imported(self, binding: Binding) -> tuple[Value, ...]:
        module = self._project.resolve(binding.scope.module, binding.module, binding.level)
        if isinstance(module, Ref):
            return (Ref((*module.path, binding.alias)),)
        if isinstance(module, Module):
            if module.info is binding.scope.module and binding.scope.kind == "module":
                below = self._project.below(module.info, binding.alias)  # `from . import x` in a package's face
                return (Module(below),) if below is not None else (Unclear("attribute", binding.alias),)
            return self.member(module.info, binding.alias)
        if isinstance(module, Other):
            return (Other(f"{module.name}.{binding.alias}"),)
        below = self._project.resolve(
            binding.scope.module, f"{binding.module}.{binding.alias}".strip("."), binding.level
        )
        return (below,) if isinstance(below, Module) else (module,)

    def _parameter(self, binding: Binding) -> tuple[Value, ...]:
        function, argument = binding.function, cast("ast.arg", binding.node)
        if function is not None and function.cls is not None and argument.arg == function.first_parameter:
            if "staticmethod" in function.decorators:
                return (Unclear("parameter", argument.arg),)
            if "classmethod" in function.decorators:
                return (Class(function.cls),)
            return (Object(function.cls),)
        if argument.annotation is not None and function is not None:
            values = self.annotated(argument.annotation, function.scope.parent or function.scope)
            if values:
                return values
        elif argument.arg == "dspy":
            return (Ref(()),)  # a factory that is given the namespace
        return (Unclear("parameter", argument.arg),)

    def annotated(self, annotation: ast.expr, scope: Scope) -> tuple[Value, ...]:
        """Objects of the type that an annotation names; nothing where it names none that is known."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except (SyntaxError, ValueError):
                return _NOTHING
        if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            return _one([*self.annotated(annotation.left, scope), *self.annotated(annotation.right, scope)])
        if isinstance(annotation, ast.Subscript):
            if getattr(annotation.value, "id", getattr(annotation.value, "attr", "")) in (
                "Optional",
                "Annotated",
                "Union",
            ):
                inner = annotation.slice
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return _one([value for part in parts for value in self.annotated(part, scope)])
            return (OTHER,)
        if not isinstance(annotation, ast.Name | ast.Attribute):
            return _NOTHING
        found: list[Value] = []
        for value in self.expression(annotation, scope):
            if isinstance(value, Ref):
                found.append(Made(value.path))
            elif isinstance(value, Class):
                found.append(Object(value.info))
            elif isinstance(value, Other) and value.name not in _TELL_NOTHING:
                found.append(OTHER)
        return _one(found)

    def _part(self, binding: Binding) -> tuple[Value, ...]:
        node = binding.node
        if isinstance(node, ast.expr):
            return self.elements(node, binding.scope)
        return (Unclear("part"),)

    def elements(self, node: ast.expr, scope: Scope, depth: int = 0) -> tuple[Value, ...]:
        """What is in a list, tuple, set or dict, all together, as far as it is written out."""
        match node:
            case ast.List([]) | ast.Dict([]):
                return (Unclear("part"),)  # it is filled in later
            case ast.List(elts) | ast.Tuple(elts) | ast.Set(elts):
                return _one([value for each in elts for value in self._spread(each, scope, depth)])
            case ast.Dict(_, values):
                return _one([value for each in values for value in self.expression(each, scope)])
            case ast.ListComp(elt) | ast.SetComp(elt) | ast.GeneratorExp(elt):
                return self.expression(elt, scope.module.comprehensions.get(id(node), scope))
            case ast.DictComp(_, value):
                return self.expression(value, scope.module.comprehensions.get(id(node), scope))
            case ast.BinOp(left, ast.Mult(), _):
                return self.elements(left, scope, depth + 1)
            case ast.Name(name) if depth < 5:
                found = self.find(scope, name)
                return self._of_bindings(found.bindings[name] if found is not None else [], depth, node, scope)
            case ast.Attribute(ast.Name(_) as base, name) if depth < 5:
                bindings = [
                    binding
                    for value in self.expression(base, scope)
                    if isinstance(value, Object)
                    for each in self.lineage(value.info)
                    if isinstance(each, Class)
                    for binding in each.info.attributes.get(name, ())
                ]
                return self._of_bindings(bindings, depth, node, scope)
            case _:
                return self._of_whole(node, scope)

    def _spread(self, node: ast.expr, scope: Scope, depth: int) -> tuple[Value, ...]:
        return (
            self.elements(node.value, scope, depth + 1)
            if isinstance(node, ast.Starred)
            else self.expression(node, scope)
        )

    def _of_bindings(self, bindings: list[Binding], depth: int, node: ast.expr, scope: Scope) -> tuple[Value, ...]:
        if not bindings or any(binding.kind != "value" for binding in bindings):
            return self._of_whole(node, scope)
        key = id(bindings[0])
        if key in self._inside:  # `at = at["x"]`, many times over: each would look at all of them again
            return (Unclear("part"),)
        self._inside.add(key)
        try:
            return _one(
                [
                    value
                    for binding in bindings
                    for value in self.elements(cast("ast.expr", binding.node), binding.scope, depth + 1)
                ]
            )
        finally:
            self._inside.discard(key)

    def _of_whole(self, node: ast.expr, scope: Scope) -> tuple[Value, ...]:
        whole = self.expression(node, scope)
        if (
            whole
            and all(isinstance(value, Other) for value in whole)
            and not isinstance(node, ast.Name | ast.Attribute)
        ):
            return whole
        return (Unclear("part"),)

    # -- expressions -------------------------------------------------------------------------------------------------

    def expression(self, node: ast.expr, scope: Scope) -> tuple[Value, ...]:
        """What an expression stands for."""
        if self._depth > _DEEP:
            return (Unclear("result"),)
        self._depth += 1
        try:
            return self._expression(node, scope)
        finally:
            self._depth -= 1

    def _expression(self, node: ast.expr, scope: Scope) -> tuple[Value, ...]:
        if isinstance(node, ast.Name):
            return self.name(scope, node.id)
        if isinstance(node, ast.Attribute):
            return _one(
                [got for value in self.expression(node.value, scope) for got in self.attribute(value, node.attr)]
            )
        if isinstance(node, ast.Call):
            return self.called(node, scope)
        if isinstance(node, ast.Await):
            return self._awaited(node.value, scope)
        if isinstance(node, ast.IfExp):
            return _one([*self.expression(node.body, scope), *self.expression(node.orelse, scope)])
        if isinstance(node, ast.BoolOp):
            return _one([value for each in node.values for value in self.expression(each, scope)])
        if isinstance(node, ast.NamedExpr):
            return self.expression(node.value, scope)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, scope)
        if isinstance(node, ast.Starred):
            return (Unclear("part"),)
        if isinstance(node, ast.Constant) and node.value is None:
            return _NOTHING
        return (OTHER,)  # literals, operators, displays, lambdas: none of these is a name of dspy's

    def _subscript(self, node: ast.Subscript, scope: Scope) -> tuple[Value, ...]:
        whole = self.expression(node.value, scope)
        if whole and all(isinstance(value, Ref | Class) for value in whole):
            return whole  # a generic: Code["python"]
        if whole and all(isinstance(value, Other) and value.name for value in whole):
            return whole  # of another package: list[int], os.environ["X"]
        return self.elements(node.value, scope)

    def attribute(self, value: Value, name: str) -> tuple[Value, ...]:
        """What an attribute of a value is."""
        match value:
            case Ref(path):
                return (self._of_ref(path, name),)
            case Made(path):
                return (Made((*path, f"().{name}")),) if len(path) < 12 else (Unclear("attribute", name),)
            case Module(info):
                return self.member(info, name)
            case Class(info) | Object(info):
                return self.class_member(info, name, isinstance(value, Object))
            case Other(origin):
                return (Other(f"{origin}.{name}"),) if origin else (OTHER,)
            case Unclear():
                return self._by_name(name)
            case Function():
                return (Unclear("attribute", name),)

    def _of_ref(self, path: tuple[str, ...], name: str) -> Value:
        offer = offers.judge(path)
        if path and offer.used == len(path) and offer.target is not None and not offers.is_module(offer.target):
            return (
                Ref((*path, name)) if offers.is_class(offer.target) or path[-1] == "settings" else Made((*path, name))
            )
        return Ref((*path, name))

    def _by_name(self, name: str) -> tuple[Value, ...]:
        """An attribute of who knows what: of every class that has a program under that name."""
        found = self._project.programs_by_attribute(name)
        return _one([Unclear("attribute", name), *found])

    def class_member(self, info: ClassInfo, name: str, of_object: bool) -> tuple[Value, ...]:
        """A member of a class of the project, or of its bases."""
        found: list[Value] = []
        for each in self.lineage(info):
            if isinstance(each, Class):
                if of_object and name in each.info.attributes:
                    found += [value for binding in each.info.attributes[name] for value in self._guarded(binding)]
                if name in each.info.scope.bindings:
                    found += self.name(each.info.scope, name)
                if found:
                    return _one(found)
            elif isinstance(each, Ref) and offers.has_member(offers.judge(each.path).target, name):
                return (Made((*each.path, f"().{name}")) if of_object else Ref((*each.path, name)),)
        return (Unclear("attribute", name),)

    def _guarded(self, binding: Binding) -> tuple[Value, ...]:
        key = (id(binding), "")
        known = self._names.get(key)
        if known is not None:
            return known
        if key in self._open:
            self._met.add(key)
            return _NOTHING
        self._open.add(key)
        try:
            made = self.binding(binding)
        finally:
            self._open.discard(key)
        self._keep(key, made)
        return made

    # -- calls -------------------------------------------------------------------------------------------------------

    def called(self, node: ast.Call, scope: Scope) -> tuple[Value, ...]:
        """What a call gives."""
        special = self._special(node, scope)
        if special is not None:
            return special
        found: list[Value] = []
        for value in self.expression(node.func, scope):
            match value:
                case Ref(path):
                    found.append(Made(path))
                case Class(info):
                    found.append(Object(info))
                case Function(info):
                    found += (Unclear("result"),) if info.is_async else self.returned(info)
                case Made(path):
                    found += self._result(path, node, scope)
                case Other("functools.partial"):
                    # What is called in the end, though it is not the object itself.
                    found += [*(self.expression(node.args[0], scope) if node.args else ()), Unclear("result")]
                case Other(name):
                    if name in _COPIES and node.args:
                        found += self.expression(node.args[-1], scope)
                    else:
                        found.append(OTHER)
                case _:
                    found.append(Unclear("result"))
        return _one(found)

    def _result(self, path: tuple[str, ...], node: ast.Call, scope: Scope) -> tuple[Value, ...]:
        """What calling a made thing, or a method of it, gives."""
        last = path[-1].removeprefix("().") if path else ""
        if last in _SAME_OBJECT:
            return (Made(path[:-1]),)
        if last == "compile":
            student = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "student"), None)
            if student is not None:
                return self.expression(student, scope)
        return (Made((*path, "()")),) if len(path) < 12 else (Unclear("result"),)

    def _special(self, node: ast.Call, scope: Scope) -> tuple[Value, ...] | None:
        """Calls that give a module by its name, or an attribute by its name."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME_OBJECT:
            held = self.expression(node.func.value, scope)
            if any(isinstance(value, Object | Class) for value in held):
                return held
        if isinstance(node.func, ast.Attribute) and node.func.attr in _TAKES_OUT:
            inside = self.elements(node.func.value, scope)
            if not all(isinstance(value, Other | Unclear) for value in inside):
                return inside
        name = dotted(node.func)
        text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if name.rpartition(".")[2] in ("import_module", "__import__", "importorskip") and isinstance(text, str):
            return (self._project.resolve(scope.module, text, 0),)
        if name == "getattr" and len(node.args) >= 2 and isinstance(node.args[1], ast.Constant):
            attribute = node.args[1].value
            if isinstance(attribute, str):
                return _one(
                    [got for value in self.expression(node.args[0], scope) for got in self.attribute(value, attribute)]
                )
        if name == "super":
            cls = _class_around(scope)
            return tuple(self.bases(cls)) if cls is not None else None
        return None

    def _awaited(self, node: ast.expr, scope: Scope) -> tuple[Value, ...]:
        if isinstance(node, ast.Call):
            found: list[Value] = []
            for value in self.expression(node.func, scope):
                if isinstance(value, Function) and value.info.is_async:
                    found += self.returned(value.info)
                else:
                    found.append(Unclear("result"))
            return _one(found)
        return (Unclear("result"),)

    def returned(self, function: FunctionInfo) -> tuple[Value, ...]:
        """What a function of the project returns, or what its awaited call gives."""
        known = self._returned.get(id(function))
        if known is not None:
            return known
        if function.yields:
            return (Unclear("result"),)
        self._returned[id(function)] = _NOTHING  # it may call itself
        made = _one([value for node in function.returns for value in self.expression(node, function.scope)])
        self._returned[id(function)] = made
        return made

    # -- classes -----------------------------------------------------------------------------------------------------

    def bases(self, info: ClassInfo) -> tuple[Value, ...]:
        """The direct bases of a class."""
        known = self._bases.get(id(info))
        if known is None:
            self._bases[id(info)] = _NOTHING
            known = tuple(
                value
                for base in info.node.bases
                for value in self.expression(base.value if isinstance(base, ast.Subscript) else base, info.outer)
            )
            self._bases[id(info)] = known
        return known

    def lineage(self, info: ClassInfo) -> list[Value]:
        """The class and all its bases, depth first."""
        found: list[Value] = []
        queue: list[Value] = [Class(info)]
        while queue:
            value = queue.pop(0)
            if value in found:
                continue
            found.append(value)
            if isinstance(value, Class):
                queue = [*self.bases(value.info), *queue]
        return found


_PLAIN_DECORATORS: Final = frozenset(
    {
        *("staticmethod", "classmethod", "property", "cached_property", "override", "final", "abstractmethod", "wraps"),
        *(
            "lru_cache",
            "cache",
            "contextmanager",
            "asynccontextmanager",
            "overload",
            "get",
            "post",
            "put",
            "route",
            "tool",
        ),
        *(
            "fixture",
            "task",
            "command",
            "option",
            "argument",
            "retry",
            "event",
            "on_event",
            "on_message",
            "on_chat_start",
        ),
    }
)
_TELL_NOTHING: Final = frozenset({"typing.Any", "typing.Callable", "collections.abc.Callable", "typing.Type", ""})


def _wraps(values: Values, decorator: ast.expr, scope: Scope) -> bool:
    """Whether a decorator may put something else in the function's place: one of the project's, or an unknown one."""
    made = values.expression(decorator.func if isinstance(decorator, ast.Call) else decorator, scope)
    return any(not isinstance(value, Other) for value in made)


def _class_around(scope: Scope) -> ClassInfo | None:
    at: Scope | None = scope
    while at is not None:
        if at.function is not None and at.function.cls is not None:
            return at.function.cls
        at = at.parent
    return None
