"""Calls a type checker must accept, with the types it must find. Read by ``test_handles.py``, never run."""

from dataclasses import dataclass
from typing import Literal, TypedDict, assert_type

from dspex.engine import InputField, OutputField, Signature
from dspex.router import (
    Answer,
    Dspex,
    FieldChunk,
    Handle,
    ProgramSpec,
    TypedAnswer,
    TypedHandle,
    TypedProgram,
    typed_program,
)


class Mood(TypedDict):
    mood: Literal["good", "bad"]
    sure: float


@dataclass
class Place:
    city: str


@typed_program(module="ChainOfThought", idempotent=True)
def mood(message: str, *, loud: bool = False) -> Mood:
    """Tell the mood of a message."""
    ...


@typed_program("where")
def place(text: str) -> Place:
    """Find the place."""
    ...


class QA(Signature):
    """Answer."""

    question: str = InputField()
    answer: str = OutputField()


qa = TypedProgram.of_class("qa", QA)
app = Dspex([mood, place, qa, ProgramSpec.of_signature("plain", "question -> answer")])


async def ask() -> None:
    handle = app.program(mood)
    answer = await handle.call("hello", loud=True)
    assert_type(answer, TypedAnswer[Mood])
    assert_type(answer.output["sure"], float)
    assert_type((await app.program(place).options(within=3, key="k").call(text="x")).output.city, str)
    named = app.program(qa)
    assert_type(named, TypedHandle[..., QA])
    assert_type((await named.call(question="Why?")).output.answer, str)
    plain = app.program("plain")
    assert_type(plain, Handle)
    assert_type(await plain.call(question="Why?"), Answer)
    async for item in handle.stream("hello"):
        assert_type(item, FieldChunk | TypedAnswer[Mood])
    async for piece in app.stream("plain", question="Why?", listen=["answer"]):
        assert_type(piece, FieldChunk | Answer)
    async for each in handle.map([{"message": "a"}]):
        assert_type(each.output["mood"], Literal["good", "bad"])
