"""Two pools in one tree, each with a dspy of its own: the one installed here, and one in an environment beside it.

`make test` puts an environment `dspy-<version>` with another release into this one; `make versions` names others:

    DSPEX_LEGACY_PYTHONS="3.3=/path/to/bin/python,2.6=/path/to/bin/python" pytest tests/legacy/test_legacy_versions.py
"""

import os
import sys
from pathlib import Path

import anyio
import pytest
from dspex.legacy import (
    ImportedProgram,
    LegacyPool,
    LMCall,
    LMSettings,
    PoolOptions,
    SignatureProgram,
    Typed,
    open_stream,
    start_legacy_pool,
)
from dspex.runtime import open_runtime
from legacy_pools import HERE

pytestmark = pytest.mark.anyio

NAMED = dict(pair.split("=", 1) for pair in os.environ.get("DSPEX_LEGACY_PYTHONS", "").split(",") if pair)
BESIDE = {home.name.removeprefix("dspy-"): str(home / "bin" / "python") for home in Path(sys.prefix).glob("dspy-*")}
OTHERS = NAMED or BESIDE

PROGRAMS = {
    "qa": SignatureProgram("question -> answer"),
    "thinking": SignatureProgram("question -> answer", module="ChainOfThought"),
    "agent": SignatureProgram("question -> answer", module="ReAct", tools=("search",)),
    "gives": ImportedProgram("legacy_programs:Gives"),
    "typing": ImportedProgram("legacy_programs:Typing"),
    "counting": ImportedProgram("legacy_programs:Counting"),
}


async def model(call: LMCall) -> str:
    if "next_tool_name" in str(call.messages[0]):
        fields = {"next_thought": "enough", "next_tool_name": "finish", "next_tool_args": "{}"}
    else:
        fields = {"reasoning": "so", "answer": "yes"}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())


@pytest.mark.skipif(not OTHERS, reason="needs an environment with another dspy, which `make test` puts into this one")
@pytest.mark.parametrize("version", OTHERS or ["none"])
async def test_two_versions_of_dspy_serve_side_by_side_in_one_tree(version: str) -> None:
    settings = {"workers": 1, "import_paths": (str(HERE),), "lm": LMSettings("m", host=True), "lm_server": model}
    settings |= {"callables": {"search": lambda query: query}, "start_timeout": 120.0}
    async with open_runtime() as rt:
        here = await start_legacy_pool(rt, PoolOptions(PROGRAMS, **settings), name="here")
        other = await start_legacy_pool(rt, PoolOptions(PROGRAMS, python=OTHERS[version], **settings), name="other")
        versions = []
        for pool in (here, other):
            await pool.within(120).call(LegacyPool.wait_ready, 1)
            versions.append((await pool.call(LegacyPool.statistics)).workers[0].dspy)
        assert versions[1].startswith(version)
        assert versions[0] != versions[1]
        answers: list[list[object]] = [[], []]

        async def ask(pool: object, got: list[object]) -> None:
            for name in ("qa", "thinking"):
                result = await pool.within(60).call(LegacyPool.run, name, {"question": "?"})  # type: ignore[attr-defined]
                got.append(result.values)
            agent = await pool.within(60).call(LegacyPool.run, "agent", {"question": "?"})  # type: ignore[attr-defined]
            got.append(agent.values["answer"])
            gave = await pool.within(60).call(LegacyPool.run, "gives", {})  # type: ignore[attr-defined]
            got.append({name: value.name for name, value in gave.typed.items()})
            history = {"history": Typed("dspy.History", {"messages": [{"q": "a"}]})}
            got.append((await pool.within(60).call(LegacyPool.run, "typing", history)).values)  # type: ignore[attr-defined]
            async with open_stream(pool, "counting", {"upto": 3}) as stream:  # type: ignore[arg-type]
                got.append([chunk.value async for chunk in stream])

        async with anyio.create_task_group() as group:
            for pool, got in zip((here, other), answers, strict=True):
                group.start_soon(ask, pool, got)
        assert answers[0] == answers[1]
        assert answers[0][0] == {"answer": "yes"}
