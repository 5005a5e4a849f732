"""The model server of `optimizers.py`: it asks a model each distinct request once, and says what was asked and when.

Two engines that search with the same seeds send a model the same requests, and at temperature 0 a model has one answer to
each. So the second to ask gets what the first was given, word for word: otherwise a difference in the scores could come
from the model, which rounds differently when its batches are cut differently. What was answered is kept in RECORDING (JSON
lines), so that a run can be repeated, or be continued, without the hours of a small machine that it took.

It is a process of its own (`run`), which prints the port that it listens on, and so costs neither engine any of its
interpreter's time. `POST /set` takes `latency`, the seconds that each answer takes (8 are worked on at a time), and `kept`,
whether requests may be answered from the recording. `POST /take` gives what was counted since it was last taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ASKED = ("messages", "response_format", "temperature", "n")
"""What an answer depends on, with the limit of tokens, for which the API has two names: dspy uses the newer one."""


SLOTS = 8
"""Answers that it works on at a time, when they take time; more requests wait, as at a server of models."""


def key_of(request: dict[str, Any]) -> str:
    """The same for equal requests, in whatever order their fields come."""
    asked = {name: request[name] for name in ASKED if request.get(name) is not None}
    asked["max_tokens"] = request.get("max_tokens") or request.get("max_completion_tokens")
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]


class RecordedModel:
    """Answers requests, and counts them."""

    def __init__(self, recording: Path, upstream: str) -> None:
        self.recording = recording
        self.client = httpx.AsyncClient(base_url=upstream, timeout=600, trust_env=False)
        self.answers: dict[str, dict[str, Any]] = {}
        if recording.exists():
            for line in recording.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self.answers[entry["key"]] = entry
        self.one_at_a_time = asyncio.Lock()
        self.asking: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.latency = 0.0
        self.kept = True
        self.in_flight = self.in_slots = 0
        self.slots = asyncio.Semaphore(SLOTS)
        self.clear()

    def clear(self) -> None:
        self.requests = self.asked_model = self.peak = 0
        self.model_seconds = self.busy = 0.0
        self.since = time.monotonic()
        self.keys: list[str] = []

    def take(self) -> dict[str, Any]:
        """What was counted since the last time; nobody may be waiting for an answer."""
        counted = {
            "requests": self.requests,
            "asked_model": self.asked_model,
            "most_at_once": self.peak,
            "busy_s": self.busy,
            "model_s": self.model_seconds,
            "keys": self.keys,
        }
        self.clear()
        return counted

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer of the model, as it was given when it was asked first."""
        begun = time.monotonic()
        if self.in_flight == 0:
            self.since = begun
        self.in_flight += 1
        self.requests += 1
        try:
            key = key_of(request)
            self.keys.append(key)
            entry = self.answers.get(key) if self.kept else None
            if entry is None:
                entry = await self._from_model(key, request)
            self.model_seconds += entry["seconds"]
            if self.latency:
                async with self.slots:
                    self.in_slots += 1
                    self.peak = max(self.peak, self.in_slots)
                    await asyncio.sleep(self.latency)
                    self.in_slots -= 1
            return _completion(entry)
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self.busy += time.monotonic() - self.since

    async def _from_model(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        if not self.kept:
            return await self._ask(key, request)
        if (there := self.asking.get(key)) is not None:
            return await there
        self.asking[key] = asyncio.get_running_loop().create_future()
        try:
            entry = await self._ask(key, request)
        except Exception as error:
            self.asking.pop(key).set_exception(error)
            raise
        self.answers[key] = entry
        with self.recording.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.asking.pop(key).set_result(entry)
        return entry

    async def _ask(self, key: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked_model += 1
        async with self.one_at_a_time:  # the model has one thread: what a request takes there is seen only without a queue
            begun = time.monotonic()
            response = await self.client.post("/chat/completions", json=request)
            took = time.monotonic() - begun
        response.raise_for_status()
        said = response.json()
        return {
            "key": key,
            "contents": [choice["message"]["content"] for choice in said["choices"]],
            "ended": [choice["finish_reason"] for choice in said["choices"]],
            "tokens": [said["usage"]["prompt_tokens"], said["usage"]["completion_tokens"]],
            "seconds": round(took, 3),
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as long as it lasts."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ", 2)[1]
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = json.loads(await reader.readexactly(int(fields.get("content-length", 0))) or b"{}")
                try:
                    status, said = 200, await self._routed(path, body)
                except httpx.HTTPError as error:
                    status, said = 502, {"error": {"message": f"the model did not answer: {error}"}}
                sent = json.dumps(said).encode()
                writer.write(
                    b"HTTP/1.1 %d .\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(sent))
                    + sent
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has closed it, or all is over (Python 3.11 logs the cancellation of a connection as an error)
        finally:
            writer.close()

    async def _routed(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/set":
            self.latency, self.kept = body["latency"], body["kept"]
            return {}
        return self.take() if path == "/take" else await self.answer(body)


def _completion(entry: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = entry["tokens"]
    return {
        "id": entry["key"],
        "object": "chat.completion",
        "created": 0,
        "model": "smollm2-135m",
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": ended}
            for index, (content, ended) in enumerate(zip(entry["contents"], entry["ended"], strict=True))
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


async def main(recording: str, upstream: str) -> None:
    model = RecordedModel(Path(recording), upstream)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    parent_ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # returns when the other end closes
    async with server:
        await parent_ended


def run() -> None:
    """In its own process: `python -c "import recorded_model; recorded_model.run()" RECORDING UPSTREAM`, in this folder. (It
    is no benchmark, and `make bench` runs what can be run by its name.)"""
    asyncio.run(main(*sys.argv[1:]))
