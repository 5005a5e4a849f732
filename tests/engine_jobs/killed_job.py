"""An optimizer job in a process of its own, to be killed: `killed_job.py URL JOURNAL LOOP CACHE`. Prints its result."""

import json
import sys
from typing import Any

import anyio
from dspex.engine import LM, ChainOfThought, Example, configure_cache
from dspex.engine.optimizers import BootstrapFewShotWithRandomSearch
from dspex.engine.optimizers.jobs import OptimizerJob, TrialPolicy, run_job

QUESTIONS = 6
TRAINSET = [Example(question=f"question {i}", answer=f"answer {i}").with_inputs("question") for i in range(QUESTIONS)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return example.answer == prediction.answer


async def main(url: str, journal: str, cache: bool) -> None:
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
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[4] == "cached", backend=sys.argv[3])
