"""Say what a tree should look like, and see the difference if it does not.

assert_tree(tree(rt), '''
    runtime
      root
        cache
        pool  restarting
''')
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol


class TreeNode(Protocol):
    """What is compared of a node; ``dspex.supervisors.Node`` is one."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def children(self) -> Sequence[TreeNode]: ...


def assert_tree(node: TreeNode, expected: str) -> None:
    """Compare ids, states and order. A line is an id, indented under its parent; a state other than running follows it.

    Raises AssertionError with both trees.
    """
    wanted = list(_parsed(expected))
    found = list(_flat(node, 0))
    if wanted != found:
        raise AssertionError(f"the tree is\n{_drawn(found)}\nand should be\n{_drawn(wanted)}")


Line = tuple[int, str, str]


def _flat(node: TreeNode, depth: int) -> Iterator[Line]:
    yield depth, node.id, node.state
    for child in node.children:
        yield from _flat(child, depth + 1)


def _parsed(text: str) -> Iterator[Line]:
    indents: list[int] = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        indent = len(line) - len(line.lstrip())
        while indents and indents[-1] >= indent:
            indents.pop()
        yield len(indents), words[0], " ".join(words[1:]) or "running"
        indents.append(indent)


def _drawn(lines: list[Line]) -> str:
    return "\n".join(
        "  " * (depth + 1) + id + ("" if state == "running" else f"  {state}") for depth, id, state in lines
    )
