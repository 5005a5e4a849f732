"""For tests of what is built on the runtime: virtual time, seeded order, crashes on purpose, assertions on trees and leaks."""

from .backends import BackendName, virtual_backend, virtual_time_backends
from .chaos import InjectedCrash, Injection, inject_crash
from .exploring import SeedFailed, explore
from .leaks import Leaked, no_leaks
from .seeded import SeededEventLoop
from .trees import TreeNode, assert_tree
from .virtual_time import VirtualEventLoop, all_tasks_blocked

__all__ = [
    "BackendName",
    "InjectedCrash",
    "Injection",
    "Leaked",
    "SeedFailed",
    "SeededEventLoop",
    "TreeNode",
    "VirtualEventLoop",
    "all_tasks_blocked",
    "assert_tree",
    "explore",
    "inject_crash",
    "no_leaks",
    "virtual_backend",
    "virtual_time_backends",
]
