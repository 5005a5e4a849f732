"""dspex: LM programs as supervised actors.

    import dspex

    async with dspex.open_runtime() as rt:
        ...

The runtime and the supervisors are here at once; the engine, the legacy pool and the router come in on first use, so that
``import dspex`` stays light: no provider's SDK, no ``dspy``, no numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .runtime import (
    Actor,
    ActorExit,
    CallTimeout,
    Crash,
    NamedRef,
    Ref,
    Refuse,
    Runtime,
    StartFailed,
    TreeFailed,
    open_runtime,
)
from .supervisors import Child, Supervisor, tree

if TYPE_CHECKING:
    from .engine import (
        LM,
        ChainOfThought,
        ChatAdapter,
        Example,
        InputField,
        JSONAdapter,
        Module,
        OutputField,
        Predict,
        Prediction,
        Signature,
        configure,
        context,
    )
    from .engine.actors import ProgramActor
    from .engine.lm.local import LocalModel, local_model
    from .legacy import (
        ImportedProgram,
        LegacyPool,
        LMSettings,
        PoolOptions,
        SignatureProgram,
        legacy_pool_spec,
    )
    from .router import Answer, Dspex, Flags, FlagStore, ProgramSpec, RoutedProgram, Router, router_children

__version__: Final = "0.1.0"

_HOMES: Final = {
    **dict.fromkeys(
        (
            "LM",
            "ChainOfThought",
            "ChatAdapter",
            "Example",
            "InputField",
            "JSONAdapter",
            "Module",
            "OutputField",
            "Predict",
            "Prediction",
            "Signature",
            "configure",
            "context",
        ),
        ".engine",
    ),
    "ProgramActor": ".engine.actors",
    "LocalModel": ".engine.lm.local",
    "local_model": ".engine.lm.local",
    **dict.fromkeys(
        (
            "ImportedProgram",
            "LMSettings",
            "LegacyPool",
            "PoolOptions",
            "SignatureProgram",
            "legacy_pool_spec",
        ),
        ".legacy",
    ),
    **dict.fromkeys(
        ("Answer", "Dspex", "FlagStore", "Flags", "ProgramSpec", "RoutedProgram", "Router", "router_children"), ".router"
    ),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'dspex' has no attribute {name!r}")
    value = getattr(import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "LM",
    "Actor",
    "ActorExit",
    "Answer",
    "CallTimeout",
    "ChainOfThought",
    "ChatAdapter",
    "Child",
    "Crash",
    "Dspex",
    "Example",
    "FlagStore",
    "Flags",
    "ImportedProgram",
    "InputField",
    "JSONAdapter",
    "LMSettings",
    "LegacyPool",
    "LocalModel",
    "Module",
    "NamedRef",
    "OutputField",
    "PoolOptions",
    "Predict",
    "Prediction",
    "ProgramActor",
    "ProgramSpec",
    "Ref",
    "Refuse",
    "RoutedProgram",
    "Router",
    "Runtime",
    "Signature",
    "SignatureProgram",
    "StartFailed",
    "Supervisor",
    "TreeFailed",
    "__version__",
    "configure",
    "context",
    "legacy_pool_spec",
    "local_model",
    "open_runtime",
    "router_children",
    "tree",
]
