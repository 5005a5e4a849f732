"""A real HTTP server on a real port that speaks as much of `/v1/chat/completions` as both engines need.

What it answers follows from what it is asked, so that a reply given to the wrong question is noticed:

    "Why?"           -> the output field `answer` is "answer to Why?"
    "hold ..."       -> the same, but not before `release` is set; `arrived` says that the request is here
    "status 503"     -> that HTTP status
    "mumble ..."     -> a text in which no adapter finds a field

Asked for the output `same`, it compares the inputs `first_answer` and `second_answer` without regard to case.

With `"stream": true` in the request the same text comes as server-sent events, word by word; a question that
begins with "pause" stops in the middle of them until `release` is set, and `arrived` says so.

A test that wants other answers sets `says`, a function of the request's body that gives a text, or an HTTP status.
"""

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class OpenAIServer:
    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.release = threading.Event()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.says: Callable[[dict[str, Any]], str | int] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                outer._serve(self)

        # Threads are joined by close(), so that a test leaves none behind.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="openai-server")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def questions(self) -> list[str]:
        return [_question(body) for body in self.bodies]

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        self.bodies.append(body)
        self.keys.append(request.headers["authorization"])
        question = _question(body)
        self.arrived.release()
        if question.startswith("hold"):
            self.release.wait()
        status = 200
        payload: dict[str, Any]
        said = self.says(body) if self.says is not None else None
        if question.startswith("status") or isinstance(said, int):
            status = said if isinstance(said, int) else int(question.split()[1])
            payload = {"error": {"message": "as you wish", "type": "server_error"}}
        else:
            wanted = re.findall(r"\[\[ ## (\w+) ## \]\]", body["messages"][-1]["content"].split("Respond with")[-1])
            fields = [name for name in wanted if name != "completed"]
            text = said or (
                "I would rather not say."
                if question.startswith("mumble")
                else "\n\n".join(f"[[ ## {name} ## ]]\n{_value(name, question, body)}" for name in fields)
            )
            payload = {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": text + "\n\n[[ ## completed ## ]]"},
                    }
                ],
                "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
            }
        try:
            if status == 200 and body.get("stream"):
                self._stream(request, payload, pause=question.startswith("pause"))
                return
            data = json.dumps(payload).encode()
            request.send_response(status)
            request.send_header("content-type", "application/json")
            request.send_header("content-length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            pass  # the worker was killed meanwhile, as the test wants

    def _stream(self, request: BaseHTTPRequestHandler, payload: dict[str, Any], *, pause: bool) -> None:
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.end_headers()  # HTTP/1.0: the end of the connection is the end of the answer
        text = payload["choices"][0]["message"]["content"]
        pieces = re.findall(r"\s*\S+|\s+$", text)

        def send(**more: Any) -> None:
            head = {"id": payload["id"], "object": "chat.completion.chunk", "created": 1, "model": payload["model"]}
            request.wfile.write(f"data: {json.dumps({**head, **more})}\n\n".encode())
            request.wfile.flush()

        for number, piece in enumerate(pieces):
            if pause and number == len(pieces) // 2:
                self.arrived.release()
                self.release.wait()
            send(choices=[{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
        send(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=payload["usage"])
        request.wfile.write(b"data: [DONE]\n\n")


def _question(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    found = re.search(r"\[\[ ## question ## \]\]\n(.*?)\n\nRespond with", content, re.DOTALL)
    return found.group(1) if found else ""


def _value(field: str, question: str, body: dict[str, Any]) -> str:
    if field == "same":
        content = body["messages"][-1]["content"]
        shown = re.findall(r"\[\[ ## (?:first|second)_answer ## \]\]\n(.*)", content)
        return str(shown[0].lower() == shown[1].lower())
    if field == "names":
        return '{"1": "one", "2": "two"}'
    if field == "place":
        return '{"city": "Paris", "when": "2026-11-22", "tags": ["a", "b"]}'
    if field == "mood":
        return "good"
    return f"{field} to {question}"
