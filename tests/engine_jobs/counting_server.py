"""A real HTTP server whose answers follow from the request alone, and which sees every request come.

Whether an answer is right depends on the whole prompt, so that demos matter; a request at temperature 1 is another one.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class CountingServer:
    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.on_request: Callable[[int], None] = lambda number: None
        """Called with the number of the request, from 1, before it is answered."""
        self.fails: Callable[[dict[str, Any]], bool] = lambda body: False
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                outer._serve(self)

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the connection of a process that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True  # a killed client leaves its thread in a read
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="counting-server")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        text = request.rfile.read(int(request.headers["content-length"])).decode()
        body = json.loads(text)
        with self._lock:
            self.bodies.append(json.dumps(body, sort_keys=True))
            self.headers.append(dict(request.headers))
            self.on_request(len(self.bodies))
        status = 500 if self.fails(body) else 200
        payload: dict[str, Any] = {"error": {"message": "as you wish"}}
        if status == 200:
            payload = {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply(body)}}
                ],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
            }
        data = json.dumps(payload).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            request.wfile.write(data)
        except OSError:
            pass  # the client was killed


def reply(body: dict[str, Any]) -> str:
    asked = body["messages"][-1]["content"]
    question = re.findall(r"\[\[ ## question ## \]\]\n(.*)", asked)[-1]
    digest = hashlib.sha256(json.dumps([body["messages"], body.get("temperature")]).encode()).digest()[0]
    right = digest % 3 != 0
    answer = question.replace("question", "answer") if right else f"wrong {digest}"
    return f"[[ ## reasoning ## ]]\nBecause of {digest}.\n\n[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"
