"""What the native engine has of dspy, asked of the engine itself.

Nothing is listed here that the engine knows: a name is offered if the engine, under dspy's names, has it now; the
arguments of a callable are those of the engine's. So what is added to the engine is native for `check` at once. Asking
loads the parts of the engine that a program uses, and no provider's SDK, numpy, optuna or dspy.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NoReturn, final

from .. import engine
from ..engine.dspy_names import NOT_OFFERED, PATHS, DspyModule
from ..router.features import find_feature
from .history import DSP, gone
from .machinery import STEPS
from .verdicts import Rule, Verdict

__all__ = [
    "KEEP_STATE",
    "LOOK",
    "Arguments",
    "Offer",
    "arguments_of",
    "has_member",
    "has_open_members",
    "is_awaitable_class",
    "is_class",
    "is_embedder",
    "is_interpreter",
    "is_lm",
    "is_module",
    "is_optimizer",
    "is_program_class",
    "judge",
    "method_arguments",
    "model_offer",
    "new_home",
    "new_module",
    "steps_of",
]

_WEIGHTS: Final = (
    "compile it in the legacy pool (the flag use_legacy_optimizer); the state that comes back is served natively"
)
_IN_THE_POOL: Final = "run this part in the legacy pool, which the router does by flag, or do without it"
_ONLY_IN_DSPY: Final[dict[str, str]] = {
    **dict.fromkeys(("Noul", "Choice", "Score", "TypeSafe", "ReAnchor"), "it is experimental in dspy"),
    "finetune_utils": "no weights are trained natively",
    **dict.fromkeys(
        ("OpenAIProvider", "DatabricksProvider", "LocalProvider", "ArborProvider"),
        "models are trained and launched by dspy's own providers only",
    ),
    **dict.fromkeys(("WeaviateRM", "DatabricksRM"), "the engine has no clients of vector stores"),
}
_PLAIN: Final = {"deduplicate": "write list(dict.fromkeys(passages))"}
"""Helpers that a line replaces."""
_PICKLES: Final = {
    "load": "whole programs are pickles, which the engine does not load",
    "load_settings": "saved settings are pickles, which the engine does not load",
}
_PICKLED_ATTRIBUTES: Final = frozenset(
    {("settings", "save"), ("settings", "load"), ("cache", "load_memory_cache"), ("cache", "save_memory_cache")}
)
KEEP_STATE: Final = (
    'build the program in code, keep its state with program.save("....json"), and load that with program.load'
)
_PLACES: Final = frozenset(path.partition(".")[0] for path in PATHS) | {"core", "propose", "datasets", "retrievers"}


@final
@dataclass(frozen=True, slots=True)
class Offer:
    """What becomes of one name."""

    verdict: Verdict
    rule: Rule
    reason: str
    advice: str = ""
    target: Any = None
    """The engine's object, if there is one. `Any`: a class, a function, a module, the settings."""
    used: int = 0
    """Parts of the path that name it; the rest are its attributes."""


@cache
def judge(path: tuple[str, ...]) -> Offer:
    """What the engine has at a path below dspy: `("teleprompt", "COPRO")`; `()` is dspy itself."""
    if path[:1] == ("dsp*",) and path[-1] not in _PLAIN:
        return Offer(
            Verdict.CHANGES, "removed", f"`dsp` is a package of dspy up to {DSP.until}", DSP.advice, used=len(path)
        )
    inside = 0
    while inside < len(path) and ".".join(path[: inside + 1]) in PATHS:
        inside += 1
    if inside == len(path):
        return Offer(Verdict.NATIVE, "offered", "the engine has it", target=_module(path), used=inside)
    place, name = ".".join(path[:inside]), path[inside]
    if name.startswith("__") and name.endswith("__"):
        return _dunder(name, inside)
    if name.startswith("_"):
        return Offer(Verdict.UNKNOWN, "private", f"`{name}` is private to dspy", LOOK, used=inside + 1)
    if not _offered(place, name):
        return _missing(path, inside)
    if not place and name == "cache":
        target = engine.Cache  # to look at the live one would make it
    else:
        target = getattr(engine, name) if not place else getattr(DspyModule("dspy", place), name)
    return _of_target(path, inside, target)


LOOK: Final = "see what it is used for, and use a public name instead, or run this part in the legacy pool"


def _module(path: tuple[str, ...]) -> Any:
    return DspyModule("dspy", ".".join(path)) if path else engine


def _offered(place: str, name: str) -> bool:
    if name in engine.__all__ or (not place and name == "cache"):
        return True
    return bool(place) and name in dir(DspyModule("dspy", place))


def _dunder(name: str, inside: int) -> Offer:
    if name in ("__version__", "__name__", "__doc__"):
        return Offer(Verdict.NATIVE, "offered", "the engine has it", used=inside + 1)
    return Offer(
        Verdict.UNKNOWN,
        "dynamic",
        f"`{name}` of dspy shows all of it, and what is taken is not seen here",
        LOOK,
        used=inside + 1,
    )


def _missing(path: tuple[str, ...], inside: int) -> Offer:
    """What the registry of features says of it; then what became of it; then that nobody knows."""
    length = len(path)
    for part in path:
        if part in _ONLY_IN_DSPY:
            return Offer(Verdict.LEGACY, "not-offered", _ONLY_IN_DSPY[part], _IN_THE_POOL, used=length)
    if path[-1] in _PLAIN:
        return Offer(Verdict.CHANGES, "not-offered", "the engine has no such helper", _PLAIN[path[-1]], used=length)
    past = gone(path)
    for start in range(length) if past is None else ():
        name = ".".join(path[start:])
        known = find_feature(f"dspy.{name}") if name not in PATHS else None
        if known is not None and not known.native and path[-1] in {one.rpartition(".")[2] for one in known.names}:
            verdict = Verdict.LEGACY if known.status == "legacy only" else Verdict.CHANGES
            return Offer(verdict, "not-offered", known.reason, known.todo, used=length)
    whole = find_feature(f"dspy.{path[0]}")
    if whole is not None and path[0] in whole.names and not whole.native:
        return Offer(Verdict.LEGACY, "not-offered", whole.reason, whole.todo, used=length)
    for part in path:
        if part in NOT_OFFERED:
            return Offer(Verdict.LEGACY, "not-offered", NOT_OFFERED[part], _IN_THE_POOL, used=length)
    if past is not None:
        reason = f"dspy had it up to {past.until}; neither dspy 3.4 nor the engine has it"
        return Offer(Verdict.CHANGES, "removed", reason, past.advice, used=length)
    if path[0] in _PLACES:
        reason = "it is a part of dspy's machinery that the engine does not stand for"
        return Offer(Verdict.UNKNOWN, "private", reason, LOOK, used=length)
    reason = "it is known neither in the engine nor in dspy 3.4"
    advice = "check its spelling, and which dspy the program was written for"
    return Offer(Verdict.UNKNOWN, "unknown-name", reason, advice, used=inside + 1)


def _of_target(path: tuple[str, ...], inside: int, target: Any) -> Offer:
    name, used = path[inside], inside + 1
    if name in _PICKLES:
        return Offer(Verdict.CHANGES, "pickle", _PICKLES[name], KEEP_STATE, target, used)
    if is_optimizer(target) and _never_returns(target):
        reason = f"{name} is there so that programs load; compiling with it is refused, since it trains weights"
        return Offer(Verdict.LEGACY, "refused", reason, _WEIGHTS, target, used)
    attribute = path[used] if used < len(path) else ""
    if (name, attribute) in _PICKLED_ATTRIBUTES:
        return Offer(
            Verdict.CHANGES, "pickle", f"`{name}.{attribute}` deals in pickles", "build it in code", target, used + 1
        )
    if attribute.startswith("_") and not attribute.endswith("__"):
        return Offer(Verdict.UNKNOWN, "private", f"`{name}.{attribute}` is private to dspy", LOOK, target, used + 1)
    known = _has(target, attribute) if inspect.isclass(target) else name == "settings" or hasattr(target, attribute)
    if attribute and not known:
        reason = f"the engine's {name} has no `{attribute}`"
        return Offer(Verdict.UNKNOWN, "method", reason, LOOK, target, used + 1)
    return Offer(Verdict.NATIVE, "offered", "the engine has it", target=target, used=used)


def _never_returns(optimizer: Any) -> bool:
    """Whether an optimizer refuses to compile, as its type says."""
    return inspect.signature(optimizer.acompile).return_annotation in ("NoReturn", NoReturn)


def _has(cls: type, attribute: str) -> bool:
    fields: object = getattr(cls, "model_fields", None)
    if hasattr(cls, attribute) or (isinstance(fields, dict) and attribute in fields):
        return True
    annotated: list[object] = [vars(base).get("__annotations__") for base in cls.__mro__]
    return any(isinstance(names, dict) and attribute in names for names in annotated)


def has_member(cls: object, attribute: str) -> bool:
    """Whether objects of an engine's class have this attribute for certain."""
    return inspect.isclass(cls) and _has(cls, attribute)


def has_open_members(cls: object) -> bool:
    """Whether a class answers for attributes that nobody declared."""
    return hasattr(cls, "__getattr__")


def is_module(target: object) -> bool:
    """Whether it is dspy itself or a module below it."""
    return target is engine or isinstance(target, DspyModule)


def is_class(target: object) -> bool:
    """Whether it is a class of the engine's."""
    return inspect.isclass(target)


def steps_of(path: tuple[str, ...]) -> frozenset[str]:
    """The private steps of dspy's class at a path."""
    return STEPS.get(path[-1], frozenset()) if path else frozenset()


def is_program_class(target: object) -> bool:
    """Whether calling it makes a program: a predictor or another module."""
    return inspect.isclass(target) and issubclass(target, engine.Module)


def is_awaitable_class(target: object) -> bool:
    """Whether its objects ask a model when they are called, so that a call on an event loop is refused."""
    if not inspect.isclass(target) or issubclass(target, engine.Tool):
        return False
    return hasattr(target, "acall") or issubclass(target, engine.Evaluate) or is_interpreter(target)


def is_optimizer(target: object) -> bool:
    """Whether it is a class of optimizers."""
    return inspect.isclass(target) and issubclass(target, engine.Teleprompter)


def is_interpreter(target: object) -> bool:
    """Whether it is a class of code interpreters."""
    return inspect.isclass(target) and hasattr(target, "aexecute")


@final
@dataclass(frozen=True, slots=True)
class Arguments:
    """What a callable takes."""

    names: frozenset[str]
    """By name."""
    any_name: bool
    most: int | None
    """By position; None for any number."""

    def takes(self, name: str) -> bool:
        """Whether it takes an argument of this name."""
        return self.any_name or name in self.names


@cache
def arguments_of(target: object) -> Arguments | None:
    """What a call of the engine's object takes; None where a call is not an ordinary one."""
    if inspect.isclass(target):
        if issubclass(target, BaseException) or isinstance(target, type(engine.Signature)):
            return None
        return _arguments(getattr(target, "__init__"), bound=True)  # noqa: B009 - of the class, whoever defines it
    return _arguments(target, bound=False) if callable(target) else None


@cache
def method_arguments(cls: type, method: str) -> Arguments | None:
    """What a method takes, beside its object."""
    held = inspect.getattr_static(cls, method, None)
    if isinstance(held, staticmethod | classmethod) or not callable(held):
        return None
    return _arguments(getattr(cls, method), bound=True)


def _arguments(function: Any, *, bound: bool) -> Arguments | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if bound:
        parameters = parameters[1:]
    kinds = inspect.Parameter
    by_name = {each.name for each in parameters if each.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)}
    by_place = sum(each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD) for each in parameters)
    return Arguments(
        frozenset(by_name),
        any(each.kind is kinds.VAR_KEYWORD for each in parameters),
        None if any(each.kind is kinds.VAR_POSITIONAL for each in parameters) else by_place,
    )


def is_embedder(target: object) -> bool:
    """Whether it is the client of embedding models."""
    return target is engine.Embedder


def is_lm(target: object) -> bool:
    """Whether it is the client of language models."""
    return target is engine.LM


def model_offer(model: str, *, embeds: bool = False) -> Offer | None:
    """What is wrong with a model's name for the native client; None for nothing."""
    prefix, slash, _ = model.partition("/")
    if not slash:
        if model.startswith(("gpt-", "o1", "o3", "o4", "chatgpt", "ft:gpt", "text-", "davinci", "babbage")):
            return None
        return Offer(
            Verdict.CHANGES,
            "model",
            f"{model!r} names no provider, and the native client takes it for OpenAI's",
            f'write the provider in front: "anthropic/...", "gemini/...", "ollama_chat/..."; for OpenAI "openai/{model}"',
        )
    catalog = importlib.import_module("..engine.lm.catalog", __package__)
    if catalog.is_known(prefix) and not (embeds and prefix == "anthropic"):
        return None
    return Offer(
        Verdict.CHANGES,
        "model",
        f"the native client has no provider {prefix!r}",
        'name a server that speaks OpenAI\'s HTTP as LM("openai/<model>", base_url="https://..."), or write a BaseLM subclass',
    )


def new_home(path: tuple[str, ...]) -> str | None:
    """The module of dspex to import from what dspy has at this path; None where it is no offered name.

    Public names come from `dspex.engine`; others from where dspy keeps them, below it: `("utils", "dummies", "dummy_rm")`
    from `dspex.engine.utils.dummies`.
    """
    offer = judge(path)
    if offer.verdict is not Verdict.NATIVE or offer.used != len(path) or not path:
        return None
    name, place = path[-1], ".".join(path[:-1])
    if name in engine.__all__:
        return engine.__name__
    if (path[0] if place else name) not in _OWN_ROOMS:
        return f"{engine.__name__}.{place}" if place else engine.__name__
    for module in PATHS.get(place, ()):
        held = importlib.import_module(f"..engine.{module}", __package__)
        if vars(held).get(name) is offer.target:
            return f"{engine.__name__}.{module}"
    return None


def new_module(path: tuple[str, ...]) -> str | None:
    """The name under which a module of dspy's is imported from dspex; None where it has another shape there."""
    if not path:
        return engine.__name__
    if path[0] in _OWN_ROOMS or ".".join(path) not in PATHS:
        return None
    return ".".join([engine.__name__, *path])


_OWN_ROOMS: Final = frozenset({"adapters", "predict", "signatures", "streaming"})
"""What the engine has under dspy's name itself, laid out in another way."""
