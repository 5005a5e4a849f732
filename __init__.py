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
    from .engine.optimizers.jobs import Budget, OptimizerJob, run_job
    from .legacy import (
        ImportedProgram,
        LegacyPool,
        LMSettings,
        PoolOptions,
        SignatureProgram,
        legacy_pool_spec,
    )
    from .router import (
        Answer,
        Dspex,
        Explanation,
        Flags,
        FlagStore,
        OpenTelemetry,
        ProgramSpec,
        Requirement,
        RoutedProgram,
        Router,
        explain,
        optimize,
        router_children,
        typed_program,
    )

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
    **dict.fromkeys(("Budget", "OptimizerJob", "run_job"), ".engine.optimizers.jobs"),
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
        (
            "Answer",
            "Dspex",
            "Explanation",
            "FlagStore",
            "Flags",
            "OpenTelemetry",
            "ProgramSpec",
            "Requirement",
            "RoutedProgram",
            "Router",
            "explain",
            "optimize",
            "router_children",
            "typed_program",
        ),
        ".router",
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
    "Budget",
    "CallTimeout",
    "ChainOfThought",
    "ChatAdapter",
    "Child",
    "Crash",
    "Dspex",
    "Example",
    "Explanation",
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
    "OpenTelemetry",
    "OptimizerJob",
    "OutputField",
    "PoolOptions",
    "Predict",
    "Prediction",
    "ProgramActor",
    "ProgramSpec",
    "Ref",
    "Refuse",
    "Requirement",
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
    "explain",
    "legacy_pool_spec",
    "local_model",
    "open_runtime",
    "optimize",
    "router_children",
    "run_job",
    "tree",
    "typed_program",
]
