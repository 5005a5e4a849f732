"""dspy's own optimizers, run in a worker process, as an optimizer that a job of ours can run.

The compile happens in a pool of its own, apart from the one that serves: one worker, which ends with it. Its metric is called
here, and so are its models, under the job's eyes: budget, journal and cancellation hold as for a native optimizer. dspy's
evaluations are the job's trials, with their programs' states, so the best so far is kept whatever becomes of the worker.
"""

from __future__ import annotations

import contextvars
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast, final

import anyio

from ..engine import Example, Module, Prediction, settings
from ..engine.lm import BaseLM
from ..engine.off_loop import call_off_loop
from ..engine.optimizers.trials import plan_trials, report_trial
from ..legacy import (
    CompileProgram,
    ImportedProgram,
    LegacyPool,
    LMCall,
    LMSettings,
    PoolOptions,
    SignatureProgram,
    legacy_supervisor,
)
from ..legacy.results import plain
from ..runtime import NamedRef, current_runtime
from ..runtime.process import BESIDE, CURRENT
from ..runtime.replies import IN_HAND
from .errors import BadOptimization
from .host_lm import answer

__all__ = ["LEGACY_ONLY", "LEGACY_OPTIMIZERS", "LegacyOptimizer", "LegacyStudent"]

LEGACY_ONLY: Final = frozenset({"BootstrapFinetune", "GRPO"})
"""They train weights. The native engine has no part in that."""

LEGACY_OPTIMIZERS: Final = frozenset(
    {
        *("LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "BootstrapFewShotWithOptuna"),
        *("COPRO", "MIPROv2", "SIMBA", "GEPA", "InferRules"),
    }
    | LEGACY_ONLY
)
"""What a worker runs; `legacy/worker/compiling.py` has the same names."""

_THREADS: Final = 30
"""Calls to the host that a worker may have open, with some left over."""

_METRIC, _TRIAL = "dspex.metric", "dspex.trial"
_OF_THE_PROCESS = frozenset[contextvars.ContextVar[Any]]((CURRENT, BESIDE, IN_HAND))
_numbers = itertools.count(1)


@final
class LegacyStudent:
    """The state of a program that has no native side, where an optimizer expects a program."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.state = None if state is None else dict(state)

    def dump_state(self) -> dict[str, Any]:
        """The state; empty as long as there is none."""
        return dict(self.state or {})

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take one over."""
        self.state = dict(state)

    def deepcopy(self) -> LegacyStudent:
        """A copy."""
        return LegacyStudent(self.state)


@final
class LegacyOptimizer:
    """One of dspy's optimizers by name. It has what a job asks of an optimizer: `acompile`."""

    def __init__(
        self,
        name: str,
        program: SignatureProgram | ImportedProgram,
        *,
        metric: Callable[..., Any] | None = None,
        options: Mapping[str, Any] | None = None,
        pool: PoolOptions | None = None,
        lm: LMSettings | None = None,
    ) -> None:
        """Describe it; no process is started.

        Args:
            name: one of `LEGACY_OPTIMIZERS`.
            program: the program as workers make it.
            metric: called in this process, with examples and predictions of the native engine.
            options: further arguments of the optimizer's constructor: plain data.
            pool: how workers are made (`python`, `import_paths`, ...); programs, model and callables in it are replaced.
            lm: the worker asks this model itself, with its own client: nothing of it is counted or journaled. For what
                trains weights. None: the model of the settings here is asked, in this process.

        Raises BadOptimization: unknown name, options that cannot travel.
        """
        if name not in LEGACY_OPTIMIZERS:
            raise BadOptimization(
                f"{name!r} is not run in the legacy pool; there are: {', '.join(sorted(LEGACY_OPTIMIZERS))}"
            )
        self.name = name
        self.program = program
        self.options = dict(options or {})
        self._metric = metric
        if metric is not None:
            self.metric = metric
        self._pool = pool
        self._lm = lm
        for option, value in self.options.items():
            _check_plain(f"option {option!r} of {name}", value)
        threads = self.options.get("num_threads")
        if isinstance(threads, int) and threads > _THREADS:
            raise BadOptimization(f"num_threads={threads}: a worker has at most {_THREADS} calls to its host open")

    async def acompile(
        self,
        student: Module | LegacyStudent,
        *,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
        **arguments: Any,
    ) -> Module | LegacyStudent:
        """Run the compile in a worker and give its state to a copy of the student.

        Args:
            trainset, valset: examples whose fields are plain data.
            **arguments: further ones of `compile`: plain data.

        Raises:
            LegacyError: `RemoteError` for what the optimizer raised, `WorkerCrashed` when its process died,
                `MissingLegacy` without dspy.
            BadOptimization: arguments that cannot travel.
        Cancelled: the worker is interrupted, then killed; no process is left.
        """
        for name, value in arguments.items():
            _check_plain(f"argument {name!r} of compile", value)
        lm = settings.get("lm")
        if self._lm is None and not isinstance(lm, BaseLM):
            raise BadOptimization("there is no model: give lm=, or configure(lm=...)")
        plan_trials(phase=f"{self.name} in dspy")
        full = len(valset) if valset is not None else len(trainset)
        options = self._pool_options(lm, student, full)
        inputs: dict[str, Any] = {
            "optimizer": self.name,
            "options": self.options,
            "arguments": arguments,
            "trainset": [_told(example) for example in trainset],
            "valset": None if valset is None else [_told(example) for example in valset],
            "state": student.dump_state() or None,
            "has_metric": self._metric is not None,
        }
        runtime = current_runtime()
        name = f"optimizer-{next(_numbers)}"
        parent = CURRENT.get()
        supervisor = legacy_supervisor(options, name=name)
        # Under the job, if there is one: the pool ends with it, whatever ends it.
        started = (
            await runtime.start(supervisor)
            if parent is None
            else await runtime.start_under(parent, supervisor)
        )
        try:
            pool: NamedRef[LegacyPool] = runtime.ref(f"{name}.pool")
            result = await pool.within(None).call(LegacyPool.run, "compile", inputs)
        finally:
            with anyio.CancelScope(shield=True):
                if parent is not None:
                    parent.unlink(started.process)
                await started.stop()
        made = student.deepcopy()
        made.load_state(plain(result.values["state"]))
        if isinstance(made, Module):
            made._compiled = True  # pyright: ignore[reportPrivateUsage] - dspy's own flag
        return made

    def _pool_options(self, lm: Any, student: Module | LegacyStudent, full: int) -> PoolOptions:
        programs = {"compile": CompileProgram(self.program)}
        base = self._pool if self._pool is not None else PoolOptions(programs, start="spawn")
        here = contextvars.copy_context()

        async def serve(call: LMCall) -> object:
            _enter(here)
            return await answer(lm, call)

        async def metric(
            example: Any, inputs: Any, prediction: Any, trace: Any, pred_name: Any, pred_trace: Any
        ) -> object:
            _enter(here)
            assert self._metric is not None
            judged = Example(**plain(example)).with_inputs(*inputs)
            given = (judged, Prediction(**plain(prediction)), _trace(trace), pred_name, _trace(pred_trace))
            return _plain_score(await call_off_loop(self._metric, *given[: _takes(self._metric)]))

        async def trial(score: Any, size: Any, state: Any) -> None:
            _enter(here)
            program = student.deepcopy()
            program.load_state(plain(state))
            report_trial(program, score, kind="full" if size == full else "minibatch", size=size, label="evaluated by dspy")

        model = LMSettings(getattr(lm, "model", "host"), host=True) if self._lm is None else self._lm
        return replace(
            base,
            programs=programs,
            lm=model,
            lm_server=serve,
            callables={_METRIC: metric, _TRIAL: trial},
            workers=1,
            max_workers=None,
            breaker=None,
        )


def _enter(there: contextvars.Context) -> None:
    """The settings and the job of who compiles: a worker's questions are answered by the worker's actor."""
    for variable, value in there.items():
        if variable not in _OF_THE_PROCESS:
            variable.set(value)


def _told(example: Example) -> dict[str, Any]:
    try:
        inputs = list(example.inputs().keys())
    except ValueError:  # LabeledFewShot does not ask
        inputs = None
    return {"fields": example.toDict(), "inputs": inputs}


def _trace(steps: Any) -> list[Any] | None:
    """dspy's trace with names in the predictors' place: nothing of the other process can be called here."""
    if steps is None:
        return None
    return [(None, plain(inputs), Prediction(**plain(outputs))) for inputs, outputs in steps]


def _takes(function: Callable[..., Any]) -> int:
    """How many of the five arguments of a metric it takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 3
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 5
    return min(5, sum(each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD) for each in parameters))


def _plain_score(score: Any) -> object:
    if isinstance(score, Prediction | Example):
        return dict(score.items())
    return score.item() if hasattr(score, "item") else score


def _check_plain(what: str, value: object) -> None:
    if value is None or isinstance(value, bool | int | float | str):
        return
    if isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            _check_plain(what, item)
        return
    if isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            _check_plain(what, item)
        return
    raise BadOptimization(
        f"{what} is a {type(value).__name__}, which cannot go to another process: give numbers, texts, lists and dicts. "
        "(Models cannot: the optimizer asks the one of the settings.)"
    )
