"""Helper tasks of an actor: they run beside its messages, and end with it.

An exception in one is a crash of the actor. It reaches the actor as an order, so that the actor ends in its own task, with
``terminate``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, final

import anyio

from .backend import Slot
from .exits import Crash, Exit, Reason, Stop
from .process import BESIDE, CURRENT, Process, beside_cancellation

Work = Callable[[], Coroutine[Any, Any, object]]


@final
class TaskHandle:
    """A helper task of an actor."""

    __slots__ = ("_scope",)

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope

    def cancel(self) -> None:
        """Cancel it; the actor lives on. Too late, it does nothing."""
        self._scope.cancel()


@final
class HelperFailed:
    """The order to end that a failed helper gives its actor."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


@final
class Helpers:
    """All helper tasks of one actor."""

    __slots__ = ("_all_done", "_process", "_scopes")

    def __init__(self, process: Process) -> None:
        self._process = process
        self._scopes: dict[anyio.CancelScope, None] = {}
        self._all_done: Slot | None = None

    def __len__(self) -> int:
        return len(self._scopes)

    def start(self, work: Work, scope: anyio.CancelScope, after: Callable[[], None] | None = None) -> None:
        """Run ``work`` in ``scope``; ``after`` is called when it is over, if the actor lives."""
        process = self._process
        self._scopes[scope] = None

        async def job() -> None:
            CURRENT.set(process)
            BESIDE.set(True)
            try:
                with scope:
                    await self._guarded(work)
            finally:
                del self._scopes[scope]
                if after is not None and process.reason is None:
                    after()
                if not self._scopes and self._all_done is not None and not self._all_done.done():
                    self._all_done.set_result(None)

        process.kernel.backend.spawn(job, f"{process.label} helper")

    async def _guarded(self, work: Work) -> None:
        process = self._process
        try:
            await work()
        except process.kernel.backend.cancelled:
            raise
        except (Exit, Stop) as exit_:
            process.order(HelperFailed(exit_.reason))
        except BaseException as error:
            rest = beside_cancellation(error, process.kernel.backend.cancelled)
            if rest is None:
                raise
            if not isinstance(rest, Exception):
                process.kernel.escalate(error)
                return
            process.kernel.events.emit("runtime.actor.crashed", process=process.label, error=rest)
            process.order(HelperFailed(Crash(rest)))

    async def end(self) -> None:
        """Cancel them and return when the last one is gone, whoever cancels meanwhile."""
        with anyio.CancelScope(shield=True):
            for scope in tuple(self._scopes):
                scope.cancel()
            while self._scopes:
                self._all_done = self._process.kernel.backend.slot()
                await self._all_done
