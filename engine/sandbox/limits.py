"""How much a sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SandboxLimits"]


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Bounds of one sandbox. A bound on time or memory that is hit is an error the code can be told of
    (TimeoutError, MemoryError); code that does not stop then is killed with its process.
    """

    seconds: float = 60.0
    """Wall-clock time of one execution. Waiting for host tools does not count."""
    cpu_seconds: int = 60
    """Processor time of one execution, all threads together."""
    session_cpu_seconds: int = 3600
    """Processor time of the process from start to end; the kernel kills it then."""
    memory_bytes: int = 1 << 30
    """Address space of the process, the interpreter (about 60 MB) included."""
    output_bytes: int = 1 << 20
    """Printed text that is kept of one execution; the rest is counted and dropped."""
    tools_at_once: int = 64
    """Calls of host tools that threads of the code may have open together."""
    message_bytes: int = 64 << 20
    """One result, or the arguments of one tool call."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"SandboxLimits.{name} must be positive, not {getattr(self, name)!r}")
