"""The walk that makes a file data: its scopes, what each name is bound to, and every place that may be a use of dspy.

One walk over the syntax tree. What a name *means* is left to `values.py`, which asks when all files have been read: a
name may come from a file that is read later, and may be bound after the line that uses it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from .scopes import Binding, BindingKind, ClassInfo, FunctionInfo, ModuleInfo, Record, Scope, last_name

__all__ = ["read_module"]


def read_module(tree: ast.Module, path: str, *, notebook: bool = False) -> ModuleInfo:
    """The file as data. Raises RecursionError for one that is nested too deeply."""
    module = ModuleInfo(path, notebook=notebook)
    _Reader(module).body(tree.body)
    return module


class _Reader:
    """The walk. What is true of the place it is at is in its attributes."""

    def __init__(self, module: ModuleInfo) -> None:
        self._module = module
        self._scope = module.scope
        self._unit = ""
        self._lazy = 0
        self._guarded = 0
        self._qualified: list[str] = []
        self._handling = 0
        self._table: dict[type[ast.AST], Callable[..., None]] = {
            ast.FunctionDef: self._function,
            ast.AsyncFunctionDef: self._function,
            ast.ClassDef: self._class,
            ast.Import: self._import,
            ast.ImportFrom: self._from,
            ast.Assign: self._assign,
            ast.AnnAssign: self._annotated,
            ast.AugAssign: self._augmented,
            ast.For: self._for,
            ast.AsyncFor: self._for,
            ast.With: self._with,
            ast.AsyncWith: self._with,
            ast.Try: self._try,
            ast.TryStar: self._try,
            ast.If: self._if,
            ast.Global: self._global,
            ast.Nonlocal: self._nonlocal,
            ast.Return: self._return,
            ast.Delete: self._delete,
            ast.Match: self._match,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            ast.BinOp: self._operation,
            ast.Lambda: self._lambda,
            ast.NamedExpr: self._named,
            ast.ListComp: self._comprehension,
            ast.SetComp: self._comprehension,
            ast.GeneratorExp: self._comprehension,
            ast.DictComp: self._comprehension,
            ast.Constant: self._constant,
            ast.Yield: self._yield,
            ast.YieldFrom: self._yield,
        }

    # -- moving ------------------------------------------------------------------------------------------------------

    def body(self, statements: Iterable[ast.AST]) -> None:
        for statement in statements:
            self.visit(statement, None)

    def visit(self, node: ast.AST, parent: ast.AST | None) -> None:
        known = self._table.get(type(node))
        if known is not None:
            known(node, parent)
        else:
            self._inside(node)

    def _inside(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child, node)

    def _maybe(self, node: ast.AST | None, parent: ast.AST) -> None:
        if node is not None:
            self.visit(node, parent)

    def _record(self, node: ast.AST, parent: ast.AST | None) -> Record:
        return Record(node, parent, self._scope, self._unit, not self._lazy, self._guarded > 0)

    def _bind(self, name: str, binding: Binding) -> None:
        scope = self._scope
        while scope.kind == "inner" and scope.parent is not None and binding.kind == "value":
            scope = scope.parent  # a walrus in a comprehension binds outside it
        if name in scope.globals:
            scope = self._module.scope
        binding.fallback = self._handling > 0
        scope.bindings.setdefault(name, []).append(binding)

    # -- definitions -------------------------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, parent: ast.AST | None) -> None:
        outer = self._scope
        cls = outer.cls if outer.kind == "class" else None
        made = FunctionInfo(".".join([*self._qualified, node.name]), node, self._module, cls)
        binding = Binding("function", node, outer)
        binding.function = made
        self._bind(node.name, binding)
        top = outer.kind == "module"
        before = self._unit
        if top:
            self._unit = node.name
        made.unit = self._unit
        for decorator in node.decorator_list:
            self.visit(decorator, node)
        self._annotations_and_defaults(node.args, node)
        self._maybe(node.returns, node)
        self._enter(made, node.name, lambda: self.body(node.body))
        self._unit = before

    def _lambda(self, node: ast.Lambda, parent: ast.AST | None) -> None:
        made = FunctionInfo(".".join([*self._qualified, "<lambda>"]), node, self._module, None)
        made.unit = self._unit
        self._annotations_and_defaults(node.args, node)
        made.returns.append(node.body)
        self._enter(made, "<lambda>", lambda: self.visit(node.body, node))

    def _annotations_and_defaults(self, arguments: ast.arguments, node: ast.AST) -> None:
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in every:
            if argument is not None and argument.annotation is not None:
                self.visit(argument.annotation, node)
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            self._maybe(default, node)

    def _enter(self, made: FunctionInfo, name: str, inside: Callable[[], None]) -> None:
        self._module.functions.append(made)
        outer, self._scope = self._scope, Scope("function", self._scope, self._module, function=made)
        made.scope = self._scope
        arguments = made.node.args
        for argument in [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]:
            if argument is not None:
                binding = Binding("parameter", argument, self._scope)
                binding.function = made
                self._scope.bindings.setdefault(argument.arg, []).append(binding)
        self._lazy += 1
        self._qualified.append(name)
        inside()
        self._qualified.pop()
        self._lazy -= 1
        self._scope = outer

    def _class(self, node: ast.ClassDef, parent: ast.AST | None) -> None:
        outer = self._scope
        made = ClassInfo(".".join([*self._qualified, node.name]), node, self._module, outer)
        self._module.classes.append(made)
        binding = Binding("class", node, outer)
        binding.cls = made
        self._bind(node.name, binding)
        before = self._unit
        if outer.kind != "class":
            self._unit = made.name
        made.unit = self._unit
        for each in [*node.decorator_list, *node.bases]:
            self.visit(each, node)
        for keyword in node.keywords:
            self.visit(keyword.value, node)
        self._scope = Scope("class", outer, self._module, function=outer.function, cls=made)
        made.scope = self._scope
        self._qualified.append(node.name)
        self.body(node.body)
        self._qualified.pop()
        self._scope = outer
        self._unit = before

    # -- bindings ----------------------------------------------------------------------------------------------------

    def _import(self, node: ast.Import, parent: ast.AST | None) -> None:
        for alias in node.names:
            binding = Binding("import", alias, self._scope)
            # `import a.b` binds `a`; `import a.b as c` binds a.b.
            binding.module = alias.name if alias.asname else alias.name.partition(".")[0]
            self._bind(alias.asname or alias.name.partition(".")[0], binding)
        self._module.imports.append(self._record(node, parent))

    def _from(self, node: ast.ImportFrom, parent: ast.AST | None) -> None:
        for alias in node.names:
            binding = Binding("from", alias, self._scope)
            binding.module, binding.level, binding.alias = node.module or "", node.level, alias.name
            if alias.name == "*":
                self._scope.stars.append(binding)
            else:
                self._bind(alias.asname or alias.name, binding)
        self._module.imports.append(self._record(node, parent))

    def _target(self, target: ast.AST, value: ast.expr | None, *, part: bool = False) -> None:
        """Bind what is assigned to."""
        if isinstance(target, ast.Name):
            is_none = isinstance(value, ast.Constant) and value.value is None
            kind: BindingKind = "none" if is_none and not part else "part" if part or value is None else "value"
            self._bind(target.id, Binding(kind, value or target, self._scope))
        elif isinstance(target, ast.Attribute):
            self.visit(target.value, target)
            stored = self._record(target, None)
            stored.value = None if part else value
            self._module.stores.append(stored)
            self._attribute_of_self(target, value, part=part)
        elif isinstance(target, ast.Starred):
            self._target(target.value, value, part=True)
        elif isinstance(target, ast.Tuple | ast.List):
            same = isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts) and not part
            for index, each in enumerate(target.elts):
                if same and isinstance(value, ast.Tuple | ast.List):
                    self._target(each, value.elts[index])
                else:
                    self._target(each, value, part=True)
        else:
            if isinstance(target, ast.Subscript):
                self._module.stores.append(self._record(target, None))
            self.visit(target, None)

    def _attribute_of_self(self, target: ast.Attribute, value: ast.expr | None, *, part: bool) -> None:
        function = self._scope.function
        while function is not None and function.cls is None and function.scope.parent is not None:
            function = function.scope.parent.function  # a function inside a method
        if function is None or function.cls is None or not isinstance(target.value, ast.Name):
            return
        if target.value.id == function.first_parameter:
            binding = Binding("part" if part or value is None else "value", value or target, self._scope)
            function.cls.attributes.setdefault(target.attr, []).append(binding)

    def _assign(self, node: ast.Assign, parent: ast.AST | None) -> None:
        before = self._unit
        if self._scope.kind == "module" and not self._unit and isinstance(node.targets[0], ast.Name):
            self._unit = node.targets[0].id
        self.visit(node.value, node)
        for target in node.targets:
            self._target(target, node.value)
        self._unit = before

    def _annotated(self, node: ast.AnnAssign, parent: ast.AST | None) -> None:
        before = self._unit
        if self._scope.kind == "module" and not self._unit and isinstance(node.target, ast.Name):
            self._unit = node.target.id
        self.visit(node.annotation, node)
        if node.value is not None:
            self.visit(node.value, node)
            self._target(node.target, node.value)
        elif isinstance(node.target, ast.Name):
            self._bind(node.target.id, Binding("annotated", node.annotation, self._scope))
        self._unit = before

    def _augmented(self, node: ast.AugAssign, parent: ast.AST | None) -> None:
        self.visit(node.value, node)
        self._target(node.target, node.value, part=True)

    def _named(self, node: ast.NamedExpr, parent: ast.AST | None) -> None:
        self.visit(node.value, node)
        self._target(node.target, node.value)

    def _for(self, node: ast.For | ast.AsyncFor, parent: ast.AST | None) -> None:
        self.visit(node.iter, node)
        self._target(node.target, node.iter, part=True)
        self.body([*node.body, *node.orelse])

    def _with(self, node: ast.With | ast.AsyncWith, parent: ast.AST | None) -> None:
        for item in node.items:
            self.visit(item.context_expr, node)
            if item.optional_vars is not None:
                self._target(item.optional_vars, item.context_expr, part=True)
        self.body(node.body)

    def _try(self, node: ast.Try | ast.TryStar, parent: ast.AST | None) -> None:
        caught = [name for handler in node.handlers for name in _caught(handler)]
        guards = not node.handlers or any(
            name in ("ImportError", "ModuleNotFoundError", "Exception", "BaseException", "") for name in caught
        )
        self._guarded += guards and bool(node.handlers)
        self.body(node.body)
        self._guarded -= guards and bool(node.handlers)
        for handler in node.handlers:
            self._maybe(handler.type, node)
            if handler.name:
                self._bind(handler.name, Binding("part", handler, self._scope))
            self._guarded += 1
            self._handling += "ImportError" in caught or "ModuleNotFoundError" in caught
            self.body(handler.body)
            self._handling -= "ImportError" in caught or "ModuleNotFoundError" in caught
            self._guarded -= 1
        self.body([*node.orelse, *node.finalbody])

    def _if(self, node: ast.If, parent: ast.AST | None) -> None:
        self.visit(node.test, node)
        main = _is_main(node.test)
        self._lazy += main
        self._guarded += 1
        self.body(node.body)
        self._lazy -= main
        self.body(node.orelse)
        self._guarded -= 1

    def _match(self, node: ast.Match, parent: ast.AST | None) -> None:
        self.visit(node.subject, node)
        for case in node.cases:
            for pattern in ast.walk(case.pattern):
                name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
                if isinstance(pattern, ast.MatchAs | ast.MatchStar | ast.MatchMapping) and name:
                    self._bind(name, Binding("part", node.subject, self._scope))
            self._inside(case.pattern)
            self._maybe(case.guard, node)
            self.body(case.body)

    def _global(self, node: ast.Global, parent: ast.AST | None) -> None:
        self._scope.globals.update(node.names)

    def _nonlocal(self, node: ast.Nonlocal, parent: ast.AST | None) -> None:
        for name in node.names:
            self._bind(name, Binding("part", node, self._scope))

    def _delete(self, node: ast.Delete, parent: ast.AST | None) -> None:
        for target in node.targets:
            self._target(target, None)

    # -- expressions -------------------------------------------------------------------------------------------------

    def _name(self, node: ast.Name, parent: ast.AST | None) -> None:
        if isinstance(node.ctx, ast.Load):
            self._module.names.append(self._record(node, parent))

    def _attribute(self, node: ast.Attribute, parent: ast.AST | None) -> None:
        self._module.names.append(self._record(node, parent))
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            base = base.value
        if not isinstance(base, ast.Name):
            self.visit(base, node)

    def _call(self, node: ast.Call, parent: ast.AST | None) -> None:
        record = self._record(node, parent)
        self._module.calls.append(record)
        function = self._scope.function
        (self._module.top_calls if function is None else function.calls).append(record)
        self.visit(node.func, node)
        for argument in node.args:
            self.visit(argument, node)
        for keyword in node.keywords:
            self.visit(keyword.value, node)

    def _operation(self, node: ast.BinOp, parent: ast.AST | None) -> None:
        """`a + b + c + ...` leans to the left, and may be thousands of levels deep."""
        at: ast.expr = node
        while isinstance(at, ast.BinOp):
            self.visit(at.right, at)
            at, parent = at.left, at
        self.visit(at, parent)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, parent: ast.AST | None
    ) -> None:
        outer = self._scope
        for index, generator in enumerate(node.generators):
            self.visit(generator.iter, node)
            if not index:
                self._scope = Scope("inner", outer, self._module, function=outer.function)
                self._scope.lazy = isinstance(node, ast.GeneratorExp) or outer.lazy
            for name in ast.walk(generator.target):
                if isinstance(name, ast.Name):
                    self._scope.bindings.setdefault(name.id, []).append(Binding("part", generator.iter, outer))
            for condition in generator.ifs:
                self.visit(condition, node)
        self._module.comprehensions[id(node)] = self._scope
        if isinstance(node, ast.DictComp):
            self.visit(node.key, node)
            self.visit(node.value, node)
        else:
            self.visit(node.elt, node)
        self._scope = outer

    def _constant(self, node: ast.Constant, parent: ast.AST | None) -> None:
        if isinstance(node.value, str) and "dspy" in node.value:
            self._module.texts.append(self._record(node, parent))

    def _return(self, node: ast.Return, parent: ast.AST | None) -> None:
        if node.value is not None:
            if self._scope.function is not None:
                self._scope.function.returns.append(node.value)
            self.visit(node.value, node)

    def _yield(self, node: ast.Yield | ast.YieldFrom, parent: ast.AST | None) -> None:
        if self._scope.function is not None:
            self._scope.function.yields = True
        self._maybe(node.value, node)


def _caught(handler: ast.ExceptHandler) -> list[str]:
    if handler.type is None:
        return [""]
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [last_name(kind) for kind in kinds]


def _is_main(test: ast.expr) -> bool:
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    return "__name__" in names
