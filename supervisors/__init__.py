"""Supervisors: children are started in order, restarted by OTP's rules, stopped in reverse."""

from .dynamic import DynamicSupervisor
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
from .supervision import ChildCounts, ChildInfo, Supervision
from .supervisor import FailedToStart, Supervisor
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
    "DynamicSupervisor",
    "FailedToStart",
    "Intensity",
    "Node",
    "Restart",
    "RestartLimitReached",
    "Strategy",
    "Supervision",
    "Supervisor",
    "SupervisorError",
    "tree",
]
