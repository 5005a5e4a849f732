"""The whole machine in one sitting: `make demo`, or `python examples/first_run.py`.

A supervision tree with a language model on this computer, a native program, a pool of worker processes that run the
real dspy, and a router in front of both. It asks both engines the same question, moves traffic from one to the other
while it runs, kills a worker under a request, and leaves nothing behind.

With OPENAI_API_KEY or ANTHROPIC_API_KEY set and a model named (`--model openai/gpt-4o-mini`, or DSPEX_MODEL), the same
demo runs against that provider instead of the local model. `--backend trio` runs it on trio.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskStatus
from dspex.engine import LM, ChainOfThought, JSONAdapter, Predict, Prediction, configure
from dspex.engine.actors import ProgramActor
from dspex.engine.lm.local import LocalModel, LocalModelSpec, local_model
from dspex.legacy import ImportedProgram, LegacyPool, LMSettings, PoolOptions, legacy_pool_spec
from dspex.router import Answer, Flags, FlagStore, RoutedProgram, Router, router_children
from dspex.runtime import Event, Runtime, open_runtime
from dspex.supervisors import Child, Supervisor, tree

QUESTION = "question, context: list[str] -> answer: str, score: float"
ASKED = {
    "question": "In which city is the Eiffel Tower?",
    "context": ["The Eiffel Tower is a tower in Paris, the capital of France.", "It was finished in 1889."],
}
MOOD = "message -> mood: Literal['good', 'bad']"
MESSAGES = ["What a lovely day.", "This is terrible.", "Great work!", "I want my money back."]
HERE = Path(__file__).parent
DEMOS = json.loads((HERE / "demos.json").read_text(encoding="utf-8"))

KEYS = 40
WIDTH = min(shutil.get_terminal_size().columns, 100)


# --- what the person sees ---------------------------------------------------------------------------------------------


def title(number: int, text: str) -> None:
    print(f"\n\033[1m{number}. {text}\033[0m" if sys.stdout.isatty() else f"\n{number}. {text}", flush=True)


def say(text: str) -> None:
    print("   " + text.replace("\n", "\n   "), flush=True)


@asynccontextmanager
async def progress(what: str, count: Callable[[], str] = str) -> AsyncIterator[None]:
    """Say what is going on, and that it still is: every second on a terminal, every five in a log."""
    began = time.monotonic()
    live = sys.stdout.isatty()

    async def tick() -> None:
        for second in itertools.count(1):
            await anyio.sleep(began + second - time.monotonic())
            line = f"   {what} {count()}... {second} s"
            if live:
                print(f"\r{line[: WIDTH - 1]}", end="", flush=True)
            elif second % 5 == 1:
                print(line, flush=True)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        try:
            yield
        finally:
            group.cancel_scope.cancel()
            if live:
                print("\r" + " " * (WIDTH - 1) + "\r", end="")
    say(f"{what}: {time.monotonic() - began:.1f} s")


def show(answer: Answer) -> None:
    prediction, route = answer.prediction, answer.route
    where = route.engine
    if route.worker is not None:
        where += f", {route.worker} (incarnation {route.incarnation}), attempt {route.worker_attempts}"
    say(f"answer   {prediction.answer!r}   score {prediction.score!r} ({type(prediction.score).__name__})")
    say(f"route    {where}; because {route.reason}; {route.latency_s * 1000:.0f} ms")


# --- the parts --------------------------------------------------------------------------------------------------------


@dataclass
class Model:
    """Which language model both engines ask."""

    name: str
    api_base: str | None
    api_key: str | None
    local: LocalModelSpec | None

    def native(self) -> LM:
        return LM(self.name, api_base=self.api_base, api_key=self.api_key, cache=False, **OPTIONS)

    def legacy(self) -> LMSettings:
        return LMSettings(self.name, api_base=self.api_base, api_key=self.api_key, cache=False, options=OPTIONS)


OPTIONS: dict[str, Any] = {"temperature": 0.0, "max_tokens": 200}


PROVIDERS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


def choose_model(named: str | None, api_base: str | None) -> Model:
    """The provider's model that was named, or the one on this computer."""
    if not named:
        spec = local_model()
        return Model(f"openai/{spec.name}", spec.base_url, "local", spec)
    provider, slash, _ = named.partition("/")
    if not slash:
        provider = next((name for name, variable in PROVIDERS.items() if os.environ.get(variable)), "openai")
        named = f"{provider}/{named}"
    if provider not in PROVIDERS:
        raise SystemExit(f"--model {named}: name it openai/<model> or anthropic/<model>")
    key = os.environ.get(PROVIDERS[provider])
    if not key:
        raise SystemExit(f"--model {named} needs {PROVIDERS[provider]} in the environment")
    return Model(named, api_base, key, None)


def qa() -> ChainOfThought:
    program = ChainOfThought(QUESTION)
    program.predict.demos = DEMOS["qa"]
    return program


def mood() -> Predict:
    program = Predict(MOOD)
    program.demos = DEMOS["mood"]
    return program


def supervision_tree(model: Model, lm: LM, flags: FlagStore) -> Supervisor:
    """Everything that runs, as a literal: read it from top to bottom."""
    local = [Child("model", lambda: LocalModel(model.local), shutdown=5)] if model.local else []
    pool = PoolOptions(
        {
            "qa": ImportedProgram("dspy_programs:qa", idempotent=True),
            "mood": ImportedProgram("dspy_programs:mood", idempotent=True),
        },
        lm=model.legacy(),
        workers=2,
        import_paths=(str(HERE),),
    )
    routed = [RoutedProgram(name, native=name, legacy="legacy.pool") for name in ("qa", "mood")]
    return Supervisor(
        [
            *local,
            Child("qa", lambda: ProgramActor(qa(), concurrency=4, lm=lm, keep_history=True), name="qa"),
            Child("mood", lambda: ProgramActor(mood(), concurrency=4, lm=lm), name="mood"),
            legacy_pool_spec(pool, name="legacy"),
            *router_children(routed, flags),
        ],
        strategy="one_for_one",
        intensity=3,
        period=5,
    )


# --- the six steps ----------------------------------------------------------------------------------------------------


async def run(model: Model) -> None:
    flags = FlagStore(Flags(use_native_predictors=True))
    lm = model.native()
    configure(adapter=JSONAdapter())  # as in dspy_programs.py
    async with open_runtime() as rt:
        pids: dict[str, int] = {}
        rt.events.subscribe(lambda event: remember_pid(pids, event), prefix="legacy.worker.started")

        title(1, "A supervision tree, defined in code")
        async with progress("model, programs, worker processes and router started"):
            await rt.start(supervision_tree(model, lm, flags), name="dspex")
        async with progress("dspy imported in the worker processes"):
            await rt.ref("legacy.pool").within(60).call(LegacyPool.wait_ready, 2)
        say(str(tree(rt)))

        await asked_natively(rt, lm)
        await asked_of_dspy(rt)
        await moved_by_flags(rt, flags)
        await killed_under_a_request(rt, flags, pids)

        title(6, "SIGINT to ourselves")
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()


async def ask(rt: Runtime, program: str, inputs: dict[str, Any], key: str | None = None) -> Answer:
    return await rt.ref("router").within(60).call(Router.run, program, inputs, key=key)


async def asked_natively(rt: Runtime, lm: LM) -> None:
    title(2, "A typed question, natively: our ChainOfThought through the provider's official SDK")
    say(f"signature  {QUESTION}")
    say(f"question   {ASKED['question']}")
    async with progress("answered"):
        answer = await ask(rt, "qa", ASKED)
    entry = lm.history[-1]
    characters = sum(len(str(message["content"])) for message in entry["messages"])
    usage = entry["usage"]
    say(
        f"prompt   {len(entry['messages'])} messages, {characters} characters, {usage.get('prompt_tokens')} tokens; "
        f"answer {usage.get('completion_tokens')} tokens"
    )
    show(answer)


async def asked_of_dspy(rt: Runtime) -> None:
    title(3, "The same question of the real dspy, in a worker process")
    pool = rt.ref("legacy.pool").within(60)
    async with progress("answered"):
        result = await pool.call(LegacyPool.run, "qa", ASKED)
    prediction = Prediction(**result.values)
    say(f"answer   {prediction.answer!r}   score {prediction.score!r} ({type(prediction.score).__name__})")
    version = next(w.dspy for w in (await pool.call(LegacyPool.statistics)).workers if w.worker == result.worker)
    say(f"worker   {result.worker}, dspy {version}")
    say(f"took     {result.latency_s * 1000:.0f} ms, of which in the program {result.run_s * 1000:.0f} ms")


async def moved_by_flags(rt: Runtime, flags: FlagStore) -> None:
    title(4, "Feature flags, flipped while it runs")
    for native in (True, False):
        flags.set(use_native_predictors=native, by="the demo")
        async with progress(f"asked with use_native_predictors={native}"):
            answer = await ask(rt, "mood", {"message": MESSAGES[0]})
        say(f"served by {answer.route.engine}: {answer['mood']!r}")
    flags.set(native_percent={"mood": 50}, by="the demo")
    counts = {"native": 0, "legacy": 0}
    async with progress(f"{KEYS} keys at native_percent 50", lambda: f"{sum(counts.values())} done "):
        limiter = anyio.CapacityLimiter(4)

        async def one(number: int) -> None:
            # Neighbours send the same message: the server then has most of the prompt in its cache.
            message = MESSAGES[number * len(MESSAGES) // KEYS]
            async with limiter:
                answer = await ask(rt, "mood", {"message": message}, key=f"user-{number}")
                counts[answer.route.engine] += 1

        async with anyio.create_task_group() as group:
            for number in range(KEYS):
                group.start_soon(one, number)
    say(f"split: {counts['native']} native, {counts['legacy']} legacy; the same keys go the same way every time")
    flags.set(native_percent={}, by="the demo")


async def killed_under_a_request(rt: Runtime, flags: FlagStore, pids: dict[str, int]) -> None:
    title(5, "kill -9 on the busy worker, with a request in its hands")
    flags.set(use_native_predictors=False, by="the demo")
    pool = rt.ref("legacy.pool").within(60)
    answers: list[Answer] = []

    async def asking() -> None:
        answers.append(await ask(rt, "qa", ASKED))

    busy: list[str] = []
    started = anyio.Event()

    def note(event: Event) -> None:
        busy.append(event.data["worker"])
        started.set()

    unsubscribe = rt.events.subscribe(note, prefix="legacy.request.started")
    async with progress("answered all the same"), anyio.create_task_group() as group:
        group.start_soon(asking)
        await started.wait()
        await anyio.sleep(0.1)  # it is with the model by now
        os.kill(pids[busy[0]], signal.SIGKILL)
        say(f"SIGKILL to {busy[0]}, pid {pids[busy[0]]}, while it runs the request")
    unsubscribe()
    show(answers[0])
    async with progress("the pool is back at its size"):
        await pool.call(LegacyPool.wait_ready, 2)
    say(str(tree(rt)))


def remember_pid(pids: dict[str, int], event: Event) -> None:
    pids[event.data["worker"]] = event.data["pid"]


# --- leaving ----------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> set[tuple[int, str]]:
    """All living processes below this one, each with its start time, since numbers are used again (Linux)."""
    parents: dict[tuple[int, str], int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue  # it ended while we looked
        if fields[0] != "Z":
            parents[int(entry.parent.name), fields[19]] = int(fields[1])
    found: set[tuple[int, str]] = set()
    layer = {pid}
    while layer:
        below = {process for process, parent in parents.items() if parent in layer} - found
        found |= below
        layer = {process[0] for process in below}
    return found


def alive(processes: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those that still run, whoever is their parent now."""
    living: set[tuple[int, str]] = set()
    for pid, started in processes:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[19] == started and fields[0] != "Z":
            living.add((pid, started))
    return living


def sockets() -> set[str]:
    """The open sockets of this process (Linux)."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def main(model: Model) -> int:
    """Run until SIGINT, whenever it comes; stop the tree in order; count what is left."""
    sockets_before, tasks_before = sockets(), len(anyio.get_running_tasks())
    processes: set[tuple[int, str]] = set()

    async def interrupted(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                processes.update(descendants(os.getpid()))
                say(f"interrupted: stopping the tree, last child first; {len(processes)} processes run below this one")
                scope.cancel()

    async with anyio.create_task_group() as group:
        await group.start(interrupted, group.cancel_scope)
        await run(model)
    left = {
        "processes": len(alive(processes) | descendants(os.getpid())),
        "tasks": len(anyio.get_running_tasks()) - tasks_before,
        "sockets": len(sockets() - sockets_before),
    }
    say("left behind: " + ", ".join(f"{count} {what}" for what, count in left.items()))
    return 1 if any(left.values()) else 0


def innermost(error: BaseException) -> BaseException:
    """The error itself, out of the task groups that it passed through."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code is 0 when nothing was left behind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=os.environ.get("DSPEX_MODEL"), help="openai/<model> or anthropic/<model>")
    parser.add_argument("--api-base", default=os.environ.get("DSPEX_API_BASE"), help="another endpoint of that shape")
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        code = anyio.run(main, choose_model(options.model, options.api_base), backend=options.backend)
    except BaseExceptionGroup as group:
        raise innermost(group) from None
    print(f"\nDone in {time.monotonic() - began:.0f} s, exit code {code}.")
    return code


if __name__ == "__main__":
    sys.exit(command())
