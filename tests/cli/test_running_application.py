"""`dspex run`, `status` and `flags` on real processes, with real signals."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import SECONDS, Running, dspex, here

ME = pwd.getpwuid(os.geteuid()).pw_name

SHOP = '''
import json
import os

import anyio
from dspex.engine import BaseLM, Predict
from dspex.router import Dspex, ProgramSpec
from dspex.runtime import Actor
from dspex.supervisors import Child


class Echo(BaseLM):
    async def aforward(self, prompt=None, messages=None, **kwargs):
        asked = messages[-1]["content"]
        if "hold " in asked:  # until the file that is named is there
            path = asked.split("hold ")[1].split()[0]
            open(path + ".asked", "w").close()
            while not os.path.exists(path):
                await anyio.sleep(0.01)
        text = "[[ ## answer ## ]]\\nfour\\n\\n[[ ## completed ## ]]"
        return {"model": "echo", "choices": [{"message": {"content": text}}], "usage": {}}


def qa():
    program = Predict("question -> answer")
    program.lm = Echo("echo")
    return program


class Asker(Actor):
    # Part of the service: what an HTTP server would be elsewhere.
    async def init(self):
        self.task(self.ask)

    async def ask(self):
        while not asking.ready:
            await anyio.sleep(0.005)
        answer = await asking.call("qa", question=os.environ["QUESTION"])
        print(json.dumps({"event": "answered", "value": answer["answer"]}), flush=True)


def make():
    return Dspex([ProgramSpec("qa", native=qa)], journal=os.environ.get("JOURNAL"))


app = Dspex([ProgramSpec("qa", native=qa)])
asking = Dspex([ProgramSpec("qa", native=qa)], beside=[Child("asker", Asker, restart="temporary")])
no_app = 7
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one stands: an application in a file, and sockets in a runtime folder of this test's own."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Running]]:
    """Starts `dspex run` there; what still runs afterwards is killed."""
    running: list[Running] = []

    def started(*arguments: str, **env: str) -> Running:
        made = Running(*arguments, cwd=folder, env={"XDG_RUNTIME_DIR": str(folder), **env})
        running.append(made)
        return made

    yield started
    for each in running:
        each.end()


def test_an_application_is_looked_at_and_changed_and_drains_at_sigterm(
    start: Callable[..., Running], folder: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(folder)}
    journal = str(folder / "journal.sqlite")
    app = start("shop:make", JOURNAL=journal)
    opened = app.until("open")
    assert opened["pid"] == app.process.pid
    assert opened["socket"] == str(folder / "dspex" / "shop.sock")
    app.until("ready")

    seen = dspex("status", env=env)
    assert seen.returncode == 0, seen.stderr
    assert "ready" in seen.stdout
    assert "native.qa" in seen.stdout
    assert "\x1b" not in seen.stdout
    told = json.loads(here("status", "--json", env=env).stdout)
    assert (told["schema"], told["app"]["pid"]) == ("dspex.status", app.process.pid)

    changed = dspex("flags", "set", "mode.qa=shadow", "shadow_serves=native", "--reason", "ticket 12", env=env)
    assert changed.returncode == 0, changed.stderr
    assert changed.stdout == f"mode.qa=shadow  shadow_serves=native  (by {ME} by control socket: ticket 12)\n"
    assert here("flags", "get", "mode.qa", env=env).stdout == "mode.qa=shadow\n"
    unset = here("flags", "get", "native_percent.qa", env=env)
    assert (unset.exit_code, unset.stdout) == (1, "")
    refused = here("flags", "set", "mode.qu=legacy", env=env)
    assert refused.exit_code == 1
    assert "no program is called that; there are: qa" in refused.stderr
    problems = json.loads(here("flags", "set", "mode.qa=up", "fallback=1", "--json", env=env).stdout)["problems"]
    assert len(problems) == 2
    history = here("flags", "history", env=env).stdout
    assert "ticket 12" in history
    assert len(history.splitlines()) == 2

    app.signal(signal.SIGTERM)
    assert app.until("draining")["signal"] == "SIGTERM"
    assert app.until("stopped")["cut_off"] == 0
    assert app.ended() == 0
    assert list((folder / "dspex").iterdir()) == []
    kept = json.loads(here("flags", "history", "--journal", journal, "--json").stdout)
    assert [line["by"] for line in kept] == ["start", f"{ME} by control socket: ticket 12"]
    gone = here("status", env=env)
    assert gone.exit_code == 2
    assert "dspex run APP" in gone.stderr


def wait_for(path: Path) -> None:
    """Until there is such a file."""
    limit = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.01)


def test_a_request_under_way_is_answered_before_the_end(start: Callable[..., Running], folder: Path) -> None:
    app = start("shop:asking", "--loop", "trio", QUESTION=f"hold {folder / 'go'} on")
    app.until("open")
    wait_for(folder / "go.asked")
    app.signal(signal.SIGINT)
    assert app.until("draining")["under_way"] == 1
    told = json.loads(here("status", "--json", env={"XDG_RUNTIME_DIR": str(folder)}).stdout)
    assert (told["app"]["phase"], told["app"]["under_way"]) == ("draining", 1)
    (folder / "go").touch()
    assert app.until("answered")["value"] == "four"
    assert app.until("stopped")["cut_off"] == 0
    assert app.ended() == 0


def test_a_second_signal_stops_at_once(start: Callable[..., Running], folder: Path) -> None:
    app = start("shop:asking", QUESTION=f"hold {folder / 'never'} on")
    app.until("open")
    wait_for(folder / "never.asked")
    app.signal(signal.SIGTERM)
    app.until("draining")
    app.signal(signal.SIGTERM)
    assert app.until("stopped")["cut_off"] == 1
    assert app.ended() == 1


def test_what_does_not_end_within_the_bound_is_cut_off_and_the_status_says_so(
    start: Callable[..., Running], folder: Path
) -> None:
    app = start("shop:asking", "--drain", "0.05", QUESTION=f"hold {folder / 'never'} on")
    app.until("open")
    wait_for(folder / "never.asked")
    app.signal(signal.SIGTERM)
    assert app.until("stopped")["cut_off"] == 1
    assert app.ended() == 1


def test_after_a_kill_the_leftover_is_told_and_replaced(start: Callable[..., Running], folder: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(folder)}
    app = start("shop:app")
    path = app.until("open")["socket"]
    app.signal(signal.SIGKILL)
    assert app.ended() == -signal.SIGKILL
    assert os.path.exists(path)
    left = here("status", "--socket", path, env=env)
    assert left.exit_code == 2
    assert "is a leftover" in left.stderr
    assert "no application of this user is running" in here("status", env=env).stderr
    again = start("shop:app")
    assert again.until("open")["socket"] == path
    assert here("status", env=env).exit_code == 0


def test_two_applications_on_one_path_are_refused_and_of_two_one_must_be_named(
    start: Callable[..., Running], folder: Path
) -> None:
    env = {"XDG_RUNTIME_DIR": str(folder)}
    app = start("shop:app")
    path = app.until("open")["socket"]
    second = here("run", "shop:app", env=env)
    assert second.exit_code == 2
    assert f"the application with process id {app.process.pid} has it" in second.stderr
    other = start("shop:app", "--socket", str(folder / "dspex" / "other.sock"))
    other.until("open")
    which = here("status", env=env)
    assert which.exit_code == 2
    assert f"{folder / 'dspex' / 'other.sock'}, {path}" in which.stderr
    named = here("flags", "get", "shadow_serves", env={**env, "DSPEX_CONTROL": path})
    assert named.stdout == "shadow_serves=legacy\n"


def test_one_program_is_asked_and_its_answer_printed(folder: Path) -> None:
    answered = here("run", "shop.py:app", "--ask", "qa", "question=2 + 2?")
    assert answered.exit_code == 0, answered.stderr
    assert answered.stdout.startswith("answer: four\n(native, ")
    asked = here("run", "shop:make", "--ask", "qa", 'question:={"a": [1]}', "--json", "--loop", "trio")
    told = json.loads(asked.stdout)
    assert told["fields"] == {"answer": "four"}
    assert told["route"]["engine"] == "native"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["shop:app", "--ask", "qa"], 1, "needs `question`"),
        (["shop:app", "--ask", "q", "question=x"], 1, "no program is called 'q'"),
        (["shop:app", "--ask", "qa", "question=x", "--engine", "legacy"], 1, "give the program a legacy side"),
        (["shop:app", "--ask", "qa", "question"], 2, "write NAME=TEXT, or NAME:=JSON"),
        (["shop:app", "--ask", "qa", "n:=]"], 2, "is no JSON"),
        (["shop:app", "question=x"], 2, "Give --ask PROGRAM"),
        (["shop:app", "--engine", "native"], 2, "--engine goes with --ask"),
        (["shop:nothing"], 2, "shop has no 'nothing'"),
        (["shop:no_app"], 2, "name a dspex.Dspex"),
        (["shop"], 2, "write package.module:name"),
        (["nowhere.py:app"], 2, "there is no file nowhere.py"),
        (["nowhere:app"], 2, "cannot be imported (ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(arguments: list[str], status: int, says: str, folder: Path) -> None:
    done = here("run", *arguments)
    assert done.exit_code == status, done.stderr
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_what_a_module_raises_is_said_and_is_no_crash(folder: Path) -> None:
    (folder / "bad.py").write_text("raise SystemExit('not today')")
    done = here("run", "bad:app")
    assert done.exit_code == 2
    assert "bad cannot be imported (SystemExit: not today)" in done.stderr


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"", "closed the connection"), (b"HTTP/1.1 200 OK\r\n", "does not speak as an application of dspex does")],
)
def test_what_listens_but_is_no_application_is_told(answer: bytes, says: str, tmp_path: Path) -> None:
    path = str(tmp_path / "other.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        done = here("status", "--socket", path)
        thread.join(SECONDS)
    assert done.exit_code == 2
    assert says in done.stderr.replace("\n", " ")


def test_watching_writes_one_line_a_look_until_it_is_interrupted(start: Callable[..., Running], folder: Path) -> None:
    app = start("shop:app")
    path = app.until("open")["socket"]
    command = [sys.executable, "-m", "dspex.cli", "status", "--watch", "--json", "--interval", "0.1", "--socket", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        looks = [json.loads(watching.stdout.readline()) for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(SECONDS) == 0
    assert looks[0]["app"]["uptime_s"] < looks[2]["app"]["uptime_s"]
