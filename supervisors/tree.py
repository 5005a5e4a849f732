"""A snapshot of what runs under a supervisor, that prints as a tree.

root#2  Supervisor one_for_one  1/3 restarts in 5 s
├── model#3  LocalModel  pid 4711
└── pool#4  Supervisor rest_for_one
    └── worker-1#9  WorkerActor  incarnation 2, pid 4720
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..runtime import Actor, Process, Ref, Runtime
from .supervision import Supervision
from .supervisor import Supervisor


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
    if isinstance(root, Runtime):
        return Node(
            "runtime", "Runtime", "running", 1, None, "", tuple(_node(ref.process, None, 1) for ref in root.top())
        )
    return _node(root.process, None, 1)


def _node(process: Process, id: str | None, incarnation: int) -> Node:
    host = process.host
    children: tuple[Node, ...] = ()
    detail = ""
    if isinstance(host, Supervision):
        detail = host.strategy if isinstance(host, Supervisor) else "dynamic"
        children = tuple(
            _node(record.process, record.spec.id, record.incarnation)
            if record.process is not None
            else Node(
                record.spec.id, "", "restarting" if record.restarting else "stopped", record.incarnation, None, ""
            )
            for record in host.records
        )
    elif isinstance(host, Actor):
        detail = host.tree_detail()
    state = "running" if process.alive else "stopped"
    return Node(id or process.name or process.kind, process.kind, state, incarnation, process.label, detail, children)


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
