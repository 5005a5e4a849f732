"""One child of a supervisor: its spec, its process, and how it is started and stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, final

from ..runtime import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    BadProcess,
    Crash,
    ExitSignal,
    Ignore,
    Process,
    Reason,
    Ref,
    Runtime,
    Shutdown,
    Startable,
    StartFailed,
    Timer,
)
from ..runtime.ref import process_of
from .specs import Child


@final
class Record:
    """What a supervisor keeps of a child."""

    __slots__ = ("attempts", "factory", "incarnation", "last", "process", "restarting", "since", "spec", "timer")

    def __init__(self, spec: Child, factory: Callable[[], Startable] | None = None) -> None:
        self.spec = spec
        self.factory = factory or spec.start
        """A dynamic child's own: it knows the arguments."""
        self.process: Process | None = None
        """The last process started, while the supervisor has not been told of its end."""
        self.last: Process | None = None
        """The process it had last, unless it was stopped: a dynamic child is known by it while it is being restarted."""
        self.restarting = False
        """True between a restart that failed, or was put off, and the next attempt."""
        self.timer: Timer | None = None
        """Runs while a restart is put off."""
        self.attempts = 0
        """Restarts in a row, none of which was followed by a stable time; counted only with a backoff."""
        self.since: float | None = None
        """When its process was started, in seconds of the runtime's clock."""
        self.incarnation = 0
        """How often a start was tried."""

    @property
    def ref(self) -> Ref[Any] | None:
        return None if self.process is None else Ref(self.process)

    @property
    def present(self) -> bool:
        """It has a process, or is to have one again."""
        return self.process is not None or self.restarting

    async def start(self, runtime: Runtime, parent: Process) -> None:
        """Start it; returns when its init has succeeded or asked to be ignored. Raises StartFailed."""
        self.incarnation += 1
        self.since = None
        try:
            startable = self.factory()
        except Exception as error:
            raise StartFailed(Crash(error), f"child {self.spec.id!r}") from error
        try:
            ref = await runtime.start_under(parent, startable, name=self.spec.name)
        except Ignore:
            return
        except BadProcess as error:
            raise StartFailed(Crash(error), f"child {self.spec.id!r}") from error
        self.process = ref.process
        self.since = runtime.now()

    async def stop(self, process: Process, supervisor: Process) -> Reason | None:
        """Stop its process as the spec says; returns when it is gone. What is not as it should be comes back."""
        told = self.ask_to_stop(process, supervisor, last_words(supervisor, {process}))
        patience = self.spec.patience
        if patience == 0 or not await process.ended(patience):
            process.exit_signal(supervisor, KILL)
        await process.ended()
        last_words(supervisor, {process})
        return self.complaint(told or process.reason)

    def ask_to_stop(self, process: Process, supervisor: Process, told: dict[Process, Reason]) -> Reason | None:
        """Send the first signal. Returns how it ended if it had ended before; ``told``: what the supervisor had heard.

        They stay linked, as in OTP: if the supervisor is killed while it waits, the child learns of it.
        """
        if process.gone:
            return told.get(process, NOPROC)  # if it had unlinked itself, nobody was told why it ended
        process.exit_signal(supervisor, KILL if self.spec.brutal else SHUTDOWN)
        return None

    def complaint(self, reason: Reason | None) -> Reason | None:
        """The reason, if the child should not have ended with it when it was asked to stop.

        As OTP, in a permanent child an end with NORMAL or Shutdown(x) is not as it should be.
        """
        if reason is (KILLED if self.spec.brutal else SHUTDOWN):
            return None
        if self.spec.restart != "permanent" and (
            reason is NORMAL or isinstance(reason, Shutdown) or (self.spec.brutal and reason is SHUTDOWN)
        ):
            return None
        return reason


def last_words(supervisor: Process, processes: Collection[Process]) -> dict[Process, Reason]:
    """Take what these processes said when they ended out of the mailbox, in one pass."""
    told: dict[Process, Reason] = {}

    def theirs(message: object) -> bool:
        if not isinstance(message, ExitSignal) or message.ref is None:
            return False
        process = process_of(message.ref)
        if process not in processes:
            return False
        told[process] = message.reason
        return True

    supervisor.discard(theirs)
    return told
