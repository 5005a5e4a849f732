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
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, Self, cast

from .bounded import Overflow, check_limit
from .exits import NORMAL, BadProcess, Reason
from .helper_tasks import TaskHandle
from .participant import Participant
from .process import Body, Process
from .ref import handlers_of
from .replies import Reply
from .runtime import SHUTDOWN_SECONDS, Runtime
from .server import Server

P = ParamSpec("P")

_OWN: Final = ("_Actor__", "_Participant__")
"""How the attributes begin that are the runtime's."""

_log = logging.getLogger("dspex.runtime")


class Actor(Participant):
    """Subclass it, keep ``__init__`` cheap (no I/O: that belongs in ``init``), and give it methods.

    An object is started once; whoever restarts it makes a new one.
    """

    trap_exit: ClassVar[bool] = False
    """True: exit signals arrive in ``handle_info`` as ExitSignal, and ``terminate`` runs on a supervisor's shutdown."""

    concurrency: int = 1
    """More than 1: that many calls run at a time, as linked tasks, each cancelled when its caller goes away or its time
    is up. Casts and plain messages are still handled one at a time. May be set in ``__init__``."""

    mailbox_limit: int | None = None
    """How many messages may wait in the mailbox; None: as many as come. May be set in ``__init__``. See ``bounded``."""

    overflow: Overflow = "wait"
    """What becomes of a message for a full mailbox: the sender waits, the default, or it is rejected, or one is dropped."""

    shutdown: float | None = SHUTDOWN_SECONDS
    """Seconds to stop in, at the top of the tree, before it is killed. A supervisor's child spec decides below."""

    escalates: bool = False
    """True: its crash at the top of the tree fails the runtime's block."""

    __server: Server | None = None

    # --- callbacks ----------------------------------------------------------------------------------------------

    async def init(self) -> None:
        """Called first, inside the actor, before any message; ``start`` returns when it has succeeded.

        What it raises becomes StartFailed at the starter; ``Ignore`` means: do not start, and this is no failure.
        """

    async def terminate(self, reason: Reason) -> None:
        """Called last: after ``stop``, after a crash, and on a supervisor's shutdown if ``trap_exit``. Never after a kill."""

    async def handle_info(self, message: Any) -> None:
        """Called with what is no method call: ``ref.send``, timers, Down, ExitSignal, IDLE. By default it is reported."""
        self.rt.events.emit("runtime.unhandled", process=self.ref.label, kind=type(message).__name__)
        _log.debug("%s got a %s that it does not handle", self.ref.label, type(message).__name__)

    def system_get_state(self) -> Any:
        """What ``get_state`` shows. By default its attributes, as a new dict of the values themselves."""
        return {name: value for name, value in vars(self).items() if not name.startswith(_OWN)}

    def system_replace_state(self, state: Any) -> None:
        """What ``replace_state`` does. By default the attributes become those of the dict given. Raises TypeError."""
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):  # pyright: ignore[reportUnknownVariableType]
            raise TypeError(f"the state of {type(self).__name__} is a mapping of attribute names, not {state!r}")
        for name in self.system_get_state():
            delattr(self, name)
        vars(self).update(cast("Mapping[str, object]", state))

    def tree_detail(self) -> str:
        """A few words that ``supervisors.tree`` prints behind the actor's name. Called at any time, so only read."""
        return ""

    # --- what an actor can do -----------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When the caller in hand gives up, in seconds of ``rt.now``; None: never. Pass it on: ``ref.until(self.deadline)``."""
        bucket = self.__running.call_in_hand().bucket
        return bucket.when if bucket is not None else None

    def defer(self) -> Reply:
        """Answer the call in hand later, through the Reply; what the handler returns is then ignored."""
        call = self.__running.call_in_hand()
        call.deferred = reply = Reply(self.__running.process, call.slot, call.bucket)
        return reply

    def continue_with(
        self, method: Callable[Concatenate[Self, P], object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Run a method of its own next, before any message: to answer first and work on."""
        self.__running.continue_with((method, args, kwargs))

    def stop(self, reason: Reason = NORMAL) -> None:
        """End in order after the handler that is running; its answer is sent when ``terminate`` has run."""
        self.__running.stop(reason)

    def idle_after(self, seconds: float) -> None:
        """If no message arrives within ``seconds`` after the handler that is running, ``handle_info`` gets IDLE, once.

        As gen_server's timeout: any message in between calls it off. Raises ValueError for a negative time.
        """
        if not seconds >= 0:
            raise ValueError(f"an actor is idle after seconds >= 0, not {seconds!r}")
        self.__running.idle_after(seconds)

    def task(
        self, function: Callable[P, Coroutine[Any, Any, object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle:
        """Run an async function beside the messages. If it raises, the actor crashes; when the actor ends, it is cancelled."""
        return self.__running.start_task(lambda: function(*args, **kwargs))

    # --- the inside ---------------------------------------------------------------------------------------------

    @property
    def __running(self) -> Server:
        if self.__server is None:
            raise BadProcess(f"{type(self).__name__} has not been started: use rt.start or a child spec")
        return self.__server

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """Bind to a new process; see ``Startable``."""
        kind = type(self).__name__
        if self.__server is not None:
            raise BadProcess(f"this {kind} was started before: make a new one for each start (a spec takes a factory)")
        if _SOUND not in vars(type(self)):
            _check_callbacks(type(self))
        limit = self.mailbox_limit
        if limit is not None or self.overflow != Actor.overflow:
            check_limit(kind, limit, self.overflow)
        if not _counts(self.concurrency):
            raise BadProcess(f"{kind}.concurrency is {self.concurrency!r}: it counts calls at a time, 1 or more")
        runtime.kernel.require_free(name)
        process = Process(runtime.kernel, kind, parent, name=name, trap=self.trap_exit)
        process.parent_first = True
        process.host = self
        process.handlers = handlers_of(type(self))
        if limit is not None:
            process.limit(limit, self.overflow)
        self.__bind__(process, runtime)
        self.__server = Server(process, self)
        return process, self.__server.serve


_SOUND: Final = "_dspex_sound"
"""Hangs on a class whose callbacks have been looked at: looking costs as much as a third of a start."""


def _counts(limit: object) -> bool:
    return isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1


def _check_callbacks(cls: type[Actor]) -> None:
    for callback in ("init", "terminate", "handle_info"):
        if not inspect.iscoroutinefunction(getattr(cls, callback)):
            raise BadProcess(f"{cls.__name__}.{callback} must be written with async def")
    setattr(cls, _SOUND, True)
