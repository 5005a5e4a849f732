"""`Ensemble`: several programs asked the same, and one answer made of theirs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from ..module import Module
from ..off_loop import ask
from .teleprompter import Teleprompter

__all__ = ["Ensemble"]


class EnsembledProgram(Module):
    """What `Ensemble` makes."""

    def __init__(
        self, programs: Sequence[Any], reduce_fn: Callable[[list[Any]], Any] | None = None, size: int | None = None
    ) -> None:
        super().__init__()
        self.programs = programs
        self._reduce = reduce_fn
        self._size = size

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the programs, or `size` of them drawn at random, at the same time. The first error ends it."""
        chosen = random.sample(list(self.programs), self._size) if self._size else list(self.programs)
        outputs: list[Any] = [None] * len(chosen)
        failed: list[Exception] = []

        async def one(index: int) -> None:
            try:
                outputs[index] = await ask(chosen[index], *args, **kwargs)
            except Exception as error:
                failed.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index in range(len(chosen)):
                group.start_soon(one, index)
        if failed:
            raise failed[0]
        return self._reduce(outputs) if self._reduce else outputs


class Ensemble(Teleprompter):
    """Puts programs together."""

    def __init__(
        self,
        *,
        reduce_fn: Callable[[list[Any]], Any] | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        """Describe it.

        Args:
            reduce_fn: makes one answer of a list of them, as `majority` does; None: the list is the answer.
            size: so many programs, drawn at each call; None: all.
            deterministic: must be False, as in dspy.
        """
        assert deterministic is False, "A deterministic Ensemble is not available, in dspy neither."
        self.reduce_fn = reduce_fn
        self.size = size
        self.deterministic = deterministic

    async def acompile(self, programs: Sequence[Any]) -> EnsembledProgram:
        """The programs as one."""
        return EnsembledProgram(programs, self.reduce_fn, self.size)
