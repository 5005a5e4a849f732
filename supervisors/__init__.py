"""Supervisors: children are started in order, restarted by OTP's rules, stopped in reverse."""

from .consumer_supervisor import ConsumerSupervisor
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
from .task_stream import TIMEOUT, StreamClosed, StreamTimeout, TaskStream
from .task_supervisor import TaskSupervisor
from .tree import Node, tree

__all__ = [
    "TIMEOUT",
    "AutoShutdown",
    "BadChildSpec",
    "Child",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildPresent",
    "ChildRestarting",
    "ChildRunning",
    "ConsumerSupervisor",
    "DynamicSupervisor",
    "FailedToStart",
    "Intensity",
    "Node",
    "Restart",
    "RestartLimitReached",
    "Strategy",
    "StreamClosed",
    "StreamTimeout",
    "Supervision",
    "Supervisor",
    "SupervisorError",
    "TaskStream",
    "TaskSupervisor",
    "tree",
]
