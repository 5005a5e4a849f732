"""For tests of what is built on the runtime: virtual time on both loops, assertions on trees."""

from .trees import TreeNode, assert_tree
from .virtual_time import BackendName, VirtualEventLoop, all_tasks_blocked, virtual_backend, virtual_time_backends

__all__ = [
    "BackendName",
    "TreeNode",
    "VirtualEventLoop",
    "all_tasks_blocked",
    "assert_tree",
    "virtual_backend",
    "virtual_time_backends",
]
