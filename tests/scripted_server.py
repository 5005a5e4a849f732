"""A real HTTP server that answers as a script says, one piece at a time, and sees when its client hangs up.

    async with scripted_server(script) as server:      # server.url, server.bodies, server.paths
        ...

A script is an async function of the request's JSON body that yields bytes: the first yield is the whole head and body of
a JSON answer (`answer({...})`), or the head of a stream (`STREAM`) with `event(...)`s after it.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
HANG_UP = b"hang up"
"""Yielded by a script that breaks off in the middle."""

Script = Callable[[dict[str, Any]], AsyncIterator[bytes]]


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> bytes:
    data = json.dumps(body).encode()
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def event(data: Any, name: str | None = None) -> bytes:
    """One server-sent event, as one HTTP chunk."""
    text = data if isinstance(data, str) else json.dumps(data)
    payload = ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()
    return b"%x\r\n" % len(payload) + payload + b"\r\n"


def chat_chunk(text: str | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    delta: dict[str, Any] = {} if text is None else {"content": text}
    delta.update(more)
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c1", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice]})


def chat_answer(text: str | None, *, finish: str = "stop", usage: dict[str, Any] | None = None, **more: Any) -> bytes:
    message = {"role": "assistant", "content": text, **more}
    counts = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12} if usage is None else usage
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return answer({"id": "c1", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": counts})


class ScriptedServer:
    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.heads: list[str] = []
        self.hung_up = anyio.Event()
        """Set when a client has closed its connection before the script was over."""


@asynccontextmanager
async def scripted_server(script: Script) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while True:
                    head, body = await _request(stream)
                    server.heads.append(head)
                    server.paths.append(head.split(" ")[1])
                    server.bodies.append(body)
                    await _answer(stream, script(body), server)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        server.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        yield server
        group.cancel_scope.cancel()


async def _answer(stream: SocketStream, pieces: AsyncIterator[bytes], server: ScriptedServer) -> None:
    async def watch() -> None:
        # Nothing more is sent while an answer is under way: an end of the stream is the client hanging up.
        try:
            await stream.receive()
        except anyio.ClosedResourceError:
            return  # closed from this side
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            server.hung_up.set()
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group, aclosing(pieces):  # type: ignore[type-var]
        group.start_soon(watch)
        async for piece in pieces:
            if piece is HANG_UP:
                await stream.aclose()
                break
            try:
                await stream.send(piece)
            except anyio.BrokenResourceError:  # it hung up on what it had not read
                server.hung_up.set()
                break
        group.cancel_scope.cancel()


async def _request(stream: SocketStream) -> tuple[str, dict[str, Any]]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += await stream.receive()
    return head.decode(), json.loads(body)
