"""Supervisors: children are started in order, restarted by OTP's rules, stopped in reverse."""

from .intensity import Intensity
from .specs import (
    AutoShutdown,
    BadChildSpec,
    Child,
    ChildNotFound,
    ChildPresent,
    ChildRestarting,
    ChildRunning,
    Restart,
    RestartLimitReached,
    Strategy,
    SupervisorError,
)
from .supervisor import ChildCounts, ChildInfo, FailedToStart, Supervisor
from .tree import Node, tree

__all__ = [
    "AutoShutdown",
    "BadChildSpec",
    "Child",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildPresent",
    "ChildRestarting",
    "ChildRunning",
    "FailedToStart",
    "Intensity",
    "Node",
    "Restart",
    "RestartLimitReached",
    "Strategy",
    "Supervisor",
    "SupervisorError",
    "tree",
]
