"""Calls, judged: of dspy's callables with their arguments, of what was made by them, and of Python's own that reach dspy by
another way.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from . import offers
from .findings import Notes, shown_name
from .history import OLD_ARGUMENTS, SWALLOWED
from .meanings import Class, Function, Made, Object, Other, Ref, Unclear, Value, dotted
from .project import Project
from .scopes import ModuleInfo, Record
from .verdicts import Verdict

__all__ = ["CallJudge"]

_PICKLERS: Final = frozenset({"pickle", "cloudpickle", "dill", "joblib"})


class CallJudge:
    """Judges the calls of one file."""

    def __init__(self, module: ModuleInfo, project: Project, notes: Notes) -> None:
        self._module = module
        self._project = project
        self._values = notes.values
        self._notes = notes

    def judge(self, record: Record) -> None:
        """One call."""
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
                    self._notes.offer(node, record, target.path)
                    if isinstance(record.parent, ast.Expr | ast.Attribute | ast.Assign | type(None)):
                        return
                    self._notes.bare(node, record, target.path)
            elif last != "importorskip":
                self._looked_up(node, record, name)
        elif name in ("exec", "eval") and self._values.find(record.scope, name) is None:
            self._executed(node, record, name)
        elif name in ("getattr", "hasattr") and len(node.args) >= 2:
            self._attribute_by_text(node, record)
        elif last in ("setattr", "delattr", "object") and node.args:
            for value in self._values.expression(node.args[0], record.scope):
                if isinstance(value, Ref) and value.path[:1] != ("settings",):
                    self._notes.patched(node, record, shown_name(value.path))
        elif name == "type" and len(node.args) == 3 and isinstance(node.args[1], ast.Tuple):
            bases = [value for base in node.args[1].elts for value in self._values.expression(base, record.scope)]
            if any(
                isinstance(value, Ref) or (isinstance(value, Class) and self._notes.dspy_bases(value.info))
                for value in bases
            ):
                reason = "the class is made by type(), and what is in it is not seen here"
                self._notes.add(node, record, "type()", Verdict.UNKNOWN, "dynamic", reason, "write it as a class")

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
        self._notes.put_aside(
            node,
            record,
            name,
            Verdict.UNKNOWN,
            "dynamic",
            reason,
            "call what is meant, or give eval() a dict of its own names",
        )

    def _attribute_by_text(self, node: ast.Call, record: Record) -> None:
        asked = node.args[1]
        for value in self._values.expression(node.args[0], record.scope):
            if not isinstance(value, Ref):
                continue
            if isinstance(asked, ast.Constant) and isinstance(asked.value, str):
                self._notes.offer(node, record, (*value.path, asked.value))
            elif offers.is_module(offers.judge(value.path).target) or not value.path:
                reason = "the name is only known when the program runs"
                self._notes.add(
                    node, record, shown_name(value.path), Verdict.UNKNOWN, "dynamic", reason, "name it in the code"
                )

    def _looked_up(self, node: ast.Call, record: Record, name: str) -> None:
        if node.args and isinstance(node.args[0], ast.Constant):
            return
        reason = "which module is imported is only known when the program runs; it may be dspy or use it"
        self._notes.put_aside(
            node, record, name, Verdict.UNKNOWN, "dynamic", reason, "import by name, or check the modules it can be"
        )

    def _pickled(self, node: ast.Call, record: Record, name: str) -> None:
        last = name.rpartition(".")[2]
        if last not in ("dump", "dumps", "load", "loads"):
            return
        if last.startswith("dump") and node.args:
            values = self._values.expression(node.args[0], record.scope)
            if values and all(isinstance(value, Other | Function) for value in values):
                return
            sure = any(self._notes.is_dspy(value) for value in values)
        else:
            sure = False
        reason = "a pickle of dspy's objects holds dspy's classes, which the engine's are not"
        advice = 'keep the state with program.save("....json"), and data as JSON'
        verdict = Verdict.CHANGES if sure else Verdict.UNKNOWN
        self._notes.put_aside(
            node, record, name, verdict, "pickle", reason if sure else f"if it is of dspy: {reason}", advice
        )

    def _saved(self, node: ast.Call, record: Record) -> None:
        """`save` and `load` of programs: by their own arguments, whatever they are called on."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in ("save", "load"):
            return
        if any(isinstance(value, Ref) for value in self._values.expression(node.func, record.scope)):
            return  # dspy.load and the like, judged by name
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        ending = self._ending(node.args[0] if node.args else options.get("path"), record)
        second = node.args[1] if len(node.args) > 1 and node.func.attr == "save" else None
        whole = options.get("save_program", second)
        held = self._values.expression(node.func.value, record.scope)
        on_program = any(self._is_program(value) for value in held)
        if ("save_program" in options or on_program) and whole is not None and not _is_false(whole):
            reason = "save_program writes a pickle, which the engine does not do"
            self._notes.add(node, record, "save_program", Verdict.CHANGES, "pickle", reason, offers.KEEP_STATE)
            return
        pickles = "allow_pickle" in options and not _is_false(options["allow_pickle"])
        unclear = any(isinstance(value, Unclear) for value in held)
        if (pickles and ending != ".json") or (on_program and ending == ".pkl"):
            reason = "the state is a pickle, which the engine neither writes nor reads"
            self._notes.add(node, record, node.func.attr, Verdict.CHANGES, "pickle", reason, offers.KEEP_STATE)
        elif (on_program and (ending is None or None in options)) or (unclear and ending == ".pkl"):
            reason = "if this is a pickle, the engine neither writes nor reads it"
            self._notes.put_aside(
                node,
                record,
                node.func.attr,
                Verdict.UNKNOWN,
                "pickle",
                reason,
                'it is native for a path that ends with ".json"',
            )

    def _is_program(self, value: Value) -> bool:
        if isinstance(value, Object):
            bases = self._notes.dspy_bases(value.info)
        else:
            bases = [value.path] if isinstance(value, Made) else []
        return any(
            offers.is_program_class(offer.target) and offer.used == len(path)
            for path in bases
            for offer in (offers.judge(path),)
        )

    def _ending(self, node: ast.expr | None, record: Record, depth: int = 0) -> str | None:
        """How a path ends, as far as it is written; None where it is not."""
        match node:
            case ast.Constant(str(text)):
                return text[text.rfind(".") :].replace(".pickle", ".pkl") if "." in text else ""
            case ast.JoinedStr(values) if values:
                return self._ending(values[-1], record, depth)
            case ast.BinOp(_, ast.Add() | ast.Div(), right):
                return self._ending(right, record, depth)
            case ast.Call(_, args) if args and dotted(node.func).endswith(("Path", "join", "str", "fspath")):
                return self._ending(args[-1], record, depth)
            case ast.Name(name) if depth < 5:
                found = self._values.find(record.scope, name)
                bindings = found.bindings[name] if found is not None else []
                endings = {
                    self._ending(binding.node, record, depth + 1)
                    for binding in bindings
                    if binding.kind == "value" and isinstance(binding.node, ast.expr)
                }
                known = len(endings) == 1 and all(binding.kind == "value" for binding in bindings)
                return endings.pop() if known else None
            case _:
                return None

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
        if path[-1] == "BetterTogether" and not any(keyword.arg not in ("metric",) for keyword in node.keywords):
            reason = "without optimizers of its own it trains weights, which is refused natively"
            advice = (
                "give it the optimizers of its strategy, none of which trains weights, or keep it in the legacy pool"
            )
            self._notes.add(node, record, name, Verdict.UNKNOWN, "refused", reason, advice)
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
                self._notes.add(keyword, record, f"{name}({keyword.arg}=)", Verdict.CHANGES, "keyword", reason, advice)
        starred = any(isinstance(each, ast.Starred) for each in node.args)
        if signature.most is not None and not starred and len(node.args) > signature.most:
            reason = f"the engine's {name} takes {signature.most} arguments by position, not {len(node.args)}"
            self._notes.add(node, record, name, Verdict.CHANGES, "keyword", reason, "name the arguments")

    def _model(self, node: ast.Call, record: Record, name: str) -> None:
        given = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "model"), None)
        if any(keyword.arg == "engine" for keyword in node.keywords):
            return  # an engine of the program's own answers
        models = list(self._texts(given, record)) if given is not None else [None]
        for model in dict.fromkeys(models):
            if model is None:
                reason = "which provider is asked is only known when the program runs"
                advice = 'it is native for "openai/...", "anthropic/..." and the others of docs/engine.md; check what it can be'
                self._notes.add(node, record, f"{name}(...)", Verdict.UNKNOWN, "model", reason, advice)
                continue
            wrong = offers.model_offer(model)
            if wrong is not None:
                self._notes.add(
                    node, record, f"{name}({model!r})", wrong.verdict, wrong.rule, wrong.reason, wrong.advice
                )

    def _embedding_model(self, node: ast.Call, record: Record, name: str) -> None:
        given = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "model"), None)
        for model in dict.fromkeys(self._texts(given, record)) if given is not None else ():
            if model is not None:
                wrong = offers.model_offer(model, embeds=True)
                if wrong is not None:
                    self._notes.add(
                        node, record, f"{name}({model!r})", wrong.verdict, wrong.rule, wrong.reason, wrong.advice
                    )
            elif not self._is_function(given, record):
                reason = (
                    "whether it is a function, and else which provider is asked, is only known when the program runs"
                )
                advice = "it is native for a function, and for models behind OpenAI's HTTP; check what it can be"
                self._notes.add(node, record, f"{name}(...)", Verdict.UNKNOWN, "model", reason, advice)

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
            self._notes.add(node, record, f"{shown_name(path)}", Verdict.UNKNOWN, "method", reason, offers.LOOK)
            return
        self._arguments(node, record, shown_name(path), offers.method_arguments(offer.target, method))

    def _predictor(self, node: ast.Call, record: Record, kind: str) -> None:
        self._notes.found.modules[record.unit].add(kind)
        parent = record.parent
        if isinstance(parent, ast.Call):
            for value in self._values.expression(parent.func, record.scope):
                if isinstance(value, Ref) and offers.is_program_class(offers.judge(value.path).target):
                    return  # a part of another predictor
        targets = parent.targets if isinstance(parent, ast.Assign) else [getattr(parent, "target", None)]
        name = next((target.id for target in targets if isinstance(target, ast.Name)), kind)
        self._notes.found.predictors.append((name, record, kind))


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
