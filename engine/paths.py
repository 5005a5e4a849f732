"""Attribute paths, the names that `named_parameters` gives: `react`, `steps[0].predict`, `by_topic['news']`.

`set_at` is the inverse of that naming. It reads names with a small grammar of its own; nothing is evaluated.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["set_at"]

_STEP = re.compile(
    r"""\.?(?P<name>[^\W\d]\w*)          # an attribute, with the dot before it
      | \[(?P<index>-?\d+)\]             # a list position
      | \[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]""",
    re.VERBOSE,
)


def set_at(root: Any, path: str, value: Any) -> None:
    """Replace what `path` names under `root`.

    Raises:
        ValueError: the path is not of the form that `named_parameters` gives, or it is just "self".
        AttributeError, KeyError, IndexError: a step of it is not there.
    """
    steps = _steps(path)
    owner = root
    for step in steps[:-1]:
        owner = getattr(owner, step[1]) if step[0] == "name" else owner[step[1]]
    kind, last = steps[-1]
    if kind == "name":
        setattr(owner, last, value)
    else:
        owner[last] = value


def _steps(path: str) -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = []
    position = 0
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            raise ValueError(f"{path!r} is not an attribute path such as 'steps[0].predict'")
        if found["name"] is not None:
            steps.append(("name", found["name"]))
        elif found["index"] is not None:
            steps.append(("key", int(found["index"])))
        else:
            steps.append(("key", found["key"]))
        position = found.end()
    if not steps:
        raise ValueError("an attribute path must not be empty")
    return steps
