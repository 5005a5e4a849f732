"""A web service on trio: `python examples/trio_service.py`.

    curl -d '{"question": "Why is the sky blue?"}' localhost:8000/ask
    curl -d '{"question": "Why is the sky blue?"}' -N localhost:8000/ask/stream     # while it is being written
    curl localhost:8000/ready

dspex runs on trio as it does on asyncio, workers included; nothing is bridged. There is no framework here: `h11`, which comes
with httpx, knows HTTP, and trio knows everything else.

Told to stop (SIGTERM, SIGINT), it finishes what it has, refuses the rest, and ends with status 0: waiting for a request may be
cancelled, answering one is shielded.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import h11
import trio
from dspex.engine import ChainOfThought, LMError
from dspex.legacy import LMSettings
from dspex.router import AppClosed, Dspex, FieldChunk, ProgramSpec
from dspex.runtime import ActorError, CallTimeout

GRACE = 30.0
"""Seconds that questions under way get when the service is told to stop."""


@dataclass
class Ask:
    """A request that has been read."""

    target: str
    body: bytes


class Client:
    """One connection."""

    def __init__(self, app: Dspex, stream: trio.SocketStream) -> None:
        self.app = app
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        async with self.stream:
            try:
                while (asked := await self.receive()) is not None:
                    with trio.CancelScope(shield=True):
                        await self.answer(asked)
                    if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                        return
                    self.http.start_next_cycle()
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                pass  # it does not speak HTTP, or has gone: a stream that was being read ends with this

    async def receive(self) -> Ask | None:
        target, body = "", b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Request):
                target = event.target.decode()
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Ask(target, body)
            else:
                return None

    async def answer(self, asked: Ask) -> None:
        if asked.target == "/ready":
            await self.send(200 if self.app.ready else 503, {"ready": self.app.ready})
            return
        if asked.target not in ("/ask", "/ask/stream"):
            await self.send(404, {"error": "NotFound"})
            return
        try:
            question = json.loads(asked.body)["question"]
            if asked.target == "/ask":
                answer = await self.app.call("qa", question=question)
                await self.send(200, {"answer": answer["answer"]})
            else:
                await self.pass_on(self.pieces(question))
        except (KeyError, TypeError, ValueError):
            await self.send(422, {"error": 'a body like {"question": "..."} is expected'})
        except Exception as error:
            # By its class: the text may quote the question. What has begun to go out can only break off.
            if self.http.our_state is not h11.SEND_RESPONSE:
                return
            await self.send(status_of(error), {"error": type(error).__name__})

    async def pieces(self, question: str) -> AsyncIterator[str]:
        async with self.app.stream("qa", question=question, listen="answer") as stream:
            async for item in stream:
                if isinstance(item, FieldChunk):
                    yield item.text

    async def pass_on(self, pieces: AsyncIterator[str]) -> None:
        first = await anext(pieces, "")  # what goes wrong before it has a status of its own
        await self.out(h11.Response(status_code=200, headers=[("content-type", "text/plain; charset=utf-8")]))
        await self.out(h11.Data(data=first.encode()))
        async for piece in pieces:
            await self.out(h11.Data(data=piece.encode()))
        await self.out(h11.EndOfMessage())

    async def send(self, status: int, content: dict[str, object]) -> None:
        data = json.dumps(content).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(data)))]
        await self.out(h11.Response(status_code=status, headers=headers))
        await self.out(h11.Data(data=data))
        await self.out(h11.EndOfMessage())

    async def out(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        data = self.http.send(event)
        if data:
            await self.stream.send_all(data)


def status_of(error: Exception) -> int:
    if isinstance(error, CallTimeout):
        return 504
    return 503 if isinstance(error, AppClosed) else 502 if isinstance(error, (LMError, ActorError)) else 500


async def main(port: int, model: str, api_base: str | None) -> None:
    qa = ProgramSpec("qa", native=lambda: ChainOfThought("question -> answer"))
    async with Dspex([qa], lm=LMSettings(model, api_base=api_base)) as app, trio.open_nursery() as nursery:

        async def client(stream: trio.SocketStream) -> None:
            await Client(app, stream).serve()

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            listeners = await nursery.start(partial(trio.serve_tcp, client, port, host="127.0.0.1"))
            print(f"listening on {listeners[0].socket.getsockname()[1]}", flush=True)
            async for _ in signals:
                break
        cut_off = await app.drain(within=GRACE)
        print(f"drained; {cut_off} questions were cut off", flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", default="openai/gpt-4o-mini")
    parser.add_argument("--api-base", help="the address of an OpenAI-compatible server; default: the provider's own")
    options = parser.parse_args()
    trio.run(main, options.port, options.model, options.api_base)
