"""Looking into a process from outside.

``process_info`` and ``statistics`` read at once, without a message, also when the process is busy: erlang:process_info/1.

The others are Erlang's ``sys`` module: orders to a live actor that overtake its mailbox and are obeyed between two messages,
also while it is suspended.

    await suspend(ref)
    print(await get_state(ref))
    await replace_state(ref, lambda state: {**state, "value": 0})
    await resume(ref)

They wait at most ``within`` seconds (None: as long as it lives) and raise CallTimeout then: a handler that is running is not
interrupted. ActorExit if the actor is dead or ends first, UnknownProcess for a name that nobody has, NotAHandler for a plain
process, which knows no such orders, CallingSelf inside the actor itself, RuntimeClosed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from .exits import NOPROC, ActorExit, CallingSelf, NotAHandler
from .process import BESIDE, CURRENT, Process, Request
from .ref import DEFAULT_TIMEOUT, NamedRef, Ref, process_of
from .server import Server
from .signals import Address, Monitor
from .tracing import Tracer


@final
@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What a process was when it was looked at."""

    name: str | None
    trap_exit: bool
    messages: int
    """How many wait in its mailbox."""
    links: tuple[Address, ...]
    monitors: tuple[tuple[Monitor, Address], ...]
    """Whom it watches; ``Monitor.name`` tells if the monitor was set on a name."""
    monitored_by: tuple[tuple[Monitor, Address], ...]
    """Who watches it."""


def process_info(ref: Address) -> ProcessInfo | None:
    """What there is to know of a live process; None if it is dead. Raises BadProcess for what is no process."""
    process = process_of(ref)
    if process.reason is not None:
        return None
    return ProcessInfo(
        name=process.name,
        trap_exit=process.trap,
        messages=process.backlog,
        links=tuple(other.address for other in process.links),
        monitors=tuple((monitor, other.address) for monitor, other in process.monitors.items()),
        monitored_by=tuple((monitor, watcher.address) for monitor, (watcher, _) in process.watchers.items()),
    )


async def get_state(ref: Ref[Any] | NamedRef[Any], *, within: float | None = DEFAULT_TIMEOUT) -> Any:
    """What ``Actor.system_get_state`` gives: by default its attributes, as a dict of the values themselves, no copies."""
    return await _order(ref, lambda server: server.behaviour.system_get_state(), within)


async def replace_state(
    ref: Ref[Any] | NamedRef[Any], change: Callable[[Any], Any], *, within: float | None = DEFAULT_TIMEOUT
) -> Any:
    """Give the actor what ``change`` makes of its state; returns that. For repairs and debugging, as in OTP.

    What ``change`` raises is raised here, and the actor is as it was.
    """

    def replace(server: Server) -> Any:
        state = change(server.behaviour.system_get_state())
        server.behaviour.system_replace_state(state)
        return state

    return await _order(ref, replace, within)


async def suspend(ref: Ref[Any] | NamedRef[Any], *, within: float | None = DEFAULT_TIMEOUT) -> None:
    """Have an actor handle no message until ``resume``; they wait in its mailbox.

    It still obeys orders: these here, ``ref.stop``, its parent's. A second time changes nothing. Calls of a concurrent
    actor and helper tasks that run already go on.
    """

    def act(server: Server) -> None:
        server.suspended = True

    await _order(ref, act, within)


async def resume(ref: Ref[Any] | NamedRef[Any], *, within: float | None = DEFAULT_TIMEOUT) -> None:
    """End ``suspend``."""

    def act(server: Server) -> None:
        server.suspended = False

    await _order(ref, act, within)


async def trace(
    ref: Ref[Any] | NamedRef[Any], tracer: Tracer | None, *, within: float | None = DEFAULT_TIMEOUT
) -> None:
    """Have ``tracer`` called with every message the actor takes and every answer, from now on; None: no longer.

    An actor has one tracer; without one, tracing costs nothing.
    """
    await _order(ref, lambda server: server.trace(tracer), within)


async def _order(ref: Ref[Any] | NamedRef[Any], action: Callable[[Server], Any], within: float | None) -> Any:
    process = _actor(ref)
    kernel = process.kernel
    bucket = kernel.deadlines.within_or_never(within)
    slot = kernel.backend.slot()
    bucket.slots[slot] = process
    try:
        if not process.order(Request(slot, action)):
            raise ActorExit(NOPROC, process.label)
        return await slot
    finally:
        kernel.deadlines.leave(bucket, slot)


def _actor(ref: Ref[Any] | NamedRef[Any]) -> Process:
    process = process_of(ref.resolved() if isinstance(ref, NamedRef) else ref)
    process.kernel.require_open()
    if process.reason is not None:
        raise ActorExit(NOPROC, process.label)
    if process.host is None:
        raise NotAHandler(f"{process.label} is a plain process: it obeys no system orders")
    if CURRENT.get() is process and not BESIDE.get():
        raise CallingSelf(process.label)
    return process
