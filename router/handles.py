"""Handles: one program of an app, held in hand.

    qa = app.program("qa")
    answer = await qa.call(question="Why?")

    @typed_program(module="ChainOfThought")
    def mood(message: str) -> Mood:
        "Tell the mood of a message."

    answer = await app.program(mood).call(message="Hello")     # checked by a type checker
    answer.output.mood                                         # a Mood, from either engine

A typed handle's arguments are all the program's, so what else can be said of a call is said before it:
``app.program(mood).options(within=5, key="user-7").call(...)``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, ParamSpec, Protocol, Self, TypeVar, final

from ..engine import Prediction
from .answer_stream import AnswerStream
from .delivery import FieldChunk
from .request import Answer, Engine, Route
from .requirement import Requirement
from .typed_programs import TypedProgram

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT: Final = 60.0
"""Seconds that a request gets unless the call says otherwise."""


class Asks(Protocol):
    """What a handle needs of an app."""

    async def call(
        self,
        program: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> Answer: ...

    def stream(
        self,
        program: str,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        listen: str | Iterable[str] | None = None,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> AnswerStream: ...

    def map(
        self,
        program: str,
        inputs: Iterable[Mapping[str, object]],
        *,
        concurrency: int = 8,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
    ) -> AsyncGenerator[Answer]: ...


@final
class Handle:
    """One program of an app, by name. It is the app's for as long as that is open, and the next time it is."""

    __slots__ = ("_app", "name")

    def __init__(self, app: Asks, name: str) -> None:
        self._app = app
        self.name = name

    async def call(
        self,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> Answer:
        """See ``Dspex.call``."""
        return await self._app.call(self.name, inputs, within=within, key=key, engine=engine, require=require, **fields)

    def stream(
        self,
        inputs: Mapping[str, object] | None = None,
        /,
        *,
        listen: str | Iterable[str] | None = None,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        **fields: object,
    ) -> AnswerStream:
        """See ``Dspex.stream``."""
        return self._app.stream(
            self.name, inputs, listen=listen, within=within, key=key, engine=engine, require=require, **fields
        )

    def map(
        self,
        inputs: Iterable[Mapping[str, object]],
        *,
        concurrency: int = 8,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
    ) -> AsyncGenerator[Answer]:
        """See ``Dspex.map``."""
        return self._app.map(
            self.name, inputs, concurrency=concurrency, within=within, key=key, engine=engine, require=require
        )

    def __repr__(self) -> str:
        return f"<program {self.name!r}>"


@final
@dataclass(frozen=True, slots=True)
class TypedAnswer(Generic[T]):
    """An answer whose outputs have types: the same ones from either engine."""

    output: T
    prediction: Prediction
    route: Route

    def __getitem__(self, name: str) -> object:
        return self.prediction[name]


@final
class TypedHandle(Generic[P, T]):
    """One program of an app, whose inputs and outputs a type checker knows."""

    __slots__ = ("_app", "_engine", "_key", "_program", "_require", "_within")

    def __init__(
        self,
        app: Asks,
        program: TypedProgram[P, T],
        *,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
    ) -> None:
        self._app = app
        self._program = program
        self._within = within
        self._key = key
        self._engine: Engine | None = engine
        self._require = require

    @property
    def name(self) -> str:
        """The program's."""
        return self._program.spec.name

    def options(
        self,
        *,
        within: float | None = TIMEOUT,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
    ) -> TypedHandle[P, T]:
        """The same program, asked in another way; see ``Dspex.call``."""
        return TypedHandle(self._app, self._program, within=within, key=key, engine=engine, require=require)

    async def call(self, *args: P.args, **kwargs: P.kwargs) -> TypedAnswer[T]:
        """As ``Dspex.call``. Raises also TypeError for arguments that do not fit, and ValueError (pydantic's) for an answer
        that is not of the type."""
        asked = self._program.inputs_of(*args, **kwargs)
        answer = await self._app.call(
            self.name, asked, within=self._within, key=self._key, engine=self._engine, require=self._require
        )
        return _typed(self._program, answer)

    def stream(self, *args: P.args, **kwargs: P.kwargs) -> TypedStream[T]:
        """As ``Dspex.stream``, of all output fields; the last item is a TypedAnswer."""
        asked = self._program.inputs_of(*args, **kwargs)
        stream = self._app.stream(
            self.name, asked, within=self._within, key=self._key, engine=self._engine, require=self._require
        )
        return TypedStream(stream, self._program)

    async def map(
        self, inputs: Iterable[Mapping[str, object]], *, concurrency: int = 8
    ) -> AsyncGenerator[TypedAnswer[T]]:
        """As ``Dspex.map``."""
        asked = self._app.map(
            self.name,
            inputs,
            concurrency=concurrency,
            within=self._within,
            key=self._key,
            engine=self._engine,
            require=self._require,
        )
        async with aclosing(asked) as answers:
            async for answer in answers:
                yield _typed(self._program, answer)

    def __repr__(self) -> str:
        return f"<program {self.name!r}>"


@final
class TypedStream(Generic[T]):
    """An ``AnswerStream`` whose last item is a TypedAnswer."""

    __slots__ = ("_program", "_stream")

    def __init__(self, stream: AnswerStream, program: TypedProgram[..., T]) -> None:
        self._stream = stream
        self._program = program

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FieldChunk | TypedAnswer[T]:
        """See ``AnswerStream``."""
        item = await anext(self._stream)
        return item if isinstance(item, FieldChunk) else _typed(self._program, item)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See ``AnswerStream``."""
        await self._stream.aclose()


def _typed(program: TypedProgram[..., T], answer: Answer) -> TypedAnswer[T]:
    return TypedAnswer(program.output_of(answer.prediction), answer.prediction, answer.route)
