"""The engine under dspy's names: for programs that import more than `import dspex.engine as dspy` gives them.

    import dspex.engine

    dspex.engine.install_as("dspy")        # before the program is imported

    import dspy                            # the engine
    from dspy.utils import DummyLM         # the engine's, found where dspy has it
    from dspy.signatures.signature import ensure_signature

After that, `dspy` and the dotted paths below it are the engine's in this process, and records of the engine go to the
loggers that dspy has (see `logs.py`). No name is taken before the call, and `remove()` undoes it. It refuses to hide a
real dspy that has been imported. A program that says `sys.modules["dspy"] = dspex.engine` instead gets the same.

Without either, `dspex.engine.utils.DummyLM` and `from dspex.engine.utils import DummyLM` work: such modules are made on
first use, and hold what the engine has of the names that dspy keeps there. What it does not have is refused by an
`AttributeError` that says why.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

from .late_names import HOMES, late
from .live_cache import live_cache_attribute

__all__ = ["Installed", "NotOffered", "engine_as_dspy", "install_as", "not_offered"]

_ENGINE = __name__.rpartition(".")[0]
DSPY_VERSION = "3.4.1"
"""The dspy whose behaviour the engine has; `dspy.__version__` for programs that ask."""

PATHS: dict[str, tuple[str, ...]] = {
    "adapters": ("adapters",),
    "adapters.base": ("adapters.base", "adapters"),
    "adapters.baml_adapter": ("adapters.baml", "adapters"),
    "adapters.chat_adapter": ("adapters.chat", "adapters"),
    "adapters.json_adapter": ("adapters.json", "adapters"),
    "adapters.two_step_adapter": ("adapters.two_step",),
    "adapters.types": ("types",),
    "adapters.types.audio": ("types.audio",),
    "adapters.types.base_type": ("types.base",),
    "adapters.types.citation": ("types.citations",),
    "adapters.types.code": ("types.code",),
    "adapters.types.document": ("types.document",),
    "adapters.types.file": ("types.file",),
    "adapters.types.history": ("types.history",),
    "adapters.types.image": ("types.image",),
    "adapters.types.reasoning": ("types.reasoning",),
    "adapters.types.tool": ("types.tool", "types.tool_calls"),
    "adapters.utils": ("adapters.by_field_info", "adapters.values", "adapters.coerce", "adapters.annotation", "adapters"),
    "adapters.xml_adapter": ("adapters.xml",),
    "clients": ("lm", "caching"),
    "clients.base_lm": ("lm.base", "lm.history"),
    "clients.cache": ("caching",),
    "clients.embedding": ("embedder",),
    "clients.lm": ("lm.client", "lm"),
    "clients.provider": ("lm.training",),
    "dsp": (),
    "dsp.utils": ("settings",),
    "dsp.utils.settings": ("settings",),
    "evaluate": ("evaluation",),
    "evaluate.auto_evaluation": ("evaluation.judged", "evaluation"),
    "evaluate.evaluate": ("evaluation.evaluate", "evaluation.results", "evaluation"),
    "evaluate.metrics": ("evaluation.metrics",),
    "experimental": ("types",),
    "predict": ("predict", "modules", "parallel"),
    "predict.aggregation": ("modules.aggregation", "modules"),
    "predict.best_of_n": ("modules.best_of_n", "modules"),
    "predict.chain_of_thought": ("modules",),
    "predict.code_act": ("modules.code_act", "modules"),
    "predict.knn": ("modules.knn", "modules"),
    "predict.multi_chain_comparison": ("modules.multi_chain_comparison", "modules"),
    "predict.parallel": ("parallel",),
    "predict.parameter": ("base_module",),
    "predict.predict": ("predict", "value_types"),
    "predict.program_of_thought": ("modules.program_of_thought", "modules"),
    "predict.react": ("modules.react", "modules", "types"),
    "predict.react_v2": ("modules.react_v2", "modules"),
    "predict.refine": ("modules.refine", "modules"),
    "predict.rlm": ("modules.rlm", "modules.rlm_prompt", "modules"),
    "primitives": ("module", "base_module", "example"),
    "primitives.base_module": ("base_module",),
    "primitives.code_interpreter": ("sandbox",),
    "primitives.example": ("example",),
    "primitives.facade": ("modules.facade", "sandbox.facade_source"),
    "primitives.local_interpreter": ("sandbox",),
    "primitives.module": ("module", "paths"),
    "primitives.prediction": ("example",),
    "primitives.python_interpreter": ("sandbox",),
    "primitives.repl_types": ("sandbox.repl",),
    "primitives.sandbox_serializable": ("sandbox.serializable",),
    "propose": ("optimizers.proposals",),
    "propose.dataset_summary_generator": ("optimizers.proposals.dataset_summary",),
    "propose.grounded_proposer": (
        "optimizers.proposals.grounded",
        "optimizers.proposals.module_instruction",
        "optimizers.proposals.texts",
        "optimizers.proposals",
    ),
    "propose.propose_base": ("optimizers.proposals",),
    "propose.utils": ("optimizers.proposals.texts", "optimizers.proposals"),
    "retrievers": ("retrieval",),
    "retrievers.embeddings": ("retrieval",),
    "retrievers.retrieve": ("retrieval",),
    "signatures": ("signatures",),
    "signatures.field": ("signatures.fields", "signatures"),
    "signatures.signature": ("signatures.signature", "signatures"),
    "lm15": ("lm.lm15",),
    "streaming": ("streaming",),
    "streaming.messages": ("streaming.messages",),
    "streaming.streamify": ("streaming.streamify",),
    "streaming.streaming_listener": ("streaming.listener",),
    "teleprompt": ("optimizers",),
    "teleprompt.bettertogether": ("optimizers.better_together", "optimizers"),
    "teleprompt.bootstrap": ("optimizers",),
    "teleprompt.copro_optimizer": ("optimizers.copro", "optimizers"),
    "teleprompt.infer_rules": ("optimizers.infer_rules", "optimizers"),
    "teleprompt.bootstrap_finetune": ("optimizers.weights", "optimizers"),
    "teleprompt.ensemble": ("optimizers",),
    "teleprompt.bootstrap_trace": ("optimizers.bootstrap_trace",),
    "teleprompt.gepa": ("optimizers.gepa", "optimizers.instruction_proposer"),
    "teleprompt.gepa.gepa": ("optimizers.gepa", "optimizers.gepa_result", "optimizers.gepa_adapter"),
    "teleprompt.gepa.gepa_utils": (
        "optimizers.gepa_adapter",
        "optimizers.bootstrap_trace",
        "optimizers.instruction_proposer",
    ),
    "teleprompt.gepa.instruction_proposal": ("optimizers.instruction_proposer", "optimizers.multimodal_proposer"),
    "teleprompt.grpo": ("optimizers.weights", "optimizers"),
    "teleprompt.knn_fewshot": ("optimizers",),
    "teleprompt.mipro_optimizer_v2": ("optimizers.mipro", "optimizers"),
    "teleprompt.random_search": ("optimizers",),
    "teleprompt.simba": ("optimizers",),
    "teleprompt.simba_utils": ("optimizers.simba_strategies",),
    "teleprompt.teleprompt": ("optimizers",),
    "teleprompt.teleprompt_optuna": ("optimizers.few_shot_optuna", "optimizers"),
    "teleprompt.utils": ("optimizers.few_shot_sets", "optimizers.candidates", "optimizers"),
    "teleprompt.vanilla": ("optimizers",),
    "utils": ("callbacks", "lm.dummy", "lm.dummy_vectors", "streaming.messages"),
    "utils.asyncify": ("bridges",),
    "utils.caching": ("caching.current",),
    "utils.callback": ("callbacks",),
    "utils.callback_context": ("callbacks",),
    "utils.dummies": ("lm.dummy", "lm.dummy_vectors"),
    "utils.exceptions": ("errors",),
    "utils.inspect_history": ("lm.history",),
    "utils.langchain_tool": ("types.tool",),
    "utils.logging_utils": ("logs",),
    "utils.mcp": ("types.tool",),
    "utils.parallelizer": ("parallel",),
    "utils.saving": ("saved_state",),
    "utils.syncify": ("bridges",),
    "utils.usage_tracker": ("usage",),
}
"""For each dotted path of dspy's, the modules of the engine that hold what dspy keeps there, beside the public names."""

_OTHER_NAMES = {
    ("predict.predict", "serialize_object"): "saved_state:serializable",
    ("utils.exceptions", "DSPyError"): "failure:EngineError",
    ("utils", "pretty_print_history"): "lm.history:print_history",
    ("utils.inspect_history", "pretty_print_history"): "lm.history:print_history",
    ("primitives.module", "set_attribute_by_name"): "paths:set_at",
}

_COLBERT = "it is the client of one kind of server; a function that asks it, given to configure(rm=...), does the same"
_DATASETS = "they are downloaded from hosts of others; build Examples from your own files"
_EXPERIMENTAL = "it is experimental in dspy"
_LITELLM = "the engine calls providers through their own SDKs; there is no litellm"

NOT_OFFERED: dict[str, str] = {
    "ColBERTv2": _COLBERT,
    "datasets": _DATASETS,
    "AvatarOptimizer": "it is broken in dspy 3: its constructor needs dspy.TypedPredictor, which is gone, and raises",
    **dict.fromkeys(("Flex",), _EXPERIMENTAL),
    **dict.fromkeys(("enable_litellm_logging", "disable_litellm_logging"), _LITELLM),
}
"""Public names of dspy that the engine does not have, and why."""


class NotOffered(AttributeError):
    """dspy has this name and the engine does not; the message says why and what to do."""


def not_offered(name: str) -> NotOffered:
    """The error for a name of dspy's that the engine does not have."""
    return NotOffered(
        f"dspex.engine has no `{name}`: {NOT_OFFERED[name]}. Run this part of the program in dspy itself, which the router "
        "does for you (see the pool of legacy workers), or do without it.",
        name=name,
    )


class DspyModule(types.ModuleType):
    """A module that dspy has and the engine keeps elsewhere. Holds nothing: every name is looked up when it is asked for."""

    __dspex_engine__ = True

    def __init__(self, root: str, path: str) -> None:
        super().__init__(f"{root}.{path}" if path else root, f"dspy's `{path or 'dspy'}`, as far as the engine has it.")
        vars(self).update(_root=root, _path=path)
        vars(self)["__path__"] = [_ENTRY]

    def __reduce__(self) -> tuple[Any, ...]:
        return _module, (vars(self)["_root"], vars(self)["_path"])

    def __getattr__(self, name: str) -> Any:
        root, path = vars(self)["_root"], vars(self)["_path"]
        below = f"{path}.{name}" if path else name
        if below in PATHS:
            return _module(root, below)
        if not path:
            return getattr(sys.modules[_ENGINE], name)
        if name.startswith("__"):
            raise AttributeError(name)
        other = _OTHER_NAMES.get((path, name))
        if other is not None:
            module, _, attribute = other.partition(":")
            return getattr(importlib.import_module(f"{_ENGINE}.{module}"), attribute)
        for module in PATHS[path]:
            found = vars(_engine_module(module)).get(name, _engine_module)
            if found is not _engine_module:
                return found
        engine = sys.modules[_ENGINE]
        if name in engine.__all__:
            return getattr(engine, name)
        if name in NOT_OFFERED:
            raise not_offered(name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} in dspex.engine", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        # `dspy.cache = ...` replaces the engine's cache, and so must the same under another name.
        if name == "cache" and not vars(self).get("_path", "?"):
            setattr(sys.modules[_ENGINE], name, value)
        else:
            super().__setattr__(name, value)

    @property
    def __all__(self) -> list[str]:
        return [name for name in dir(self) if not name.startswith("_")]

    def __dir__(self) -> list[str]:
        path = vars(self)["_path"]
        engine = sys.modules[_ENGINE]
        if not path:
            return sorted({*engine.__all__, *(each for each in PATHS if "." not in each)})
        names = {name for module in PATHS[path] for name in getattr(_engine_module(module), "__all__", ())}
        names |= {name for where, name in _OTHER_NAMES if where == path}
        return sorted(names | {each.rpartition(".")[2] for each in PATHS if each.rpartition(".")[0] == path})


def _engine_module(name: str) -> types.ModuleType:
    return importlib.import_module(f"{_ENGINE}.{name}")


_made: dict[tuple[str, str], DspyModule] = {}


def _module(root: str, path: str) -> DspyModule:
    made = _made.get((root, path))
    if made is None:
        made = _made[root, path] = DspyModule(root, path)
    return made


def engine_as_dspy(path: str = "") -> types.ModuleType:
    """The module that `import dspy.PATH` would give if the engine were dspy. Nothing is put into `sys.modules`.

    Raises ModuleNotFoundError for a path that dspy does not have, or the engine does not stand for, with the reason.
    """
    if path and path not in PATHS:
        raise _no_module("dspy", path)
    return _module("dspy", path)


def _no_module(root: str, below: str) -> ModuleNotFoundError:
    reason = NOT_OFFERED.get(below.partition(".")[0], "it is not one of dspy's modules that the engine stands for")
    return ModuleNotFoundError(f"dspex.engine has no module {f'{root}.{below}'!r}: {reason}.", name=f"{root}.{below}")


def missing(name: str) -> Any:
    """The engine's own `__getattr__`: names not loaded yet, the engine's rooms and dspy's packages by attribute, and what
    is not offered by its reason.
    """
    if name in HOMES:
        return late(name)
    if name == "__version__":
        return DSPY_VERSION
    if name in _OWN_ROOMS:
        return _engine_module(name)
    if name in PATHS:
        return _module(_ENGINE, name)
    if name in NOT_OFFERED:
        raise not_offered(name)
    if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(f"{_ENGINE}.{name}") is not None:
        return _engine_module(name)
    raise AttributeError(f"module {_ENGINE!r} has no attribute {name!r}", name=name, obj=sys.modules[_ENGINE])


def offered() -> list[str]:
    """The engine's own `__dir__`: what is there, and what is there when it is asked for."""
    return sorted({*vars(sys.modules[_ENGINE]), *HOMES})


class _BelowTheEngine:
    """Finds what dspy has below a module that is the engine, under whatever name that module goes.

    It is the first entry of the engine's own `__path__`, so Python asks it for submodules of the engine and for nothing
    else. The engine's own modules it leaves to the entry after it; unless they are asked for by another name: a program
    that has put the engine into `sys.modules["dspy"]` by itself and imports `dspy.signatures` would otherwise run the
    files of that room a second time, and have two of every class.
    """

    def find_spec(
        self, fullname: str, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        root, below = _split(fullname)
        if below in PATHS and not (root == _ENGINE and below.partition(".")[0] in _OWN_ROOMS):
            return importlib.machinery.ModuleSpec(fullname, _Loader(root, below), is_package=True)
        if root == _ENGINE:
            return None
        raise _no_module(root, below)


class _Loader(importlib.abc.Loader):
    def __init__(self, root: str, path: str) -> None:
        self._root = root
        self._path = path

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _module(self._root, self._path)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def _split(fullname: str) -> tuple[str, str]:
    """The name under which the engine goes here, and the path below it."""
    parts = fullname.split(".")
    for count in range(1, len(parts)):
        root = ".".join(parts[:count])
        known = sys.modules.get(root)
        if known is sys.modules[_ENGINE] or (isinstance(known, DspyModule) and known.__name__ == root == parts[0]):
            return root, ".".join(parts[count:])
    return "", fullname


class Installed:
    """What `install_as` did. `remove()`, or the end of a `with` block, undoes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def remove(self) -> None:
        """Forget the name and the modules below it. Objects that a program took from them stay as they are."""
        if isinstance(sys.modules.get(self.name), DspyModule):
            for each in [key for key in sys.modules if key.partition(".")[0] == self.name]:
                del sys.modules[each]

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def install_as(name: str = "dspy") -> Installed:
    """Let `import NAME` and the imports below it give the engine, for the whole process, until `remove()`.

    Call it before anything imports `name`. Called again for the same name it changes nothing.

    Raises:
        RuntimeError: another package of that name has been imported.
        ValueError: `name` is not a top-level module name.
    """
    if not name.isidentifier():
        raise ValueError(f"install_as takes a top-level module name such as 'dspy', not {name!r}")
    known = sys.modules.get(name)
    if known is not None and known is not sys.modules[_ENGINE] and not isinstance(known, DspyModule):
        raise RuntimeError(
            f"{name!r} has been imported already, and is not dspex.engine: parts of the program may hold it. Call "
            "install_as before anything imports it."
        )
    made = _module(name, "")
    made.__spec__ = importlib.machinery.ModuleSpec(name, _Loader(name, ""), is_package=True)
    sys.modules[name] = made
    return Installed(name)


# An absolute path, though of nothing: Python forgets the finders of relative ones.
_ENTRY = f"{__file__}/dspy"
# What the engine and dspy call by the same name.
_OWN_ROOMS = frozenset({"adapters", "predict", "signatures", "streaming"})
sys.path_importer_cache[_ENTRY] = _BelowTheEngine()  # pyright: ignore[reportArgumentType] - a path entry finder by its method
sys.modules[_ENGINE].__path__.insert(0, _ENTRY)

# A face holds no logic, and a module's attribute is a property only by its class: so it is given here, where the names
# of dspy are.
live_cache_attribute(_ENGINE)
