"""A plain process: an async function with a mailbox, Erlang's ``spawn``.

    async def echo(me: Mailbox) -> None:
        while True:
            sender, message = await me.receive()
            sender.send(message)

    ref = spawn(echo)

It has no callbacks and no manners: an exit signal from its parent is a message like any other if it traps exits, and
ends it if it does not. What the function raises is its exit reason: ``Exit(reason)`` is that reason, any other exception
a Crash. Returning is NORMAL.

To put one under a supervisor, wrap it in ``Plain``; with ``handshake`` it is started when it says so:

    async def listener(me: Mailbox, port: int) -> None:
        ...                # what is raised here fails the start
        me.started()
        ...

    Child("listener", lambda: Plain(listener, 8080, handshake=True))
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVarTuple, final

from .bounded import Overflow, check_limit
from .exits import NORMAL, BadProcess, Crash, Exit, Ignore, Reason, StartFailed, Stop
from .participant import Participant
from .process import Body, Process
from .ref import NamedRef, Ref
from .runtime import SHUTDOWN_SECONDS, Runtime, current_runtime

Ts = TypeVarTuple("Ts")


@final
class Mailbox(Participant):
    """What a plain process is given: its messages, and everything it can do to others."""

    def __init__(self, process: Process, runtime: Runtime) -> None:
        self.__bind__(process, runtime)

    def started(self) -> None:
        """With ``handshake=True``: let the starter go on. Does nothing the second time, or without."""
        slot = self.ref.process.started
        if slot is not None and not slot.done():
            slot.set_result(None)


@final
class Plain:
    """A plain process to be started by ``rt.start``, ``start_link`` or a child spec. An object is started once.

    ``handshake``: it has started when it calls ``started()``; until then an exception is a failed start, and Ignore no
    start at all. Without, it has started as soon as it runs. ``trap_exit``: it traps exits from the first moment.
    ``shutdown``: seconds to stop in at the top of the tree before it is killed. ``mailbox_limit`` and ``overflow`` are as an
    actor's. Raises BadProcess for a function that is not async.
    """

    escalates = False

    def __init__(
        self,
        function: Callable[[Mailbox, *Ts], Awaitable[object]],
        *args: *Ts,
        handshake: bool = False,
        trap_exit: bool = False,
        shutdown: float | None = SHUTDOWN_SECONDS,
        mailbox_limit: int | None = None,
        overflow: Overflow = "wait",
    ) -> None:
        check_limit("Plain", mailbox_limit, overflow)
        if not inspect.iscoroutinefunction(function):
            raise BadProcess(f"{function!r} cannot be a process: it must be written with async def")
        self._run: Callable[[Mailbox], Awaitable[object]] | None = lambda me: function(me, *args)
        self._kind = function.__name__
        self._handshake = handshake
        self._trap_exit = trap_exit
        self._limit = mailbox_limit
        self._overflow: Overflow = overflow
        self.shutdown = shutdown

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """Bind to a new process; see ``Startable``."""
        if self._run is None:
            raise BadProcess(f"this {self._kind} was started before: make a new one for each start")
        runtime.kernel.require_free(name)
        run, self._run = self._run, None
        process = Process(runtime.kernel, self._kind, parent, name=name, trap=self._trap_exit)
        process.limit(self._limit, self._overflow)
        mailbox = Mailbox(process, runtime)

        async def body() -> Reason:
            if not self._handshake:
                mailbox.started()
            try:
                await run(mailbox)
            except Ignore as ignored:
                if process.started is None or process.started.done():
                    return Crash(ignored)
                process.started.set_exception(ignored)
            except (Exit, Stop) as exit_:
                return _refused(process, exit_.reason)
            except Exception as error:
                return _refused(process, Crash(error))
            return NORMAL

        return process, body


def _refused(process: Process, reason: Reason) -> Reason:
    """Tell the starter, if it still waits, why there is no process."""
    slot = process.started
    if slot is not None and not slot.done():
        process.kernel.events.emit("runtime.process.refused", process=process.label, reason=reason)
        slot.set_exception(StartFailed(reason, process.label))
    return reason


def spawn(
    function: Callable[[Mailbox, *Ts], Awaitable[object]],
    *args: *Ts,
    name: str | NamedRef[Any] | None = None,
    trap_exit: bool = False,
) -> Ref[Any]:
    """Start a plain process in the current runtime, at once, without waiting: erlang:spawn/1.

    It is linked to nobody; the block ends it. To link or monitor it from its first moment, do so right after: it does not
    run before the caller waits. Raises NameTaken, BadProcess, RuntimeClosed.
    """
    return current_runtime().launch(Plain(function, *args, trap_exit=trap_exit), name=name)
