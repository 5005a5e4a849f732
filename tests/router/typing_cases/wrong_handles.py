"""Calls a type checker must refuse: those marked, and no others. Read by ``test_handles.py``, never run."""

from typing import TypedDict

from dspex.router import Dspex, typed_program


class Mood(TypedDict):
    mood: str


@typed_program()
def mood(message: str, *, loud: bool = False) -> Mood:
    """Tell the mood of a message."""
    ...


app = Dspex([mood])


async def ask() -> None:
    handle = app.program(mood)
    await handle.call()  # refused
    await handle.call(7)  # refused
    await handle.call("a", "b")  # refused
    await handle.call("a", quiet=True)  # refused
    handle.stream(text="a")  # refused
    answer = await handle.call("a")
    answer.output["temper"]  # refused
    print(answer.output.mood)  # refused
    number: int = answer.output["mood"]  # refused
    app.program(7)  # refused
    Dspex(["mood"])  # refused
    print(number)
