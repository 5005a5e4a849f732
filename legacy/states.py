"""The states of a worker's slot, and which may follow which. Each transition is an event, `legacy.worker.state`.

    parked ──▶ starting ──▶ loading ──▶ idle ◀──▶ busy ──▶ cancelling ──▶ idle
       ▲          ▲   │        │         │ │        │          │
       │          └───┴─failed─┘         │ └────────┼──────────┴──▶ replacing ──▶ starting
       └─────────────────────────────────┘          └──▶ stopped
"""

from __future__ import annotations

from typing import Literal

__all__ = ["TRANSITIONS", "WorkerState"]

WorkerState = Literal[
    "parked", "starting", "loading", "idle", "busy", "cancelling", "replacing", "failed", "stopped"
]
"""parked: no process, and none is wanted. starting: a process is being made. loading: it makes dspy and the programs ready.
idle, busy: it serves. cancelling: it was asked to drop what it runs. replacing: the process is on its way out, another
comes. failed: it gave up, or waits for its next attempt. stopped: the slot's actor has ended."""

TRANSITIONS: dict[WorkerState, frozenset[WorkerState]] = {
    "parked": frozenset({"starting", "stopped"}),
    "starting": frozenset({"loading", "replacing", "failed", "stopped", "parked"}),
    "loading": frozenset({"idle", "replacing", "failed", "stopped", "parked"}),
    "idle": frozenset({"busy", "replacing", "parked", "failed", "stopped"}),
    "busy": frozenset({"idle", "cancelling", "replacing", "failed", "stopped"}),
    "cancelling": frozenset({"idle", "busy", "replacing", "failed", "stopped"}),
    "replacing": frozenset({"starting", "idle", "parked", "failed", "stopped"}),
    "failed": frozenset({"starting", "parked", "stopped"}),
    "stopped": frozenset(),
}
