"""What a pool's workers share: how processes are made, how many at a time, how long to wait after failures, which are wanted.

Made with the tree (outside of any event loop) and known to its pool and its workers, so that it survives a restart of either.
"""

from __future__ import annotations

import anyio

from ..runtime import ActorExit, CallTimeout, Runtime, UnknownProcess
from .errors import LegacyError, MissingLegacy, WorkerStartFailed
from .process import WorkerProcess
from .retries import pause_after
from .specs import PoolOptions, worker_names
from .warden import WardenGone, can_fork
from .warden_actor import WardenActor, WardenUnfit

__all__ = ["Slots"]

_WARDEN_RETRY = 0.05


class Slots:
    """One for each pool."""

    def __init__(self, name: str, options: PoolOptions) -> None:
        self.warden = f"{name}.warden"
        self.forks = options.start != "spawn" and can_fork(options)
        """Whether workers are forked; a warden that proves unfit makes it False."""
        if options.start == "fork" and not self.forks:
            raise ValueError(
                "PoolOptions.start='fork' needs Linux with pidfd (5.3 or newer); use 'auto', or 'spawn' to be explicit"
            )
        self._strictly_fork = options.start == "fork"
        self._limit = options.concurrent_starts
        self._gate: anyio.Semaphore | None = None
        self._failures: dict[str, int] = {}
        self._told: set[str] = set()
        self.active: set[str] = set(worker_names(name, options)[: options.workers])
        """Names of the workers that shall have a process. The pool changes it."""

    @property
    def gate(self) -> anyio.Semaphore:
        """How many workers may load at the same time."""
        if self._gate is None:  # made inside the event loop
            self._gate = anyio.Semaphore(self._limit)
        return self._gate

    def wanted(self, worker: str) -> bool:
        return worker in self.active

    async def start(self, rt: Runtime, worker: str, options: PoolOptions) -> WorkerProcess:
        """A process that has said hello. Raises `MissingLegacy`, `WorkerStartFailed` or `ProtocolError`."""
        limit = rt.now() + options.start_timeout
        while self.forks:
            try:
                try:
                    warden = await rt.ref(self.warden).until(limit).call(WardenActor.warden)
                except (MissingLegacy, WorkerStartFailed) as error:
                    self._told.add(str(error))  # the warden has logged it
                    raise
                return await WorkerProcess.start(worker, options, warden)
            except WardenUnfit as error:
                if self._strictly_fork:
                    raise WorkerStartFailed(worker, str(error), remote_traceback=str(error)) from error
                self.forks = False
            except CallTimeout as error:
                raise WorkerStartFailed(worker, f"no warden within {options.start_timeout:g} s") from error
            except (WardenGone, ActorExit, UnknownProcess) as error:
                # It is being restarted by the tree.
                if rt.now() > limit:
                    raise WorkerStartFailed(worker, f"no warden within {options.start_timeout:g} s") from error
                await rt.sleep(_WARDEN_RETRY)
        return await WorkerProcess.start(worker, options)

    def first_to_tell(self, error: LegacyError) -> bool:
        """True, once for each text: what keeps one worker from serving keeps the others too, and is logged once."""
        text = str(error)
        if text in self._told:
            return False
        self._told.add(text)
        return True

    # --- failures ---------------------------------------------------------------------------------------------------

    def failed(self, worker: str) -> None:
        self._failures[worker] = self._failures.get(worker, 0) + 1

    def succeeded(self, worker: str) -> None:
        self._failures.pop(worker, None)

    async def pause(self, rt: Runtime, worker: str) -> None:
        """Waits as long as the failures of this worker in a row ask for."""
        pause = pause_after(self._failures.get(worker, 0))
        if pause:
            await rt.sleep(pause)
