"""The door of an app: who comes in, how many are inside, and when it is shut.

A request is given to whoever is the router at the moment. A router that dies before it has handed a request on has run
nothing of it: the request is given to its successor, within the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, final

import anyio

from ..runtime import ActorExit, CallTimeout, Ref, Runtime
from .delivery import Delivery
from .errors import AppClosed, AppDraining
from .request import Answer, Engine
from .requirement import Requirement
from .router import Router
from .telemetry import OpenTelemetry, RequestTrace

ROOT: Final = "dspex"
"""The registered name of the app's tree."""

_LOOK_AGAIN: Final = 0.005
"""Seconds: how soon a request without a router looks for the next one."""


@final
class Door:
    """Of one running app. ``owned``: the runtime is the app's own, so that a tree that is gone will not come back."""

    def __init__(self, rt: Runtime, *, owned: bool, telemetry: OpenTelemetry | None = None) -> None:
        self.rt = rt
        self.telemetry = telemetry
        self.thread = threading.get_ident()
        """Whose loop it belongs to."""
        self.inside = 0
        """Requests under way."""
        self.shut = False
        """True: no more are taken."""
        self._owned = owned
        self._empty: anyio.Event | None = None

    # --- coming and going ---------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Count a request in. Raises AppDraining."""
        if self.shut:
            raise AppDraining("this app is draining: it takes no more requests, and stops when it has answered those it has")
        self.inside += 1

    def leave(self) -> None:
        """Count it out, whatever became of it."""
        self.inside -= 1
        if self._empty is not None and not self.inside:
            self._empty.set()

    async def emptied(self, within: float | None) -> None:
        """Wait until nobody is inside, at most ``within`` seconds."""
        if self.inside:
            self._empty = self._empty or anyio.Event()
            with anyio.move_on_after(within):
                await self._empty.wait()

    # --- asking -------------------------------------------------------------------------------------------------

    async def call(
        self,
        program: str,
        inputs: Mapping[str, object],
        *,
        within: float | None,
        key: str | None,
        engine: Engine | None,
        require: Requirement | str | None = None,
        trace: RequestTrace | None = None,
    ) -> Answer:
        """Ask, and wait for the answer. See ``Dspex.call``."""
        if trace is None and self.telemetry is not None:
            with RequestTrace(self.telemetry, program) as trace:
                answer = await self.call(
                    program, inputs, within=within, key=key, engine=engine, require=require, trace=trace
                )
                trace.answered(answer.route.engine, fell_back=answer.route.fell_back)
                return answer
        self.enter()
        try:
            began = self.rt.now()
            router = self.router()
            if router is not None:
                try:
                    return await router.within(within).call(
                        Router.run, program, inputs, key=key, engine=engine, require=require, asked_at=began, trace=trace
                    )
                except ActorExit as error:
                    if error.who != router.label:
                        raise  # it was in an arm's hands
            self.rt.ref("router").within(within)  # refuses what is no time
            deadline = None if within is None else began + within
            while True:
                router = await self.next_router(deadline)
                try:
                    return await router.until(deadline).call(
                        Router.run, program, inputs, key=key, engine=engine, require=require, asked_at=began, trace=trace
                    )
                except ActorExit as error:
                    if error.who != router.label:
                        raise
        finally:
            self.leave()

    def router(self) -> Ref[Router] | None:
        """Who routes now; None: it is being restarted, or all is over."""
        return self.rt.ref("router").resolve()

    async def next_router(self, deadline: float | None) -> Ref[Router]:
        """Wait for one. Raises CallTimeout, AppClosed."""
        rt = self.rt
        while True:
            router = self.router()
            if router is not None:
                return router
            if deadline is not None and rt.now() >= deadline:
                raise CallTimeout("router", 0.0)
            # In a tree of somebody else's the whole app may be on its way back.
            if not rt.kernel.processes or (self._owned and rt.whereis(ROOT) is None):
                raise AppClosed("this app has stopped")
            await rt.sleep(_LOOK_AGAIN)


@final
class Pending:
    """A request on its way, for who waits for more than its answer. ``ring`` is called when it is over."""

    __slots__ = ("_backend", "_bucket", "_deadlines", "_slot", "router")

    def __init__(
        self,
        router: Ref[Router],
        deadline: float | None,
        program: str,
        inputs: Mapping[str, object],
        options: Mapping[str, object],
        delivery: Delivery,
    ) -> None:
        """``options``: the keywords of ``Router.run``."""
        process = router.process
        handler = router.handler(Router.run)
        kernel = process.kernel
        self.router = router.label
        self._backend, self._deadlines = kernel.backend, kernel.deadlines
        self._slot = slot = kernel.backend.slot()
        self._bucket = bucket = kernel.deadlines.until(deadline)
        bucket.slots[slot] = process
        kwargs = {**options, "delivery": delivery}
        if handler is None or not process.offer((handler, (program, inputs), kwargs, slot, bucket)):
            self.abandon()
        kernel.backend.on_done(slot, delivery.ring)

    @property
    def done(self) -> bool:
        """It was answered, or failed, or was abandoned."""
        return self._slot.done()

    def outcome(self) -> tuple[Answer | None, BaseException | None]:
        """What came of it, once it is done. Both None: it was not even taken, by a router that had just died."""
        self._deadlines.leave(self._bucket, self._slot)
        return self._backend.content(self._slot)

    def abandon(self) -> None:
        """Nobody waits any more: what is done for it is cancelled."""
        self._deadlines.leave(self._bucket, self._slot)
        self._backend.abandon(self._slot)
