"""An actor is a class; its public methods are its messages.

    class Counter(Actor):
        def __init__(self, start: int = 0) -> None:
            self.value = start

        def add(self, n: int) -> int:
            self.value += n
            return self.value

    counter = await rt.start(Counter(5))
    assert await counter.call(Counter.add, 1) == 6

One message at a time, in the order they arrived. A method may be ``async``; while it waits, the actor's other messages
wait too, unless it declares ``concurrency``. An exception that leaves a method is a crash: the actor dies, its callers get
ActorExit, its supervisor decides. An expected refusal is no crash: raise ``Refuse(error)`` and only the caller sees it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Concatenate, ParamSpec, Self, TypeVar

from .backend import Timer
from .exits import NORMAL, BadProcess, Reason
from .process import Body, Process
from .ref import Ref, process_of
from .runtime import SHUTDOWN_SECONDS, Runtime, Startable
from .server import Call, Reply, Server, TaskHandle, call_in_hand
from .signals import Address, Monitor

P = ParamSpec("P")
S = TypeVar("S", bound=Startable)

_log = logging.getLogger("dspex.runtime")


class Actor:
    """Subclass it, keep ``__init__`` cheap (no I/O: that belongs in ``init``), and give it methods.

    An object is started once; whoever restarts it makes a new one.
    """

    trap_exit: ClassVar[bool] = False
    """True: exit signals arrive in ``handle_info`` as ExitSignal, and ``terminate`` runs on a supervisor's shutdown."""

    concurrency: int = 1
    """More than 1: that many calls run at a time, as linked tasks, each cancelled when its caller goes away or its time
    is up. Casts and plain messages are still handled one at a time. May be set in ``__init__``."""

    shutdown: float | None = SHUTDOWN_SECONDS
    """Seconds to stop in, at the top of the tree, before it is killed. A supervisor's child spec decides below."""

    escalates: bool = False
    """True: its crash at the top of the tree fails the runtime's block."""

    _server: Server | None = None
    _runtime: Runtime | None = None

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def init(self) -> None:
        """Called first, inside the actor, before any message; ``start`` returns when it has succeeded.

        What it raises becomes StartFailed at the starter; ``Ignore`` means: do not start, and this is no failure.
        """

    async def terminate(self, reason: Reason) -> None:
        """Called last: after ``stop``, after a crash, and on a supervisor's shutdown if ``trap_exit``. Never after a kill."""

    async def handle_info(self, message: Any) -> None:
        """Called with what is no method call: ``ref.send``, timers, Down, ExitSignal. By default it is reported."""
        self.rt.events.emit("runtime.unhandled", process=self.ref.label, kind=type(message).__name__)
        _log.debug("%s got a %s that it does not handle", self.ref.label, type(message).__name__)

    def tree_detail(self) -> str:
        """A few words that ``supervisors.tree`` prints behind the actor's name. Called at any time, so only read."""
        return ""

    # --- what an actor can do -----------------------------------------------------------------------------------

    @property
    def rt(self) -> Runtime:
        """The runtime it runs in. Raises BadProcess before it is started."""
        if self._runtime is None:
            raise BadProcess(f"{type(self).__name__} has not been started: its runtime is known from init on")
        return self._runtime

    @property
    def ref(self) -> Ref[Self]:
        """A reference to itself, to hand to others."""
        return Ref(self._running.process)

    @property
    def deadline(self) -> float | None:
        """When the caller in hand gives up, in seconds of ``rt.now``; None: never. Pass it on: ``ref.until(self.deadline)``."""
        bucket = call_in_hand(self._running).bucket
        return bucket.when if bucket is not None else None

    def defer(self) -> Reply:
        """Answer the call in hand later, through the Reply; what the handler returns is then ignored."""
        call: Call = call_in_hand(self._running)
        call.deferred = True
        return Reply(self._running.process, call.slot, call.bucket)

    def continue_with(
        self, method: Callable[Concatenate[Self, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Run a method of its own next, before any message: to answer first and work on."""
        self._running.continuations.append((method, args, kwargs))

    def stop(self, reason: Reason = NORMAL) -> None:
        """End in order after the handler that is running; its answer is sent when ``terminate`` has run."""
        self._running.stopping = reason

    def task(
        self, function: Callable[P, Coroutine[Any, Any, object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle:
        """Run an async function beside the messages. If it raises, the actor crashes; when the actor ends, it is cancelled."""
        return self._running.start_task(lambda: function(*args, **kwargs))

    async def start_link(self, actor: S, *, name: str | None = None) -> Ref[S]:
        """Start an actor of which this one is the parent: linked, and ordered to terminate when this one ends.

        Raises StartFailed, NameTaken, BadProcess. As in OTP, a child that fails to start also sends its exit signal: an
        actor that does not trap exits ends with it.
        """
        return await self.rt.start_under(self._running.process, actor, name=name)

    def link(self, other: Address) -> None:
        """If either ends abnormally, so does the other, or gets ExitSignal if it traps. Raises ActorExit for a dead one."""
        self._running.process.link(process_of(other))

    def unlink(self, other: Address) -> None:
        """Undo ``link``. A signal already in the mailbox stays there."""
        self._running.process.unlink(process_of(other))

    def monitor(self, other: Address) -> Monitor:
        """Watch: exactly one Down with this monitor arrives when the other ends, at once if it is gone."""
        return self._running.process.monitor(process_of(other))

    def demonitor(self, monitor: Monitor, *, flush: bool = True) -> bool:
        """Stop watching; ``flush`` also removes a Down that waits in the mailbox. True if it was still watching."""
        return self._running.process.demonitor(monitor, flush=flush)

    def send_after(self, seconds: float, to: Address, message: object) -> Timer:
        """Send a plain message later; ``cancel()`` on what is returned."""
        return self.rt.send_after(seconds, to, message)

    # --- the inside ---------------------------------------------------------------------------------------------

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise BadProcess(f"{type(self).__name__} has not been started: use rt.start or a child spec")
        return self._server

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """Bind to a new process; see ``Startable``."""
        kind = type(self).__name__
        if self._server is not None:
            raise BadProcess(f"this {kind} was started before: make a new one for each start (a spec takes a factory)")
        for callback in ("init", "terminate", "handle_info"):
            if not inspect.iscoroutinefunction(getattr(self, callback)):
                raise BadProcess(f"{kind}.{callback} must be written with async def")
        if self.concurrency < 1:
            raise BadProcess(f"{kind}.concurrency is {self.concurrency}: it counts calls at a time, 1 or more")
        process = Process(runtime.kernel, kind, parent, name=name, trap=self.trap_exit)
        process.parent_first = True
        process.host = self
        self._runtime = runtime
        self._server = Server(process, self)
        return process, self._server.serve
