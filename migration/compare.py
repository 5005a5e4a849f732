"""`benchmark_native_vs_legacy`: one program on both engines, with the same data and the same model, as evidence.

    report = benchmark_native_vs_legacy("shop.answers:qa", rows, lm=LMSettings("openai/gpt-4o-mini", cache=False))
    report.parity                                    # 97.5% [92.9%, 99.1%]
    report.engines["native"].latency(95), report.engines["legacy"].lm_calls
    report.is_at_least(0.9)                          # by the lower bound

Row by row both engines are asked in turn, first the one and then the other, so that whatever the machine and the provider do
meanwhile they do to both. Each gets one question beforehand that is not counted (`warmup`): what a first call costs is paid
once, in a service too. Answers are compared by the metric as they come, so that a metric that fails does so at the first row.

A model that is asked twice may answer twice: `repeat=2` also shows how far each engine agrees with itself, which bounds how
far the two can agree. `LMSettings(..., options={"temperature": 0})` keeps that apart from what is to be found out.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

import anyio

from ..engine.lm.local import LocalModelSpec
from ..engine.sync import SyncInsideLoopError
from ..legacy import LMSettings, PoolOptions
from ..router import Metric, ProgramSpec, fields_equal
from ..router.comparison import TOLERANCE
from .both_engines import open_both
from .compared_program import ComparedProgram, compared_program
from .comparison_data import rows_of
from .comparison_report import ENGINES, ComparisonReport
from .comparison_run import Judge, Progress, Run
from .comparison_tally import Tally
from .errors import NotComparable

__all__ = ["abenchmark_native_vs_legacy", "benchmark_native_vs_legacy"]

DIFFERENCES: Final = 100
"""Rows that a report shows in full, of those that differ."""


def benchmark_native_vs_legacy(
    program: str | ProgramSpec | ComparedProgram,
    test_data: Iterable[object],
    *,
    lm: LMSettings | None = None,
    local: LocalModelSpec | None = None,
    metric: Metric | None = None,
    tolerance: float = TOLERANCE,
    ignore: Sequence[str] = ("reasoning",),
    module: Literal["Predict", "ChainOfThought"] = "Predict",
    state: Mapping[str, object] | None = None,
    inputs: Sequence[str] | None = None,
    repeat: int = 1,
    concurrency: int = 1,
    warmup: int = 1,
    within: float = 60.0,
    confidence: float = 0.95,
    pool: PoolOptions | None = None,
    progress: Progress | None = None,
) -> ComparisonReport:
    """Run a program on both engines with the same data and model. Blocks; see `abenchmark_native_vs_legacy`.

    Raises SyncInsideLoopError on a running event loop: await the other one there.
    """
    work = partial(
        abenchmark_native_vs_legacy,
        program,
        test_data,
        lm=lm,
        local=local,
        metric=metric,
        tolerance=tolerance,
        ignore=ignore,
        module=module,
        state=state,
        inputs=inputs,
        repeat=repeat,
        concurrency=concurrency,
        warmup=warmup,
        within=within,
        confidence=confidence,
        pool=pool,
        progress=progress,
    )
    try:
        anyio.get_current_task()
    except RuntimeError:  # no loop runs here
        return anyio.run(work)
    raise SyncInsideLoopError("an event loop runs in this thread: await abenchmark_native_vs_legacy(...) instead")


async def abenchmark_native_vs_legacy(
    program: str | ProgramSpec | ComparedProgram,
    test_data: Iterable[object],
    *,
    lm: LMSettings | None = None,
    local: LocalModelSpec | None = None,
    metric: Metric | None = None,
    tolerance: float = TOLERANCE,
    ignore: Sequence[str] = ("reasoning",),
    module: Literal["Predict", "ChainOfThought"] = "Predict",
    state: Mapping[str, object] | None = None,
    inputs: Sequence[str] | None = None,
    repeat: int = 1,
    concurrency: int = 1,
    warmup: int = 1,
    within: float = 60.0,
    confidence: float = 0.95,
    pool: PoolOptions | None = None,
    progress: Progress | None = None,
) -> ComparisonReport:
    """Run a program on both engines with the same data and model, and say how they compare.

    Args:
        program: the import path of a program, a factory or a `ProgramSpec`; a signature, with ``module``; a spec; or
            what `compared_program` made of one of these.
        test_data: mappings or examples, see `comparison_data`. What they expect is compared too, where they do.
        lm: the model of both engines. A cache would answer for the second: ``cache=False`` is used whatever it says. With
            ``local`` it may be left out; without either, each engine uses what the program itself brings.
        local: a model on this machine, served while the comparison runs.
        metric: ``(legacy, native)`` to a bool, a number from 0 to 1, or these by field; may be async. By default fields
            are equal or not. Against expected outputs it is given ``(expected, answer)``.
        tolerance: without a metric, the relative difference up to which numbers are equal.
        ignore: without a metric, the outputs that may differ.
        state: of the program, as ``program.save`` wrote it.
        inputs: which names of a row are inputs, where the program does not say.
        repeat: how often each row is asked of each engine.
        concurrency: rows at a time. Above 1, latencies are those under that load; the pool has so many workers.
        warmup: first questions that are not counted.
        within: seconds for one question of one engine.
        confidence: of all intervals.
        pool: everything else about the workers: their interpreter, environment, paths.
        progress: called with questions done and in all, each being one row on both engines.

    Raises:
        ProgramNotFound, NotComparable, BadData: before anything is started.
        MissingLegacy, EngineNotStarted: an engine cannot be had; nothing was asked.
        NotComparable: the metric failed. What the programs raise is counted, not raised.

    Cancelled: both engines stop, and nothing is left behind.
    """
    _check(repeat, concurrency, warmup, within, confidence)
    compared = compared_program(program, module=module, state=state)
    rows = rows_of(test_data, compared, inputs=inputs)
    if lm is None and local is not None:
        lm = LMSettings(f"openai/{local.name}", api_base=local.base_url, api_key="local")
    if lm is not None:
        if lm.host:
            raise NotComparable("LMSettings(host=True) has the native client ask for both engines: compare without it")
        lm = replace(lm, cache=False)
    began = time.perf_counter()
    async with open_both(compared, lm=lm, local=local, pool=pool, concurrency=concurrency) as engines:
        for row in rows[:warmup]:
            for engine in ENGINES:
                await engines.ask(engine, row.inputs, within)
        judge = Judge(metric, fields_equal(tolerance=tolerance, ignore=ignore))
        run = Run(engines, rows, judge, repeat=repeat, within=within, progress=progress)
        await run.all(concurrency)
        memory = await engines.memory()
        dspy = await engines.dspy_version()
    tally = Tally(rows, run.pairs, confidence)
    return ComparisonReport(
        program=compared.shown,
        model=None if lm is None else lm.model,
        rows=len(rows),
        repeat=repeat,
        concurrency=concurrency,
        confidence=confidence,
        parity=tally.parity(),
        fields=tally.fields(),
        failed_on_both=tally.failed_on_both(),
        engines={engine: tally.figures(engine) for engine in ENGINES},
        memory=memory,
        differences=tuple(tally.differences()[:DIFFERENCES]),
        different=len(tally.differences()),
        seconds=time.perf_counter() - began,
        versions={"dspex": _version(), "dspy": dspy, "python": platform.python_version()},
    )


def _check(repeat: int, concurrency: int, warmup: int, within: float, confidence: float) -> None:
    counts = {"repeat": (repeat, 1), "concurrency": (concurrency, 1), "warmup": (warmup, 0)}
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NotComparable(f"{name} counts, from {least} on, and is not {value!r}")
    if not within > 0:
        raise NotComparable(f"within is more than 0 seconds, not {within!r}")
    if not 0 < confidence < 1:
        raise NotComparable(f"confidence is between 0 and 1, as in 0.95, not {confidence!r}")


def _version() -> str:
    try:
        return version("dspex")
    except PackageNotFoundError:  # run from its source
        return ""
