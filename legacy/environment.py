"""What every process of a pool starts with: the program, the environment, and which dspy is welcome."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .errors import MissingLegacy, WorkerStartFailed
from .specs import PoolOptions
from .worker import wire

__all__ = ["WORKER_PROGRAM", "check_hello", "worker_environment"]

WORKER_PROGRAM = Path(__file__).parent / "worker" / "main.py"

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

_SUPPORTED = ((2, 6), (4, 0))
"""dspy versions that the worker's code was written for: from the first, below the second."""


def worker_environment(options: PoolOptions) -> dict[str, str]:
    """The options' environment, or a copy of this process's, with what must be set before an interpreter starts."""
    environment = dict(os.environ if options.env is None else options.env)
    for name in _ONE_THREAD:
        environment[name] = "1"
    # dspy fetches a price list of models from the network in the first request, unless told to use its own copy.
    environment.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    return environment


def check_hello(who: str, options: PoolOptions, hello: dict[str, Any]) -> str:
    """The dspy version that a worker or template says it has; "" for a checkout without metadata.

    Raises `WorkerStartFailed` for another protocol or a dspy out of bounds, `MissingLegacy` for none.
    """
    protocol = hello.get("protocol")
    if protocol != wire.PROTOCOL_VERSION:
        raise WorkerStartFailed(who, f"it speaks protocol {protocol!r} and this is {wire.PROTOCOL_VERSION}")
    version = hello.get("dspy")
    if version is None:
        raise MissingLegacy(
            options.python, f"ModuleNotFoundError: No module named 'dspy' in {hello.get('executable')}"
        )
    if version and not _SUPPORTED[0] <= _release(str(version)) < _SUPPORTED[1]:
        bounds = " up to, without, ".join(".".join(map(str, bound)) for bound in _SUPPORTED)
        raise WorkerStartFailed(who, f"its dspy is {version} and the pool works with {bounds}")
    return str(version)


def _release(version: str) -> tuple[int, ...]:
    """(3, 4) of "3.4.1rc2"; () of what is no version."""
    numbers: list[int] = []
    for part in version.split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
