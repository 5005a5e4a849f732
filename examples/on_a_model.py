"""What the small examples share: which model they ask, and a language model on this computer if none is named.

    python examples/classify.py                              # the local model (extra `local`)
    python examples/classify.py --model openai/gpt-4o-mini   # a provider's, with its key in the environment
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from dspex.engine import LM, JSONAdapter, context
from dspex.engine.lm.local import LocalModel, local_model
from dspex.runtime import open_runtime


@asynccontextmanager
async def a_model(named: str | None = None) -> AsyncIterator[LM]:
    """The model, as the default of all programs inside the block; answers as JSON, which a small model keeps to."""
    options: dict[str, Any] = {"temperature": 0.0, "max_tokens": 120}
    if named:
        async with LM(named, **options) as lm:
            with context(lm=lm, adapter=JSONAdapter()):
                yield lm
        return
    spec = local_model()
    async with open_runtime() as rt:
        await rt.start(LocalModel(spec))
        async with LM(f"openai/{spec.name}", base_url=spec.base_url, api_key="local", **options) as lm:
            with context(lm=lm, adapter=JSONAdapter()):
                yield lm


def run(example: Callable[[], Awaitable[None]], description: str | None) -> None:
    """Run an example from the command line."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--model", help="openai/<model> or anthropic/<model>; default: a small model on this computer")
    options = parser.parse_args()

    async def main() -> None:
        async with a_model(options.model):
            await example()

    anyio.run(main)
