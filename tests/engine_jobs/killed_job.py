"""Optimizer jobs in processes of their own, to be killed.

A line `URL JOURNAL LOOP CACHE` on standard input makes a job in a forked child, which has the imports already; its process id
is printed, then how it ended. The result is written to JOURNAL.result.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
from dspex.engine import LM, ChainOfThought, Example, configure_cache
from dspex.engine.optimizers import BootstrapFewShotWithRandomSearch
from dspex.engine.optimizers.jobs import OptimizerJob, TrialPolicy, run_job

QUESTIONS = 6
TRAINSET = [Example(question=f"question {i}", answer=f"answer {i}").with_inputs("question") for i in range(QUESTIONS)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return example.answer == prediction.answer


async def main(url: str, journal: str, cache: bool) -> str:
    optimizer = BootstrapFewShotWithRandomSearch(
        metric=right, max_bootstrapped_demos=2, max_labeled_demos=3, max_rounds=2, num_candidate_programs=3, num_threads=3
    )
    lm = LM("openai/scripted", base_url=url, api_key="sk-canary-secret", cache=cache)
    job = OptimizerJob(
        optimizer,
        ChainOfThought("question -> answer"),
        trainset=TRAINSET,
        journal=journal,
        policy=TrialPolicy(concurrency=2),
        overrides={"lm": lm},
    )
    outcome = await run_job(job)
    candidates = [
        [each["seed"], each["score"], each["subscores"], each["program"].dump_state()]
        for each in outcome.program.candidate_programs
    ]
    result = {"state": outcome.program.dump_state(), "candidates": candidates, "calls": outcome.spent.calls}
    return json.dumps(result, sort_keys=True)


def work(url: str, journal: str, loop: str, cache: str) -> None:
    configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    result = anyio.run(main, url, journal, cache == "cached", backend=loop)
    Path(f"{journal}.result").write_text(result)


def serve() -> None:
    import openai.resources  # noqa: F401 - paid once
    import trio  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(*line.split())
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
