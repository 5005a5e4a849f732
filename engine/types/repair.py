"""JSON as models write it: fenced, quoted by hand, cut off. Valid JSON is read as it is, the rest is repaired, within a
budget.

`json_repair` takes some 4 us for a character, and once more for each bracket that is never closed: a hundred open
braces before a long text keep it, and the event loop, busy for minutes. So what would take longer than a few seconds is
refused instead.
"""

from __future__ import annotations

import json
from typing import Any

import json_repair

_REPAIR_BUDGET = 1_000_000
"""Characters, times one more than the brackets left open."""


def read_json(text: str) -> Any:
    """The value in `text`; an empty text if there is none, as `json_repair.loads`.

    Raises:
        ValueError: the text is nested too deeply to be read, or is broken and too long to be repaired.
    """
    try:
        return json.loads(text)  # what json_repair tries first as well; without it, the common case costs half
    except ValueError:
        pass
    except RecursionError as error:
        raise ValueError("the text is nested too deeply to be read") from error
    if len(text) > _REPAIR_BUDGET or len(text) * (1 + _left_open(text)) > _REPAIR_BUDGET:
        raise ValueError("the text is not JSON, and too long or too deeply nested to be repaired")
    try:
        return json_repair.loads(text)
    except RecursionError as error:
        raise ValueError("the text is nested too deeply to be read") from error


def _left_open(text: str) -> int:
    left = sum(text.count(opening) - text.count(closing) for opening, closing in ("{}", "[]"))
    return max(left, 0)
