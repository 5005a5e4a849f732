"""`AnswerStream`: an answer that is read while it is written.

    async with app.stream("qa", question="Why?", listen=["answer"]) as stream:
        async for item in stream:
            match item:
                case FieldChunk(field, text): ...
                case Answer(): print(item.route.engine)

Nothing is asked before the first read. The last item is the Answer; a stream that ends without one has raised. It is one
request: decided once, counted once, within one deadline, and given to another engine only as long as no piece of the
answer has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, final

from ..runtime import ActorExit, CallTimeout
from .delivery import Delivery, FieldChunk
from .door import Door, Pending
from .errors import RouterError, StreamBroken
from .request import Answer, Engine
from .requirement import Requirement
from .telemetry import RequestTrace


@final
class AnswerStream:
    """For one reader; ``Dspex.stream`` makes it. An async iterator, and an async context manager that closes it.

    Whatever ends it early (``aclose``, the end of its block, cancellation or an error while it is read, or that nobody
    holds it any more) cancels the work where it is done: the model's connection is closed, the worker interrupted.
    """

    def __init__(
        self,
        door: Door,
        program: str,
        inputs: Mapping[str, object],
        fields: tuple[str, ...],
        *,
        within: float | None,
        key: str | None,
        engine: Engine | None,
        require: Requirement | str | None = None,
    ) -> None:
        self._inside = False
        self._pending: Pending | None = None
        self._door = door
        self._program = program
        self._inputs = inputs
        self._within = within
        self._key = key
        self._engine: Engine | None = engine
        self._require = require
        self._delivery = Delivery(fields, door.rt.now)
        self._begun = False
        self._reading = False
        self._closed = False
        self._answer: Answer | None = None
        self._trace: RequestTrace | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FieldChunk | Answer:
        """The next piece, and at last the Answer.

        Raises what ``Dspex.call`` raises; StreamBroken in its place, with that as its cause, once a piece has come
        (but CallTimeout as itself); RuntimeError for two readers at a time.
        """
        if self._reading:
            raise RuntimeError("this stream is being read by somebody else: a stream is for one reader")
        if self._closed:
            raise StopAsyncIteration
        self._reading = True
        try:
            return await self._next()
        except BaseException as error:
            self._close(error)
            raise
        finally:
            self._reading = False

    async def _next(self) -> FieldChunk | Answer:
        if not self._begun:
            if self._door.telemetry is not None:
                self._trace = RequestTrace(self._door.telemetry, self._program)
            self._door.enter()
            self._begun = self._inside = True
            rt = self._door.rt
            self._asked_at = rt.now()
            self._deadline = None if self._within is None else self._asked_at + self._within
            self._pending = await self._asked()
        delivery = self._delivery
        while True:
            chunk = delivery.next()
            if chunk is not None:
                return chunk
            pending = self._pending
            assert pending is not None
            if not pending.done:
                await delivery.news()
                continue
            answer, error = pending.outcome()
            if answer is not None:
                self._answer = answer
                if self._trace is not None:
                    self._trace.answered(answer.route.engine, fell_back=answer.route.fell_back)
                self._close()
                return answer
            if error is None or (isinstance(error, ActorExit) and error.who == pending.router):
                self._pending = await self._asked()  # the router died with it in its mailbox: nothing was run
                continue
            if delivery.taken and not isinstance(error, CallTimeout):
                raise StreamBroken(self._program, delivery.taken, error) from error
            raise error

    async def _asked(self) -> Pending:
        router = self._door.router() or await self._door.next_router(self._deadline)
        chosen = {"key": self._key, "engine": self._engine, "require": self._require}
        options = {**chosen, "asked_at": self._asked_at, "trace": self._trace}
        return Pending(router, self._deadline, self._program, self._inputs, options, self._delivery)

    @property
    def answer(self) -> Answer:
        """The whole answer, once the stream has been read to its end. Raises RouterError before."""
        if self._answer is None:
            raise RouterError("this stream has no answer yet: read it to its end first")
        return self._answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    async def aclose(self) -> None:
        """End it. Does not wait: what is done for it is told to end."""
        self._close()

    def __del__(self) -> None:
        # Python may drop it in any thread.
        door, pending, trace = self._door, self._pending, self._trace
        if self._inside:
            door.rt.kernel.backend.call_from_thread(lambda: _left(door, pending, trace, "closed"))

    def _close(self, error: BaseException | str = "closed") -> None:
        self._closed = True
        if self._inside:
            self._inside = False
            _left(self._door, self._pending, self._trace, error)
        elif self._trace is not None:
            self._trace.failed(error)

    def statistics(self) -> dict[str, int]:
        """Counts: pieces that have come, and those of them that wait to be read."""
        return {"taken": self._delivery.taken, "waiting": self._delivery.waiting}


def _left(door: Door, pending: Pending | None, trace: RequestTrace | None, error: BaseException | str) -> None:
    if trace is not None:
        trace.failed(error)  # unless it has its answer
    if pending is not None and not pending.done:
        pending.abandon()
    door.leave()
