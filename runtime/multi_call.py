"""Asking many at once: gen_server:multi_call and abcast.

    answered = await multi_call(workers, Worker.load)
    busiest = max(answered.replies, key=lambda pair: pair[1])
    for ref, error in answered.failures:
        ...

    await Refs(workers).within(0.5).call(Worker.load)
    multi_cast(workers, Worker.reload)

All are asked before anybody's answer is awaited, and all under one deadline: no task, timer or scope for each. Who is dead,
ends, refuses or takes too long is a failure of its own and leaves the other answers alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, final, overload

from .backend import Slot
from .deadlines import Bucket, check_seconds
from .exits import NOPROC, ActorExit, CallingSelf, MailboxFull, UnknownProcess
from .process import BESIDE, CURRENT, Process
from .ref import DEFAULT_TIMEOUT, NamedRef, Ref

A = TypeVar("A", covariant=True)
R = TypeVar("R", covariant=True)
P = ParamSpec("P")
T = TypeVar("T")

@final
@dataclass(frozen=True, slots=True)
class MultiReply(Generic[A, R]):
    """Who answered what, and who did not."""

    replies: list[tuple[Ref[A] | NamedRef[A], R]]
    """In the order the references were given."""
    failures: list[tuple[Ref[A] | NamedRef[A], Exception]]
    """ActorExit, CallTimeout, MailboxFull, UnknownProcess, or what the actor refused with. Those who
    could not be asked come first."""


@final
class Refs(Generic[A]):
    """Several references, spoken to as one. They may be of different actors that share a base class."""

    __slots__ = ("_refs", "_timeout", "_until")

    def __init__(
        self,
        refs: Iterable[Ref[A] | NamedRef[A]],
        timeout: float | None = DEFAULT_TIMEOUT,
        until: float | None = None,
    ) -> None:
        self._refs = tuple(refs)
        self._timeout = timeout
        self._until = until

    def within(self, seconds: float | None) -> Refs[A]:
        """The same, with another time limit for the whole: seconds, or None for no limit. Raises ValueError, TypeError."""
        check_seconds(seconds)
        return Refs(self._refs, seconds)

    def until(self, deadline: float | None) -> Refs[A]:
        """The same, with an absolute deadline in seconds of the runtime's clock."""
        return Refs(self._refs, None, deadline)

    @overload
    async def call(
        self, method: Callable[Concatenate[A, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> MultiReply[A, T]: ...
    @overload
    async def call(
        self, method: Callable[Concatenate[A, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> MultiReply[A, T]: ...
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> MultiReply[A, Any]:
        """Ask all, and wait until each has answered, failed, or the time is over.

        Raises NotAHandler if the method is none of one of them, CallingSelf, RuntimeClosed: before anybody is asked.
        Cancelled: those asked may still carry it out; their answers are dropped.
        """
        result: MultiReply[A, Any] = MultiReply([], [])
        receivers = self._receivers(method, result)
        if not receivers:
            return result
        kernel = receivers[0][1].kernel
        deadlines = kernel.deadlines
        bucket = deadlines.until(self._until) if self._until is not None else deadlines.within_or_never(self._timeout)
        asked: list[tuple[Ref[A] | NamedRef[A], Slot]] = []
        try:
            self._ask(receivers, (args, kwargs or None, bucket), asked, result)
            for ref, slot in asked:
                try:
                    result.replies.append((ref, await slot))
                except Exception as error:
                    result.failures.append((ref, error))
        except BaseException:
            for _, slot in asked:
                kernel.backend.abandon(slot)
            raise
        finally:
            for _, slot in asked:
                bucket.slots.pop(slot, None)
            deadlines.leave_empty(bucket)
        return result

    def _receivers(
        self, method: Any, result: MultiReply[A, Any]
    ) -> list[tuple[Ref[A] | NamedRef[A], Process, Any]]:
        """Who is alive, with the function that answers; the others are failures at once."""
        me = None if BESIDE.get() else CURRENT.get()
        refs = cast("tuple[Ref[A], ...]", self._refs)
        try:
            # All are references to live processes without a limit that know the method: nothing more to find out.
            quickly = [(ref, ref.process, ref.process.handlers[method]) for ref in refs]
        except (AttributeError, KeyError, TypeError):
            pass
        else:
            if all(process is not me for _, process, _ in quickly):
                return quickly  # pyright: ignore[reportReturnType] - a list of references is one of either kind
        found: list[tuple[Ref[A] | NamedRef[A], Process, Any]] = []
        for given in self._refs:
            try:
                ref = given if isinstance(given, Ref) else given.resolved()
            except UnknownProcess as nobody:
                result.failures.append((given, nobody))
                continue
            process = ref.process
            handler = ref.handler(method)
            if handler is None:
                result.failures.append((given, ActorExit(NOPROC, process.label)))
            elif process is me:
                raise CallingSelf(process.label)
            else:
                found.append((given, process, handler))
        return found

    def _ask(
        self,
        receivers: list[tuple[Ref[A] | NamedRef[A], Process, Any]],
        request: tuple[Any, Any, Bucket],
        asked: list[tuple[Ref[A] | NamedRef[A], Slot]],
        result: MultiReply[A, Any],
    ) -> None:
        args, kwargs, bucket = request
        new_slot = receivers[0][1].kernel.backend.slot
        slots = bucket.slots
        for ref, process, handler in receivers:
            slot = new_slot()
            if process.bound is None:
                process.inbox.append((handler, args, kwargs, slot, bucket))
                if process.waiter is not None:
                    process.wake()
            else:
                try:
                    process.bound.offer((handler, args, kwargs, slot, bucket))
                except MailboxFull as full:
                    result.failures.append((ref, full))
                    continue
            slots[slot] = process
            asked.append((ref, slot))

    def cast(self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Cast to all. As gen_server:abcast, it does not say who was there; NotAHandler is raised before anything is sent.

        Raises MailboxFull if one of them turned it away; the others have it then.
        """
        for given in self._refs:
            ref = given if isinstance(given, Ref) else given.resolve()
            if ref is not None:
                ref.handler(method)
        full: Exception | None = None
        for given in self._refs:
            try:
                given.cast(method, *args, **kwargs)
            except Exception as error:
                full = error
        if full is not None:
            raise full

    def __len__(self) -> int:
        return len(self._refs)


@overload
async def multi_call(
    refs: Iterable[Ref[A] | NamedRef[A]],
    method: Callable[Concatenate[A, P], Awaitable[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> MultiReply[A, T]: ...
@overload
async def multi_call(
    refs: Iterable[Ref[A] | NamedRef[A]], method: Callable[Concatenate[A, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> MultiReply[A, T]: ...
async def multi_call(refs: Iterable[Any], method: Any, /, *args: Any, **kwargs: Any) -> MultiReply[Any, Any]:
    """``Refs(refs).call(method, ...)``: within 5 s; ``Refs(refs).within(seconds)`` for another limit."""
    return await Refs(refs).call(method, *args, **kwargs)


def multi_cast(
    refs: Iterable[Ref[A] | NamedRef[A]],
    method: Callable[Concatenate[A, P], object],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """``Refs(refs).cast(method, ...)``."""
    Refs(refs).cast(method, *args, **kwargs)
