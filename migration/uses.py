"""Every use of dspy in a file, judged: names, imports, calls with their arguments, classes, texts, assignments.

A place is judged by all that its expression may stand for, and the worst counts. What is neither dspy's nor made of it
leaves no trace.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final, Literal

from . import offers
from .history import OLD_ARGUMENTS, SWALLOWED
from .meanings import Class, Function, Made, Module, Object, Other, Ref, Unclear, Value, dotted, is_standard
from .project import Project
from .reading import ClassInfo, ModuleInfo, Record
from .values import Values
from .verdicts import Place, Rule, Use, Verdict

__all__ = ["FileUses", "Judge"]

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

_PICKLERS: Final = frozenset({"pickle", "cloudpickle", "dill", "joblib"})
_MIXINS: Final = frozenset({"abc.ABC", "typing.Generic", "typing.Protocol", "", "enum.Enum", "object"})
_TENSORS: Final = ("torch", "tensorflow", "keras", "jax", "flax", "lightning", "pytorch_lightning", "mlx")
_TRACERS: Final = frozenset({"autolog", "DSPyInstrumentor", "DSPyCallback", "TraceloopSDK"})
_DOTTED: Final = re.compile(r"dspy(\.\w+)+")
_LOADERS: Final = re.compile(r"import|load|lazy|modul", re.IGNORECASE)
_ASIDE: Final = "watch the native engine by callbacks (dspy.BaseCallback), which are the same"


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


class Judge:
    """Judges one file."""

    def __init__(self, module: ModuleInfo, project: Project, values: Values) -> None:
        self._module = module
        self._project = project
        self._values = values
        self._found = FileUses(module)
        self._aside: list[tuple[ast.AST, Record, str, Verdict, Rule, str, str]] = []
        """Of interest only if the file uses dspy at all."""

    def judge(self) -> FileUses:
        """All of it."""
        for record in self._module.imports:
            self._import(record)
        for record in self._module.names:
            self._name(record)
        for record in self._module.calls:
            self._call(record)
        for record in self._module.stores:
            self._store(record)
        for record in self._module.texts:
            self._text(record)
        for info in self._module.classes:
            self._class(info)
        if self._found.uses:
            for node, record, name, verdict, rule, reason, advice in self._aside:
                self._add(node, record, name, verdict, rule, reason, advice)
        return self._found

    # -- telling -----------------------------------------------------------------------------------------------------

    def _add(
        self, node: ast.AST, record: Record, name: str, verdict: Verdict, rule: Rule, reason: str, advice: str = ""
    ) -> None:
        use = Use(place_of(node), name, verdict, rule, reason, advice, record.unit)
        self._found.uses.append(use)
        caught = record.guarded and isinstance(record.node, ast.Import | ast.ImportFrom)
        if verdict is not Verdict.NATIVE and record.eager and rule in BREAKING and not caught:
            self._found.breaking.append(use)

    def _offer(self, node: ast.AST, record: Record, path: tuple[str, ...]) -> offers.Offer:
        offer = offers.judge(path)
        shown = path[: max(offer.used, 1)] if offer.used < len(path) else path
        self._add(node, record, shown_name(shown), offer.verdict, offer.rule, offer.reason, offer.advice)
        return offer

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
                self._offer(node, record, path)
            case Module(info):
                if name.partition(".")[0] == "dspy":
                    self._own_dspy(node, record)
                self._found.imported.append((record, info.path, ""))
            case Unclear("module"):
                self._not_read(node, record, name)
            case _:
                self._outside(node, record, name)

    def _from(self, alias: ast.alias, record: Record, target: Value, source: str) -> None:
        star = alias.name == "*"
        match target:
            case Ref(path):
                self._offer(alias, record, path if star else (*path, alias.name))
            case Module(info):
                if (
                    source.partition(".")[0] == "dspy"
                    and isinstance(record.node, ast.ImportFrom)
                    and not record.node.level
                ):
                    self._own_dspy(alias, record)
                below = None if star else self._project.below(info, alias.name)
                if below is not None and alias.name not in info.scope.bindings:
                    self._found.imported.append((record, below.path, ""))
                else:
                    self._found.imported.append((record, info.path, "" if star else alias.name))
            case Unclear("module", name):
                level = record.node.level if isinstance(record.node, ast.ImportFrom) else 0
                whole = self._project.resolve(self._module, f"{source}.{alias.name}".strip("."), level)
                if isinstance(whole, Module):
                    self._found.imported.append((record, whole.info.path, ""))
                elif isinstance(whole, Unclear):
                    self._not_read(alias, record, f"{name}.{alias.name}")
            case Other() if star and not is_standard(source):
                reason = f"every name of {source} may come in, a name of dspy's among them"
                self._aside.append(
                    (
                        alias,
                        record,
                        f"{source}.*",
                        Verdict.UNKNOWN,
                        "star-import",
                        reason,
                        "import the names that are used",
                    )
                )
            case _:
                self._outside(alias, record, f"{source}.{alias.name}")

    def _own_dspy(self, node: ast.AST, record: Record) -> None:
        self._add(
            node,
            record,
            "dspy",
            Verdict.UNKNOWN,
            "own-dspy",
            "the project has a module `dspy` of its own, which may be what is imported",
            "rename it, or check it apart",
        )

    def _not_read(self, node: ast.AST, record: Record, name: str) -> None:
        self._aside.append(
            (
                node,
                record,
                name,
                Verdict.UNKNOWN,
                "not-read",
                f"{name} was not among the files read",
                "give its folder as well, so that what it does with dspy is seen",
            )
        )

    def _outside(self, node: ast.AST, record: Record, name: str) -> None:
        parts = name.split(".")
        if parts[0] == "litellm":
            reason = "the native engine calls providers through their own SDKs: settings of litellm do nothing there"
            self._aside.append(
                (node, record, name, Verdict.CHANGES, "litellm", reason, "give the option to dspy.LM instead")
            )
        elif any(part.lower().startswith("dspy") for part in parts[1:]) or parts[-1] in _TRACERS:
            reason = f"{name} reaches into dspy, and sees nothing of the native engine"
            self._aside.append((node, record, name, Verdict.CHANGES, "tracing", reason, _ASIDE))

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
            self._add(node, record, base.id, Verdict.UNKNOWN, "rebound", reason, "give the two different names")

    def _edges(self, record: Record, name: str) -> None:
        found = self._values.find(record.scope, name)
        if found is None or found.kind != "module":
            return
        edges = self._found.edges[record.unit]
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
                offer = self._offer(node, record, (*path, *attributes))
                if offers.is_module(offer.target) and offer.used == len(path) + len(attributes):
                    self._bare(node, record, (*path, *attributes))
                elif offers.is_program_class(offer.target):
                    self._found.modules[record.unit].add(offer.target.__name__)
            case Made(path):
                for attribute in attributes:
                    if _is_private(attribute):
                        name = f"{shown_name(path)}.{attribute}"
                        reason = f"`{attribute}` is private to dspy"
                        self._add(node, record, name, Verdict.UNKNOWN, "private", reason, offers.LOOK)
            case Object(info) | Class(info):
                if attributes and attributes[0] in self._steps(info):
                    reason = f"`{attributes[0]}` is a step of dspy's own that the engine does not have"
                    self._add(node, record, attributes[0], Verdict.UNKNOWN, "private", reason, offers.LOOK)
            case Module(info):
                self._through(node, record, info, attributes)
            case Other(name) if name.partition(".")[0] == "litellm":
                reason = (
                    "the native engine calls providers through their own SDKs: settings of litellm do nothing there"
                )
                self._aside.append(
                    (
                        node,
                        record,
                        ".".join([name, *attributes]),
                        Verdict.CHANGES,
                        "litellm",
                        reason,
                        "give the option to dspy.LM",
                    )
                )
            case Other(name) if name and attributes and attributes[0] == "dspy":
                shown = ".".join([name, *attributes])
                reason = f"{shown} reaches into dspy, and sees nothing of the native engine"
                self._aside.append((node, record, shown, Verdict.CHANGES, "tracing", reason, _ASIDE))
            case _:
                pass

    def _through(self, node: ast.expr, record: Record, info: ModuleInfo, attributes: list[str]) -> None:
        """`programs.RAG`, `programs.dspy.Predict`: names reached through a module of the project."""
        if not attributes:
            return
        self._found.edges[record.unit].add((info.path, attributes[0]))
        for value in self._values.member(info, attributes[0]):
            if isinstance(value, Class | Object | Function):
                self._found.edges[record.unit].add((value.info.module.path, value.info.unit))
            elif isinstance(value, Ref | Module):
                self._chain(node, record, value, attributes[1:])

    def _bare(self, node: ast.AST, record: Record, path: tuple[str, ...]) -> None:
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
            for value in self._values.expression(parent.func, record.scope):
                if isinstance(value, Function) and any(
                    argument.arg == "dspy" for argument in value.info.node.args.args
                ):
                    return  # a factory that is given the namespace
        reason = f"`{shown_name(path)}` itself is handed on, and what is taken from it is not seen here"
        self._add(node, record, shown_name(path), Verdict.UNKNOWN, "dynamic", reason, "name what is used of it")

    def _steps(self, info: ClassInfo) -> frozenset[str]:
        """The private steps that a class has from dspy."""
        return frozenset(name for path in self._dspy_bases(info) for name in offers.steps_of(path))

    def _dspy_bases(self, info: ClassInfo) -> list[tuple[str, ...]]:
        return [value.path for value in self._values.lineage(info) if isinstance(value, Ref)]

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(self, record: Record) -> None:
        node = record.node
        assert isinstance(node, ast.Call)
        self._by_written_name(node, record, dotted(node.func))
        for value in self._values.expression(node.func, record.scope):
            match value:
                case Ref(path):
                    self._of_dspy(node, record, path)
                case Made(path):
                    self._method(node, record, path)
                case Other(name) if name.partition(".")[0] in _PICKLERS:
                    self._pickled(node, record, name)
                case Other(name) if name.endswith(
                    ("import_module", "__import__", "find_loader", "load_module", "run_path")
                ):
                    self._looked_up(node, record, name)
                case _:
                    pass
        self._saved(node, record)

    def _by_written_name(self, node: ast.Call, record: Record, name: str) -> None:
        last = name.rpartition(".")[2]
        if last in ("__import__", "import_module", "importorskip"):
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                target = self._project.resolve(self._module, node.args[0].value, 0)
                if isinstance(target, Ref):
                    self._offer(node, record, target.path)
                    if isinstance(record.parent, ast.Expr | ast.Attribute | ast.Assign | type(None)):
                        return
                    self._bare(node, record, target.path)
            elif last != "importorskip":
                self._looked_up(node, record, name)
        elif name in ("exec", "eval") and self._values.find(record.scope, name) is None:
            self._executed(node, record, name)
        elif name in ("getattr", "hasattr") and len(node.args) >= 2:
            self._attribute_by_text(node, record)
        elif last in ("setattr", "delattr", "object") and node.args:
            for value in self._values.expression(node.args[0], record.scope):
                if isinstance(value, Ref) and value.path[:1] != ("settings",):
                    self._patched(node, record, shown_name(value.path))
        elif name == "type" and len(node.args) == 3 and isinstance(node.args[1], ast.Tuple):
            bases = [value for base in node.args[1].elts for value in self._values.expression(base, record.scope)]
            if any(
                isinstance(value, Ref) or (isinstance(value, Class) and self._dspy_bases(value.info)) for value in bases
            ):
                reason = "the class is made by type(), and what is in it is not seen here"
                self._add(node, record, "type()", Verdict.UNKNOWN, "dynamic", reason, "write it as a class")

    def _executed(self, node: ast.Call, record: Record, name: str) -> None:
        if not node.args:
            return
        text = node.args[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and "dspy" not in text.value:
            return
        if len(node.args) > 1 and isinstance(node.args[1], ast.Dict):
            inside = [value for each in node.args[1].values for value in self._values.expression(each, record.scope)]
            if name == "eval" and all(isinstance(value, Other) for value in inside):
                return  # it sees only what it is given
        reason = f"what {name}() runs is not seen here, and it can reach dspy"
        self._aside.append(
            (
                node,
                record,
                name,
                Verdict.UNKNOWN,
                "dynamic",
                reason,
                "call what is meant, or give eval() a dict of its own names",
            )
        )

    def _attribute_by_text(self, node: ast.Call, record: Record) -> None:
        asked = node.args[1]
        for value in self._values.expression(node.args[0], record.scope):
            if not isinstance(value, Ref):
                continue
            if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
                self._offer(node, record, (*value.path, asked.value))
            elif offers.is_module(offers.judge(value.path).target) or not value.path:
                reason = "the name is only known when the program runs"
                self._add(
                    node, record, shown_name(value.path), Verdict.UNKNOWN, "dynamic", reason, "name it in the code"
                )

    def _looked_up(self, node: ast.Call, record: Record, name: str) -> None:
        if node.args and isinstance(node.args[0], ast.Constant):
            return
        reason = "which module is imported is only known when the program runs; it may be dspy or use it"
        self._aside.append(
            (node, record, name, Verdict.UNKNOWN, "dynamic", reason, "import by name, or check the modules it can be")
        )

    def _patched(self, node: ast.AST, record: Record, name: str) -> None:
        reason = f"the program changes {name}, and the engine's parts do not have the same seams"
        self._add(
            node,
            record,
            name,
            Verdict.UNKNOWN,
            "patched",
            reason,
            "derive a class and use that, or keep it in the legacy pool",
        )

    def _pickled(self, node: ast.Call, record: Record, name: str) -> None:
        last = name.rpartition(".")[2]
        if last not in ("dump", "dumps", "load", "loads"):
            return
        if last.startswith("dump") and node.args:
            values = self._values.expression(node.args[0], record.scope)
            if values and all(isinstance(value, Other | Function) for value in values):
                return
            sure = any(self._is_dspy(value) for value in values)
        else:
            sure = False
        reason = "a pickle of dspy's objects holds dspy's classes, which the engine's are not"
        advice = 'keep the state with program.save("....json"), and data as JSON'
        verdict = Verdict.CHANGES if sure else Verdict.UNKNOWN
        self._aside.append(
            (node, record, name, verdict, "pickle", reason if sure else f"if it is of dspy: {reason}", advice)
        )

    def _is_dspy(self, value: Value) -> bool:
        if isinstance(value, Object | Class):
            return bool(self._dspy_bases(value.info))
        return isinstance(value, Ref | Made)

    def _saved(self, node: ast.Call, record: Record) -> None:
        """`save` and `load` of programs: by their own arguments, whatever they are called on."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("save", "load"):
            return
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        path = node.args[0] if node.args else options.get("path")
        ending = _ending(path)
        whole = options.get("save_program") or (
            node.args[1] if len(node.args) > 1 and node.func.attr == "save" else None
        )
        on_dspy = any(self._is_dspy(value) for value in self._values.expression(node.func.value, record.scope))
        is_ref = any(isinstance(value, Ref) for value in self._values.expression(node.func, record.scope))
        if is_ref:
            return  # dspy.load and the like, judged by name
        if ("save_program" in options or on_dspy) and whole is not None and not _is_false(whole):
            reason = "save_program writes a pickle, which the engine does not do"
            self._add(node, record, "save_program", Verdict.CHANGES, "pickle", reason, offers.KEEP_STATE)
        elif ("allow_pickle" in options and not _is_false(options["allow_pickle"]) and ending != ".json") or (
            on_dspy and ending == ".pkl"
        ):
            reason = "the state is a pickle, which the engine neither writes nor reads"
            self._add(node, record, node.func.attr, Verdict.CHANGES, "pickle", reason, offers.KEEP_STATE)

    # -- calls of dspy's ---------------------------------------------------------------------------------------------

    def _of_dspy(self, node: ast.Call, record: Record, path: tuple[str, ...]) -> None:
        offer = offers.judge(path)
        if offer.verdict is not Verdict.NATIVE or offer.target is None or offers.is_module(offer.target):
            return
        target, called = offer.target, path[offer.used :]
        for attribute in called:
            target = getattr(target, attribute, None)
        name = shown_name(path)
        if offers.is_program_class(offer.target) and not called:
            self._predictor(node, record, offer.target.__name__)
        if target is not None and path[:1] != ("settings",):
            self._arguments(node, record, name, offers.arguments_of(target))
        if offers.is_lm(offer.target) and not called:
            self._model(node, record, name)
        elif offers.is_embedder(offer.target) and not called:
            self._embedding_model(node, record, name)

    def _arguments(self, node: ast.Call, record: Record, name: str, signature: offers.Arguments | None) -> None:
        if signature is None:
            return
        for keyword in node.keywords:
            if keyword.arg is not None and (not signature.takes(keyword.arg) or keyword.arg in SWALLOWED):
                reason = f"the engine's {name} takes no `{keyword.arg}`"
                advice = OLD_ARGUMENTS.get(keyword.arg, "leave it out, or see the signature for what it is called now")
                self._add(keyword, record, f"{name}({keyword.arg}=)", Verdict.CHANGES, "keyword", reason, advice)
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        if signature.most is not None and not starred and len(node.args) > signature.most:
            reason = f"the engine's {name} takes {signature.most} arguments by position, not {len(node.args)}"
            self._add(node, record, name, Verdict.CHANGES, "keyword", reason, "name the arguments")

    def _model(self, node: ast.Call, record: Record, name: str) -> None:
        given = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "model"), None)
        if any(keyword.arg == "engine" for keyword in node.keywords):
            return  # an engine of the program's own answers
        models = list(self._texts(given, record)) if given is not None else [None]
        for model in dict.fromkeys(models):
            if model is None:
                reason = "which provider is asked is only known when the program runs"
                advice = 'it is native for "openai/...", "anthropic/..." and the others of docs/engine.md; check what it can be'
                self._add(node, record, f"{name}(...)", Verdict.UNKNOWN, "model", reason, advice)
                continue
            wrong = offers.model_offer(model)
            if wrong is not None:
                self._add(node, record, f"{name}({model!r})", wrong.verdict, wrong.rule, wrong.reason, wrong.advice)

    def _embedding_model(self, node: ast.Call, record: Record, name: str) -> None:
        given = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "model"), None)
        for model in dict.fromkeys(self._texts(given, record)) if given is not None else ():
            if model is not None:
                wrong = offers.model_offer(model, embeds=True)
                if wrong is not None:
                    self._add(node, record, f"{name}({model!r})", wrong.verdict, wrong.rule, wrong.reason, wrong.advice)
            elif not self._is_function(given, record):
                reason = (
                    "whether it is a function, and else which provider is asked, is only known when the program runs"
                )
                advice = "it is native for a function, and for models behind OpenAI's HTTP; check what it can be"
                self._add(node, record, f"{name}(...)", Verdict.UNKNOWN, "model", reason, advice)

    def _is_function(self, node: ast.expr | None, record: Record) -> bool:
        if isinstance(node, ast.Lambda):
            return True
        if not isinstance(node, ast.Name | ast.Attribute):
            return False
        values = self._values.expression(node, record.scope)
        return bool(values) and all(isinstance(value, Function | Other | Class | Object) for value in values)

    def _texts(self, node: ast.expr, record: Record, depth: int = 0) -> Iterator[str | None]:
        """The texts that an expression may be; None for one that is not known. The beginning is enough."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            text = str(node.values[0].value)
            yield f"{text}..." if "/" in text else None
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.left, ast.Constant):
            text = str(node.left.value)
            yield f"{text}..." if "/" in text else None
        elif isinstance(node, ast.IfExp) and depth < 5:
            yield from self._texts(node.body, record, depth + 1)
            yield from self._texts(node.orelse, record, depth + 1)
        elif isinstance(node, ast.Name) and depth < 5:
            found = self._values.find(record.scope, node.id)
            bindings = found.bindings[node.id] if found is not None else []
            if not bindings or not all(binding.kind == "value" for binding in bindings):
                yield None
            for binding in bindings:
                if binding.kind == "value" and isinstance(binding.node, ast.expr):
                    yield from self._texts(binding.node, record, depth + 1)
        else:
            yield None

    def _method(self, node: ast.Call, record: Record, path: tuple[str, ...]) -> None:
        whole = offers.judge(path)
        if whole.verdict is Verdict.NATIVE and whole.used == len(path) and offers.is_class(whole.target):
            self._arguments(node, record, f"{shown_name(path)}()", offers.method_arguments(whole.target, "__call__"))
            return
        if len(path) < 2 or not path[-1].startswith("().") or path[-2].startswith("()"):
            return
        offer = offers.judge(path[:-1])
        method = path[-1].removeprefix("().")
        if not offers.is_class(offer.target) or offer.used != len(path) - 1:
            return
        if not offers.has_member(offer.target, method) and not offers.has_open_members(offer.target):
            reason = f"the engine's {path[-2]} has no `{method}`"
            self._add(node, record, f"{shown_name(path)}", Verdict.UNKNOWN, "method", reason, offers.LOOK)
            return
        self._arguments(node, record, shown_name(path), offers.method_arguments(offer.target, method))

    def _predictor(self, node: ast.Call, record: Record, kind: str) -> None:
        self._found.modules[record.unit].add(kind)
        parent = record.parent
        if isinstance(parent, ast.Call):
            for value in self._values.expression(parent.func, record.scope):
                if isinstance(value, Ref) and offers.is_program_class(offers.judge(value.path).target):
                    return  # a part of another predictor
        targets = parent.targets if isinstance(parent, ast.Assign) else [getattr(parent, "target", None)]
        name = next((target.id for target in targets if isinstance(target, ast.Name)), kind)
        self._found.predictors.append((name, record, kind))

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _store(self, record: Record) -> None:
        node = record.node
        if not isinstance(node, ast.Attribute):
            return
        for value in self._values.expression(node.value, record.scope):
            if isinstance(value, Ref) and value.path[:1] != ("settings",) and (value.path, node.attr) != ((), "cache"):
                self._patched(node, record, f"{shown_name(value.path)}.{node.attr}")
            elif isinstance(value, Made) and _is_private(node.attr):
                reason = f"`{node.attr}` is private to dspy"
                self._add(
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
                    self._offer(node, record, tuple(match.group().split(".")[1:]))
        elif isinstance(parent, ast.Call):
            name = dotted(parent.func)
            last = name.rpartition(".")[2] or getattr(parent.func, "attr", "")
            if last == "getLogger" and is_name:
                reason = "records of the engine go to `dspex.engine`, and to dspy's names only after install_as"
                self._aside.append(
                    (node, record, text, Verdict.CHANGES, "logger", reason, 'ask for logging.getLogger("dspex.engine")')
                )
            elif last in ("patch", "setattr", "delattr", "multiple") and is_name:
                self._patched(node, record, text)
            elif (
                ((_LOADERS.search(last) or "modules" in name.split(".")) and last not in _HARMLESS and is_name)
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
        self._add(node, record, text, Verdict.UNKNOWN, "dynamic", reason, "name it in the code")

    # -- classes -----------------------------------------------------------------------------------------------------

    def _class(self, info: ClassInfo) -> None:
        lineage = self._values.lineage(info)
        refs = [value for value in lineage if isinstance(value, Ref)]
        record = Record(info.node, None, info.outer, info.unit, info.outer.function is None, False)
        for value in lineage:
            if isinstance(value, Class):
                self._found.edges[info.unit].add((value.info.module.path, value.info.unit))
        methods = {each.name for each in info.node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        is_program = any(_is_program(value.path) for value in refs)
        if is_program:
            self._found.classes[info.name] = info
        strange = [value for value in lineage if _is_strange(value)]
        runs = bool(methods & {"forward", "aforward"})
        unread = any(isinstance(value, Unclear) for value in strange) and self._uses_dspy(info)
        if strange and (refs or runs or unread):
            self._base(info, record, strange)
            if runs:
                self._found.classes[info.name] = info
        if not refs:
            return
        if any(keyword.arg == "metaclass" for keyword in info.node.keywords):
            reason = "it has a metaclass of its own"
            self._add(info.node, record, info.name, Verdict.UNKNOWN, "base-class", reason, "do without the metaclass")
        for name in sorted(methods & self._steps(info)):
            reason = f"`{name}` is a step of dspy's own that the engine does not have: it would not be called"
            self._add(info.node, record, f"{info.name}.{name}", Verdict.UNKNOWN, "private", reason, offers.LOOK)
        for name in sorted(methods & {"__getattribute__", "__setattr__", "__init_subclass__"}):
            reason = f"`{name}` changes what the engine sees of it"
            self._add(info.node, record, f"{info.name}.{name}", Verdict.UNKNOWN, "private", reason, offers.LOOK)
        if "forward" in methods and "aforward" not in methods and any(_is_predictor(value.path) for value in refs):
            reason = "its `forward` is its own and its `aforward` is not, so an awaited call goes past it"
            advice = "write an aforward that does the same"
            self._add(info.node, record, f"{info.name}.forward", Verdict.CHANGES, "method", reason, advice)
        if is_program and "__call__" in methods:
            reason = "its `__call__` is its own, and the engine's async calls go past it"
            self._add(
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
        return any(first <= use.place.line <= last and use.name.startswith("dspy") for use in self._found.uses)

    def _base(self, info: ClassInfo, record: Record, strange: list[Value]) -> None:
        names = ", ".join(dict.fromkeys(_strange_name(value) for value in strange))
        reason = f"it derives from {names}, which was not read: what it does with dspy is not seen"
        self._add(
            info.node,
            record,
            info.name,
            Verdict.UNKNOWN,
            "base-class",
            reason,
            "give the file of the base class as well",
        )


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


def _start(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def shown_name(path: tuple[str, ...]) -> str:
    """A path as it is written."""
    if path[:1] == ("dsp*",):
        return ".".join(["dsp", *path[1:]])
    return ".".join(["dspy", *path]).replace(".().", "().").replace(".()", "()")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name != "_compiled"


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


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _ending(node: ast.expr | None) -> Literal[".json", ".pkl", ""]:
    text = ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    elif isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[-1], ast.Constant):
        text = str(node.values[-1].value)
    elif isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant):
        text = str(node.right.value)
    return ".json" if text.endswith(".json") else ".pkl" if text.endswith((".pkl", ".pickle")) else ""
