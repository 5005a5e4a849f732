"""`Batches`: what several tasks ask at the same time is asked together.

Nobody waits for company: a lone question goes at once, and those that come while it is under way go together when it is
done. (A window of time, 0.1 s in dspy, makes every lone question wait for its end.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import checkpoint, current_token

__all__ = ["Batches"]

Q = TypeVar("Q")
A = TypeVar("A")


class _Asked(Generic[Q, A]):
    __slots__ = ("answer", "error", "event", "question")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.event = anyio.Event()
        """Set when this is answered, or when it is this one's turn to lead."""
        self.answer: list[A] = []
        self.error: BaseException | None = None


class _Line(Generic[Q, A]):
    """Those of one event loop who wait; the one under way is no longer among them."""

    def __init__(self) -> None:
        self.waiting: deque[_Asked[Q, A]] = deque()
        self.busy = False

    def next_leads(self) -> None:
        self.busy = bool(self.waiting)
        if self.waiting:
            self.waiting[0].event.set()


class Batches(Generic[Q, A]):
    """Each event loop has a line of its own, so that one object may serve several threads."""

    def __init__(self, together: Callable[[list[Q]], Awaitable[Sequence[A]]], *, limit: int = 32) -> None:
        """`together` answers a list of at most `limit` questions, in their order."""
        self._together = together
        self._limit = limit
        self._lines: WeakKeyDictionary[object, _Line[Q, A]] = WeakKeyDictionary()

    async def ask(self, question: Q) -> A:
        """The answer to one question. An error of the batch is raised at all who are in it.

        Cancelled: the others are not: what was under way for this one is asked anew for them.
        """
        line = self._lines.setdefault(current_token().native_token, _Line())
        mine: _Asked[Q, A] = _Asked(question)
        line.waiting.append(mine)
        if line.busy:
            try:
                await mine.event.wait()
            except BaseException:
                if mine in line.waiting:
                    leads = line.waiting[0] is mine and mine.event.is_set()
                    line.waiting.remove(mine)
                    if leads:
                        line.next_leads()
                raise
        if not mine.answer and mine.error is None:
            await self._lead(line)
        if mine.error is not None:
            raise mine.error
        return mine.answer[0]

    async def _lead(self, line: _Line[Q, A]) -> None:
        line.busy = True
        batch: list[_Asked[Q, A]] = []
        me = line.waiting[0]
        try:
            await checkpoint()  # those who were started in the same turn come along
            while line.waiting and len(batch) < self._limit:
                batch.append(line.waiting.popleft())
            answers = await self._together([each.question for each in batch])
            for each, answer in zip(batch, answers, strict=True):
                each.answer.append(answer)
        except Exception as error:
            for each in batch:
                each.error = error
        except BaseException:
            unanswered = [each for each in batch if each is not me]
            line.waiting.extendleft(reversed(unanswered))
            if not batch:
                line.waiting.remove(me)
            batch = []
            raise
        finally:
            for each in batch:
                if each is not me:
                    each.event.set()
            line.next_leads()
