"""A snapshot of what runs under a supervisor, that prints as a tree.

root  Supervisor  one_for_one  1/3 restarts in 5 s
├── model  LocalModel  pid 4711
├── feed  restarting
└── pool  Supervisor  rest_for_one
    └── worker-1  WorkerActor  incarnation 2  pid 4720

Children of a supervisor come in start order, also those that have no process at the moment. Below any process come those
that it started itself: tasks, processes of ``start_link``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..runtime import Actor, Process, Ref, Runtime
from .supervision import Supervision


@dataclass(frozen=True, slots=True)
class Node:
    """One process, or a child that has none at the moment."""

    id: str
    kind: str
    state: str
    """"running", "restarting", "stopped"."""
    incarnation: int
    """How often this child was started by its supervisor; 1 at the top."""
    label: str | None
    detail: str
    """What the actor says of itself in ``tree_detail``; a supervisor's strategy."""
    children: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return "\n".join(_lines(self, "", ""))

    def find(self, id: str) -> Node | None:
        """The first node with this id, itself included."""
        if self.id == id:
            return self
        return next((found for child in self.children if (found := child.find(id))), None)


def tree(root: Ref[Any] | Runtime) -> Node:
    """What runs now, read without a message: a busy or suspended supervisor is seen as well."""
    kernel = root.kernel if isinstance(root, Runtime) else root.process.kernel
    started: dict[Process, list[Process]] = {}
    for process in kernel.processes:
        if process.parent is not None:
            started.setdefault(process.parent, []).append(process)
    if isinstance(root, Runtime):
        top = tuple(_node(ref.process, None, 1, started) for ref in root.top())
        return Node("runtime", "Runtime", "running", 1, None, "", top)
    return _node(root.process, None, 1, started)


def _node(process: Process, id: str | None, incarnation: int, started: dict[Process, list[Process]]) -> Node:
    host = process.host
    detail = host.tree_detail() if isinstance(host, Actor) else ""
    state = "running" if process.alive else "stopped"
    children = tuple(_children(process, host, started))
    return Node(id or process.name or process.kind, process.kind, state, incarnation, process.label, detail, children)


def _children(process: Process, host: object, started: dict[Process, list[Process]]) -> Iterator[Node]:
    listed: set[Process] = set()
    if isinstance(host, Supervision):
        for record in tuple(host.records):
            spec = record.spec
            if record.process is None:
                state = "restarting" if record.restarting else "stopped"
                yield Node(spec.id, "", state, record.incarnation, None, "")
            else:
                listed.add(record.process)
                yield _node(record.process, spec.id, record.incarnation, started)
    for child in started.get(process, ()):
        if child not in listed and child.alive:
            yield _node(child, None, 1, started)


def _lines(node: Node, first: str, rest: str) -> Iterator[str]:
    parts = [node.id]
    if node.kind and node.kind != node.id:
        parts.append(node.kind)
    if node.state != "running":
        parts.append(node.state)
    if node.incarnation > 1:
        parts.append(f"incarnation {node.incarnation}")
    if node.detail:
        parts.append(node.detail)
    yield first + "  ".join(parts)
    for i, child in enumerate(node.children):
        last = i == len(node.children) - 1
        yield from _lines(child, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
