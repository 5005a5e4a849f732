"""Evaluation beside the installed dspy: 1,000 examples on a model that takes 20 ms.

    python benchmarks/evaluation.py [--quick] [--json FILE]

Both run in one process, in turns, so that a busy machine weighs on both alike; scores are checked to be the same first. dspy
evaluates with threads, 32 of them being its best here, so rows give it 32 and also as many as ours has at a time. Figures
are medians of wall and of CPU seconds (all threads of the process). Needs the extra `legacy` (dspy).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dspex.engine as engine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

SECONDS = 0.02
ANSWER = "[[ ## answer ## ]]\n4\n\n[[ ## completed ## ]]"
COMPLETION = SimpleNamespace(
    choices=[
        SimpleNamespace(
            message=SimpleNamespace(content=ANSWER, tool_calls=None, reasoning_content=None),
            logprobs=None,
            finish_reason="stop",
        )
    ],
    usage={},
    model="stub",
)


@dataclass(frozen=True)
class Spent:
    """Of one evaluation, in seconds."""

    wall: float
    cpu: float


def stub(library: Any) -> Any:
    class StubLM(library.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            time.sleep(SECONDS)
            return COMPLETION

        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            await asyncio.sleep(SECONDS)
            return COMPLETION

    return StubLM("stub", cache=False)


def same(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


async def same_async(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.answer == prediction.answer


def evaluation(library: Any, width: int, count: int, metric: Any) -> Callable[[], Spent]:
    """One evaluation, by the library's own best way: ours on an event loop, dspy's by threads."""
    program = library.Predict("question -> answer")
    program.set_lm(stub(library))
    devset = [library.Example(question=f"q{n}", answer="4").with_inputs("question") for n in range(count)]
    evaluate = library.Evaluate(devset=devset, metric=metric, num_threads=width)

    def run() -> Spent:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        result = asyncio.run(evaluate.acall(program)) if library is engine else evaluate(program)
        spent = Spent(time.perf_counter() - wall, time.process_time() - cpu)
        assert result.score == 100.0, result.score
        return spent

    return run


def rows(count: int) -> dict[str, tuple[Callable[[], Spent], Callable[[], Spent]]]:
    def exact(library: Any) -> Any:
        return engine.evaluation.answer_exact_match if library is engine else dspy.evaluate.answer_exact_match

    return {
        "200 at a time, dspy 32 threads": (evaluation(engine, 200, count, same), evaluation(dspy, 32, count, same)),
        "200 at a time, both": (evaluation(engine, 200, count, same), evaluation(dspy, 200, count, same)),
        "32 at a time, both": (evaluation(engine, 32, count, same), evaluation(dspy, 32, count, same)),
        "200, answer_exact_match": (
            evaluation(engine, 200, count, exact(engine)),
            evaluation(dspy, 32, count, exact(dspy)),
        ),
        "200, async metric (dspy's is not)": (
            evaluation(engine, 200, count, same_async),
            evaluation(dspy, 32, count, same),
        ),
    }


def median(spent: list[Spent], what: str) -> float:
    return statistics.median(getattr(each, what) for each in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: under a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    count, repeats = 1_000, 5 if options.quick else 15
    found: list[dict[str, Any]] = []
    print(f"{count} examples, {SECONDS * 1000:.0f} ms model, medians of {repeats}")
    print(f"{'':36}{'ours':>9}{'dspy':>9}{'ratio':>8}{'CPU ours':>11}{'CPU dspy':>11}")
    for name, (ours, theirs) in rows(count).items():
        ours()
        theirs()  # both warm
        mine: list[Spent] = []
        other: list[Spent] = []
        for _ in range(repeats):
            mine.append(ours())
            other.append(theirs())
        wall, their_wall = median(mine, "wall"), median(other, "wall")
        cpu, their_cpu = median(mine, "cpu"), median(other, "cpu")
        found.append(
            {
                "name": name,
                "ours": wall,
                "dspy": their_wall,
                "ratio": their_wall / wall,
                "ours_cpu": cpu,
                "dspy_cpu": their_cpu,
                "unit": "s",
            }
        )
        print(f"{name:36}{wall:>8.3f}s{their_wall:>8.3f}s{their_wall / wall:>7.1f}x{cpu:>10.3f}s{their_cpu:>10.3f}s")
    if options.json:
        options.json.write_text(json.dumps({"examples": count, "rows": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
