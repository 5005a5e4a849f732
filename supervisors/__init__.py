"""Supervisors: children are started in order, restarted by OTP's rules, stopped in reverse."""

from .backoff import Backoff
from .branch import branch
from .consumer_supervisor import ConsumerSupervisor
from .dynamic import DynamicSupervisor
from .intensity import Intensity
from .partition import BadPartitionKey, PartitionRef, PartitionSupervisor, partition, partition_number
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
from .statistics import RestartNote, SupervisorStatistics
from .supervision import ChildCounts, ChildInfo, Supervision
from .supervisor import FailedToStart, Supervisor
from .task_stream import TIMEOUT, StreamClosed, StreamTimeout, TaskStream
from .task_supervisor import TaskSupervisor
from .tree import Node, tree

__all__ = [
    "TIMEOUT",
    "AutoShutdown",
    "Backoff",
    "BadChildSpec",
    "BadPartitionKey",
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
    "PartitionRef",
    "PartitionSupervisor",
    "Restart",
    "RestartLimitReached",
    "RestartNote",
    "Strategy",
    "StreamClosed",
    "StreamTimeout",
    "Supervision",
    "Supervisor",
    "SupervisorError",
    "SupervisorStatistics",
    "TaskStream",
    "TaskSupervisor",
    "branch",
    "partition",
    "partition_number",
    "tree",
]
