"""The two arms behind the router: one interface, one actor each.

An arm answers the caller itself, so nothing travels back through the router, and a router that dies takes no request in
work with it. What an arm could not do goes back to the router only if the router may try the other arm. What became of
each request is told to the observer, if one has that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, cast, final

from ..engine import Prediction, Price
from ..engine.actors import ProgramActor
from ..engine.errors import LMTimeoutError
from ..legacy import LegacyPool, LegacyResult, LegacyTimeout
from ..runtime import Actor, CallTimeout, NamedRef, Ref, Reply
from .book import Book
from .cost import dollars
from .outcomes import Observer, Outcome
from .request import Answer, Engine, Request, Route

Then = Callable[[Any, BaseException | None], None]
"""Hears what an engine gave, or raised."""


_OUT_OF_TIME: Final = (LMTimeoutError, LegacyTimeout)


def _is_late(request: Request, now: float) -> bool:
    return request.deadline is not None and now >= request.deadline


class Arm(Actor):
    """Carries requests to one engine. No task waits for the engine: a request is two callbacks."""

    engine: Engine

    def __init__(
        self,
        fallback_on: tuple[type[Exception], ...] = (),
        *,
        observer: str | None = None,
        book: Book | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        self._fallback_on = fallback_on
        self._prices = prices
        self._observer = observer
        self._book = book
        """Where outcomes are counted at once; the observer is told only of those it must act on. A message and a wake-up
        for each cost 15 us, a third of all that the router costs."""
        self._served = 0
        self._failed = 0
        self._open = 0

    def serve(self, request: Request, reply: Reply, router: Ref[Fallback] | None) -> None:
        """Run the request and answer. ``router``: whom to ask for another try, None if there is none to be had."""
        if reply.abandoned:
            return
        self._open += 1
        ended = False

        def closed() -> None:
            self._open -= 1
            # Nobody tells of an engine that is silent beyond the deadline: its callers' going is all that is heard of it.
            # Who went of his own accord, or was a slow reader, says nothing.
            reader = request.delivery
            slow_reader = reader is not None and bool(reader.waiting or reader.stalled_s)
            if not ended and not slow_reader and _is_late(request, self.rt.now()):
                self._failed += 1
                self._tell(request, began, CallTimeout.__name__, None)

        reply.on_abandoned(closed)
        if request.trace is not None:
            attempt = request.trace.ask(self.engine, request.reason, shadow=request.for_comparison)
            reply.on_abandoned(attempt.abandoned)
            request = replace(request, attempt=attempt)
        began = self.rt.now()

        def then(value: Any, error: BaseException | None) -> None:
            nonlocal ended
            ended = True
            if error is None:
                try:
                    answer = self.answer_of(request, value)
                except Exception as unreadable:
                    error = unreadable
                else:
                    self._served += 1
                    if request.attempt is not None:
                        request.attempt.answered(answer.route.worker, answer.route.incarnation, answer.route.worker_attempts)
                    reply.send(answer)
                    self._tell(request, began, None, answer)
                    return
            self._fail(request, reply, router, began, error)

        try:
            self.begin(request, reply, then)
        except Exception as error:
            ended = True
            self._fail(request, reply, router, began, error)

    def _fail(
        self, request: Request, reply: Reply, router: Ref[Fallback] | None, began: float, error: BaseException
    ) -> None:
        self._failed += 1
        if isinstance(error, _OUT_OF_TIME) and _is_late(request, self.rt.now()):
            # Engines stop by themselves at the caller's deadline: who wins the race must not decide what is raised.
            assert request.deadline is not None
            asked_at = request.since if request.asked_at is None else request.asked_at
            late = CallTimeout(self.ref.label, request.deadline - asked_at)
            late.__cause__ = error
            error = late
        if request.attempt is not None:
            request.attempt.failed(error)
        # Who has a piece of this engine's answer must not be given the rest of another's.
        untold = request.delivery is None or not request.delivery.taken
        if router is not None and untold and isinstance(error, self._fallback_on) and reply.hand_over(router):
            router.cast(Fallback.fall_back, request, reply, error)
            request = replace(request, shadow=None)  # the other engine is being asked already
        else:
            for attempt in request.failed:
                error.add_note(f"the {attempt.engine} engine was asked before, and failed: {attempt.error}")
            reply.refuse(error)
        self._tell(request, began, type(error).__name__, None)

    def ask(self, request: Request) -> Answer:
        """Run a request for one's own purposes: no fallback, and its outcome counts as a shadow's. Raises what it raises."""
        asked = replace(request, engine=self.engine, shadow=None, for_comparison=True, delivery=None)
        self.serve(asked, self.defer(), None)
        return cast(Answer, None)  # `serve` answers

    def _tell(self, request: Request, began: float, error: str | None, answer: Answer | None) -> None:
        if self._observer is None and self._book is None:
            return
        compared = request.shadow is not None
        first = not request.for_comparison and not request.failed
        asked_at = request.since if request.asked_at is None else request.asked_at
        # A reader who takes his time is not the engine's slowness.
        stalled = request.delivery.stalled_s if request.delivery is not None else 0.0
        outcome = Outcome(
            request.program.name,
            self.engine,
            self.rt.now() - began - stalled,
            error,
            request.for_comparison,
            began - asked_at if first else None,
            answer.route.usd if answer is not None else None,
            request if compared else None,
            answer if compared else None,
            counted=self._book is not None,
        )
        if self._book is not None:
            self._book.count(outcome)
            if not compared and self._book.rollback is None:
                return
        observer = self.rt.whereis(self._observer) if self._observer is not None else None
        if observer is not None:
            observer.cast(Observer.observe, outcome)

    def begin(self, request: Request, reply: Reply, then: Then) -> None:
        """Have the engine asked. ``then`` is called with what it gave or raised, unless the caller has gone by then.

        What is raised here is the caller's, as if the engine had raised it.
        """
        raise NotImplementedError

    def answer_of(self, request: Request, value: Any) -> Answer:
        """The answer made of what the engine gave."""
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

    def begin(self, request: Request, reply: Reply, then: Then) -> None:
        """See ``Arm.begin``."""
        actor: NamedRef[ProgramActor] = self.rt.ref(request.program.native or "")
        delivery = request.delivery
        more: dict[str, object] = {} if request.attempt is None else {"around": request.attempt.around()}
        if delivery is None:
            reply.delegate(actor.resolved(), ProgramActor.run, request.inputs, then=then, **more)
        else:
            taken = delivery.fields, delivery.put
            reply.delegate(actor.resolved(), ProgramActor.stream, request.inputs, *taken, then=then, **more)

    def answer_of(self, request: Request, value: Prediction) -> Answer:
        """See ``Arm.answer_of``."""
        route = Route(
            self.engine,
            request.reason,
            request.failed,
            self.rt.now() - request.since,
            first_chunk_s=_first_chunk_s(request),
            usd=None if self._prices is None else dollars(value.get_lm_usage() or {}, self._prices),
        )
        return Answer(value, route)


@final
class LegacyArm(Arm):
    """To a worker process that runs the real ``dspy``."""

    engine = "legacy"

    def begin(self, request: Request, reply: Reply, then: Then) -> None:
        """See ``Arm.begin``."""
        pool: NamedRef[LegacyPool] = self.rt.ref(request.program.legacy or "")
        asked = request.program.name, request.inputs
        more: dict[str, object] = {}
        if request.delivery is not None:
            more["streaming"] = request.delivery.streaming()
        if request.attempt is not None:
            more["tracer"] = request.attempt
        reply.delegate(pool.resolved(), LegacyPool.run, *asked, then=then, **more)

    def answer_of(self, request: Request, value: LegacyResult) -> Answer:
        """See ``Arm.answer_of``."""
        route = Route(
            self.engine,
            request.reason,
            request.failed,
            self.rt.now() - request.since,
            worker=value.worker,
            incarnation=value.incarnation,
            worker_attempts=value.attempts,
            usd=None if self._prices is None else dollars(value.usage, self._prices),
            first_chunk_s=_first_chunk_s(request),
        )
        return Answer(Prediction(**value.values), route)


def _first_chunk_s(request: Request) -> float | None:
    delivery = request.delivery
    return delivery.first_at - request.since if delivery is not None and delivery.first_at is not None else None
