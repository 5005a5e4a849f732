"""How long `dspex check` takes on a big tree: 10,000 files, of which one in ten uses dspy. Bound: 30 s.

    python benchmarks/check.py
    python benchmarks/check.py --quick --json FILE

The peer is Python itself: `ast.parse` of every file that mentions dspy, which is the least that reading them can cost.
Both read the same tree in one run, one after the other, repeatedly; medians are printed.
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

from dspex.migration import check

PROGRAM = '''"""Answers questions about {name}."""

import dspy
from dspy.teleprompt import BootstrapFewShot

from {package}.shared import Base, normalise


class Ask{number}(dspy.Signature):
    """Answer."""

    context: list[str] = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField(desc="short")


class Program{number}(Base):
    def __init__(self, k: int = 3):
        super().__init__()
        self.ask = dspy.ChainOfThought(Ask{number})
        self.judges = [dspy.Predict("answer -> good: bool") for _ in range(k)]

    def forward(self, question):
        made = self.ask(context=[normalise(question)], question=question)
        good = sum(judge(answer=made.answer).good for judge in self.judges)
        return dspy.Prediction(answer=made.answer, good=good)


def optimize(trainset, metric):
    return BootstrapFewShot(metric=metric).compile(Program{number}(), trainset=trainset)


async def serve(question):
    return await Program{number}().acall(question=question)
'''
SHARED = "import dspy\n\n\nclass Base(dspy.Module):\n    pass\n\n\ndef normalise(text):\n    return text.strip()\n"
PLAIN = '''"""Arithmetic number {number}."""

import json
import os.path


class Thing{number}:
    def __init__(self, value):
        self.value = value

    def doubled(self):
        return [each * 2 for each in range(self.value)]


def load(path):
    with open(os.path.join(path, "x.json")) as file:
        return json.load(file)
''' + "\n".join(f"\n\ndef function_{n}(a, b=None):\n    return {{'a': a, 'b': b or {n}}}" for n in range(20))


def tree(root: Path, files: int, share: int) -> list[Path]:
    """Write the files, in packages of 100; the paths of those that use dspy."""
    using: list[Path] = []
    for number in range(files):
        package = root / f"package_{number // 100}"
        if number % 100 == 0:
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("")
            (package / "shared.py").write_text(SHARED)
            using.append(package / "shared.py")
        path = package / f"module_{number}.py"
        if number % share == 0:
            path.write_text(PROGRAM.format(number=number, name=path.stem, package=package.name))
            using.append(path)
        else:
            path.write_text(PLAIN.replace("{number}", str(number)))
    return using


def parsed(paths: list[Path]) -> float:
    began = time.perf_counter()
    for path in paths:
        ast.parse(path.read_bytes())
    return time.perf_counter() - began


def checked(root: Path) -> tuple[float, int]:
    began = time.perf_counter()
    report = check([root])
    return time.perf_counter() - began, len(report.files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round on 2,000 files")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    files, rounds = (2_000, 1) if options.quick else (10_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        using = tree(root, files, 10)
        ours: list[float] = []
        peer: list[float] = []
        found = 0
        for _ in range(rounds):
            peer.append(parsed(using))
            seconds, found = checked(root)
            ours.append(seconds)
    figures = {
        "files": files,
        "files_with_dspy": found,
        "check_s": round(statistics.median(ours), 2),
        "ast_parse_s": round(statistics.median(peer), 2),
        "ratio": round(statistics.median(ours) / statistics.median(peer), 1),
        "bound_s": 30.0,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(f"{files:,} files, {found:,} with dspy")
    print(f"  dspex check    {figures['check_s']:7.2f} s   (bound 30 s for 10,000 files)")
    print(f"  ast.parse only {figures['ast_parse_s']:7.2f} s   of the files with dspy; ratio {figures['ratio']}")
    print(f"  peak memory    {figures['peak_rss_mb']:7} MB")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
