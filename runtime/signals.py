"""What one process learns of another: addresses, exit signals, monitors.

Delivery is immediate and keeps the order in which one process sends to another: a message sent before its sender ends
is read before the ``Down`` or ``ExitSignal`` that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, final

from .exits import Reason


class Endpoint(Protocol):
    """What an address stands for."""

    @property
    def label(self) -> str: ...

    @property
    def alive(self) -> bool: ...


class Address:
    """Names one incarnation of a process for ever. Two addresses are equal when they name the same one; hashable."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def alive(self) -> bool:
        """False as soon as the process has ended or has been given a reason to."""
        return self._endpoint.alive

    @property
    def label(self) -> str:
        """For people: a name and a number that no other process of this runtime has."""
        return self._endpoint.label

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and other._endpoint is self._endpoint

    def __hash__(self) -> int:
        return hash(id(self._endpoint))

    def __repr__(self) -> str:
        return f"<{self.label}>" if self.alive else f"<{self.label} (dead)>"


@final
@dataclass(frozen=True, slots=True)
class ExitSignal:
    """What a process that traps exits receives when a linked process ends, or somebody sends it an exit signal."""

    ref: Address | None
    """Whose signal it is; None: sent by code outside any process."""
    reason: Reason


@final
class Monitor:
    """One act of watching; it pairs a ``Down`` with its ``monitor`` call by identity."""

    __slots__ = ("name",)

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        """The registered name, if the monitor was set on a name."""


@final
@dataclass(frozen=True, slots=True)
class Down:
    """Delivered once to the watcher when the watched process ends; NOPROC when there was none."""

    monitor: Monitor
    ref: Address | None
    reason: Reason


@final
class Idle:
    """What ``handle_info`` gets when no message came in the time given to ``idle_after``. There is one, ``IDLE``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "IDLE"


IDLE: Final = Idle()
