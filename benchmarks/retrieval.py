"""Searches over vectors beside dspy's: milliseconds of wall time, and how many times faster.

    python benchmarks/retrieval.py [--quick] [--json FILE]

One corpus of unit vectors (100,000 of 384 float32; 20,000 with --quick), top 10, exact unless a row says otherwise. Both
engines run in one process, in turns, and each figure is the median of the turns; what is found is checked to be equal
first. dspy's class waits up to 0.1 s for company with every lone query, which is part of what its user waits for. Needs
the extras `retrieval` and `legacy`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
from dspex.engine.retrieval import BM25, EmbeddingsWithScores
from dspex.engine.retrieval.vectors import nearest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

DIMENSION = 384
K = 10


def corpus_of(count: int) -> Any:
    """Clustered unit vectors, as embeddings are."""
    rng = numpy.random.default_rng(0)
    centres = rng.standard_normal((count // 100, DIMENSION), dtype=numpy.float32)
    rows = centres[rng.integers(0, len(centres), count)] + 0.7 * rng.standard_normal((count, DIMENSION), dtype=numpy.float32)
    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def measure(quick: bool) -> dict[str, Any]:
    count = 20_000 if quick else 100_000
    vectors = corpus_of(count)
    passages = [str(number) for number in range(count)]

    def embed(texts: list[str]) -> Any:
        return vectors if texts is passages else vectors[[int(text) for text in texts]]

    exact: dict[str, Any] = {"normalize": False, "brute_force_threshold": count + 1, "k": K}
    mine, theirs = EmbeddingsWithScores(passages, embed, **exact), dspy.EmbeddingsWithScores(passages, embed, **exact)
    for query in ("3", "77", "1234"):
        assert mine(query).indices == theirs(query).indices, "the same passages"

    queries = [str(number) for number in range(7, count, count // 60)]
    turns = queries[: 15 if quick else 40]

    async def together() -> None:
        async def ask(query: str) -> None:
            await mine.acall(query)

        await asyncio.gather(*(ask(query) for query in queries[:32]))

    def together_in_threads() -> None:
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(theirs, queries[:32]))

    rows: dict[str, tuple[list[float], list[float]]] = {}
    for query in turns:
        asked = vectors[int(query)]
        for name, call in (
            ("top 10, one query", (lambda q=query: mine(q), lambda q=query: theirs(q))),
            ("the arithmetic alone", (lambda a=asked: nearest(vectors @ a, K), lambda a=asked: _as_dspy(vectors, a))),
        ):
            for held, one in zip(rows.setdefault(name, ([], [])), call, strict=True):
                held.append(milliseconds(one))
    for _ in range(3):
        held = rows.setdefault("32 queries at once", ([], []))
        held[0].append(milliseconds(lambda: asyncio.run(together())))
        held[1].append(milliseconds(together_in_threads))

    approximate: dict[str, Any] = {"normalize": False, "brute_force_threshold": 1, "k": K}
    begun = time.perf_counter()
    ann = EmbeddingsWithScores(passages, embed, **approximate)
    trained = time.perf_counter() - begun
    hits = [len({*ann(query).indices} & {*mine(query).indices}) for query in turns]
    ann_times = [milliseconds(lambda q=query: ann(q)) for query in turns]

    words = BM25([f"passage {n} of group {n % 997} and shelf {n % 89}" for n in range(count)], k=K)
    built = milliseconds(lambda: words("shelf 3"))
    lexical = [milliseconds(lambda n=n: words(f"group {n} shelf {n % 89}")) for n in range(20)]

    table = {
        name: {
            "ours_ms": statistics.median(ours),
            "dspy_ms": statistics.median(dspys),
            "ratio": statistics.median(dspys) / statistics.median(ours),
        }
        for name, (ours, dspys) in rows.items()
    }
    return {
        "vectors": count,
        "dimension": DIMENSION,
        "rows": table,
        "faiss": {
            "training_s": trained,
            "top_10_ms": statistics.median(ann_times),
            "recall": sum(hits) / (K * len(hits)),
        },
        "bm25": {"index_ms": built, "query_ms": statistics.median(lexical)},
    }


def _as_dspy(vectors: Any, asked: Any) -> Any:
    scores = numpy.einsum("qd,kd->qk", asked.reshape(1, -1), vectors, order="C")
    return numpy.argsort(-scores, axis=1)[:, :K]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors, under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    found = measure(options.quick)
    print(f"{found['vectors']:,} vectors of {found['dimension']}, top {K}")
    print(f"{'':24}{'ours ms':>10}{'dspy ms':>10}{'times':>8}")
    for name, row in found["rows"].items():
        print(f"{name:24}{row['ours_ms']:10.2f}{row['dspy_ms']:10.2f}{row['ratio']:8.1f}")
    ann, words = found["faiss"], found["bm25"]
    print(f"with faiss: {ann['top_10_ms']:.2f} ms, {ann['recall']:.0%} of the true ten, trained in {ann['training_s']:.1f} s")
    print(f"BM25: {words['query_ms']:.2f} ms a query, index made in {words['index_ms']:.0f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
