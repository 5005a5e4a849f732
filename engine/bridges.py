"""`asyncify` and `syncify`: a program of one world called from the other, as dspy has them.

Native programs need neither: every module has `acall` and can be called. They remain for functions of yours that block,
and for programs written against dspy.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from .module import Module
from .settings import settings
from .sync import run_sync

__all__ = ["asyncify", "syncify"]

M = TypeVar("M", bound=Module)

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("dspex asyncify threads")


def asyncify(program: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """An async function that runs the program in a worker thread, at most `settings.async_max_workers` at a time.

    The settings of the caller hold inside. Cancelled, it returns at once; a program that is blocked on something else
    than a call of the engine goes on in its thread, and its result is dropped.
    """

    async def async_program(*args: Any, **kwargs: Any) -> Any:
        workers: int = settings.async_max_workers
        limiter = _limiter.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(workers)
            _limiter.set(limiter)
        elif limiter.total_tokens != workers:
            limiter.total_tokens = workers
        call = functools.partial(program, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)

    return async_program


def syncify(program: M, in_place: bool = True) -> M | Module:
    """Give a program that has only `aforward` a `forward` that runs it.

    Args:
        in_place: True changes the program and returns it; False returns a wrapper and leaves it as it is.

    Called on a running event loop, the result raises `SyncInsideLoopError`, as every synchronous call.
    """
    if not in_place:
        return _SyncWrapper(program)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run_sync(self.aforward, *args, **kwargs)

    vars(program)["forward"] = MethodType(forward, program)
    return program


class _SyncWrapper(Module):
    def __init__(self, program: Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return run_sync(self.program.aforward, *args, **kwargs)  # type: ignore[attr-defined]
