"""The warden as an actor of the tree: restarted when it dies, asked by the workers' actors for a process.

Events, each with `warden` (its registered name):

    legacy.warden.started     pid, template              its process said hello
    legacy.warden.ready       dspy, load_s, warm_s       workers can be forked
    legacy.warden.unfit       threads                    importing dspy started threads: workers are spawned instead
    legacy.warden.failed      error                      it gave up, for a reason that a restart does not mend
    legacy.warden.template    pid, returncode            a template died; the warden makes another
    legacy.warden.exited      returncode                 its process is gone; the workers live on
"""

from __future__ import annotations

import logging
from typing import Any

from ..runtime import Actor, Reason, Refuse, Reply
from .errors import LegacyError, MissingLegacy, WorkerCrashed
from .specs import PoolOptions
from .warden import Warden, WardenGone

__all__ = ["WardenActor", "WardenUnfit"]

_log = logging.getLogger("dspex.legacy")


class WardenUnfit(LegacyError):
    """Its dspy starts threads when it is imported, so that it cannot be forked safely."""


class WardenActor(Actor):
    """Lives as long as its process. `init` raises `WorkerStartFailed` or `ProtocolError`; without dspy it gives up."""

    trap_exit = True

    def __init__(self, name: str, options: PoolOptions) -> None:
        self._name = name
        self._options = options
        self._warden: Warden | None = None
        self._ready = False
        self._stopping = False
        self._failure: LegacyError | None = None
        self._waiting: list[Reply] = []

    def warden(self) -> Warden:
        """The process, when it can fork. Refuses with `MissingLegacy`, `WorkerStartFailed` or `WardenUnfit`."""
        if self._failure is not None:
            raise Refuse(self._failure)
        if not self._ready or self._warden is None:
            self._waiting.append(self.defer())
            return None  # type: ignore[return-value]  # the reply is deferred
        return self._warden

    def failure(self) -> LegacyError | None:
        """Why it gave up; None: it did not, so far."""
        return self._failure

    def tree_detail(self) -> str:
        """See `Actor.tree_detail`."""
        if self._warden is None or self._failure is not None:
            return "gave up"
        return f"pid {self._warden.pid}, dspy {self._warden.dspy}" if self._ready else "loading"

    async def init(self) -> None:
        try:
            self._warden = await Warden.start(self._name, self._options)
        except MissingLegacy as error:
            self._give_up(error)
            return
        self.rt.events.emit(
            "legacy.warden.started", warden=self._name, pid=self._warden.pid, template=self._warden.template_pid
        )
        self.task(self._live, self._warden)
        self.task(self._announce, self._warden)

    async def terminate(self, reason: Reason) -> None:
        self._stopping = True
        if self._warden is not None:
            await self._warden.close()

    async def handle_info(self, message: Any) -> None:
        if isinstance(message, Warden):
            self._ready = True
            waiting, self._waiting = self._waiting, []
            for reply in waiting:
                reply.send(message)
        elif isinstance(message, LegacyError):
            self._give_up(message)
        else:
            await super().handle_info(message)

    async def _announce(self, warden: Warden) -> None:
        try:
            await warden.ready()
        except WardenGone:
            return  # `_live` says it
        except LegacyError as error:
            self.ref.send(error)
            return
        if warden.threads > 1:
            self.rt.events.emit("legacy.warden.unfit", warden=self._name, threads=warden.threads)
            text = f"importing dspy left {warden.threads} threads running; workers are started one by one"
            self.ref.send(WardenUnfit(text))
            return
        self.rt.events.emit(
            "legacy.warden.ready", warden=self._name, dspy=warden.dspy, load_s=warden.load_s, warm_s=warden.warm_s
        )
        self.ref.send(warden)

    async def _live(self, warden: Warden) -> None:
        try:
            await warden.run(self._template_lost)
        finally:
            await warden.close()
            self.rt.events.emit("legacy.warden.exited", warden=self._name, returncode=warden.returncode)
        if self._failure is None and not self._stopping:
            raise WorkerCrashed(self._name, "", returncode=warden.returncode, maybe_started=False)

    def _template_lost(self, pid: int, returncode: int) -> None:
        self.rt.events.emit("legacy.warden.template", warden=self._name, pid=pid, returncode=returncode)

    def _give_up(self, error: LegacyError) -> None:
        self._failure = error
        if not isinstance(error, WardenUnfit):
            _log.error("%s cannot fork workers: %s", self._name, error)
            self.rt.events.emit("legacy.warden.failed", warden=self._name, error=error)
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            reply.refuse(error)


