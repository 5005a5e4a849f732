"""One child of a supervisor: its spec, its process, and how it is started and stopped."""

from __future__ import annotations

from typing import Any, final

from ..runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    Address,
    BadProcess,
    Crash,
    ExitSignal,
    Ignore,
    Process,
    Reason,
    Ref,
    Runtime,
    Shutdown,
    StartFailed,
)
from .specs import Child


@final
class Record:
    """What a supervisor keeps of a child."""

    __slots__ = ("incarnation", "process", "restarting", "spec")

    def __init__(self, spec: Child) -> None:
        self.spec = spec
        self.process: Process | None = None
        """The last process started, while the supervisor has not been told of its end."""
        self.restarting = False
        """True between a restart that failed and the next attempt."""
        self.incarnation = 0
        """How often a start was tried."""

    @property
    def ref(self) -> Ref[Any] | None:
        return None if self.process is None else Ref(self.process)

    async def start(self, runtime: Runtime, parent: Process) -> None:
        """Start it; returns when its init has succeeded or asked to be ignored. Raises StartFailed."""
        self.restarting = False
        self.process = None
        self.incarnation += 1
        try:
            startable = self.spec.start()
        except Exception as error:
            raise StartFailed(Crash(error), f"child {self.spec.id!r}") from error
        try:
            ref = await runtime.start_under(parent, startable, name=self.spec.name)
        except Ignore:
            return
        except BadProcess as error:
            raise StartFailed(Crash(error), f"child {self.spec.id!r}") from error
        self.process = ref.process

    async def stop(self, supervisor: Process) -> Reason | None:
        """Stop it as its spec says; returns when it is gone. What is not as it should be comes back as the reason.

        As OTP, in a permanent child an end with NORMAL or Shutdown(x) is not as it should be.
        """
        process, self.process = self.process, None
        self.restarting = False
        if process is None:
            return None
        supervisor.unlink(process)
        waiting = supervisor.discard(lambda m: isinstance(m, ExitSignal) and m.ref == process.address)
        if waiting or process.gone:
            # Dead before it was asked. Without a signal it had unlinked itself: nobody knows why.
            first = waiting[0] if waiting else None
            return self._complaint(first.reason if isinstance(first, ExitSignal) else NOPROC, asked_by=SHUTDOWN)
        if self.spec.brutal:
            process.exit_signal(supervisor, KILL)
            await process.ended()
            return self._complaint(process.reason, asked_by=KILLED)
        process.exit_signal(supervisor, SHUTDOWN)
        if not await process.ended(self.spec.patience):
            process.exit_signal(supervisor, KILL)
            await process.ended()
        return self._complaint(process.reason, asked_by=SHUTDOWN)

    def _complaint(self, reason: Reason | None, *, asked_by: Reason) -> Reason | None:
        if reason is asked_by:
            return None
        if asked_by is SHUTDOWN and self.spec.restart != "permanent":
            from_itself = isinstance(reason, Shutdown) or reason is NORMAL
            return None if from_itself else reason
        return reason


def is_child(record: Record, address: Address | None) -> bool:
    """True if the address is this child's current process."""
    return record.process is not None and record.process.address == address
