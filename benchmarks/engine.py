"""The native engine beside the installed dspy: what one call costs, from a signature to a thousand concurrent requests.

    python benchmarks/engine.py [--quick] [--json FILE]

Both run in one process, in turns, so that a busy machine weighs on both alike. The model is a stub that answers at
once (in the concurrent rows after 20 ms), caches are off but in the cache rows. Figures are medians of CPU microseconds
per call unless the row says otherwise; what is compared is checked to give the same result first. Needs the extra
`legacy` (dspy).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import dspex.engine as engine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

TYPED = "question, context: list[str] -> answer: str, score: float"
QUESTION = {"question": "Who built the tower, and when?"}
INPUTS = {**QUESTION, "context": ["Passage one. " * 12, "Passage two. " * 12, "Three."]}
DEMOS = [
    {"question": f"Question {n}?", "context": ["One.", "Two."], "reasoning": "Because.", "answer": f"{n}", "score": n / 8}
    for n in range(16)
]
SIMPLE_ANSWER = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
TYPED_ANSWER = (
    "[[ ## reasoning ## ]]\nBecause.\n\n[[ ## answer ## ]]\nParis\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]"
)
COT_ANSWER = f"[[ ## reasoning ## ]]\nBecause.\n\n{SIMPLE_ANSWER}"


@dataclass(frozen=True)
class Row:
    """One line of the table: the same operation in both, sync (`asynchronous` False) or awaited."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    asynchronous: bool = False
    at_least: float = 10.0
    """The ratio aimed at."""


class Stub:
    """Answers that come round and round."""

    def __init__(self, answers: list[str], seconds: float = 0.0) -> None:
        self._answers = itertools.cycle(answers)
        self._seconds = seconds

    def lm(self, library: ModuleType) -> Any:
        stub = self

        class StubLM(library.BaseLM):
            def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
                return stub.completion()

            async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
                if stub._seconds:
                    await asyncio.sleep(stub._seconds)
                return stub.completion()

        return StubLM("stub", cache=False)

    def completion(self) -> SimpleNamespace:
        message = SimpleNamespace(content=next(self._answers), tool_calls=None, reasoning_content=None)
        return SimpleNamespace(
            choices=[SimpleNamespace(message=message, logprobs=None, finish_reason="stop")], usage={}, model="stub"
        )


def using(lm: Any, program: Any) -> Any:
    program.set_lm(lm)
    return program


def pair(build: Callable[[Any], Any], answers: list[str]) -> tuple[Any, Any]:
    return tuple(using(Stub(answers).lm(library), build(library)) for library in (engine, dspy))  # type: ignore[return-value]


def both_ways(name: str, programs: tuple[Any, Any], inputs: dict[str, Any]) -> list[Row]:
    ours, theirs = programs
    assert ours(**inputs).toDict() == theirs(**inputs).toDict()
    return [
        Row(f"{name}, sync", lambda: ours(**inputs), lambda: theirs(**inputs)),
        Row(f"{name}, async", lambda: ours.acall(**inputs), lambda: theirs.acall(**inputs), asynchronous=True),
    ]


_fresh = itertools.count()


def signature_rows() -> list[Row]:
    def first(library: Any) -> Any:
        return library.Signature(f"q{next(_fresh)}, context: list[str] -> answer: str, score: float")

    return [
        Row("string signature, first time", lambda: first(engine), lambda: first(dspy)),
        Row("string signature, again", lambda: engine.Signature(TYPED), lambda: dspy.Signature(TYPED)),
    ]


def predictor_rows() -> list[Row]:
    def with_demos(library: Any) -> Any:
        made = library.ChainOfThought(TYPED)
        made.predict.demos = [library.Example(**demo) for demo in DEMOS[:8]]
        return made

    return [
        *both_ways("Predict", pair(lambda library: library.Predict("question -> answer"), [SIMPLE_ANSWER]), QUESTION),
        *both_ways("ChainOfThought", pair(lambda lib: lib.ChainOfThought("question -> answer"), [COT_ANSWER]), QUESTION),
        *both_ways("typed, 8 demos", pair(with_demos, [TYPED_ANSWER]), INPUTS),
    ]


def adapter_rows() -> list[Row]:
    text = TYPED.replace("-> ", "-> reasoning: str, ")
    mine, theirs = engine.Signature(text), dspy.Signature(text)
    ours, dspys = engine.ChatAdapter(), dspy.ChatAdapter()
    demos = DEMOS[:8]
    assert ours.format(mine, demos, INPUTS) == dspys.format(theirs, demos, INPUTS)
    return [
        Row(
            "chat format, 8 demos",
            lambda: ours.format(mine, demos, INPUTS),
            lambda: dspys.format(theirs, demos, INPUTS),
        ),
        Row(
            "chat parse, small answer",
            lambda: ours.parse(mine, TYPED_ANSWER),
            lambda: dspys.parse(theirs, TYPED_ANSWER),
            at_least=1.0,
        ),
    ]


def book(city: str, nights: int, breakfast: bool) -> str:
    return f"{city} {nights} {breakfast}"


async def look_up(query: str) -> str:
    """Search."""
    return query


def tool_rows() -> list[Row]:
    mine, theirs = engine.Tool(book), dspy.Tool(book)
    arguments: dict[str, Any] = {"city": "Rome", "nights": 3, "breakfast": True}
    assert mine(**arguments) == theirs(**arguments)
    step = (
        "[[ ## next_thought ## ]]\nHm.\n\n[[ ## next_tool_name ## ]]\nlook_up\n\n[[ ## next_tool_args ## ]]\n"
        '{"query": "otters"}\n\n[[ ## completed ## ]]'
    )
    finish = step.replace("look_up", "finish").replace('{"query": "otters"}', "{}")
    # Four steps with a tool call and one that reads the answer: five calls of the model.
    answers = [step, step, step, finish, COT_ANSWER]
    agents = pair(lambda library: library.ReAct("question -> answer", tools=[look_up]), answers)
    with dspy.context(allow_tool_async_sync_conversion=True):
        assert agents[0](**QUESTION).toDict() == agents[1](**QUESTION).toDict()
    return [
        Row("tool call, 3 arguments", lambda: mine(**arguments), lambda: theirs(**arguments)),
        Row(
            "ReAct, 5 LM and 4 tool calls, async",
            lambda: agents[0].acall(**QUESTION),
            lambda: agents[1].acall(**QUESTION),
            asynchronous=True,
        ),
    ]


def state_rows(folder: Path) -> list[Row]:
    def program(library: Any) -> Any:
        class Ten(library.Module):
            def __init__(self) -> None:
                super().__init__()
                self.steps = [library.ChainOfThought(TYPED) for _ in range(10)]
                for each in self.steps:
                    each.predict.demos = [library.Example(**demo) for demo in DEMOS]

        return Ten()

    mine, theirs = program(engine), program(dspy)
    path = folder / "state.json"
    theirs.save(path)

    def fresh_load(made: Any) -> Callable[[], None]:
        # dspy's load slows down with every load into one object, and fails at the 139th: each gets a new one.
        copies = iter([])  # type: ignore[var-annotated]

        def load() -> None:
            nonlocal copies
            target = next(copies, None)
            if target is None:
                copies = iter([made.deepcopy() for _ in range(3)])
                target = next(copies)
            target.load(path)

        return load

    return [Row("load, 10 predictors x 16 demos", lambda: mine.load(path), fresh_load(theirs))]


def cache_rows() -> list[Row]:
    if not hasattr(engine, "cache"):
        return []
    request = {"model": "stub", "messages": [{"role": "user", "content": "hello " * 150}], "temperature": 0.0}
    engine.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    value = {"choices": [{"message": {"content": SIMPLE_ANSWER}}], "usage": {}}
    engine.cache.put(request, value)
    dspy.cache.put(request, value)
    rows = [Row("raw memory hit", lambda: engine.cache.get(request), lambda: dspy.cache.get(request), at_least=1.0)]
    from local_endpoint import endpoint

    address = endpoint(SIMPLE_ANSWER)
    programs: list[Any] = []
    for library, key in ((engine, "base_url"), (dspy, "api_base")):
        lm = library.LM("openai/stub", api_key="none", cache=True, **{key: address})
        programs.append(using(lm, library.Predict("question -> answer")))
    assert programs[0](**QUESTION).toDict() == programs[1](**QUESTION).toDict()
    return [
        *rows,
        Row("cache hit through Predict, sync", lambda: programs[0](**QUESTION), lambda: programs[1](**QUESTION)),
        Row(
            "cache hit through Predict, async",
            lambda: programs[0].acall(**QUESTION),
            lambda: programs[1].acall(**QUESTION),
            asynchronous=True,
        ),
    ]


# -- measuring ---------------------------------------------------------------------------------------------------------


def turn(operation: Callable[[], Any], seconds: float) -> float:
    """Microseconds of CPU per operation, over about `seconds`."""
    count, step, began = 0, 1, time.process_time_ns()
    until = began + int(seconds * 1e9)
    while (now := time.process_time_ns()) < until:
        for _ in range(step):
            operation()
        count += step
        step = min(20, step * 2)
    return (now - began) / count / 1000


async def async_turn(operation: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """As `turn`, awaited one after the other."""
    count, began = 0, time.process_time_ns()
    until = began + int(seconds * 1e9)
    while (now := time.process_time_ns()) < until:
        await operation()
        count += 1
    return (now - began) / count / 1000


def measure(row: Row, turns: int, seconds: float) -> tuple[float, float]:
    if row.asynchronous:

        async def all_turns() -> list[tuple[float, float]]:
            await row.ours()
            await row.theirs()
            return [(await async_turn(row.ours, seconds), await async_turn(row.theirs, seconds)) for _ in range(turns)]

        pairs = asyncio.run(all_turns())
    else:
        row.ours()
        row.theirs()
        pairs = [(turn(row.ours, seconds), turn(row.theirs, seconds)) for _ in range(turns)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ours, theirs


@dataclass(frozen=True)
class Crowd:
    """A thousand requests at once: seconds until the last answer, CPU microseconds each, worst lag of the loop in ms.

    The lag is what a timer of 1 ms waits, in CPU time of this process: what others on the machine take is not in it.
    """

    seconds: float
    cpu: float
    lag: float


def crowd(program: Any, count: int) -> Crowd:
    async def run() -> Crowd:
        worst = 0.0

        async def watch() -> None:
            nonlocal worst
            while True:
                before = time.process_time()
                await asyncio.sleep(0.001)
                worst = max(worst, time.process_time() - before)

        await program.acall(**QUESTION)
        gc.collect()
        gc.freeze()  # what was loaded before, dspy most of all, is not this call's garbage to look through
        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        worst = 0.0
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(program.acall(**QUESTION) for _ in range(count)))
        made = Crowd(time.perf_counter() - began, (time.process_time() - cpu) / count * 1e6, worst * 1000)
        watcher.cancel()
        return made

    try:
        return asyncio.run(run())
    finally:
        gc.unfreeze()


def crowds(repeats: int, count: int = 1000) -> tuple[Crowd, Crowd]:
    found: list[list[Crowd]] = [[], []]
    for _ in range(repeats):
        for index, library in enumerate((engine, dspy)):
            program = using(Stub([SIMPLE_ANSWER], seconds=0.02).lm(library), library.Predict("question -> answer"))
            found[index].append(crowd(program, count))
    ours, theirs = (
        Crowd(*(statistics.median(getattr(each, name) for each in made) for name in ("seconds", "cpu", "lag")))
        for made in found
    )
    return ours, theirs


# The peak that getrusage reports would be that of this process, from which the new one was forked.
_IMPORT = """
import time
began = time.process_time()
import {module} as library
{touch}
taken = time.process_time() - began
status = open("/proc/self/status").read()
print(taken, int(status.split("VmRSS:")[1].split()[0]) / 1024)
"""


def imports(repeats: int, touch: str = "") -> dict[str, tuple[float, float]]:
    """Milliseconds of CPU and megabytes of importing each, in a fresh interpreter, and of `touch`ing some of its names:
    the engine loads most of itself at their first use.
    """
    found: dict[str, list[tuple[float, float]]] = {"dspex.engine": [], "dspy": []}
    for _ in range(repeats):
        for module, figures in found.items():
            command = [sys.executable, "-W", "ignore", "-c", _IMPORT.format(module=module, touch=touch)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, megabytes = done.stdout.split()
            figures.append((float(seconds) * 1000, float(megabytes)))
    return {
        module: (min(each[0] for each in figures), statistics.median(each[1] for each in figures))
        for module, figures in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a fifth of the turns; under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--only", metavar="TEXT", help="only the rows whose name has TEXT")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # of dspy: that it will leave the interface of the stub in 3.5
    turns, seconds = (5, 0.03) if options.quick else (25, 0.05)
    results: dict[str, dict[str, float]] = {}

    def show(name: str, ours: float, theirs: float, at_least: float) -> None:
        ratio = theirs / ours
        results[name] = {"dspex": round(ours, 2), "dspy": round(theirs, 2), "ratio": round(ratio, 1)}
        short = "" if ratio >= at_least else f"   below {at_least:g}x"
        print(f"{name:42}{ours:10.1f}{theirs:10.1f}{ratio:8.1f}x{short}", flush=True)

    print(f"{'us of CPU per call (median)':42}{'dspex':>10}{'dspy':>10}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as folder:
        makers = (signature_rows, predictor_rows, adapter_rows, tool_rows, cache_rows)
        for row in [*itertools.chain.from_iterable(make() for make in makers), *state_rows(Path(folder))]:
            if options.only is None or options.only in row.name:
                show(row.name, *measure(row, turns, seconds), row.at_least)
    if options.only is None or options.only in "concurrent":
        ours, theirs = crowds(1 if options.quick else 5)
        print("\n1,000 concurrent Predict calls, a model that takes 20 ms")
        show("until the last answer (ms)", ours.seconds * 1000, theirs.seconds * 1000, 1.0)
        show("CPU per call (us)", ours.cpu, theirs.cpu, 10.0)
        show("worst lag of the event loop (ms CPU)", ours.lag, theirs.lag, 10.0)
    if options.only is None or options.only in "import":
        print("\nimport, in a fresh interpreter")
        figures = imports(1 if options.quick else 5)
        show("CPU time (ms, best)", figures["dspex.engine"][0], figures["dspy"][0], 1.0)
        show("memory of the process (MB)", figures["dspex.engine"][1], figures["dspy"][1], 1.0)
        figures = imports(1 if options.quick else 5, touch="library.Predict, library.LM")
        show("CPU time with Predict and LM (ms, best)", figures["dspex.engine"][0], figures["dspy"][0], 1.0)
        show("memory with Predict and LM (MB)", figures["dspex.engine"][1], figures["dspy"][1], 1.0)
    if options.json:
        options.json.write_text(json.dumps({"dspy": dspy.__version__, "rows": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
