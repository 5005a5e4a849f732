"""What a running application says of itself: tree, pools, flags, rates. As JSON has it, with a version of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, final

from ..legacy import LegacyPool
from ..runtime import ActorExit, CallTimeout, Ref, Runtime
from ..supervisors import Node
from .app_statistics import AppStatistics
from .control_rates import ArmKey, Count, Rates
from .control_socket import ControlSocket
from .flags import FlagChange, FlagStore

SCHEMA: Final = "dspex.status"
SCHEMA_VERSION: Final = 1
"""Grows by new names only; a change of what is there is a new version."""

_POOL_SECONDS: Final = 2.0


@final
@dataclass(slots=True)
class ControlDesk:
    """What the control socket may see and do of one app; it outlives the actor that serves it."""

    path: str | None
    """Where it is served; None: nowhere."""
    flags: FlagStore
    programs: Mapping[str, tuple[str, ...]]
    """By program, the engines that it has."""
    counted: Callable[[], AppStatistics]
    counts: Callable[[], Mapping[ArmKey, Count]]
    """The same, but quickly, and only numbers of requests."""
    phase: Callable[[], tuple[str, int]]
    """"ready", "not ready" or "draining", and how many requests are under way."""
    root: Callable[[], Node]
    rates: Rates = field(default_factory=Rates)
    socket: ControlSocket | None = None
    """While it listens."""

    def listen(self) -> ControlSocket:
        """Claim the socket, after an incarnation that could not release it. Raises ControlUnavailable."""
        assert self.path is not None
        self.release()
        self.socket = ControlSocket.claim(self.path)
        return self.socket

    def release(self) -> None:
        """Stop listening."""
        if self.socket is not None:
            self.socket.release()
            self.socket = None


async def status(desk: ControlDesk, rt: Runtime, since: float) -> dict[str, Any]:
    """All of it. ``since``: when the app was started, in seconds of the runtime's clock."""
    now, counts = rt.now(), desk.counts()
    rates = desk.rates.now(now, counts)
    phase, under_way = desk.phase()
    counted = desk.counted().to_dict()
    for (program, engine), rate in rates.items():
        counted["programs"][program][engine]["rate"] = asdict(rate)
    return {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "app": {"pid": os.getpid(), "phase": phase, "under_way": under_way, "uptime_s": round(now - since, 3)},
        "programs": {name: list(engines) for name, engines in desk.programs.items()},
        "tree": asdict(desk.root()),
        "pools": [await _pool(ref) for ref in _pools(rt)],
        "flags": flags_told(desk.flags),
        "statistics": {
            **counted,
            "requests_per_s": sum(rate.requests_per_s for rate in rates.values()) if rates else None,
            "window_s": next((rate.seconds for rate in rates.values()), None),
        },
    }


def flags_told(store: FlagStore) -> dict[str, Any]:
    """The flags that hold, and how often they were changed."""
    return {"values": store.current.to_dict(), "changed_times": store.changed_times}


def history_told(store: FlagStore) -> list[dict[str, Any]]:
    """The audit trail of this run, oldest first; the first line is what it began with."""
    start = {"number": 0, "at": store.made_at, "by": "start", "changes": store.initial.to_dict(), "before": {}}
    return [start, *(change_told(change) for change in store.history)]


def change_told(change: FlagChange) -> dict[str, Any]:
    """One line of it."""
    before, after = change.before.to_dict(), change.after.to_dict()
    names = list(change.changes)
    return {
        "number": change.number,
        "at": change.at,
        "by": change.by,
        "changes": {name: after[name] for name in names},
        "before": {name: before[name] for name in names},
    }


def _pools(rt: Runtime) -> list[Ref[LegacyPool]]:
    """All of them, those in ``beside`` included."""
    return [Ref(process) for process in rt.kernel.processes if process.alive and isinstance(process.host, LegacyPool)]


async def _pool(ref: Ref[LegacyPool]) -> dict[str, Any]:
    name = ref.process.name or ref.label
    try:
        told = await ref.within(_POOL_SECONDS).call(LegacyPool.statistics)
    except (ActorExit, CallTimeout) as error:
        return {"name": name, "unknown": f"it does not answer now ({type(error).__name__})"}
    return {"name": name, **asdict(told)}
