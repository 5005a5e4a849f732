"""What the LM keeps of answers: one request for equal calls, in this process and the next, and never a failed call."""

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine import LM, LMServerError, configure_cache
from scripted_server import answer, chat_answer, scripted_server

pytestmark = pytest.mark.anyio


def lm_at(url: str, **options: Any) -> LM:
    return LM("openai/m", base_url=url, api_key="sk-not-a-real-key", **{"num_retries": 0, **options})


async def counting(body: dict[str, Any]) -> AsyncIterator[bytes]:
    yield chat_answer(f"answer to {body['messages'][-1]['content']}")


@pytest.fixture
def memory_only() -> None:
    configure_cache(enable_disk_cache=False)


@pytest.mark.usefixtures("memory_only")
async def test_an_equal_call_costs_no_request_and_counts_no_usage() -> None:
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        with engine.track_usage() as usage:
            first = await lm.acall("hi")
            assert await lm.acall(messages=[{"role": "user", "content": "hi"}]) == first
        assert len(server.bodies) == 1
    assert usage.get_total_tokens()["openai/m"]["total_tokens"] == 12
    made, kept = lm.history
    assert (made["response"].cache_hit, kept["response"].cache_hit) == (False, True)
    assert kept["usage"] == {}
    assert kept["outputs"] == first


@pytest.mark.usefixtures("memory_only")
async def test_what_changes_the_answer_changes_the_key_and_what_does_not_does_not() -> None:
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        await lm.acall("hi", temperature=0.5)
        for options, requests in (
            ({"temperature": 0.5, "api_key": "sk-another-key", "timeout": 5, "num_retries": 2}, 1),
            ({"temperature": 0.6}, 2),
            ({"temperature": 0.5, "rollout_id": 1}, 3),
            ({"temperature": 0.5, "rollout_id": 1}, 3),
            ({"temperature": 0.5, "rollout_id": None}, 3),
            ({"temperature": 0.5, "cache": False}, 4),
            ({"temperature": 0.5, "n": 2}, 6),
        ):
            await lm.acall("hi", **options)
            assert len(server.bodies) == requests, options
        assert all("rollout_id" not in body for body in server.bodies)
        assert all("cache" not in body for body in server.bodies)


@pytest.mark.usefixtures("memory_only")
async def test_synchronous_and_asynchronous_calls_share_their_answers() -> None:
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        await lm.acall("hi")
        assert await anyio.to_thread.run_sync(lm, "hi") == ["answer to hi"]
        assert len(server.bodies) == 1


@pytest.mark.usefixtures("memory_only")
async def test_of_a_hundred_equal_calls_at_once_one_is_made() -> None:
    everyone_waits = anyio.Event()

    async def slow(body: dict[str, Any]) -> AsyncIterator[bytes]:
        await everyone_waits.wait()
        yield chat_answer("here")

    async with scripted_server(slow) as server, lm_at(server.url) as lm:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await lm.acall("hi"))

        with engine.track_usage() as usage:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(ask)
                while not server.bodies:
                    await anyio.sleep(0.01)
                await anyio.wait_all_tasks_blocked()
                everyone_waits.set()
        assert len(server.bodies) == 1
    assert answers == [["here"]] * 100
    assert usage.get_total_tokens()["openai/m"]["total_tokens"] == 12


@pytest.mark.usefixtures("memory_only")
async def test_when_the_caller_who_asks_goes_away_another_takes_over() -> None:
    first = anyio.Event()

    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        if not first.is_set():
            first.set()
            await anyio.sleep_forever()
        yield chat_answer("second")

    async with scripted_server(script) as server, lm_at(server.url) as lm:
        answers: list[Any] = []
        leaving = anyio.CancelScope()

        async def ask_and_leave() -> None:
            with leaving:
                await lm.acall("hi")

        async def ask() -> None:
            answers.append(await lm.acall("hi"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask_and_leave)
            await first.wait()
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel()
    assert answers == [["second"]]


@pytest.mark.usefixtures("memory_only")
async def test_who_waits_for_an_equal_call_waits_no_longer_than_its_own_timeout() -> None:
    release = anyio.Event()

    async def slow(body: dict[str, Any]) -> AsyncIterator[bytes]:
        await release.wait()
        yield chat_answer("here")

    async with scripted_server(slow) as server, lm_at(server.url) as lm:
        async with anyio.create_task_group() as group:
            group.start_soon(lm.acall, "hi")
            while not server.bodies:
                await anyio.sleep(0.01)
            with pytest.raises(engine.LMTimeoutError, match="equal call"):
                await lm.acall("hi", timeout=0.05)
            release.set()
        assert len(server.bodies) == 1


@pytest.mark.usefixtures("memory_only")
async def test_a_failure_is_not_kept() -> None:
    async def once(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield answer({"error": {"message": "no"}}, 500) if len(asked) == 0 else chat_answer("yes")
        asked.append(1)

    asked: list[int] = []
    async with scripted_server(once) as server, lm_at(server.url) as lm:
        with pytest.raises(LMServerError):
            await lm.acall("hi")
        assert await lm.acall("hi") == ["yes"]


async def test_answers_outlive_the_process_as_json(tmp_path: Path) -> None:
    configure_cache(disk_cache_dir=tmp_path)
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        await lm.acall("hi")
        engine.cache.close()
        configure_cache(disk_cache_dir=tmp_path)  # as a new process would
        assert await lm.acall("hi") == ["answer to hi"]
        assert len(server.bodies) == 1
        assert engine.cache.statistics().disk.hits == 1
    file = sqlite3.connect(tmp_path / "dspex-cache-v1.sqlite3")
    ((text,),) = file.execute("SELECT value FROM entries").fetchall()
    file.close()
    assert "answer to hi" in json.loads(json.loads(text))["answers"][0]["text"]


async def test_tool_calls_reasoning_and_logprobs_come_back_as_they_went(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}

    async def rich(body: dict[str, Any]) -> AsyncIterator[bytes]:
        message = {"content": "x", "reasoning_content": "hm", "tool_calls": [call]}
        yield answer({"model": "m", "choices": [{"message": message, "finish_reason": "stop", "logprobs": logprobs}]})

    configure_cache(disk_cache_dir=tmp_path)
    async with scripted_server(rich) as server, lm_at(server.url, logprobs=True) as lm:
        made = await lm.acall("hi")
        engine.cache.reset_memory_cache()
        assert await lm.acall("hi") == made
        assert len(server.bodies) == 1
    assert made[0]["tool_calls"] == [call]
    assert made[0]["logprobs"]["content"][0]["logprob"] == -0.5


async def test_the_cache_may_be_off() -> None:
    configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        await lm.acall("hi")
        await lm.acall("hi")
        assert len(server.bodies) == 2
    engine.cache = engine.Cache(False, True, None)
    async with scripted_server(counting) as server, lm_at(server.url, cache=False) as lm:
        await lm.acall("hi")
        await lm.acall("hi")
        assert len(server.bodies) == 2


@pytest.mark.parametrize("trouble", ["a file instead of the folder", "not a database", "read-only", "broken table"])
async def test_a_disk_that_refuses_is_done_without_after_one_warning(
    trouble: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    if trouble == "a file instead of the folder":
        folder.write_text("here")
    else:
        folder.mkdir()
        file = folder / "dspex-cache-v1.sqlite3"
        if trouble == "not a database":
            file.write_bytes(b"this is no database, and long enough to be seen as none" * 40)
        elif trouble == "broken table":
            connection = sqlite3.connect(file)
            connection.execute("CREATE TABLE entries (other TEXT)")
            connection.close()
        else:
            file.mkdir()  # root may write anywhere, but not into a folder as a file
    configure_cache(disk_cache_dir=folder)
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        for question in ("a", "b", "a"):
            assert await lm.acall(question) == [f"answer to {question}"]
        assert len(server.bodies) == 2  # memory still works
    warnings = [record for record in caplog.records if "disk cache" in record.getMessage()]
    assert len(warnings) == 1
    assert not engine.cache.statistics().disk.usable


async def test_a_locked_file_delays_no_one_for_long_and_is_tried_again(tmp_path: Path) -> None:
    configure_cache(disk_cache_dir=tmp_path)
    engine.cache.put({"q": 1}, "one")
    engine.cache._store._connection.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(tmp_path / "dspex-cache-v1.sqlite3")
    other.execute("BEGIN EXCLUSIVE")
    engine.cache.put({"q": 2}, "two")
    assert engine.cache.get({"q": 2}) == "two"  # from memory
    other.rollback()
    other.close()
    engine.cache.put({"q": 3}, "three")
    assert engine.cache.statistics().disk.usable
    engine.cache.reset_memory_cache()
    assert [engine.cache.get({"q": number}) for number in (1, 2, 3)] == ["one", None, "three"]


PUTS_MANY = """
import sys
import dspex.engine as engine

folder, first = sys.argv[1], int(sys.argv[2])
cache = engine.Cache(True, False, folder, disk_size_limit_bytes=None)
for number in range(first, first + 50):
    cache.put({"q": number}, f"value {number}")
cache.close()
"""


def test_several_processes_write_to_one_file(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PUTS_MANY, str(tmp_path), first]) for first in ("0", "50")]
    assert [process.wait(60) for process in processes] == [0, 0]
    cache = engine.Cache(True, True, str(tmp_path))
    assert [cache.get({"q": number}) for number in range(100)] == [f"value {number}" for number in range(100)]
    cache.close()


def test_the_oldest_entries_go_when_the_limit_is_passed(tmp_path: Path) -> None:
    cache = engine.Cache(True, False, tmp_path, disk_size_limit_bytes=5_000)
    for number in range(300):
        cache.put({"q": number}, "x" * 100)
    assert cache.get({"q": 0}) is None
    assert cache.get({"q": 299}) == "x" * 100
    assert len(cache.disk_cache) <= 5_000 / 100 + 64
    cache.close()


def test_memory_forgets_what_was_unused_for_longest() -> None:
    cache = engine.Cache(False, True, None, memory_max_entries=2)
    cache.put({"q": 1}, "a")
    cache.put({"q": 2}, "b")
    assert cache.get({"q": 1}) == "a"
    cache.put({"q": 3}, "c")
    assert [cache.get({"q": number}) for number in (1, 2, 3)] == ["a", None, "c"]


def test_keys_are_those_of_dspy_and_say_what_differs(dspy: ModuleType, tmp_path: Path) -> None:
    class Shape(engine.Signature):
        """q -> a"""

    from pydantic import BaseModel

    class Point(BaseModel):
        x: int

    ours, theirs = engine.Cache(False, True, None), dspy.clients.Cache(False, True, None)
    for request in (
        {"model": "m", "messages": [{"role": "user", "content": "hé"}], "temperature": 0.5, "n": None},
        {"format": Point, "point": Point(x=1), "list": [1, 2.5, True, {"b": 1, "a": [None]}]},
    ):
        assert ours.cache_key(request) == theirs.cache_key(request)
        assert ours.cache_key(request, ["model"]) == theirs.cache_key(request, ["model"])
    assert ours.cache_key({"f": Shape.equals}) != ours.cache_key({"f": Point.model_dump})


@pytest.mark.parametrize("parameters", [{"memory_max_entries": None}, {"memory_max_entries": 0}])
def test_a_size_that_makes_no_sense_is_refused_in_dspys_words(dspy: ModuleType, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="memory_max_entries") as theirs:
        dspy.clients.Cache(False, True, None, **parameters)
    with pytest.raises(ValueError, match="memory_max_entries") as ours:
        engine.Cache(False, True, None, **parameters)
    assert str(ours.value) == str(theirs.value)


def test_what_was_put_cannot_be_changed_through_what_was_got() -> None:
    cache = engine.Cache(False, True, None)
    cache.put({"q": 1}, {"list": [1]})
    cache.get({"q": 1})["list"].append(2)
    assert cache.get({"q": 1}) == {"list": [1]}


def test_memory_can_be_saved_and_loaded_without_a_pickle(tmp_path: Path) -> None:
    cache, other = engine.Cache(False, True, None), engine.Cache(False, True, None)
    cache.put({"q": 1}, {"t": (1, 2), "b": b"x", 3: None})
    cache.put({"q": 2}, threading.Lock())  # not to be written; left out
    cache.save_memory_cache(tmp_path / "file")
    with pytest.raises(ValueError, match="allow_pickle"):
        other.load_memory_cache(tmp_path / "file")
    other.load_memory_cache(tmp_path / "file", allow_pickle=True)
    assert other.get({"q": 1}) == {"t": (1, 2), "b": b"x", 3: None}
    assert len(other.memory_cache) == 1
    (tmp_path / "pickle").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match="not a file that save_memory_cache wrote"):
        other.load_memory_cache(tmp_path / "pickle", allow_pickle=True)


async def test_a_cache_of_ones_own_is_asked() -> None:
    class ByPrompt(engine.Cache):
        def cache_key(self, request, ignored_args_for_cache_key=None):
            return request["messages"][-1]["content"]

        def get(self, request, ignored_args_for_cache_key=None):
            asked.append(request["model"])
            return super().get(request, ignored_args_for_cache_key)

    asked: list[str] = []
    engine.cache = ByPrompt(False, True, None)
    async with scripted_server(counting) as server, lm_at(server.url) as lm:
        await lm.acall("hi", temperature=0.1)
        await lm.acall("hi", temperature=0.9)
        assert len(server.bodies) == 1
    assert asked == ["openai/m", "openai/m"]


def test_the_cache_is_made_at_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "new"))
    del engine.cache
    cache = engine.cache
    assert not (tmp_path / "new").exists()
    cache.put({"q": 1}, "a")
    assert (tmp_path / "new").exists()
    assert engine.cache is cache
    cache.close()


async def test_a_function_of_ones_own_is_cached_by_its_arguments(memory_only: None) -> None:
    calls: list[Any] = []

    @engine.request_cache()
    def plain(x: int, *, api_key: str = "") -> dict[str, int]:
        calls.append(x)
        return {"x": x}

    @engine.request_cache(cache_arg_name="request")
    async def asynchronous(*, request: dict[str, Any]) -> int:
        calls.append(request)
        return 3

    assert plain(1, api_key="a") == plain(1, api_key="b") == {"x": 1}
    assert plain(2) == {"x": 2}
    assert await asynchronous(request={"a": 1}) == await asynchronous(request={"a": 1}) == 3
    assert calls == [1, 2, {"a": 1}]
