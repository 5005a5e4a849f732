"""`optimize`: one call for both engines: which of them runs the optimizer is a flag.

    made = await optimize(
        ProgramSpec.of_signature("qa", "question -> answer"),
        "MIPROv2", metric=exact, trainset=trainset, options={"auto": "light"},
        budget=Budget(calls=2000), journal="qa.journal", flags=flags,
    )
    made.program          # native, ready to serve
    made.spec             # the spec with the new state, for both engines

It is a supervised job either way (`engine.optimizers.jobs`). With `use_legacy_optimizer`, dspy itself compiles in a pool of
its own, its metric and models are served from here, and the state comes back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

from .. import engine
from ..engine import Example, Module
from ..engine.lm import BaseLM
from ..engine.optimizers.jobs import Budget, JobOutcome, JobStatus, OptimizerJob, TrialPolicy, run_job
from ..legacy import LMSettings, PoolOptions
from ..runtime import Runtime
from .errors import BadOptimization
from .flags import Flags, FlagStore
from .legacy_optimizer import LEGACY_ONLY, LEGACY_OPTIMIZERS, LegacyOptimizer, LegacyStudent
from .programs import ProgramSpec

__all__ = ["Optimized", "optimization_job", "optimize", "optimized_by"]

FLAG: Final = "use_legacy_optimizer"


@final
@dataclass(frozen=True, slots=True)
class Optimized:
    """An optimized program."""

    engine: Literal["native", "legacy"]
    """Who optimized it."""
    reason: str
    """Why that one."""
    program: Module | None
    """Native and ready; None for a program that has no native side."""
    state: Mapping[str, Any]
    """As `program.save` writes it and `load_state` of either engine takes it, without metadata."""
    spec: ProgramSpec | None
    """The program that was given, with this state on its sides; None if a module was given."""
    outcome: JobOutcome
    """The job's: trials, what was spent."""


def optimized_by(
    optimizer: str, flags: Flags | FlagStore | None = None, *, use_legacy_optimizer: bool | None = None
) -> tuple[Literal["native", "legacy"], str]:
    """Which engine runs an optimizer, and why. What is said for this call outranks the flags."""
    if optimizer in LEGACY_ONLY:
        return "legacy", f"{optimizer} trains weights, which only dspy does"
    if use_legacy_optimizer is not None:
        return ("legacy" if use_legacy_optimizer else "native"), f"{FLAG}={use_legacy_optimizer} for this call"
    current = flags.current if isinstance(flags, FlagStore) else flags
    if current is not None and current.use_legacy_optimizer:
        return "legacy", f"{FLAG}=True"
    return "native", f"{FLAG}=False"


def optimization_job(
    program: ProgramSpec | Module,
    optimizer: str | Any,
    *,
    trainset: Sequence[Example],
    metric: Callable[..., Any] | None = None,
    valset: Sequence[Example] | None = None,
    options: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    lm: LMSettings | BaseLM | None = None,
    flags: Flags | FlagStore | None = None,
    use_legacy_optimizer: bool | None = None,
    budget: Budget | None = None,
    journal: str | os.PathLike[str] | None = None,
    policy: TrialPolicy | None = None,
    pool: PoolOptions | None = None,
) -> OptimizerJob:
    """The job that `optimize` runs, for a supervisor of your own. Parameters and errors as there."""
    by, _ = _engine(optimizer, flags, use_legacy_optimizer)
    given: dict[str, Any] = {"trainset": trainset, **(arguments or {})}
    if valset is not None:
        given["valset"] = valset
    overrides: dict[str, Any] = {}
    model = _model(lm)
    if model is not None:
        overrides["lm"] = model
    if by == "native":
        with engine.context(**overrides):  # some look for the model when they are made
            student, chosen = _native(program), _native_optimizer(optimizer, metric, options)
    else:
        student, chosen = _legacy(program, optimizer, metric, options, pool, lm)
    return OptimizerJob(
        chosen,
        student,
        budget=budget,
        journal=journal,
        policy=policy,
        overrides=overrides,
        name=optimizer if isinstance(optimizer, str) else None,
        **given,
    )


async def optimize(
    program: ProgramSpec | Module,
    optimizer: str | Any,
    *,
    trainset: Sequence[Example],
    metric: Callable[..., Any] | None = None,
    valset: Sequence[Example] | None = None,
    options: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    lm: LMSettings | BaseLM | None = None,
    flags: Flags | FlagStore | None = None,
    use_legacy_optimizer: bool | None = None,
    budget: Budget | None = None,
    journal: str | os.PathLike[str] | None = None,
    policy: TrialPolicy | None = None,
    pool: PoolOptions | None = None,
    on_progress: Callable[[JobStatus], object] | None = None,
    runtime: Runtime | None = None,
) -> Optimized:
    """Optimize a program: in the runtime that this code runs in, or else in one of its own.

    Args:
        program: with the sides that the engine of the flag needs. A module has a native side only.
        optimizer: by its name, such as "MIPROv2"; or, on the native engine, an optimizer object.
        metric: `metric(example, prediction, trace=None)`, in this process whichever engine optimizes.
        options: further arguments of the optimizer's constructor.
        arguments: further arguments of its `compile`.
        lm: the model to ask; default the one of the settings.
        flags: whose `use_legacy_optimizer` decides. BootstrapFinetune and GRPO are dspy's in any case, and their worker
            asks the model of `lm`, which is an `LMSettings` then, itself.
        use_legacy_optimizer: for this call; it outranks the flags.
        budget, journal, policy: see `OptimizerJob`.
        pool: how the legacy worker is made.
        on_progress, runtime: see `run_job`.

    Raises:
        BadOptimization: an unknown optimizer, or one that cannot be run so; nothing was run.
        BadJob: empty or malformed training set; nothing was run.
        JobStopped: BudgetExhausted, JobCancelled, JobFailed, with the best program so far.
        JournalError: nothing was run.
    Cancelled: the job is; a legacy worker is killed.
    """
    by, reason = _engine(optimizer, flags, use_legacy_optimizer)
    job = optimization_job(
        program,
        optimizer,
        trainset=trainset,
        metric=metric,
        valset=valset,
        options=options,
        arguments=arguments,
        lm=lm,
        flags=flags,
        use_legacy_optimizer=use_legacy_optimizer,
        budget=budget,
        journal=journal,
        policy=policy,
        pool=pool,
    )
    outcome = await run_job(job, on_progress=on_progress, runtime=runtime)
    made = outcome.program
    state = made.dump_state()
    return Optimized(
        engine=by,
        reason=reason,
        program=made if isinstance(made, Module) else None,
        state=state,
        spec=_with_state(program, state) if isinstance(program, ProgramSpec) else None,
        outcome=outcome,
    )


def _engine(
    optimizer: str | Any, flags: Flags | FlagStore | None, said: bool | None
) -> tuple[Literal["native", "legacy"], str]:
    name = optimizer if isinstance(optimizer, str) else type(optimizer).__name__
    return optimized_by(name, flags, use_legacy_optimizer=said)


def _native(program: ProgramSpec | Module) -> Module:
    if isinstance(program, Module):
        return program
    if program.native is None:
        raise BadOptimization(f"program {program.name!r} has no native side: set {FLAG}=True, or give it native=")
    return program.native()


def _native_optimizer(optimizer: str | Any, metric: Callable[..., Any] | None, options: Mapping[str, Any] | None) -> Any:
    if not isinstance(optimizer, str):
        if metric is not None or options:
            raise BadOptimization("metric= and options= are for an optimizer given by name; this one has its own")
        return optimizer
    kind: Any = getattr(engine, optimizer, None)
    if not isinstance(kind, type) or not issubclass(kind, engine.Teleprompter):
        raise BadOptimization(f"the native engine has no optimizer {optimizer!r}")
    chosen = dict(options or {})
    if metric is not None:
        chosen["metric"] = metric
    try:
        return kind(**chosen)
    except (TypeError, ValueError) as error:
        raise BadOptimization(f"{optimizer} is not made of these options: {error}") from error


def _legacy(
    program: ProgramSpec | Module,
    optimizer: str | Any,
    metric: Callable[..., Any] | None,
    options: Mapping[str, Any] | None,
    pool: PoolOptions | None,
    lm: LMSettings | BaseLM | None,
) -> tuple[Module | LegacyStudent, LegacyOptimizer]:
    if not isinstance(optimizer, str):
        raise BadOptimization(
            f"{FLAG}=True runs dspy's optimizer in another process: give it by name, {type(optimizer).__name__!r}, with "
            "metric= and options="
        )
    if optimizer not in LEGACY_OPTIMIZERS:
        raise BadOptimization(
            f"{optimizer!r} is not run in the legacy pool; there are: {', '.join(sorted(LEGACY_OPTIMIZERS))}"
        )
    if isinstance(program, Module) or program.legacy is None:
        raise BadOptimization(
            "dspy cannot make this program: give a ProgramSpec with a legacy side (ProgramSpec.of_signature, of_factory)"
        )
    own: LMSettings | None = None
    if optimizer in LEGACY_ONLY:
        if not isinstance(lm, LMSettings):
            raise BadOptimization(f"{optimizer} trains weights of a model: give lm=LMSettings(...), which its worker uses")
        own = lm
    student: Module | LegacyStudent
    student = program.native() if program.native is not None else LegacyStudent(program.legacy.state)
    return student, LegacyOptimizer(optimizer, program.legacy, metric=metric, options=options, pool=pool, lm=own)


def _model(lm: LMSettings | BaseLM | None) -> BaseLM | None:
    if not isinstance(lm, LMSettings):
        return lm
    options: dict[str, Any] = dict(lm.options)
    return engine.LM(lm.model, api_base=lm.api_base, api_key=lm.api_key, cache=lm.cache, **options)


def _with_state(program: ProgramSpec, state: Mapping[str, Any]) -> ProgramSpec:
    make = program.native
    native: Callable[[], Module] | None = None
    if make is not None:

        def build() -> Module:
            made = make()
            made.load_state(state)
            return made

        native = build
    legacy = None if program.legacy is None else replace(program.legacy, state=state)
    return replace(program, native=native, legacy=legacy)
