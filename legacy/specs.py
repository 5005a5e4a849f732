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
from typing import Literal

from .frames import DEFAULT_FRAME_LIMIT

__all__ = ["ImportedProgram", "LMSettings", "PoolOptions", "Program", "SignatureProgram", "worker_names"]

_NONE: Mapping[str, object] = MappingProxyType({})
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class SignatureProgram:
    """One dspy predictor around a signature string: `SignatureProgram("question -> answer")`."""

    signature: str
    module: Literal["Predict", "ChainOfThought"] = "Predict"
    instructions: str | None = None
    state: Mapping[str, object] | None = None
    """A saved dspy state (what `program.save("x.json")` writes). An LM in it wins over the request's, as in dspy."""
    idempotent: bool = False
    """Running it twice does no more harm than running it once. True lets the pool repeat it when a worker crashed."""

    def as_message(self) -> dict[str, object]:
        return {
            "kind": "signature",
            "signature": self.signature,
            "module": self.module,
            "instructions": self.instructions,
            "state": None if self.state is None else dict(self.state),
        }


@dataclass(frozen=True, slots=True)
class ImportedProgram:
    """A program of the user's own code: `ImportedProgram("shop.answers:build")`.

    The name after the colon is a `dspy.Module` instance, or a class or function that returns one when called without
    arguments. The worker must be able to import the module: see `PoolOptions.import_paths`.
    """

    path: str
    state: Mapping[str, object] | None = None
    """As in `SignatureProgram`."""
    idempotent: bool = False
    """As in `SignatureProgram`."""

    def __post_init__(self) -> None:
        if not _IMPORT_PATH.fullmatch(self.path):
            raise ValueError(f"{self.path!r} is no import path; write 'package.module:name'")

    def as_message(self) -> dict[str, object]:
        return {"kind": "import", "path": self.path, "state": None if self.state is None else dict(self.state)}


Program = SignatureProgram | ImportedProgram


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
    options: Mapping[str, object] = field(default_factory=lambda: _NONE, repr=False)
    """Further keyword arguments: temperature, max_tokens, timeout (seconds), num_retries, ..."""

    def as_message(self) -> dict[str, object]:
        return {
            "model": self.model,
            "api_base": self.api_base,
            "api_key": self.api_key,
            "cache": self.cache,
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How many workers a pool has, what they run, and what it bears. Times are seconds, sizes are bytes."""

    programs: Mapping[str, Program]
    lm: LMSettings | None = None
    """For requests that bring none of their own."""
    workers: int = 2
    queue: int = 256
    """Requests that may wait for a worker; one more is refused with `PoolOverloaded`."""
    max_kills: int = 2
    """A request that was in a worker's hands at so many crashes is refused as poison, however idempotent."""
    python: str = sys.executable
    """The interpreter of the workers: of this environment, or of another with its own dspy (2.6 up to 3.x)."""
    import_paths: tuple[str, ...] = ()
    """Put before the workers' `sys.path`, for programs that are not installed in `python`'s environment."""
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """The workers' environment instead of this process's. Thread counts of numeric libraries are set to 1 in either."""
    cache_dir: str | None = None
    """Directory of dspy's disk cache, shared by the workers; None: no disk cache, a memory cache in each worker."""
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


def worker_names(pool: str, options: PoolOptions) -> list[str]:
    """The registered names of a pool's workers, by which the two find each other after a restart of either."""
    return [f"{pool}.worker-{number}" for number in range(1, options.workers + 1)]
