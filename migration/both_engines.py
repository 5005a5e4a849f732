"""Both engines of one program, open side by side, each asked one question at a time and measured by the same clock.

The native one is a `ProgramActor` that also counts its calls of language models; the legacy one is a pool of workers with the
real dspy. They ask the same model, each with its own client, and no cache of either answers for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast, final

from ..engine import LM, BaseCallback, Prediction, context, settings
from ..engine.actors import ProgramActor
from ..engine.lm.local import LocalModel, LocalModelError, LocalModelSpec
from ..legacy import (
    LegacyError,
    LegacyPool,
    LegacyResult,
    LMSettings,
    MissingLegacy,
    PoolOptions,
    RemoteError,
    start_legacy_pool,
)
from ..router import Engine
from ..runtime import CallTimeout, NamedRef, Ref, Runtime, StartFailed, open_runtime
from .compared_program import ComparedProgram
from .comparison_report import Memory
from .errors import EngineNotStarted
from .process_memory import parent_of, pss_bytes, rss_bytes

_READY: Final = 120.0
"""Seconds that workers get to import dspy."""


@final
@dataclass(frozen=True, slots=True)
class Answered:
    """One engine's end of one question."""

    seconds: float
    prediction: Prediction | None
    """None: it failed."""
    error: str = ""
    """The class of the error; of a worker's program, of what it raised."""
    message: str = ""
    lm_calls: int | None = None
    tokens: Mapping[str, Any] = field(default_factory=dict[str, Any])


@final
class _Calls(BaseCallback):
    """Counts the answers of language models."""

    def __init__(self) -> None:
        self.answered = 0

    def on_lm_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        self.answered += exception is None


@final
class MeasuredProgram(ProgramActor):
    """A program as an actor that says what each answer took."""

    async def measured(self, inputs: Mapping[str, object]) -> tuple[Prediction, int]:
        """As `run`, with the number of language model answers. Raises what `run` raises."""
        calls = _Calls()
        with context(callbacks=[*(settings.callbacks or ()), calls]):
            prediction = await self.run(inputs)
        return prediction, calls.answered


@final
class BothEngines:
    """Made by `open_both`."""

    def __init__(
        self,
        rt: Runtime,
        native: Ref[MeasuredProgram],
        pool: NamedRef[LegacyPool],
        program: str,
        rss_before: int | None,
    ) -> None:
        self._rt = rt
        self._native = native
        self._pool = pool
        self._program = program
        self._rss_before = rss_before

    async def ask(self, engine: Engine, inputs: Mapping[str, object], within: float) -> Answered:
        """Ask one engine. What it fails with is part of what it gives; only cancellation is raised."""
        began = self._rt.now()
        try:
            if engine == "native":
                prediction, calls = await self._native.within(within).call(MeasuredProgram.measured, inputs)
                tokens: Mapping[str, Any] = prediction.get_lm_usage() or {}
                return Answered(self._rt.now() - began, prediction, lm_calls=calls, tokens=tokens)
            result: LegacyResult = await self._pool.within(within).call(LegacyPool.run, self._program, inputs)
            took = self._rt.now() - began
            values = cast("Mapping[str, Any]", result.values)
            return Answered(took, Prediction(**values), lm_calls=result.lm_calls, tokens=result.usage)
        except Exception as error:  # whatever a program raises is what is to be found out
            named = error.type_name if isinstance(error, RemoteError) else type(error).__name__
            return Answered(self._rt.now() - began, None, named, str(error))

    async def memory(self) -> Memory:
        """What both hold now."""
        told = await self._pool.within(10.0).call(LegacyPool.statistics)
        pids = [worker.pid for worker in told.workers if worker.pid]
        warden = next((parent_of(pid) for pid in pids), None) if told.start == "fork" else None
        return Memory(
            self._rss_before,
            rss_bytes(),
            _sum([rss_bytes(pid) for pid in pids]),
            _sum([pss_bytes(pid) for pid in pids]),
            None if warden is None else rss_bytes(warden),
            len(pids),
        )

    async def dspy_version(self) -> str:
        """Of the workers."""
        told = await self._pool.within(10.0).call(LegacyPool.statistics)
        return next((worker.dspy for worker in told.workers), "")


@asynccontextmanager
async def open_both(
    program: ComparedProgram,
    *,
    lm: LMSettings | None,
    local: LocalModelSpec | None,
    pool: PoolOptions | None,
    concurrency: int,
) -> AsyncGenerator[BothEngines]:
    """Start both engines, and the local model where there is one; they are gone when the block is left.

    Raises MissingLegacy if the workers' interpreter has no dspy, and EngineNotStarted for all else that keeps one from it.
    """
    make, legacy = program.spec.native, program.spec.legacy
    assert make is not None
    assert legacy is not None
    before = rss_bytes()
    async with open_runtime() as rt:
        if local is not None:
            try:
                await rt.start(LocalModel(local))
            except (StartFailed, LocalModelError) as error:
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
                raise EngineNotStarted("model", cause, "check it by: dspex doctor") from error
        try:
            native_lm = None if lm is None else _native_lm(lm)
            actor = MeasuredProgram(make(), concurrency=concurrency, lm=native_lm, track_usage=True)
            native = await rt.start(actor)
        except (StartFailed, ImportError, ValueError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise EngineNotStarted(
                "native", cause, "check model, key and extras by: dspex doctor --model ..."
            ) from error
        options = pool or PoolOptions({"program": legacy}, workers=concurrency)
        options = _with_program(options, program, lm)
        try:
            ref = await start_legacy_pool(rt, options)
            await ref.within(_READY).call(LegacyPool.wait_ready, options.workers)
        except MissingLegacy:
            raise
        except (LegacyError, StartFailed, CallTimeout) as error:
            raise EngineNotStarted("legacy", error, "look at its workers by: dspex doctor --python ...") from error
        yield BothEngines(rt, native, ref, program.spec.name, before)


def _with_program(options: PoolOptions, program: ComparedProgram, lm: LMSettings | None) -> PoolOptions:
    legacy = program.spec.legacy
    assert legacy is not None
    paths = tuple(dict.fromkeys([*options.import_paths, *program.import_paths]))
    return replace(options, programs={program.spec.name: legacy}, lm=lm, import_paths=paths)


def _native_lm(settings: LMSettings) -> LM:
    options: dict[str, Any] = dict(settings.options)
    return LM(settings.model, api_base=settings.api_base, api_key=settings.api_key, cache=settings.cache, **options)


def _sum(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None
