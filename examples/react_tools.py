"""An agent with two tools: it thinks, calls one, reads what came of it, and answers.

A tool is a function with type hints; an `async` one is awaited, any other runs off the event loop. What a tool raises is
shown to the model, which may try something else.
"""

from __future__ import annotations

from dspex.engine import Prediction, ReAct
from on_a_model import run

CAPITALS = {"france": "Paris", "italy": "Rome"}


def capital(country: str) -> str:
    """The capital of a country."""
    return CAPITALS[country.lower()]


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


async def act() -> Prediction:
    """Asks the agent."""
    agent = ReAct("question -> answer", tools=[capital, weather], max_iters=2)
    question = {"question": "What is the capital of Italy?", "trajectory": ""}
    agent.react.demos = [
        {
            **question,
            "next_thought": "I look up the capital.",
            "next_tool_name": "capital",
            "next_tool_args": {"country": "Italy"},
        }
    ]
    return await agent.acall(question="What is the capital of France?")


async def example() -> None:
    done = await act()
    for key, value in done.trajectory.items():
        print(f"{key}: {str(value).strip().splitlines()[-1]}")
    print(f"answer: {done.answer}")


if __name__ == "__main__":
    run(example, __doc__)
