"""Agents behind a `ProgramActor`: what a request lacks is refused unasked, and who goes away takes the request along."""

from collections.abc import Callable
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine import MissingInputError, ProgramActor
from dspex.runtime import Refuse, open_runtime

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def search(query: str) -> str:
    return query


def score(args: dict[str, Any], pred: Any) -> float:
    return 1.0


class Waiting(engine.BaseLM):
    """Answers nobody."""

    def __init__(self) -> None:
        super().__init__("waiting", cache=False)
        self.begun = anyio.Event()
        self.cancelled = anyio.Event()

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()


SIGNATURE = "question, topic -> answer"
AGENTS: dict[str, Callable[[], Any]] = {
    "ReAct": lambda: engine.ReAct(SIGNATURE, tools=[search]),
    "ReActV2": lambda: engine.ReActV2(SIGNATURE, tools=[search]),
    "ProgramOfThought": lambda: engine.ProgramOfThought(SIGNATURE),
    "CodeAct": lambda: engine.CodeAct(SIGNATURE, tools=[search]),
    "RLM": lambda: engine.RLM(SIGNATURE),
    "BestOfN": lambda: engine.BestOfN(engine.Predict(SIGNATURE), 2, score, 1.0),
    "Refine": lambda: engine.Refine(engine.ReAct(SIGNATURE, tools=[search]), 2, score, 1.0),
}


@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_asks_no_model_when_inputs_are_missing(anyio_backend: str, name: str):
    async with open_runtime() as rt:
        agent = await rt.start(ProgramActor(AGENTS[name](), lm=Waiting()))
        with pytest.raises((MissingInputError, Refuse)) as caught:
            await agent.within(5).call(ProgramActor.run, {"question": "Why?"})
        error = caught.value if isinstance(caught.value, MissingInputError) else caught.value.__cause__
        assert isinstance(error, MissingInputError)
        assert error.missing == ("topic",)


@pytest.mark.parametrize("name", AGENTS)
async def test_who_goes_away_takes_the_request_along(anyio_backend: str, name: str):
    lm = Waiting()
    with anyio.fail_after(20):
        async with open_runtime() as rt:
            agent = await rt.start(ProgramActor(AGENTS[name](), lm=lm))
            async with anyio.create_task_group() as group:

                async def ask() -> None:
                    await agent.call(ProgramActor.run, {"question": "Why?", "topic": "otters"})

                group.start_soon(ask)
                await lm.begun.wait()
                group.cancel_scope.cancel()
            await lm.cancelled.wait()
