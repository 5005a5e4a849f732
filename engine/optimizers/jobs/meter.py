"""The meter of a job: every request to a model passes here, is counted, and is known for good once it is answered.

A job that is to stop lets the requests in hand finish, so that nothing is paid for and thrown away; further ones wait here
until the optimizer is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio

from ...caching.keys import request_key
from ...lm.metering import Codec
from ...logs import engine_logger
from ...places import PLACE
from .budget import Budget, Limit, Spent
from .journal import Journal, JournalError, KeptCall, call_key
from .outcomes import BudgetUnmeasurable

__all__ = ["JobMeter", "StopReason"]

T = TypeVar("T")

StopReason = Limit | BaseException | None
"""Why a job stops: a limit, an error, or None: it was asked to."""

logger = engine_logger("dspex.engine.optimizers", dspy="dspy.teleprompt")


class JobMeter:
    """Counts and stops. `drained` is called when the job is to stop and no request is in hand."""

    def __init__(
        self, budget: Budget, journal: Journal | None, now: Callable[[], float], drained: Callable[[], None]
    ) -> None:
        self._budget = budget
        self._journal = journal
        self._now = now
        self._began = now()
        self._earlier = Spent() if journal is None else journal.spent
        self._drained = drained
        self._begun = 0
        self._answered = 0
        self._tokens = 0
        self._cost = 0.0
        self.in_hand = 0
        self.from_journal = 0
        """Requests of this run that the journal has answered."""
        self.last_error: Exception | None = None
        self.stopping = False
        self.why: StopReason = None

    @property
    def spent(self) -> Spent:
        """In all runs of the job."""
        before = self._earlier
        return Spent(
            before.calls + self._begun, before.tokens + self._tokens, before.cost + self._cost, self.elapsed
        )

    @property
    def elapsed(self) -> float:
        """Seconds that the job has been running, in all its runs."""
        return self._earlier.seconds + self._now() - self._began

    @property
    def nothing_worked(self) -> bool:
        """Requests were made in this run, and every one failed."""
        return self._begun > 0 and self._answered == 0 and self.from_journal == 0 and self.last_error is not None

    def stop(self, why: StopReason) -> None:
        """Let nothing more begin. The first reason holds."""
        if not self.stopping:
            self.stopping = True
            self.why = why
        if self.in_hand == 0:
            self._drained()

    async def ask(
        self,
        request: Mapping[str, Any],
        make: Callable[[], Awaitable[T]],
        codec: Codec[T],
        *,
        one_answer: bool,
        requests: int,
    ) -> T:
        """See `Meter`. Cancelled: the request is, and counts as one that was made."""
        if self.stopping:
            await anyio.sleep_forever()
        key = self._key(request, one_answer=one_answer)
        journal = self._journal
        if journal is not None and key is not None and journal.has(key):
            self.from_journal += 1
            return codec.from_text(await self._unless_broken(journal.answer(key)))
        limit = self.spent.reached(self._budget, requests)
        if limit is not None:
            self.stop(limit)
            await anyio.sleep_forever()
        self._begun += requests
        self.in_hand += 1
        try:
            answer = await make()
            self._answered += 1
            await self._count(key, answer, codec, requests)
        except Exception as error:
            self.last_error = error
            raise
        finally:
            self.in_hand -= 1
            if self.stopping and self.in_hand == 0:
                self._drained()
        return answer

    async def _count(self, key: bytes | None, answer: T, codec: Codec[T], requests: int) -> None:
        tokens, cost = codec.tokens(answer), codec.cost(answer)
        self._tokens += tokens or 0
        self._cost += cost or 0.0
        if self._journal is not None and key is not None:
            try:
                text = codec.to_text(answer)
            except (TypeError, ValueError) as error:
                logger.warning(f"An answer cannot be written as JSON, so a resumed job will ask for it again: {error}")
            else:
                kept = KeptCall(key, text, requests, tokens, cost, self.elapsed)
                await self._unless_broken(self._journal.keep(kept))
        for name, value, remedy in (
            ("tokens", tokens, "it reports no usage"),
            ("cost", cost, "give its LM a `price`"),
        ):
            if value is None and getattr(self._budget, name) is not None:
                self.stop(BudgetUnmeasurable(f"The budget limits {name}, and a model does not say its own: {remedy}."))

    async def _unless_broken(self, work: Awaitable[Any]) -> Any:
        """A journal that cannot be read or written ends the job; an optimizer might take its error for the model's."""
        try:
            return await work
        except JournalError as error:
            self.stop(error)
            raise

    def _key(self, request: Mapping[str, Any], *, one_answer: bool) -> bytes | None:
        if self._journal is None:
            return None
        try:
            asked = request_key(request)
        except (TypeError, ValueError) as error:
            logger.warning(f"A request has no canonical form, so a resumed job will make it again: {error}")
            return None
        place = PLACE.get()
        if one_answer or place is None:
            return call_key("", asked, 0)
        return call_key(place.path, asked, place.count(asked))
