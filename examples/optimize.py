"""An optimizer that is killed in the middle and goes on: no finished call is made again, and the result is the same.

    python examples/optimize.py [--backend trio] [--kill-at 40]

A small scripted model is served on this machine, so that its calls can be counted: it tells good from bad messages, and does
so better with examples in its prompt. The optimizer runs in a process of its own, which gets SIGKILL at its 40th call; a
second process does the same job from the journal that the first has left.

With a model of yours: `lm = LM("openai/gpt-4o-mini")`, and everything else as it is here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
from dspex.engine import (
    LM,
    BootstrapFewShotWithRandomSearch,
    Budget,
    Example,
    JobStatus,
    OptimizerJob,
    Predict,
    configure_cache,
    run_job,
)

MESSAGES = {
    "The parcel came a day early, thank you!": "good",
    "Third time I ask for my refund.": "bad",
    "Works exactly as described.": "good",
    "The screen arrived cracked.": "bad",
    "Your colleague was so kind on the phone.": "good",
    "Nobody answers my mails.": "bad",
    "I would buy it again.": "good",
    "It stopped working after two days.": "bad",
}


def right(example: Any, prediction: Any, trace: object = None) -> bool:
    return example.mood == prediction.mood


async def optimize(url: str, journal: str) -> None:
    """What the process does that is killed; it does not know of the other."""
    configure_cache(enable_disk_cache=False, enable_memory_cache=True)  # the journal alone remembers
    lm = LM("openai/scripted", base_url=url, api_key="none needed")
    job = OptimizerJob(
        BootstrapFewShotWithRandomSearch(metric=right, num_candidate_programs=8, num_threads=4),
        Predict("message -> mood"),
        trainset=[Example(message=text, mood=mood).with_inputs("message") for text, mood in MESSAGES.items()],
        budget=Budget(calls=500),
        journal=journal,
        overrides={"lm": lm},
    )
    shown: list[JobStatus] = []
    outcome = await run_job(job, on_progress=shown.append)
    print(shown[-1])
    digest = hashlib.sha256(json.dumps(outcome.program.dump_state(), sort_keys=True).encode()).hexdigest()
    print(f"result {digest[:12]}: {len(outcome.program.demos)} demos, {outcome.best.score if outcome.best else 0:g} percent")


class ScriptedModel:
    """Speaks as much of the chat API as the example needs, and counts."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.kill_at: tuple[int, int] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(body)
                if outer.kill_at is not None and len(outer.requests) == outer.kill_at[0]:
                    os.kill(outer.kill_at[1], signal.SIGKILL)
                data = json.dumps(outer.answer(json.loads(body))).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # whoever asked has been killed

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the connection of a process that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body["messages"][-1]["content"]
        message = re.findall(r"\[\[ ## message ## \]\]\n(.*)", asked)[-1]
        luck = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()[0]
        demos = (len(body["messages"]) - 2) // 2
        knows = luck % 20 < 6 + demos
        mood = MESSAGES[message] if knows else "unclear"
        choice = {"role": "assistant", "content": f"[[ ## mood ## ]]\n{mood}\n\n[[ ## completed ## ]]"}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": choice}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105},
        }

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def run(model: ScriptedModel, journal: Path, backend: str, kill_at: int | None = None) -> str:
    """Run the optimizer in a process of its own; what it printed."""
    command = [sys.executable, __file__, "--backend", backend, "--child", model.url, str(journal)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    model.requests.clear()
    model.kill_at = None if kill_at is None else (kill_at, process.pid)
    printed, _ = process.communicate()
    return printed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--kill-at", type=int, default=40)
    parser.add_argument("--child", nargs=2, metavar=("URL", "JOURNAL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        anyio.run(optimize, *arguments.child, backend=arguments.backend)
        return
    model = ScriptedModel()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print("undisturbed:")
            print(run(model, Path(folder, "undisturbed.journal"), arguments.backend))
            undisturbed = len(model.requests)
            journal = Path(folder, "killed.journal")
            run(model, journal, arguments.backend, kill_at=arguments.kill_at)
            killed = len(model.requests)
            print(f"killed at call {arguments.kill_at}; the same job again:")
            print(run(model, journal, arguments.backend))
            resumed = len(model.requests)
            again = killed + resumed - undisturbed
            print(f"calls: {undisturbed} undisturbed; {killed} before the kill and {resumed} after it")
            print(f"made twice: {again}, which were in hand when it was killed")
    finally:
        model.close()


if __name__ == "__main__":
    main()
