"""``open_runtime``: one tree of processes, owned by one block.

    async with open_runtime() as rt:
        counter = await rt.start(Counter(5), name="counter")
        print(await counter.call(Counter.add, 1))

Leaving the block stops what was started in it, last first, each within its shutdown time, also when the host cancels
the block. Nothing outlives it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, Protocol, TypeVar, final

import anyio

from .backend import Backend, open_backend
from .events import EventBus
from .exits import (
    KILL,
    KILLED,
    SHUTDOWN,
    BadProcess,
    NameTaken,
    Reason,
    RuntimeClosed,
    TreeFailed,
    UnknownProcess,
    is_orderly,
)
from .process import CURRENT, Body, Kernel, Process, launch
from .ref import NamedRef, Ref, process_of
from .signals import Address, ExitSignal
from .threads import FromThread
from .timers import Interval, Timer, TimerFired

SHUTDOWN_SECONDS: Final = 5.0
"""What a process gets to stop in before it is killed, unless it says otherwise; as OTP's workers."""

_STUCK_SECONDS: Final = 5.0

_OPEN: Final[ContextVar[Runtime | None]] = ContextVar("dspex_runtime", default=None)
"""The innermost block that is open around the code that runs."""


class Startable(Protocol):
    """What ``Runtime.start`` takes: an actor, a supervisor."""

    @property
    def escalates(self) -> bool:
        """True: when it ends at the top of the tree in any but an orderly way, the runtime's block fails."""
        ...

    @property
    def shutdown(self) -> float | None:
        """Seconds it gets to stop before it is killed; None: as long as it takes."""
        ...

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """Bind to a new process; return it with what it runs. Raises BadProcess if this object was started before."""
        ...


S = TypeVar("S", bound=Startable)


@final
class Runtime:
    """One tree of processes on one event loop. Made by ``open_runtime``."""

    def __init__(self, backend: Backend, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._kernel = Kernel(backend, self._fail)
        self._kernel.runtime = self
        self._closing = False
        self.from_thread = FromThread(self._kernel, lambda: _OPEN.set(self))
        """For other threads: calls and casts that block the thread, not the loop."""
        self._root = Process(self._kernel, "runtime", None, name=None, trap=True)
        self.failure: BaseException | None = None
        """What made the block fail, if something did."""

    # --- starting -----------------------------------------------------------------------------------------------

    async def start(self, actor: S, *, name: str | NamedRef[Any] | None = None) -> Ref[S]:
        """Start an actor or a supervisor at the top of the tree; returns when its ``init`` has succeeded.

        ``name`` is a str, or a key in a registry: ``via(registry, key)``.

        A supervisor that gives up fails the block with TreeFailed. A lone actor that crashes does not: its callers,
        links and monitors learn of it.

        Raises StartFailed (its cause is what ``init`` raised), NameTaken, BadProcess, RuntimeClosed. Cancelled: the
        process is killed and gone before the cancellation goes on.
        """
        self._require_open()
        link = bool(getattr(actor, "escalates", False))
        return await self.start_under(self._root, actor, name=name, link=link)

    async def start_under(
        self, parent: Process, actor: S, *, name: str | NamedRef[Any] | None = None, link: bool = True
    ) -> Ref[S]:
        """Start with a parent of one's choice: what ``Actor.start_link`` and supervisors are made of."""
        _check_startable(actor)
        process, body = self._named(actor, parent, name)
        started = launch(self._kernel, process, body, link=parent if link else None)
        if parent is self._root:
            self._kernel.top[process] = actor.shutdown
        try:
            await started
        except self._kernel.backend.cancelled:
            if parent.reason is not None and parent in process.links:
                raise  # the parent is ending: its link ends the child, with the parent's reason
            parent.unlink(process)  # who gave up starting it is not to be told that it failed
            process.die(KILLED)
            with anyio.CancelScope(shield=True):
                await process.ended()
            raise
        process.started = None
        return Ref(process)

    def launch(self, startable: Startable, *, name: str | NamedRef[Any] | None = None) -> Ref[Any]:
        """Start at the top without waiting for it: what ``spawn`` is made of. Raises NameTaken, BadProcess, RuntimeClosed."""
        self._require_open()
        _check_startable(startable)
        process, body = self._named(startable, self._root, name)
        launch(self._kernel, process, body)
        process.started = None  # nobody waits for it
        self._kernel.top[process] = startable.shutdown
        return Ref(process)

    def _named(self, startable: Startable, parent: Process, name: str | NamedRef[Any] | None) -> tuple[Process, Body]:
        if not isinstance(name, NamedRef):
            return startable.__start__(self, parent, name)
        process, body = startable.__start__(self, parent, None)
        name.claim(process)
        return process, body

    def _require_open(self) -> None:
        if self._closing:
            raise RuntimeClosed("this runtime is stopping or has stopped: it starts nothing more")

    # --- finding ------------------------------------------------------------------------------------------------

    def whereis(self, name: str) -> Ref[Any] | None:
        """The live process of that name."""
        return NamedRef[Any](self._kernel, name).resolve()

    def ref(self, name: str) -> NamedRef[Any]:
        """A reference by name: looked up at each use, so it survives restarts."""
        return NamedRef(self._kernel, name)

    def register(self, name: str, ref: Address) -> None:
        """Give a live process a name. Raises NameTaken; ValueError if it has a name already or is dead, or for ""."""
        self._kernel.require_open()
        process = process_of(ref)
        if not name:
            raise ValueError("a name is a non-empty str")
        if process.reason is not None:
            raise ValueError(f"{process.label} is dead: it can have no name")
        if process.name is not None and self._kernel.names.get(process.name) is process:
            raise ValueError(f"{process.label} is registered already, as {process.name!r}: a process has one name")
        holder = self._kernel.names.get(name)
        if holder is not None:
            raise NameTaken(name, holder.address)
        process.name = name
        self._kernel.names[name] = process

    def unregister(self, name: str) -> None:
        """Take a name away from its process, which lives on. Raises UnknownProcess."""
        holder = self._kernel.names.pop(name, None)
        if holder is None:
            raise UnknownProcess(name)
        holder.name = None

    # --- time and events ----------------------------------------------------------------------------------------

    @property
    def events(self) -> EventBus:
        """The bus of this runtime."""
        return self._kernel.events

    def now(self) -> float:
        """Monotonic seconds; deadlines are counted in it."""
        return self._kernel.backend.now()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the runtime's clock."""
        await self._kernel.backend.sleep(seconds)

    def send_after(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Timer:
        """Send ``message`` after ``seconds``, unless the timer is cancelled or the receiver ends first.

        A name is looked up when the timer is due; if nobody has it then, nothing happens. Raises ValueError for a
        negative time.
        """
        return self._timer(seconds, to, lambda _: message)

    def start_timer(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Timer:
        """As ``send_after``; what arrives is TimerFired(timer, message)."""
        return self._timer(seconds, to, lambda timer: TimerFired(timer, message))

    def send_interval(self, seconds: float, to: Address | NamedRef[Any], message: object) -> Interval:
        """Send ``message`` every ``seconds``, until it is cancelled or the receiver ends. Raises ValueError for a time <= 0."""
        self._kernel.require_open()
        to = to.inside(self) if isinstance(to, NamedRef) else to
        process = None if isinstance(to, NamedRef) else process_of(to)

        def send() -> None:
            receiver = to.holder() if isinstance(to, NamedRef) else process
            if receiver is not None:
                receiver.deliver((None, message, None, None, None))

        return Interval(self._kernel, seconds, send, process)

    def _timer(self, seconds: float, to: Address | NamedRef[Any], message: Callable[[Timer], object]) -> Timer:
        self._kernel.require_open()
        to = to.inside(self) if isinstance(to, NamedRef) else to
        process = None if isinstance(to, NamedRef) else process_of(to)

        def fire() -> None:
            receiver = to.holder() if isinstance(to, NamedRef) else process
            if receiver is not None:
                receiver.deliver((None, message(timer), None, None, None))

        timer = Timer(self._kernel, seconds, fire, process)
        return timer

    # --- looking ------------------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Kernel:
        """What the processes share; for the rooms above that build processes of their own kind."""
        return self._kernel

    def top(self) -> list[Ref[Any]]:
        """What was started at the top of the tree and is alive, in start order."""
        return [Ref(process) for process in self._kernel.top if process.alive]

    def statistics(self) -> dict[str, int]:
        """Counts: live processes, names, events heard, messages waiting in all mailboxes."""
        processes = [process for process in self._kernel.processes if process is not self._root]
        return {
            "processes": len(processes),
            "names": len(self._kernel.names),
            "events": self.events.emitted,
            "messages": sum(process.backlog for process in processes),
        }

    # --- the block ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the root: the parent of what is started at the top. It traps exits, so failures come here."""
        launch(self._kernel, self._root, self._watch)

    async def _watch(self) -> Reason:
        root = self._root
        assert root.started is not None
        root.started.set_result(None)
        while True:
            if not root.inbox:
                await root.park()
                continue
            messages, root.inbox = root.inbox, []
            for _, message, _, _, _ in messages:
                if isinstance(message, ExitSignal) and message.ref is not None and not self._closing:
                    process = process_of(message.ref)
                    if process.cause is not None or not is_orderly(message.reason):
                        self._fail(TreeFailed(process.label, message.reason, process.cause))

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            self._scope.cancel()

    async def close(self, grace: float) -> None:
        """Stop everything, last first; what is left after ``grace`` seconds is killed."""
        self._closing = True
        kernel = self._kernel
        limit = self.now() + grace
        while kernel.top:
            process, shutdown = kernel.top.popitem()
            left = max(0.0, limit - self.now())
            process.exit_signal(self._root, SHUTDOWN)
            if not await process.ended(left if shutdown is None else min(shutdown, left)):
                process.exit_signal(self._root, KILL)
                await process.ended(left)
        while kernel.processes:
            # The root, plain processes of actors, and what a killed supervisor left.
            for process in tuple(kernel.processes):
                process.die(KILLED)
            kernel.emptied = kernel.backend.slot()
            alarm = kernel.backend.call_at(self.now() + _STUCK_SECONDS, self._report_stuck)
            try:
                await kernel.emptied
            finally:
                alarm.cancel()

    def _report_stuck(self) -> None:
        for process in self._kernel.processes:
            self.events.emit("runtime.process.stuck", process=process.label, seconds=_STUCK_SECONDS)


def _check_startable(given: object) -> None:
    if isinstance(given, type) and callable(getattr(given, "__start__", None)):
        raise BadProcess(f"{given.__name__} is a class: start an object of it, {given.__name__}(...)")
    if not callable(getattr(type(given), "__start__", None)):
        raise BadProcess(f"{given!r} cannot be started: give an Actor or a Supervisor")
    shutdown: object = getattr(given, "shutdown", None)
    if shutdown is None or shutdown is SHUTDOWN_SECONDS:
        return
    if isinstance(shutdown, bool) or not isinstance(shutdown, int | float) or not shutdown >= 0:
        raise BadProcess(f"{type(given).__name__}.shutdown is {shutdown!r}: it is seconds >= 0; None: as long as it takes")


@asynccontextmanager
async def open_runtime(*, grace: float = 30.0) -> AsyncGenerator[Runtime]:
    """Open a runtime on the running asyncio or trio loop; leaving the block ends everything in it.

    Everything started is stopped in reverse order, shielded from the host's cancellation. ``grace`` is the longest that
    may take, in seconds, before what is left is killed. Code that shields itself from cancellation for ever cannot be
    killed by Python: the block then waits for it and emits ``runtime.process.stuck``.

    Raises TreeFailed if a top-level supervisor gave up; the body is then cancelled first. If the body raised as well,
    both come out as an ExceptionGroup.
    """
    if not grace >= 0:
        raise ValueError(f"grace is seconds >= 0, not {grace!r}")
    async with open_backend() as backend:
        scope = anyio.CancelScope()
        runtime = Runtime(backend, scope)
        outer = _OPEN.get()
        _OPEN.set(runtime)
        try:
            with scope:
                runtime.open()
                yield runtime
        except Exception as error:
            if runtime.failure is None:
                raise
            raise BaseExceptionGroup("the block and its tree both failed", [error, runtime.failure]) from None
        finally:
            _OPEN.set(outer)
            await backend.uninterrupted(lambda: runtime.close(grace))
            runtime.kernel.closed = True
            runtime.from_thread.close()
        if runtime.failure is not None:
            raise runtime.failure


def current_runtime() -> Runtime:
    """The runtime of the actor that runs this code, else the one whose block is open around it.

    Raises RuntimeClosed outside both.
    """
    process = CURRENT.get()
    found = process.kernel.runtime if process is not None else _OPEN.get()
    if not isinstance(found, Runtime):
        raise RuntimeClosed(
            "no runtime here: this code runs neither in an actor nor inside `async with open_runtime()`"
        )
    return found
