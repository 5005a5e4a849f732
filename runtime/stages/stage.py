"""Stages of a pipeline: a Producer makes events, a Stage turns some into others, a Consumer takes them. GenStage's rules.

    class Numbers(Producer[int]):
        async def handle_demand(self, demand: int) -> list[int]:      # never more than was asked for below
            start, self.next = self.next, self.next + demand
            return list(range(start, self.next))

    class Square(Stage[int, int]):
        subscribe_to = (Subscribe("numbers"),)
        async def handle_events(self, events: list[int], subscription: Subscription) -> list[int]:
            return [n * n for n in events]

    class Print(Consumer[int]):
        subscribe_to = (Subscribe("squares", max_demand=10),)
        async def handle_events(self, events: list[int], subscription: Subscription) -> None:
            print(events)

    await rt.start(Supervisor([
        Child("numbers", Numbers, name="numbers"),
        Child("squares", Square, name="squares"),
        Child("print", Print),
    ], strategy="rest_for_one"))

They are actors: they have methods, links, timers and supervisors like any other. Under ``rest_for_one`` in the order of the
flow, a stage that crashes takes those below along, and they subscribe anew. What a stage had handed to a consumer that died
is lost with it, as any message to the dead; everything else is kept for the next consumer, within the bound of the buffer.

The events on the bus are listed in ``outlet``.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, get_args

from ..actor import Actor
from ..exits import NORMAL, BadProcess, Reason, Refuse
from ..process import Body, Process
from ..runtime import Runtime
from ..signals import Down
from .dispatchers import DemandDispatcher, Dispatcher
from .errors import StageError
from .inlet import Inlet
from .outlet import Outlet
from .subscriptions import (
    Again,
    Ask,
    Buffered,
    Cancelled,
    Deliver,
    Join,
    Leave,
    Resubscribe,
    Subscribe,
    Subscription,
)

DemandMode = Literal["forward", "accumulate"]

E = TypeVar("E")
O = TypeVar("O")  # noqa: E741 - what goes out


class _Staged(Actor):
    """What all stages share: the messages between them go past ``handle_info``, which is the user's."""

    _outlet: Outlet | None = None
    _inlet: Inlet | None = None
    _finishing: tuple[Reason] | None = None
    _again = False

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def handle_subscribe(self, subscription: Subscription) -> None:
        """Called on both sides when a subscription begins, before any event or demand."""

    async def handle_cancel(self, reason: Reason, subscription: Subscription) -> None:
        """Called on both sides when a subscription is over: cancelled, or the other side has ended."""

    def statistics(self) -> dict[str, int]:
        """Counts: produced, dropped, buffered, demand, consumers; consumed, producers, queued; as far as they apply."""
        counts: dict[str, int] = {}
        if self._inlet is not None:
            counts |= self._inlet.statistics()
        if self._outlet is not None:
            counts |= self._outlet.statistics()
        return counts

    def tree_detail(self) -> str:
        """What flows."""
        counts = self.statistics()
        shown = ("consumed", "queued", "produced", "buffered", "dropped")
        return ", ".join(f"{counts[what]} {what}" for what in shown if counts.get(what))

    # --- the inside ---------------------------------------------------------------------------------------------

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``."""
        kind = type(self).__name__
        for callback in ("handle_demand", "handle_events", "handle_subscribe", "handle_cancel"):
            method = getattr(self, callback, None)
            if method is not None and not inspect.iscoroutinefunction(method):
                raise BadProcess(f"{kind}.{callback} must be written with async def")
        if self.concurrency != 1:
            raise BadProcess(
                f"{kind}.concurrency is {self.concurrency}: a stage keeps its events in order, one at a time"
            )
        started = super().__start__(runtime, parent, name)
        self._prepare()
        # The messages of the pipeline are not the user's to handle, whatever their handle_info does.
        self.__theirs = self.handle_info
        vars(self)["handle_info"] = self.__route
        self.continue_with(type(self).__begin)
        return started

    def _prepare(self) -> None:
        """Make the sides it has."""

    async def __begin(self) -> None:
        for options in cast("Sequence[Subscribe]", getattr(self, "subscribe_to", ())):
            assert self._inlet is not None
            await self._inlet.subscribe(options)

    async def __route(self, message: Any) -> None:
        try:
            ours = await self.__handle(message)
        except Refuse as refusal:
            raise self.__no_caller() from refusal
        if not ours:
            await self.__theirs(message)
        try:
            await self._turn()
        except Refuse as refusal:
            raise self.__no_caller() from refusal

    def __no_caller(self) -> StageError:
        # In a plain actor's handle_info a refusal is nothing. Here events would be lost without a word.
        return StageError(f"{self.ref.label} refused events, and there is no caller to refuse to: raise the error itself")

    async def __handle(self, message: Any) -> bool:
        """False: it is no message of the pipeline."""
        outlet, inlet = self._outlet, self._inlet
        if outlet is not None and isinstance(message, Join | Ask | Leave):
            await outlet.heard(message, self.handle_subscribe, self.handle_cancel)
        elif inlet is not None and isinstance(message, Deliver):
            await self._take(message)
        elif inlet is not None and isinstance(message, Cancelled):
            await inlet.cancelled(message)
        elif inlet is not None and isinstance(message, Resubscribe):
            await inlet.subscribe(message.options)
        elif isinstance(message, Again):
            self._again = False
        elif isinstance(message, Down):
            return (inlet is not None and await inlet.down(message)) or (
                outlet is not None and await outlet.down(message, self.handle_cancel)
            )
        else:
            return False
        return True

    async def _take(self, message: Deliver) -> None:
        """Events have come."""
        raise NotImplementedError

    async def _turn(self) -> None:
        """After each message: is there anything to pass on?"""

    def _finish_if_drained(self) -> None:
        if self._finishing is not None and (self._outlet is None or self._outlet.drained):
            (reason,) = self._finishing
            self.stop(reason)


class _Producing(_Staged):
    """What has consumers."""

    dispatcher: Dispatcher | None = None
    """Which consumer gets which event; None is a DemandDispatcher."""

    buffer_size: int | None = 10_000
    """How many events may wait for demand; None: any number."""

    buffer_keep: Buffered = "last"
    """Which of them a full buffer keeps."""

    def _prepare(self) -> None:
        kind = type(self).__name__
        if self.buffer_keep not in get_args(Buffered):
            raise BadProcess(f'{kind}.buffer_keep is "first" or "last", not {self.buffer_keep!r}')
        if self.buffer_size is not None and self.buffer_size < 0:
            raise BadProcess(f"{kind}.buffer_size counts events, 0 or more, or is None, not {self.buffer_size!r}")
        if self.dispatcher is not None and not isinstance(self.dispatcher, Dispatcher):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadProcess(f"{kind}.dispatcher is {self.dispatcher!r}: give a Dispatcher, as DemandDispatcher()")
        dispatcher = self.dispatcher.fresh() if self.dispatcher is not None else DemandDispatcher()
        self._outlet = Outlet(self, dispatcher, self.buffer_size, self.buffer_keep)

    def finish(self, reason: Reason = NORMAL) -> None:
        """Stop as soon as all that was produced has been handed out; consumers then see ``reason``."""
        self._finishing = (reason,)
        self._finish_if_drained()

    def _emit(self, events: Iterable[Any]) -> None:
        assert self._outlet is not None, "it has not been started"
        self._outlet.push(events)
        self._finish_if_drained()


class _Consuming(_Staged):
    """What has producers."""

    subscribe_to: Sequence[Subscribe] = ()
    """What to subscribe to at the start, after ``init``, in this order."""

    def _prepare(self) -> None:
        super()._prepare()
        self._inlet = Inlet(self, self.handle_subscribe, self.handle_cancel, self._let_down)

    async def subscribe(self, options: Subscribe) -> Subscription | None:
        """A message: subscribe to one more producer. None: there is none now, and ``options`` allow for that."""
        return await self._in.subscribe(options)

    def cancel(self, subscription: Subscription, reason: Reason = NORMAL) -> None:
        """A message: end a subscription. What is on its way still arrives; then its ``cancel`` mode decides.

        Refuses with UnknownSubscription.
        """
        try:
            self._in.cancel(subscription, reason)
        except LookupError as error:
            raise Refuse(error) from None

    def ask(self, subscription: Subscription, count: int) -> None:
        """A message: ask for ``count`` more events, on manual demand. Refuses with UnknownSubscription, ValueError."""
        try:
            self._in.ask(subscription, count)
        except (LookupError, ValueError) as error:
            raise Refuse(error) from None

    @property
    def _in(self) -> Inlet:
        assert self._inlet is not None, "it has not been started"
        return self._inlet

    def _let_down(self, reason: Reason) -> None:
        """A subscription without which it is not to live is over."""
        self.stop(reason)


class Producer(_Producing, Generic[E]):
    """Makes events when asked to."""

    demand: DemandMode = "forward"
    """"accumulate": demand is kept back until ``set_demand("forward")``: until all consumers of a broadcast are there."""

    async def handle_demand(self, demand: int) -> Iterable[E]:
        """Called when consumers can take ``demand`` more events. Return them, or fewer now and the rest by ``emit`` later.

        What was not delivered yet is not asked for again, also when the consumer that wanted it has gone: keep count of what
        is owed, if you return less. What is too much waits in the buffer.
        """
        raise NotImplementedError(f"{type(self).__name__}.handle_demand")

    def set_demand(self, mode: DemandMode) -> None:
        """A message: pass demand on from now on, or keep it back. Refuses with ValueError."""
        if mode not in get_args(DemandMode):
            raise Refuse(ValueError(f'demand is "forward" or "accumulate", not {mode!r}'))
        self.demand = mode
        self.ref.send(Again())

    def emit(self, events: Iterable[E]) -> None:
        """Produce events, whether somebody asked or not: from a method, ``handle_info`` or a helper task."""
        self._emit(events)

    def _prepare(self) -> None:
        super()._prepare()
        if self.demand not in get_args(DemandMode):
            raise BadProcess(f'{type(self).__name__}.demand is "forward" or "accumulate", not {self.demand!r}')

    async def _turn(self) -> None:
        assert self._outlet is not None
        forward = self.demand == "forward" and self._finishing is None
        if forward and (count := self._outlet.request()):
            self._emit(await self.handle_demand(count))
        if forward and self._outlet.short and not self._again and self._finishing is None:
            self._again = True
            self.ref.send(Again())
        self._finish_if_drained()


class Stage(_Consuming, _Producing, Generic[E, O]):
    """Turns events into others, none or several for each. It works only while there is demand from below."""

    buffer_size: int | None = None
    __queue: deque[tuple[Subscription | None, list[Any]]]
    """Batches to handle. Without a subscription: the reason to end when those before are handled."""

    async def handle_events(self, events: list[E], subscription: Subscription) -> Iterable[O]:
        """Called with events in order; returns what becomes of them."""
        raise NotImplementedError(f"{type(self).__name__}.handle_events")

    def emit(self, events: Iterable[O]) -> None:
        """Produce events besides what ``handle_events`` returns."""
        self._emit(events)

    def statistics(self) -> dict[str, int]:
        """See ``Producer`` and ``Consumer``; ``queued``: events that wait for demand from below."""
        queue = self.__queue if self._inlet is not None else ()
        return {**super().statistics(), "queued": sum(len(events) for whose, events in queue if whose is not None)}

    def finish(self, reason: Reason = NORMAL) -> None:
        """Stop as soon as all that has come until now is worked on and handed out; consumers then see ``reason``."""
        self.__queue.append((None, [reason]))
        self.ref.send(Again())

    def _prepare(self) -> None:
        super()._prepare()
        self.__queue = deque()

    async def _take(self, message: Deliver) -> None:
        for batch in self._in.batches(message):
            self.__queue.append((message.subscription, batch))

    async def _turn(self) -> None:
        assert self._outlet is not None
        while self.__queue and self._finishing is None:
            subscription, events = self.__queue[0]
            if subscription is None:
                self._finishing = (events[0],)
            elif self._outlet.wanted():
                self.__queue.popleft()
                self._emit(await self.handle_events(events, subscription))
                self._in.handled(subscription, len(events))
            else:
                break
        self._finish_if_drained()

    def _let_down(self, reason: Reason) -> None:
        self.finish(reason)  # what came before is still worked on


class Consumer(_Consuming, Generic[E]):
    """Takes events."""

    async def handle_events(self, events: list[E], subscription: Subscription) -> None:
        """Called with events in order, at most ``max_demand - min_demand`` at a time. More are asked for when it returns."""
        raise NotImplementedError(f"{type(self).__name__}.handle_events")

    async def _take(self, message: Deliver) -> None:
        for batch in self._in.batches(message):
            await self.handle_events(batch, message.subscription)
            self._in.handled(message.subscription, len(batch))
