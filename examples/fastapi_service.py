"""A service that answers questions: both engines behind one address, streamed answers, and an end that loses nobody.

    python examples/fastapi_service.py                        # a provider's model, with its key in the environment
    ask='{"question": "Why is the sky blue?", "user": "ann"}'
    curl -H 'content-type: application/json' -d "$ask" localhost:8000/ask
    curl -H 'content-type: application/json' -d "$ask" -N localhost:8000/ask/stream     # while it is being written
    curl localhost:8000/live localhost:8000/ready localhost:8000/tree

Half of the users are served by the native engine, the others by the real `dspy` in worker processes; the same user always
goes the same way. A worker may be killed at any time: what it had in hand is given to another one, since the program says
that asking twice does no harm (`idempotent`). Only an answer of which a piece has gone out already cannot be begun anew.

Told to stop (SIGTERM), it says so to whoever asks whether it is ready, refuses new questions with 503, finishes those it
has, and ends with status 0 and no process left behind.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import FrameType
from typing import Annotated

import uvicorn
from dspex.engine import LMError
from dspex.legacy import LegacyError, LMSettings, PoolOptions, PoolOverloaded, PoolUnavailable
from dspex.router import Answer, AnswerStream, AppClosed, ArmDown, Dspex, FieldChunk, Flags, ProgramSpec, RouterError
from dspex.runtime import ActorError, CallTimeout
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, StringConstraints

GRACE = 30.0
"""Seconds that questions under way get when the service is told to stop."""


class Question(BaseModel):
    question: Annotated[str, StringConstraints(min_length=1)]
    user: str | None = None


def make_app(model: str, api_base: str | None = None) -> Dspex:
    """The programs and how they are served. Nothing is started."""
    qa = ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought", idempotent=True)
    # A question may see four workers die before it is taken for the cause of it.
    pool = PoolOptions({"qa": qa.legacy}, workers=2, max_kills=5)
    return Dspex([qa], lm=LMSettings(model, api_base=api_base), pool=pool, flags=Flags(native_percent={"qa": 50}))


def make_service(app: Dspex) -> FastAPI:
    """The addresses. The app opens and closes with the service."""
    service = FastAPI(title="questions", lifespan=app.lifespan)

    @service.post("/ask")
    async def ask(asked: Question) -> dict[str, object]:
        answer = await app.call("qa", question=asked.question, key=asked.user, within=60)
        return told(answer)

    @service.post("/ask/stream")
    async def ask_stream(asked: Question) -> StreamingResponse:
        stream = app.stream("qa", question=asked.question, key=asked.user, listen="answer", within=60)
        # Until the first piece is here, what goes wrong is a status of its own, not the end of a stream that looked good.
        first = await anext(stream)
        return StreamingResponse(events(stream, first), media_type="text/event-stream")

    @service.get("/live")
    async def live() -> PlainTextResponse:
        """The process works. Whoever gets no answer may kill it."""
        return PlainTextResponse("yes")

    @service.get("/ready")
    async def ready() -> PlainTextResponse:
        """A question would be answered now. No: send the next one elsewhere, and leave this process alone."""
        return PlainTextResponse("yes" if app.ready else "no", status_code=200 if app.ready else 503)

    @service.get("/tree")
    async def show() -> PlainTextResponse:
        """What runs inside, for people."""
        return PlainTextResponse(f"{app.tree()}\n")

    for error, status in STATUSES.items():
        service.add_exception_handler(error, refusal(status))
    return service


def told(answer: Answer) -> dict[str, object]:
    return {"answer": answer["answer"], "engine": answer.route.engine, "worker": answer.route.worker}


async def events(stream: AnswerStream, first: FieldChunk | Answer) -> AsyncGenerator[str]:
    """The stream as server-sent events. A reader who leaves ends it, and with it the work at the model."""
    item = first
    async with stream:
        try:
            while isinstance(item, FieldChunk):
                yield event("piece", {"text": item.text})
                item = await anext(stream)
            yield event("answer", told(item))
        except Exception as error:  # the status has been sent: the last event tells
            yield event("error", {"error": type(error).__name__})


def event(kind: str, data: dict[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


STATUSES: dict[type[Exception], int] = {
    CallTimeout: 504,
    AppClosed: 503,
    ArmDown: 503,
    PoolOverloaded: 503,
    PoolUnavailable: 503,
    LegacyError: 502,
    LMError: 502,
    ActorError: 502,
    RouterError: 500,
}
"""By class, the nearest one counts. 503 is "not now, try again"."""


def refusal(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What the outside sees of an error: its class, not its text, which may quote the question."""

    async def handler(request: Request, error: Exception) -> Response:
        headers = {"retry-after": "1"} if status == 503 else None
        return JSONResponse({"error": type(error).__name__}, status_code=status, headers=headers)

    return handler


class Server(uvicorn.Server):
    """Told to stop, it drains before it closes its door, so that probes are answered until the last question is."""

    def __init__(self, config: uvicorn.Config, app: Dspex) -> None:
        super().__init__(config)
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; a second SIGINT does not wait. (uvicorn would raise it again at the end: not status 0.)"""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        stop = await super().on_tick(counter)
        if stop:
            cut_off = await self.app.drain(within=GRACE)
            print(f"drained; {cut_off} questions were cut off", flush=True)
        return stop


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default="openai/gpt-4o-mini")
    parser.add_argument("--api-base", help="the address of an OpenAI-compatible server; default: the provider's own")
    options = parser.parse_args()
    app = make_app(options.model, options.api_base)
    Server(uvicorn.Config(make_service(app), port=options.port), app).run()


if __name__ == "__main__":
    main()
