"""The real `dspy`, in a supervised pool of worker processes.

    async with open_runtime() as rt:
        options = PoolOptions({"qa": SignatureProgram("question -> answer")}, lm=LMSettings("openai/gpt-4o-mini"))
        pool = await start_legacy_pool(rt, options)
        result = await pool.within(30).call(LegacyPool.run, "qa", {"question": "Why?"})

This process never imports dspy; only the workers do, under the interpreter that the options name.
"""

from .errors import (
    FrameTooLarge,
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    ProtocolError,
    RemoteError,
    UnknownProgram,
    Unserializable,
    WorkerCrashed,
    WorkerStartFailed,
)
from .pool import LegacyPool
from .results import LegacyResult, PoolStatistics, WorkerStatistics
from .specs import ImportedProgram, LMSettings, PoolOptions, Program, SignatureProgram
from .tree import legacy_pool_spec, legacy_supervisor, start_legacy_pool

__all__ = [
    "FrameTooLarge",
    "ImportedProgram",
    "LMSettings",
    "LegacyError",
    "LegacyPool",
    "LegacyResult",
    "LegacyTimeout",
    "MissingLegacy",
    "PoisonRequest",
    "PoolOptions",
    "PoolOverloaded",
    "PoolStatistics",
    "PoolUnavailable",
    "Program",
    "ProtocolError",
    "RemoteError",
    "SignatureProgram",
    "UnknownProgram",
    "Unserializable",
    "WorkerCrashed",
    "WorkerStartFailed",
    "WorkerStatistics",
    "legacy_pool_spec",
    "legacy_supervisor",
    "start_legacy_pool",
]
