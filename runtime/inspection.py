"""Looking at a process from outside, as erlang:process_info/1: read at once, without a message, also when it is busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from .ref import process_of
from .signals import Address, Monitor


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
