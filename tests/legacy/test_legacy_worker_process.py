"""One real worker process: how it is started, what it is told, and every way in which it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.legacy import (
    ImportedProgram,
    LegacyError,
    MissingLegacy,
    PoolOptions,
    ProtocolError,
    SignatureProgram,
    WorkerCrashed,
    WorkerStartFailed,
)
from dspex.legacy.descendants import children_of
from dspex.legacy.process import WorkerProcess
from dspex.legacy.warden import Warden
from dspex.legacy.worker.mortal import EXIT_HOST_GONE, EXIT_PROTOCOL
from legacy_pools import HERE, PROGRAMS, alive, gone_within, said

pytestmark = pytest.mark.anyio

MISBEHAVING = str(HERE / "misbehaving_worker.py")


def options(**changes: Any) -> PoolOptions:
    return PoolOptions(**{"programs": PROGRAMS, "import_paths": (str(HERE),), **changes})


class Talk:
    """A worker that is being served, and a way to ask it."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.replies: list[dict[str, Any]] = []
        self.end: LegacyError | None = None
        self._news = anyio.Event()
        self._number = 0

    async def serve(self) -> None:
        self.end = await self.worker.run(self._take)
        self._news.set()

    def _take(self, message: dict[str, Any]) -> None:
        self.replies.append(message)
        self._news.set()

    def ask(self, program: str, **inputs: object) -> None:
        self._number += 1
        request = {"id": self._number, "incarnation": self.worker.incarnation, "program": program, "inputs": inputs}
        self.worker.channel.post({"op": "run", "lm": None, **request})

    async def reply(self) -> dict[str, Any]:
        with anyio.fail_after(30):
            while len(self.replies) < self._number:
                assert self.end is None, self.end
                await self._news.wait()
                self._news = anyio.Event()
        return self.replies[-1]

    async def its_end(self) -> LegacyError:
        with anyio.fail_after(30):
            while self.end is None:
                await self._news.wait()
                self._news = anyio.Event()
        return self.end


def has_mapped(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


@asynccontextmanager
async def serving(**changes: Any) -> AsyncGenerator[Talk]:
    """A worker forked by a warden, if nothing about it has to be its own; else one that imports dspy for itself."""
    chosen = options(**changes)
    warden = await Warden.start("warden", chosen) if "env" not in changes and chosen.start != "spawn" else None
    worker = None
    try:
        async with anyio.create_task_group() as group:
            if warden is not None:
                group.start_soon(warden.run)
            worker = await WorkerProcess.start("w", chosen, warden)
            await worker.load()
            talk = Talk(worker)
            group.start_soon(talk.serve)
            yield talk
            await worker.close()
            group.cancel_scope.cancel()
    finally:
        if worker is not None:
            await worker.close()
        if warden is not None:
            await warden.close()


async def test_it_says_hello_before_it_imports_dspy_and_is_gone_after_close() -> None:
    worker = await WorkerProcess.start("w", options())
    assert worker.hello.python == ".".join(map(str, sys.version_info[:3]))
    assert worker.hello.dspy.startswith("3.")
    assert worker.hello.pid == worker.pid
    assert not has_mapped(worker.pid, "pydantic_core")
    load_s = await worker.load()
    assert load_s > 0
    assert worker.dspy == worker.hello.dspy
    assert has_mapped(worker.pid, "pydantic_core")
    await worker.close()
    await worker.close()
    assert not alive(worker.pid)


async def test_it_runs_in_utf8_mode_single_threaded_private_and_holds_one_channel_that_its_children_do_not_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    ours, other = socket.socketpair()
    ours.set_inheritable(True)  # of the host's own: it must not reach a worker
    with ours, other:
        async with serving(start="spawn") as talk:
            talk.ask("does", what="describe")
            value = (await talk.reply())["value"]
    assert value["utf8"] == 1
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert value["environment"][name] == "1"
    assert value["session_leader"] is True
    assert value["litellm"] is False
    assert value["inheritable"] == []
    assert sum(target.startswith("socket:") for target in value["descriptors"]) == 1
    assert "/dev/null" in value["descriptors"][0]


async def test_thread_variables_are_set_in_an_environment_of_the_users_too() -> None:
    async with serving(env={"PATH": os.environ["PATH"], "MARK": "mine", "MKL_NUM_THREADS": "8"}) as talk:
        talk.ask("does", what="describe")
        environment = (await talk.reply())["value"]["environment"]
    assert environment["MARK"] == "mine"
    assert environment["MKL_NUM_THREADS"] == "1"
    assert "HOME" not in environment


@pytest.mark.parametrize(
    "value",
    [{1: "a", None: "b", (1, 2): "c"}, float("inf"), 2**200, "\ud800\udc00 and \udfff", b"\x00\xff", {3, 4}, (1, [2])],
    ids=["keys that are no strings", "infinity", "big integer", "surrogates", "bytes", "set", "tuple"],
)
async def test_unusual_values_reach_a_program_and_come_back_as_they_were(value: object) -> None:
    async with serving() as talk:
        talk.ask("echo", thing=value, nan=float("nan"))
        got = (await talk.reply())["value"]
    assert got["thing"] == value
    assert type(got["thing"]) is type(value)
    assert got["nan"] != got["nan"]


async def test_only_declared_programs_are_loaded_and_a_path_in_a_request_is_only_a_name() -> None:
    async with serving(programs={"echo": ImportedProgram("legacy_programs:echo")}) as talk:
        for name in ("does", "legacy_programs:does", "os:abort", "legacy_programs:Echo"):
            talk.ask(name, what="describe")
            assert (await talk.reply())["error"]["kind"] == "unknown_program"
        talk.ask("echo", x=1)
        assert (await talk.reply())["value"] == {"x": 1}


async def test_a_request_meant_for_another_process_is_not_run() -> None:
    async with serving() as talk:
        request = {"op": "run", "id": 1, "incarnation": "another", "program": "echo", "inputs": {}, "lm": None}
        talk.worker.channel.post(request)
        talk._number = 1
        assert (await talk.reply())["error"]["kind"] == "incarnation"


async def test_a_declared_path_that_is_no_program_fails_typed_and_the_worker_lives() -> None:
    odd = SignatureProgram("a -> b")
    object.__setattr__(odd, "module", "CodeAct")  # past the check on this side
    programs = {
        "text": ImportedProgram("legacy_programs:not_a_module"),
        "absent": ImportedProgram("legacy_programs:nowhere"),
        "odd": odd,
        "echo": ImportedProgram("legacy_programs:echo"),
    }
    async with serving(programs=programs) as talk:
        kinds = []
        for name in ("text", "absent", "odd"):
            talk.ask(name)
            kinds.append((await talk.reply())["error"]["kind"])
        talk.ask("echo", x=1)
        assert (await talk.reply())["ok"] is True
    assert kinds == ["config", "config", "config"]


async def test_a_killed_worker_is_reported_with_its_signal_and_its_last_words() -> None:
    async with serving() as talk:
        os.kill(talk.worker.pid, signal.SIGKILL)
        end = await talk.its_end()
        assert isinstance(end, WorkerCrashed)
        assert (end.signal, end.exit_code, end.returncode) == (signal.SIGKILL, None, -9)
    async with serving() as talk:
        talk.ask("does", what="die", status=7)
        end = await talk.its_end()
        assert isinstance(end, WorkerCrashed)
        assert (end.signal, end.exit_code) == (None, 7)
        assert "last words" in end.log


async def test_the_end_of_the_channel_ends_the_worker() -> None:
    worker = await WorkerProcess.start("w", options())
    await worker.load()
    worker.channel.close()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(worker._await_exit, lambda end: group.cancel_scope.cancel())
    assert worker.returncode == EXIT_HOST_GONE
    await worker.close()


async def test_garbage_from_the_host_ends_the_worker() -> None:
    async with serving() as talk:
        talk.worker.channel._sock.send(b"\xff" * 64)
        end = await talk.its_end()
        assert isinstance(end, WorkerCrashed)
        assert end.exit_code == EXIT_PROTOCOL
        assert "not the protocol" in str(end)


HOST = """
import sys, anyio
from dspex.legacy import PoolOptions, ImportedProgram
from dspex.legacy.process import WorkerProcess

async def main():
    options = PoolOptions({"does": ImportedProgram("legacy_programs:does")}, import_paths=(sys.argv[1],))
    worker = await WorkerProcess.start("w", options)
    await worker.load()
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run, print)
        request = {"id": 1, "incarnation": worker.incarnation, "program": "does", "lm": None}
        worker.channel.post({"op": "run", **request, "inputs": {"what": sys.argv[2], "marker": sys.argv[3]}})

anyio.run(main, backend=sys.argv[4])
"""


@pytest.mark.parametrize("busy_with", ["sleep", "hold_the_gil", "scatter"])
async def test_when_the_host_is_killed_its_worker_dies_even_inside_a_c_call_that_holds_the_gil(
    busy_with: str, marker: Path, anyio_backend: str
) -> None:
    argv = [sys.executable, "-c", HOST, str(HERE), busy_with, str(marker), anyio_backend]
    host = await anyio.to_thread.run_sync(lambda: subprocess.Popen(argv))
    try:
        pids = [*await said(marker), *children_of(host.pid)]
        assert all(map(alive, pids))
    finally:
        host.kill()
        host.wait()
    assert await anyio.to_thread.run_sync(gone_within, 10, *pids), "something outlived its host"


async def test_closing_kills_the_workers_children_with_it(marker: Path) -> None:
    async with serving() as talk:
        talk.ask("does", what="breed", marker=str(marker))
        pid, child = await said(marker)
        assert pid == talk.worker.pid
        assert alive(child)
    assert await anyio.to_thread.run_sync(gone_within, 10, pid, child)


async def test_a_stopped_worker_is_taken_for_dead_and_a_busy_one_is_not(marker: Path) -> None:
    async with serving(heartbeat=0.1, heartbeat_timeout=0.5) as talk:
        talk.ask("does", what="sleep", marker=str(marker))
        await said(marker)
        with anyio.move_on_after(1.5):
            await talk.its_end()
        assert talk.end is None, "a worker that runs a request answers pings all the same"
        os.kill(talk.worker.pid, signal.SIGSTOP)
        end = await talk.its_end()
        assert isinstance(end, WorkerCrashed)
        assert "silent for 0.5 s" in end.reason


async def test_a_worker_whose_pings_go_unanswered_is_taken_for_dead() -> None:
    async with serving(
        script=MISBEHAVING, env={**os.environ, "MOOD": "deaf"}, heartbeat=0.05, heartbeat_timeout=0.3
    ) as talk:
        assert "silent" in str(await talk.its_end())


@pytest.mark.parametrize(
    ("mood", "error", "text"),
    [
        ("silent", WorkerStartFailed, "no 'hello' within 0.5 s"),
        ("exits", WorkerStartFailed, "exited with status 3"),
        ("garbage", ProtocolError, "does not speak the protocol"),
        ("future", WorkerStartFailed, "speaks protocol 99"),
        ("old", WorkerStartFailed, "its dspy is 2.5.43"),
    ],
)
async def test_a_worker_that_does_not_come_up_fails_typed_and_is_gone(
    mood: str, error: type[LegacyError], text: str
) -> None:
    timeout = 0.5 if mood == "silent" else 20
    with pytest.raises(error, match=text) as raised:
        await WorkerProcess.start(
            "w", options(script=MISBEHAVING, env={**os.environ, "MOOD": mood}, start_timeout=timeout)
        )
    if mood == "exits":
        assert isinstance(raised.value, WorkerStartFailed)
        assert raised.value.log == ("I do not feel like it",)


async def test_an_interpreter_that_is_not_there_fails_typed() -> None:
    with pytest.raises(WorkerStartFailed, match="could not be started") as raised:
        await WorkerProcess.start("w", options(python="/nowhere/python"))
    assert isinstance(raised.value.__cause__, FileNotFoundError)


async def test_an_interpreter_without_dspy_is_a_configuration_error_that_names_the_extra(bare_python: str) -> None:
    with pytest.raises(MissingLegacy, match=r"dspex\[legacy\]") as raised:
        await WorkerProcess.start("w", options(python=bare_python))
    assert raised.value.python == bare_python


async def test_a_dspy_that_cannot_be_imported_is_reported_with_the_workers_traceback(
    bare_python: str, tmp_path: Path
) -> None:
    broken = tmp_path / "dspy"
    broken.mkdir()
    (broken / "__init__.py").write_text("import a_module_that_is_missing\n")
    worker = await WorkerProcess.start("w", options(python=bare_python, import_paths=(str(tmp_path),)))
    with pytest.raises(MissingLegacy, match="a_module_that_is_missing") as raised:
        await worker.load()
    assert "import a_module_that_is_missing" in raised.value.remote_traceback
    await worker.close()


async def test_a_cancelled_start_leaves_nothing() -> None:
    with anyio.move_on_after(0.05) as scope:
        await WorkerProcess.start("w", options(script=MISBEHAVING, env={**os.environ, "MOOD": "silent"}))
    assert scope.cancelled_caught


async def test_what_programs_print_reaches_the_log_and_not_the_channel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="dspex.legacy.worker")
    async with serving() as talk:
        talk.worker.output.request = 1
        talk.ask("does", what="talk", text="héllo", lines=3)
        assert (await talk.reply())["value"] == {"said": 3}
        logged = [record.getMessage() for record in caplog.records]
    assert [line for line in logged if "héllo" in line] == ["w: héllo"] * 3
    assert "w: raw bytes on fd 1: \ufffd" in logged
    assert "w: raw bytes on fd 2" in logged
    assert "w: \\ud800 a lone surrogate" in logged
    assert {record.request for record in caplog.records} == {1}  # type: ignore[attr-defined]


async def test_a_flood_of_output_neither_stops_the_worker_nor_fills_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="dspex.legacy.worker")
    async with serving() as talk:
        talk.ask("does", what="talk", text="x" * 3_000, lines=3_000)
        assert (await talk.reply())["ok"] is True
        output = talk.worker.output
        assert output.lines >= 3_000
        assert output.suppressed + len(caplog.records) == output.lines
        assert output.suppressed > 1_000
        assert len(output.tail()) <= 51
        assert max(map(len, output.tail())) <= 2_000


async def test_the_key_of_the_language_model_is_in_no_argument_variable_or_log(
    caplog: pytest.LogCaptureFixture, server: Any, lm: Any
) -> None:
    caplog.set_level("DEBUG")
    async with serving() as talk:
        talk.worker.channel.post(
            {
                "op": "run",
                "id": 1,
                "incarnation": talk.worker.incarnation,
                "program": "qa",
                "inputs": {"question": "Why?"},
                "lm": lm.as_message(),
            }
        )
        talk._number = 1
        assert (await talk.reply())["value"] == {"answer": "answer to Why?"}
        proc = Path(f"/proc/{talk.worker.pid}")
        visible = proc.joinpath("cmdline").read_bytes() + proc.joinpath("environ").read_bytes()
    assert server.keys == ["Bearer sk-secret-7"]
    assert b"sk-secret-7" not in visible
    assert "sk-secret-7" not in caplog.text
    assert "sk-secret-7" not in repr(lm)
