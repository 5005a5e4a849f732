"""The real `dspy`, in a supervised pool of worker processes.

    async with open_runtime() as rt:
        options = PoolOptions({"qa": SignatureProgram("question -> answer")}, lm=LMSettings("openai/gpt-4o-mini"))
        pool = await start_legacy_pool(rt, options)
        result = await pool.within(30).call(LegacyPool.run, "qa", {"question": "Why?"})

This process never imports dspy; only the workers do, under the interpreter that the options name. On Linux they are forked
from one that has imported it already (`worker/warden.py`), elsewhere each imports it for itself.
"""

from .callables import HostCallable, LMCall, LMServer
from .errors import (
    CircuitOpen,
    FrameTooLarge,
    LegacyError,
    LegacyTimeout,
    MissingLegacy,
    PoisonRequest,
    PoolOverloaded,
    PoolUnavailable,
    ProtocolError,
    RemoteError,
    RequestCancelled,
    SessionBusy,
    SessionError,
    SessionLimit,
    SessionLost,
    UnknownProgram,
    UnknownSession,
    Unserializable,
    WorkerCrashed,
    WorkerStartFailed,
)
from .messages import Chunk
from .policies import BreakerPolicy, RecyclingPolicy, RetryPolicy, ScalingPolicy, SessionPolicy
from .pool import LegacyPool
from .results import LegacyResult, PoolStatistics, WorkerStatistics
from .specs import (
    CompileProgram,
    ImportedProgram,
    LMSettings,
    PoolOptions,
    Program,
    SignatureProgram,
    worker_names,
)
from .streams import LegacyStream, open_stream
from .tracing import RequestTracer, SpanBegan, SpanEnded
from .tree import legacy_pool_spec, legacy_supervisor, start_legacy_pool
from .worker.wire import Array, Typed

__all__ = [
    "Array",
    "BreakerPolicy",
    "Chunk",
    "CircuitOpen",
    "CompileProgram",
    "FrameTooLarge",
    "HostCallable",
    "ImportedProgram",
    "LMCall",
    "LMServer",
    "LMSettings",
    "LegacyError",
    "LegacyPool",
    "LegacyResult",
    "LegacyStream",
    "LegacyTimeout",
    "MissingLegacy",
    "PoisonRequest",
    "PoolOptions",
    "PoolOverloaded",
    "PoolStatistics",
    "PoolUnavailable",
    "Program",
    "ProtocolError",
    "RecyclingPolicy",
    "RemoteError",
    "RequestCancelled",
    "RequestTracer",
    "RetryPolicy",
    "ScalingPolicy",
    "SessionBusy",
    "SessionError",
    "SessionLimit",
    "SessionLost",
    "SessionPolicy",
    "SignatureProgram",
    "SpanBegan",
    "SpanEnded",
    "Typed",
    "UnknownProgram",
    "UnknownSession",
    "Unserializable",
    "WorkerCrashed",
    "WorkerStartFailed",
    "WorkerStatistics",
    "legacy_pool_spec",
    "legacy_supervisor",
    "open_stream",
    "start_legacy_pool",
    "worker_names",
]
