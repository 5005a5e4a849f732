"""What a pool is told when it is made: its programs, its language model, its workers. All of it frozen data.

The programs declared here are the only ones that its workers ever load: a request names one of them, and neither
requests nor replies can make a worker import anything else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from .callables import HostCallable, LMServer, describe
from .frames import DEFAULT_FRAME_LIMIT
from .policies import BreakerPolicy, Overflow, RecyclingPolicy, RetryPolicy, ScalingPolicy, SessionPolicy

__all__ = ["CompileProgram", "ImportedProgram", "LMSettings", "PoolOptions", "Program", "SignatureProgram", "worker_names"]



def _no_text(name: str, value: object) -> None:
    """A str is a sequence of letters, which is never what was meant."""
    if isinstance(value, str):
        raise TypeError(f"{name} is a tuple: write ({value!r},)")


_NONE: Mapping[str, object] = MappingProxyType({})
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class SignatureProgram:
    """One dspy predictor around a signature string: `SignatureProgram("question -> answer")`."""

    signature: str
    module: Literal["Predict", "ChainOfThought", "ReAct"] = "Predict"
    instructions: str | None = None
    tools: tuple[str, ...] = ()
    """For ReAct: names in `PoolOptions.callables`. The tools run in this process, the agent in the worker."""
    state: Mapping[str, object] | None = None
    """A saved dspy state (what `program.save("x.json")` writes). An LM in it wins over the request's, as in dspy."""
    idempotent: bool = False
    """Running it twice does no more harm than running it once. True lets the pool repeat it when a worker crashed."""

    def __post_init__(self) -> None:
        if not isinstance(self.signature, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(
                f"a signature is a str as 'question -> answer', not {type(self.signature).__name__}; "
                "a class of your own is named by ImportedProgram"
            )
        if self.module not in ("Predict", "ChainOfThought", "ReAct"):
            raise ValueError(
                f"module must be 'Predict', 'ChainOfThought' or 'ReAct', not {self.module!r}; others by ImportedProgram"
            )
        _no_text("SignatureProgram.tools", self.tools)

    def as_message(self) -> dict[str, object]:
        return {
            "kind": "signature",
            "signature": self.signature,
            "module": self.module,
            "instructions": self.instructions,
            "tools": list(self.tools),
            "state": None if self.state is None else dict(self.state),
        }


@dataclass(frozen=True, slots=True)
class ImportedProgram:
    """A program of the user's own code: `ImportedProgram("shop.answers:build")`.

    The name after the colon is a `dspy.Module` instance, or a class or function that returns one when called without
    arguments, or with `dspy` as its only one (a program written for either engine). The
    worker must be able to import the module: see `PoolOptions.import_paths`.
    """

    path: str
    state: Mapping[str, object] | None = None
    """As in `SignatureProgram`."""
    idempotent: bool = False
    """As in `SignatureProgram`."""

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not _IMPORT_PATH.fullmatch(self.path):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"{self.path!r} is no import path; write 'package.module:name'")

    def as_message(self) -> dict[str, object]:
        return {"kind": "import", "path": self.path, "state": None if self.state is None else dict(self.state)}


@dataclass(frozen=True, slots=True)
class CompileProgram:
    """dspy's optimizers at work on a program: each request is one `compile`, see `worker/compiling.py` for its inputs.

    Metric and trials are `PoolOptions.callables` of the names given there; the model is the request's.
    """

    student: SignatureProgram | ImportedProgram
    idempotent: bool = False
    """As in `SignatureProgram`."""

    def as_message(self) -> dict[str, object]:
        return {"kind": "compile", "student": self.student.as_message()}


Program = SignatureProgram | ImportedProgram | CompileProgram


@dataclass(frozen=True, slots=True)
class LMSettings:
    """The arguments of `dspy.LM`, told to the worker over its private channel with each request. Making one calls
    nothing.

    The worker keeps one `dspy.LM` per distinct settings and applies it by `dspy.context`. Where the worker's dspy has
    an engine of its own (3.4 on), it is used, so that litellm is never imported; `options={"engine": "auto"}` allows
    litellm.
    """

    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    cache: bool = True
    """dspy's response cache, as in dspy on by default; what it reaches is `PoolOptions.cache_dir`'s business."""
    host: bool = False
    """True: the worker's calls to the model come back to this process, to `PoolOptions.lm_server`, where keys, rate limits,
    cache and usage are kept in one place. `api_base` and `api_key` are not used then."""
    options: Mapping[str, object] = field(default_factory=lambda: _NONE, repr=False)
    """Further keyword arguments: temperature, max_tokens, timeout (seconds), num_retries, ..."""

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"LMSettings.model is a non-empty str as 'openai/gpt-4o-mini', not {self.model!r}")

    def as_message(self) -> dict[str, object]:
        return {
            "model": self.model,
            "api_base": self.api_base,
            "api_key": self.api_key,
            "cache": self.cache,
            "host": self.host,
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many workers a pool has, what they run, and what it bears. Times are seconds, sizes are bytes."""

    programs: Mapping[str, Program]
    lm: LMSettings | None = None
    """For requests that bring none of their own."""
    workers: int = 2
    """Processes that are always there."""
    max_workers: int | None = None
    """Processes that there may be when requests wait too long (`scaling`); None: `workers`, so that nothing is scaled."""
    scaling: ScalingPolicy = field(default_factory=ScalingPolicy)
    queue: int = 256
    """Requests that may wait for a worker."""
    overflow: Overflow = "reject"
    """What happens to one more: "reject": `PoolOverloaded`. "wait": it waits outside of the queue until its deadline, and
    takes a place when there is one. "shed_oldest": it takes the place of the one that has waited longest, which is refused."""
    max_in_flight: int = 1
    """Requests in one worker's hands: one runs, the rest are there already when it ends, and are taken back if it does
    not. More than 1 makes short programs faster (about twice) and a slow program delay what was given to its worker."""
    max_kills: int = 2
    """A request that was in a worker's hands at so many crashes is refused as poison, however idempotent; and so is an
    equal one (same program, same inputs) for `quarantine_seconds`."""
    quarantine_seconds: float = 300.0
    breaker: BreakerPolicy | None = field(default_factory=BreakerPolicy)
    """When a program is not given to workers because it crashed them; None: never."""
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    recycling: RecyclingPolicy = field(default_factory=RecyclingPolicy)
    sessions: SessionPolicy = field(default_factory=SessionPolicy)
    cancel_grace: float = 1.0
    """A program whose caller went away is interrupted, and gets so many seconds to unwind; then its worker is killed.
    0: it is killed at once."""
    callables: Mapping[str, HostCallable] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """What programs may call in this process (tools, metrics): plain functions run in a thread, async ones on the loop."""
    lm_server: LMServer | None = field(default=None, repr=False)
    """Serves the model calls of requests whose `LMSettings.host` is true."""
    start: Literal["auto", "fork", "spawn"] = "auto"
    """"fork": workers come from a warden that has imported dspy once (Linux): about 10 ms and 10 MB each. "spawn": each
    imports dspy for itself. "auto": fork where it is possible and safe; `PoolStatistics.start` says which it became."""
    warm: bool = True
    """Whether the warden also pays what a first prediction costs, by making one with a stub for a language model."""
    preload: tuple[str, ...] = ()
    """Modules that the warden imports too. They must start no thread and open no connection."""
    python: str = sys.executable
    """The interpreter of the workers: of this environment, or of another with its own dspy (2.6 up to 3.x)."""
    import_paths: tuple[str, ...] = ()
    """Put before the workers' `sys.path`, for programs that are not installed in `python`'s environment."""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """The workers' environment instead of this process's. Thread counts of numeric libraries are set to 1 in either."""
    cache_dir: str | None = None
    """Directory of dspy's disk cache, shared by the workers; None: no disk cache, a memory cache in each worker. Where it
    cannot be opened (a full disk) workers serve without it, and an event `legacy.worker.uncached` says so."""
    cache_bytes: int = 1_000_000_000
    """Bound of that directory."""
    concurrent_starts: int = 2
    """Workers that import dspy at the same time; it costs about 1.5 s of a core and 65 MB each."""
    start_timeout: float = 60.0
    """From the start of one worker's import of dspy until it is ready; also for its first sign of life."""
    heartbeat: float = 5.0
    """Between two pings."""
    heartbeat_timeout: float = 30.0
    """A worker that has been silent for so long is taken for dead, and killed."""
    stop_grace: float = 1.0
    """An idle worker gets so long to end by itself when it is stopped; then it is killed."""
    frame_limit: int = DEFAULT_FRAME_LIMIT
    """Of one request or reply."""
    script: str | None = field(default=None, repr=False)
    """The worker's program instead of ours: for tests of what a broken worker does."""

    def __post_init__(self) -> None:
        for name in ("workers", "queue", "max_kills", "concurrent_starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"PoolOptions.{name} must be at least 1, not {getattr(self, name)}")
        if self.max_in_flight < 1:
            raise ValueError(f"PoolOptions.max_in_flight must be at least 1, not {self.max_in_flight}")
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(
                f"PoolOptions.max_workers must be at least workers ({self.workers}), not {self.max_workers}"
            )
        for name in ("cancel_grace", "quarantine_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"PoolOptions.{name} must be 0 or more seconds, not {getattr(self, name)}")
        if self.overflow not in get_args(Overflow):
            raise ValueError(f"PoolOptions.overflow must be one of {get_args(Overflow)}, not {self.overflow!r}")
        if self.start not in ("auto", "fork", "spawn"):
            raise ValueError(f"PoolOptions.start must be 'auto', 'fork' or 'spawn', not {self.start!r}")
        _no_text("PoolOptions.import_paths", self.import_paths)
        _no_text("PoolOptions.preload", self.preload)
        for name, program in self.programs.items():
            if not isinstance(program, SignatureProgram | ImportedProgram | CompileProgram):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"program {name!r} must be a SignatureProgram(...) or an ImportedProgram(...), "
                    f"not {type(program).__name__}"
                )
            missing = [tool for tool in getattr(program, "tools", ()) if tool not in self.callables]
            if missing:
                raise ValueError(f"program {name!r} names the tools {missing}, which are not in PoolOptions.callables")
        if self.lm is not None and self.lm.host and self.lm_server is None:
            raise ValueError("PoolOptions.lm has host=True: give the pool an lm_server that answers its calls")
        for name in ("start_timeout", "heartbeat", "heartbeat_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"PoolOptions.{name} must be more than 0 seconds, not {getattr(self, name)}")
        if self.heartbeat_timeout <= self.heartbeat:
            raise ValueError(
                "PoolOptions.heartbeat_timeout must be longer than heartbeat: silence is normal in between"
            )
        if not 1024 <= self.frame_limit < 2**31:
            raise ValueError(
                f"PoolOptions.frame_limit must be between 1024 and {2**31 - 1} bytes, not {self.frame_limit}"
            )
        if not self.programs:
            raise ValueError(
                "PoolOptions.programs is empty: name at least one program, for example "
                '{"qa": SignatureProgram("question -> answer")}'
            )


    def tool_descriptions(self) -> dict[str, dict[str, object]]:
        """What an agent in a worker is told of the callables."""
        return {name: describe(function) for name, function in self.callables.items()}

    @property
    def slots(self) -> int:
        """The most processes that serve at a time."""
        return self.workers if self.max_workers is None else self.max_workers


def worker_names(pool: str, options: PoolOptions) -> list[str]:
    """The registered names of a pool's workers, by which the two find each other after a restart of either."""
    return [f"{pool}.worker-{number}" for number in range(1, options.slots + 1)]
