"""Signatures and adapters beside the installed dspy: microseconds of CPU per operation, and how many times lighter.

    python benchmarks/engine_adapters.py [--quick] [--json FILE]

Both engines run in one process, in turns of a few milliseconds, so that a busy machine weighs on both alike; each
figure is the median of the turns, in process CPU time. What is compared is checked to be equal first. Needs the extra
`legacy` (dspy).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dspex.engine import adapters, signatures

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

TYPED = "question, context: list[str] -> reasoning: str, answer: str, score: float"
INPUTS = {
    "question": "Who built the tower, and when?",
    "context": ["Passage one. " * 12, "Passage two. " * 12, "Three."],
}
DEMOS = [
    {
        "question": f"Question {n}?",
        "context": ["One.", "Two."],
        "reasoning": "Because.",
        "answer": f"{n}",
        "score": n / 8,
    }
    for n in range(8)
]
CHAT = "[[ ## reasoning ## ]]\nBecause.\n\n[[ ## answer ## ]]\nParis\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]"
JSON = '{"reasoning": "Because.", "answer": "Paris", "score": 0.9}'

Operation = Callable[[], object]
_fresh = itertools.count()


def operations() -> dict[str, tuple[Operation, Operation]]:
    """Each row: ours, dspy's."""
    mine, theirs = signatures.Signature(TYPED), dspy.Signature(TYPED)
    rows: dict[str, tuple[Operation, Operation]] = {
        "signature from a new string": (
            lambda: signatures.Signature(f"q{next(_fresh)}, context: list[str] -> answer: str, score: float"),
            lambda: dspy.Signature(f"q{next(_fresh)}, context: list[str] -> answer: str, score: float"),
        ),
        "signature from a known string": (lambda: signatures.Signature(TYPED), lambda: dspy.Signature(TYPED)),
        "with_instructions": (lambda: mine.with_instructions("x"), lambda: theirs.with_instructions("x")),
        "append": (
            lambda: mine.append("x", signatures.OutputField(), int),
            lambda: theirs.append("x", dspy.OutputField(), int),
        ),
        "delete": (lambda: mine.delete("score"), lambda: theirs.delete("score")),
        "with_updated_fields": (
            lambda: mine.with_updated_fields("score", desc="x"),
            lambda: theirs.with_updated_fields("score", desc="x"),
        ),
    }
    for name, answer in (("ChatAdapter", CHAT), ("JSONAdapter", JSON)):
        rows |= adapter_rows(name, mine, theirs, answer)
    return rows


def adapter_rows(name: str, mine: Any, theirs: Any, answer: str) -> dict[str, tuple[Operation, Operation]]:
    ours, dspys = getattr(adapters, name)(), getattr(dspy, name)()
    assert ours.format(mine, DEMOS, INPUTS) == dspys.format(theirs, DEMOS, INPUTS)
    assert ours.parse(mine, answer) == dspys.parse(theirs, answer)
    return {
        f"{name}.format, no demos": (lambda: ours.format(mine, [], INPUTS), lambda: dspys.format(theirs, [], INPUTS)),
        f"{name}.format, 8 demos": (
            lambda: ours.format(mine, DEMOS, INPUTS),
            lambda: dspys.format(theirs, DEMOS, INPUTS),
        ),
        f"{name}.format, new signature": (
            lambda: ours.format(mine.with_instructions("x"), [], INPUTS),
            lambda: dspys.format(theirs.with_instructions("x"), [], INPUTS),
        ),
        f"{name}.parse": (lambda: ours.parse(mine, answer), lambda: dspys.parse(theirs, answer)),
    }


def turn(operation: Operation, seconds: float) -> float:
    """Microseconds of CPU per operation, over about `seconds`."""
    count, began = 0, time.process_time_ns()
    until = began + int(seconds * 1e9)
    while (now := time.process_time_ns()) < until:
        for _ in range(10):
            operation()
        count += 10
    return (now - began) / count / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the turns")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    options = parser.parse_args()
    turns, seconds = (5, 0.01) if options.quick else (25, 0.02)
    results: dict[str, dict[str, float]] = {}
    print(f"{'us of CPU per operation (median)':36}{'dspex':>10}{'dspy':>10}{'ratio':>9}")
    for name, (ours, theirs) in operations().items():
        pairs = [(turn(ours, seconds), turn(theirs, seconds)) for _ in range(turns)]
        mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        results[name] = {"dspex_us": round(mine, 2), "dspy_us": round(other, 2), "ratio": round(other / mine, 1)}
        print(f"{name:36}{mine:10.1f}{other:10.1f}{other / mine:8.1f}x")
    if options.json:
        options.json.write_text(json.dumps({"dspy": dspy.__version__, "rows": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
