"""`ProgramActor`: a program as a supervised actor, whose calls are the program's.

    async with open_runtime() as rt:
        qa = await rt.start(ProgramActor(ChainOfThought("question -> answer"), concurrency=8, lm=LM("openai/...")))
        pred = await qa.within(60.0).call(ProgramActor.run, {"question": "2+2?"})

Requests run side by side, at most `concurrency` at a time. What fails in one request is raised at its caller, and the
actor and the other requests go on. A caller that goes away or runs out of time takes its HTTP request with it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio

from ..runtime import Actor, ExitSignal, Reason, Refuse, is_orderly
from .example import Prediction
from .inputs import check_inputs
from .lm import BaseLM, LMTimeoutError
from .module import Module
from .settings import context
from .streaming import StreamResponse
from .streaming.delivery import acall_delivering

__all__ = ["ProgramActor"]

_NOTHING = nullcontext()


class ProgramActor(Actor):
    """Runs one program for many callers.

    It traps exits, so that a supervisor's shutdown lets it close its LM; an abnormal exit of a linked process still
    ends it.
    """

    trap_exit = True

    def __init__(
        self,
        program: Module,
        *,
        concurrency: int = 8,
        lm: BaseLM | None = None,
        keep_history: bool = False,
        track_usage: bool = False,
    ) -> None:
        """Describe the actor.

        Args:
            program: the program. It is shared, not copied: change its demos or LM only between requests.
            concurrency: requests that run at a time; the others wait in the mailbox, in order.
            lm: the LM for predictors that have none of their own. It belongs to this actor, which closes its
                connections when it stops. An LM that several share is given by `program.set_lm` or `configure`.
            keep_history: keep prompts and answers in `lm.history`, `program.history` and `settings.trace`, as a
                program outside an actor does. Off, because a service runs for long and its prompts are its users'.
            track_usage: count the tokens of each request, for `prediction.get_lm_usage()`.

        Raises:
            ValueError: `concurrency` is less than 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency counts requests at a time and must be at least 1, not {concurrency}")
        self.program = program
        # The runtime cancels a call with its caller only in concurrent actors, so one at a time is two with a gate.
        self.concurrency = max(concurrency, 2)
        self._gate_width = concurrency
        self._lm = lm
        self._settings: dict[str, Any] = {} if lm is None else {"lm": lm}
        if not keep_history:
            self._settings.update(disable_history=True, trace=None)
        if track_usage:
            self._settings.update(track_usage=True)
        self._in_flight: set[anyio.CancelScope] = set()
        self._ending: anyio.Event | None = None

    async def init(self) -> None:
        """Prepare the LM: a missing SDK or key fails the start. A provider that is down does not: nothing is sent."""
        self._gate = anyio.Semaphore(self._gate_width)
        if self._lm is not None:
            await self._lm.prepare()

    async def run(
        self, inputs: Mapping[str, object], *, around: AbstractContextManager[object] | None = None
    ) -> Prediction:
        """Run the program once.

        Args:
            inputs: the program's inputs by name.
            around: entered for the time of this run. A mailbox carries no context variables, so what shall hold in the
                program (the trace it belongs to) comes with the request.

        Raises at the caller:
            MissingInputError: inputs are missing; no model was asked.
            TypeError: `inputs` is not a mapping.
            LMError, AdapterParseError: the model failed, or its answer could not be read.
            Whatever else the program raises.
        """
        return await self._bounded(lambda: self.program.acall(**inputs), inputs, around)

    async def stream(
        self,
        inputs: Mapping[str, object],
        fields: Sequence[str],
        take: Callable[[StreamResponse], Awaitable[None]],
        *,
        around: AbstractContextManager[object] | None = None,
    ) -> Prediction:
        """As `run`, with the pieces of output fields given to `take` while they are written.

        The LM's answer is read no faster than `take` returns. Raises also ValueError at the caller: a field that no
        predictor has, or several.
        """
        return await self._bounded(lambda: acall_delivering(self.program, inputs, fields, take), inputs, around)

    async def _bounded(
        self,
        work: Callable[[], Awaitable[Prediction]],
        inputs: Mapping[str, object],
        around: AbstractContextManager[object] | None,
    ) -> Prediction:
        deadline = self.deadline
        left = math.inf if deadline is None else deadline - self.rt.now()
        # The runtime ends this call when its time is up; the scope tells the LM client beforehand when that will be,
        # so that it does not begin a wait that cannot end in time.
        scope = anyio.CancelScope(deadline=anyio.current_time() + left)
        self._in_flight.add(scope)
        try:
            with scope:
                return await self._answer(work, inputs, around or _NOTHING)
        finally:
            self._in_flight.discard(scope)
            if self._ending is not None and not self._in_flight:
                self._ending.set()
        if self._ending is not None:
            await anyio.sleep_forever()  # this actor is going; its end, not an answer, is what the caller must hear
        raise Refuse(LMTimeoutError("The program did not answer before the caller's deadline."))

    async def _answer(
        self,
        work: Callable[[], Awaitable[Prediction]],
        inputs: Mapping[str, object],
        around: AbstractContextManager[object],
    ) -> Prediction:
        try:
            if not isinstance(inputs, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # comes from outside
                raise TypeError(f"run takes the program's inputs as one mapping, not {type(inputs).__name__}")
            check_inputs(self.program, inputs)
            async with self._gate:
                with around, context(**self._settings):
                    return await work()
        except Exception as error:
            # One request's trouble is its own: whatever a program raises goes to its caller, and the actor lives.
            raise Refuse(error) from error

    async def handle_info(self, message: object) -> None:
        """A linked process that ends abnormally ends this actor too, as if it did not trap exits."""
        if isinstance(message, ExitSignal):
            if not is_orderly(message.reason):
                self.stop(message.reason)
            return
        await super().handle_info(message)

    async def terminate(self, reason: Reason) -> None:
        """End the requests in flight, then close the connections of the LM that was given."""
        self._ending = anyio.Event()
        if self._in_flight:
            for scope in tuple(self._in_flight):
                scope.cancel()
            await self._ending.wait()
        if self._lm is not None:
            await self._lm.aclose()

    def tree_detail(self) -> str:
        """Shown by `supervisors.tree`: the program, and how many requests it is working on."""
        return f"{type(self.program).__name__}, {len(self._in_flight)} in flight"
