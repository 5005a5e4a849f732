"""The corpus of programs, and what is expected of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dspex.engine.dspy_names import NOT_OFFERED
from dspex.migration import Verdict

CORPUS = Path(__file__).parent / "corpus"


def expectations() -> dict[str, Any]:
    """By file: verdict, programs, and the findings as [line, rule]. A file whose verdict rests on names that the engine may
    get says so by `unless_offered`: when it has them all, the file is native."""
    expected: dict[str, Any] = json.loads((Path(__file__).parent / "expected.json").read_text())
    for entry in expected.values():
        awaited = entry.pop("unless_offered", [])
        if awaited and not any(name in NOT_OFFERED for name in awaited):
            entry["verdict"] = Verdict.NATIVE.value
            entry["programs"] = dict.fromkeys(entry["programs"], Verdict.NATIVE.value)
            entry["findings"] = []
    return expected
