"""References: how everybody but the actor itself speaks to it.

    value = await ref.call(Counter.add, 5)              # typed: the checker knows the reply and refuses wrong arguments
    value = await ref.within(30).call(Counter.add, 5)   # seconds; None: wait as long as the actor lives
    ref.cast(Counter.add, 5)                            # send and forget
    ref.send("anything")                                # reaches handle_info
    await ref.cast_wait(Counter.add, 5)                 # as cast, but waits for room in a bounded mailbox

``cast`` and ``send`` never block and never raise for a dead receiver: the message becomes a dead letter, as in Erlang. They do
raise where nobody could ever be reached, RuntimeClosed, and where a bounded mailbox turns the message away, MailboxFull.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from .deadlines import check_seconds
from .exits import (
    KILL,
    NOPROC,
    NORMAL,
    ActorExit,
    BadProcess,
    CallingSelf,
    CallTimeout,
    NotAHandler,
    Reason,
    UnknownProcess,
)
from .process import BESIDE, CURRENT, Kernel, Process, ProcessStatistics
from .signals import Address

A = TypeVar("A", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT: Final = 5.0
"""Seconds a call waits unless told otherwise, as gen_server:call."""

_CALLBACKS: Final = frozenset({"init", "terminate", "handle_info", "system_get_state", "system_replace_state"})

_TABLE: Final = "_dspex_handlers"


def handlers_of(cls: type) -> dict[Any, Any]:
    """What the class answers: the method named to the function that does it, as far as asked before.

    It hangs on the class, so it is gone with it.
    """
    table: dict[Any, Any] | None = vars(cls).get(_TABLE)
    if table is None:
        table = {}
        setattr(cls, _TABLE, table)
    return table


def handler_of(cls: type, method: Any) -> Any:
    """The function that answers ``method`` in ``cls``: an override is honoured.

    Raises NotAHandler if ``method`` is no public method of the class.
    """
    table = handlers_of(cls)
    try:
        return table[method]
    except (KeyError, TypeError):
        pass
    name = getattr(method, "__name__", None)
    if not callable(method) or not isinstance(name, str):
        raise NotAHandler(
            f"{method!r} is no method: name one of {cls.__name__}, as in ref.call({cls.__name__}.name, ...)"
        )
    found = getattr(cls, name, None)
    # The method named must be the class's own or one it overrides: another actor's method of the same name is a mistake.
    if found is None or not any(vars(base).get(name) is method for base in cls.__mro__):
        if found is not None and getattr(method, "__self__", None) is not None:
            raise NotAHandler(f"{method!r} is bound to an object: name the method of the class, as in {cls.__name__}.{name}")
        raise NotAHandler(f"{getattr(method, '__qualname__', method)} is no method of {cls.__name__}")
    if name.startswith("_"):
        raise NotAHandler(f"{cls.__name__}.{name} is private: messages are public methods")
    if name in _CALLBACKS:
        raise NotAHandler(f"{cls.__name__}.{name} is a callback: the runtime calls it, no message does")
    table[method] = found
    return found


class Ref(Address, Generic[A]):
    """An address that knows what messages its process understands."""

    __slots__ = ("_timeout", "_until", "process")

    def __init__(self, process: Process, timeout: float | None = DEFAULT_TIMEOUT, until: float | None = None) -> None:
        self._endpoint = process  # not through super: references are made at every turn
        self.process = process
        """The incarnation itself, for the rooms that build on processes."""
        self._timeout = timeout
        self._until = until

    def within(self, seconds: float | None) -> Ref[A]:
        """The same process, with another time limit for calls: seconds, or None for no limit. Raises ValueError, TypeError."""
        check_seconds(seconds)
        return Ref(self.process, seconds)

    def until(self, deadline: float | None) -> Ref[A]:
        """The same process, with an absolute deadline for calls: pass ``self.deadline`` on to keep one deadline end to end."""
        return Ref(self.process, None, deadline)

    @overload
    async def call(
        self, method: Callable[Concatenate[A, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Ask, and wait for the answer.

        Raises ActorExit if the process is dead or dies first, CallTimeout after the time limit (at most 25 ms late),
        what the handler refuses with, NotAHandler, RuntimeClosed; MailboxFull if a bounded mailbox did not take or keep it.
        Cancelled: the request may still be carried out; its answer is dropped.
        """
        process = self.process
        try:
            handler = process.handlers[method]
        except (KeyError, TypeError):
            handler = self.handler(method)
            if handler is None:
                raise ActorExit(NOPROC, process.label) from None
        if CURRENT.get() is process and not BESIDE.get():
            raise CallingSelf(process.label)
        deadlines = process.kernel.deadlines
        if self._until is not None:
            bucket = deadlines.until(self._until)
        else:
            bucket = deadlines.open.get(self._timeout) or deadlines.within_or_never(self._timeout)
        slot = process.kernel.backend.slot()
        bucket.slots[slot] = process
        try:
            if process.bound is not None:
                process.bound.offer((handler, args, kwargs or None, slot, bucket))
            else:
                process.inbox.append((handler, args, kwargs or None, slot, bucket))
                if process.waiter is not None:
                    process.wake()
            return await slot
        finally:
            # As deadlines.leave, without its frame.
            bucket.slots.pop(slot, None)
            if not bucket.slots:
                deadlines.leave_empty(bucket)

    def cast(self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Send and forget: no answer, no failure. An exception in the handler is a crash of the actor.

        Raises NotAHandler, RuntimeClosed; MailboxFull if the mailbox has a limit, is full, and its policy is ``wait`` or
        ``reject``.
        """
        process = self.process
        try:
            # What is in the table goes straight into the mailbox; dead, plain and bounded processes have an empty one.
            process.inbox.append((process.handlers[method], args, kwargs or None, None, None))
        except (KeyError, TypeError):
            self._post(self.handler(method), args, kwargs)
            return
        if process.waiter is not None:
            process.wake()

    async def cast_wait(
        self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """As ``cast``, but where the mailbox has a limit and the policy ``wait``, wait for room in it: backpressure.

        Returns when the message is in the mailbox, or the process has ended: a dead letter then. Cancelled while it
        waits: the message is never delivered.
        """
        handler = self.handler(method)
        bound = self.process.bound
        if bound is None or handler is None:
            self._post(handler, args, kwargs)
        else:
            await bound.offer_patiently((handler, args, kwargs or None, None, None))

    def _post(self, handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        process = self.process
        if handler is None or not process.offer((handler, args, kwargs or None, None, None)):
            process.kernel.dead_letter(process, "cast")

    def handler(self, method: Any) -> Any:
        """The function that answers ``method``; None: the process is dead. Raises NotAHandler, RuntimeClosed.

        For the rooms that build on processes.
        """
        process = self.process
        try:
            return process.handlers[method]
        except (KeyError, TypeError):
            pass
        process.kernel.require_open()
        if process.host is not None:
            handler = handler_of(type(process.host), method)
            return handler if process.reason is None else None
        if process.reason is None:
            raise NotAHandler(f"{self.label} is a plain process: it has no methods, send to it")
        return None

    def send(self, message: object) -> None:
        """Put a plain message in the mailbox; it reaches ``handle_info`` or ``receive``. Raises RuntimeClosed, MailboxFull."""
        process = self.process
        if not process.offer((None, message, None, None, None)):
            process.kernel.require_open()
            process.kernel.dead_letter(process, "info")

    async def send_wait(self, message: object) -> None:
        """As ``send``, but waits for room, as ``cast_wait``."""
        bound = self.process.bound
        if bound is None or self.process.reason is not None:
            self.send(message)
        else:
            await bound.offer_patiently((None, message, None, None, None))

    def exit(self, reason: Reason) -> None:
        """Send an exit signal, as exit/2: KILL cannot be trapped, NORMAL is ignored by those who do not trap exits."""
        self.process.exit_signal(CURRENT.get(), reason)

    def kill(self) -> None:
        """Send KILL: the process ends with KILLED, without ``terminate``."""
        self.process.exit_signal(CURRENT.get(), KILL)

    async def stop(self, reason: Reason = NORMAL, *, within: float | None = None) -> None:
        """Have an actor stop in order (``terminate`` runs) and wait until it is gone, as gen_server:stop.

        Raises ActorExit if it was dead, or ended with another reason; CallTimeout after ``within`` seconds, the actor
        may then still be stopping; CallingSelf inside the actor itself, whose way to stop is ``self.stop``;
        NotAHandler for a plain process.
        """
        process = self.process
        process.kernel.require_open()
        if process.reason is not None:
            raise ActorExit(NOPROC, process.label)
        if process.host is None:
            raise NotAHandler(f"{self.label} is a plain process: it cannot be asked to stop, send it an exit signal")
        if CURRENT.get() is process:
            raise CallingSelf(process.label)
        process.order(StopOrder(reason))
        if not await process.ended(within):
            raise CallTimeout(process.label, within or 0.0)
        if process.reason != reason:
            raise ActorExit(process.reason, process.label)

    async def ended(self, within: float | None = None) -> bool:
        """Wait until the process is gone, at most ``within`` seconds; False if it is still there."""
        return await self.process.ended(within)

    def statistics(self) -> ProcessStatistics:
        """Counts of this process, read at once, also when it is busy or gone."""
        return self.process.statistics()

    @property
    def exit_reason(self) -> Reason | None:
        """Why it ended or is ending; None while it is alive."""
        return self.process.reason


class StopOrder:
    """The order behind ``Ref.stop``."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class NamedRef(Generic[A]):
    """Speaks to whoever has the name at the moment of speaking: it survives restarts. Has the methods of ``Ref``."""

    __slots__ = ("_kernel", "_timeout", "_until", "name")

    def __init__(
        self, kernel: Kernel, name: str, timeout: float | None = DEFAULT_TIMEOUT, until: float | None = None
    ) -> None:
        self._kernel = kernel
        self.name = name
        self._timeout = timeout
        self._until = until

    def resolve(self) -> Ref[A] | None:
        """The live process of this name, now."""
        process = self._kernel.names.get(self.name)
        if process is None or process.reason is not None:
            return None
        return Ref(process, self._timeout, self._until)

    def holder(self) -> Process | None:
        """The process that has the name, also while it is ending: for the rooms that build on processes."""
        return self._kernel.names.get(self.name)

    def inside(self, runtime: Any) -> NamedRef[A]:
        """The same name, looked up in this runtime: for what happens in no process, such as a timer."""
        return self

    def claim(self, process: Process) -> None:
        """Give a process that is about to start this name; ``launch`` raises NameTaken if it has a holder."""
        process.name = self.name

    def resolved(self) -> Ref[A]:
        """As ``resolve``; raises UnknownProcess if nobody has the name, RuntimeClosed."""
        ref = self.resolve()
        if ref is None:
            self.require_open()
            raise UnknownProcess(self.name)
        return ref

    def require_open(self) -> None:
        """Raises RuntimeClosed once the block in which the name is looked up has been left."""
        self._kernel.require_open()

    @property
    def alive(self) -> bool:
        """True while a live process has the name."""
        return self.resolve() is not None

    def within(self, seconds: float | None) -> NamedRef[A]:
        """See ``Ref.within``."""
        check_seconds(seconds)
        return NamedRef(self._kernel, self.name, seconds)

    def until(self, deadline: float | None) -> NamedRef[A]:
        """See ``Ref.until``."""
        return NamedRef(self._kernel, self.name, None, deadline)

    @overload
    async def call(
        self, method: Callable[Concatenate[A, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, method: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As ``Ref.call``; raises UnknownProcess if nobody has the name."""
        ref = self.resolve() or self.resolved()
        return await ref.call(method, *args, **kwargs)

    def cast(self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """As ``Ref.cast``; nobody there: a dead letter."""
        ref = self.resolve()
        if ref is not None:
            ref.cast(method, *args, **kwargs)
        else:
            self._kernel.require_open()
            self._kernel.events.emit("runtime.dead_letter", process=self.name, kind="cast")

    async def cast_wait(
        self, method: Callable[Concatenate[A, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """As ``Ref.cast_wait``; nobody there: a dead letter."""
        ref = self.resolve()
        if ref is not None:
            await ref.cast_wait(method, *args, **kwargs)
        else:
            self.cast(method, *args, **kwargs)

    async def send_wait(self, message: object) -> None:
        """As ``Ref.send_wait``; nobody there: raises UnknownProcess."""
        await self.resolved().send_wait(message)

    def send(self, message: object) -> None:
        """As ``Ref.send``; nobody there: raises UnknownProcess, as ``Name ! Message`` does."""
        self.resolved().send(message)

    async def stop(self, reason: Reason = NORMAL, *, within: float | None = None) -> None:
        """As ``Ref.stop``; raises UnknownProcess if nobody has the name."""
        await self.resolved().stop(reason, within=within)

    def __repr__(self) -> str:
        return f"<name {self.name!r}>"


def process_of(address: Address) -> Process:
    """The process behind an address.

    Raises BadProcess for what is no address.
    """
    process = getattr(address, "_endpoint", None)
    if not isinstance(process, Process):
        raise BadProcess(f"{address!r} is no reference to a process")
    return process
