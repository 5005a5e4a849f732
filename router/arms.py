"""The two arms behind the router: one interface, one actor each.

An arm answers the caller itself, so nothing travels back through the router, and a router that dies takes no request in
work with it. What an arm could not do goes back to the router only if the router may try the other arm. What became of
each request is told to the observer, if one has that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast, final

from ..engine import Prediction
from ..engine.actors import ProgramActor
from ..legacy import LegacyPool
from ..runtime import Actor, Ref, Reply
from .outcomes import Observer, Outcome
from .request import Answer, Engine, Request, Route


class Arm(Actor):
    """Carries requests to one engine, each in a task of its own that ends when its caller goes away."""

    engine: Engine

    def __init__(self, fallback_on: tuple[type[Exception], ...] = (), *, observer: str | None = None) -> None:
        self._fallback_on = fallback_on
        self._observer = observer
        self._served = 0
        self._failed = 0
        self._open = 0

    def serve(self, request: Request, reply: Reply, router: Ref[Fallback] | None) -> None:
        """Run the request and answer. ``router``: whom to ask for another try, None if there is none to be had."""
        if reply.abandoned:
            return
        task = self.task(self._run, request, reply, router)
        reply.on_abandoned(task.cancel)

    def ask(self, request: Request) -> Answer:
        """Run a request for one's own purposes: no fallback, and its outcome counts as a shadow's. Raises what it raises."""
        self.serve(replace(request, engine=self.engine, shadow=None, for_comparison=True), self.defer(), None)
        return cast(Answer, None)  # `serve` answers

    async def _run(self, request: Request, reply: Reply, router: Ref[Fallback] | None) -> None:
        self._open += 1
        began = self.rt.now()
        try:
            answer = await self.answer(request)
        except Exception as error:
            self._failed += 1
            name = type(error).__name__
            if router is not None and isinstance(error, self._fallback_on) and reply.hand_over(router):
                router.cast(Fallback.fall_back, request, reply, error)
                request = replace(request, shadow=None)  # the other engine is being asked already
            else:
                reply.refuse(error)
            self._tell(request, began, name, None)
        else:
            self._served += 1
            reply.send(answer)
            self._tell(request, began, None, answer)
        finally:
            self._open -= 1

    def _tell(self, request: Request, began: float, error: str | None, answer: Answer | None) -> None:
        if self._observer is None:
            return
        observer = self.rt.whereis(self._observer)
        if observer is None:
            return
        compared = request.shadow is not None
        observer.cast(
            Observer.observe,
            Outcome(
                request.program.name,
                self.engine,
                self.rt.now() - began,
                error,
                request.for_comparison,
                request if compared else None,
                answer if compared else None,
            ),
        )

    async def answer(self, request: Request) -> Answer:
        """Ask the engine. What it raises is the caller's, unless it allows for another try."""
        raise NotImplementedError

    def statistics(self) -> Mapping[str, int]:
        """Counts since the start of this incarnation."""
        return {"open": self._open, "served": self._served, "failed": self._failed}

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return f"{self._served} served, {self._failed} failed"


class Fallback(Actor):
    """What an arm needs to know of the router."""

    def fall_back(self, request: Request, reply: Reply, error: Exception) -> None:
        """Give the request to the other arm, once, or answer with the error."""
        raise NotImplementedError


@final
class NativeArm(Arm):
    """To the program's own actor, on our engine."""

    engine = "native"

    async def answer(self, request: Request) -> Answer:
        """See ``Arm.answer``."""
        name = request.program.native
        assert name is not None
        actor = self.rt.ref(name).until(request.deadline)
        prediction: Prediction = await actor.call(ProgramActor.run, dict(request.inputs))
        return Answer(prediction, Route(self.engine, request.reason, request.failed, self.rt.now() - request.since))


@final
class LegacyArm(Arm):
    """To a worker process that runs the real ``dspy``."""

    engine = "legacy"

    async def answer(self, request: Request) -> Answer:
        """See ``Arm.answer``."""
        name = request.program.legacy
        assert name is not None
        pool = self.rt.ref(name).until(request.deadline)
        result = await pool.call(LegacyPool.run, request.program.name, request.inputs)
        prediction = Prediction(**result.values)
        route = Route(
            self.engine,
            request.reason,
            request.failed,
            self.rt.now() - request.since,
            worker=result.worker,
            incarnation=result.incarnation,
            worker_attempts=result.attempts,
        )
        return Answer(prediction, route)
