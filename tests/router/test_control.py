"""The control socket of a running app: who gets in, what is said, and that no client can do the app harm."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from control_peer import Peer, ask, talk
from dspex.cli import control_client
from dspex.engine import BaseLM, Predict
from dspex.legacy import LMSettings
from dspex.router import (
    AppClosed,
    ControlTaken,
    ControlUnavailable,
    Dspex,
    FlagStore,
    ProgramSpec,
    control,
    control_protocol,
)
from dspex.router.control_flags import changes_of
from dspex.router.control_rates import Count, Rates
from dspex.router.control_socket import ControlSocket
from dspex.router.errors import BadFlags
from dspex.router.flags import Flags
from dspex.runtime import Event, Ref, StartFailed

pytestmark = pytest.mark.anyio

ME = pwd.getpwuid(os.geteuid()).pw_name


class Echo(BaseLM):
    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        text = "[[ ## answer ## ]]\nfour\n\n[[ ## completed ## ]]"
        return {"model": "echo", "choices": [{"message": {"content": text}}], "usage": {}}


def program() -> Predict:
    made = Predict("question -> answer")
    made.lm = Echo("echo")
    return made


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Dspex, str]]:
    path = str(folder / "app.sock")
    async with Dspex([ProgramSpec("qa", native=program)], control=path) as app:
        yield app, path


async def beside(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In a thread: the app runs on this loop."""
    return await anyio.to_thread.run_sync(partial(function, *arguments, **named))


# --- what is said ---------------------------------------------------------------------------------------------------------


async def test_an_app_tells_its_tree_its_flags_and_what_it_has_served(tmp_path: Path) -> None:
    async with opened(tmp_path) as (app, path):
        for _ in range(3):
            await app.call("qa", question="?")
        await app.stats()
        told = (await beside(ask, path, "status"))["value"]
        assert (told["schema"], told["version"]) == ("dspex.status", 1)
        assert told["app"]["pid"] == os.getpid()
        assert (told["app"]["phase"], told["app"]["under_way"]) == ("ready", 0)
        assert told["programs"] == {"qa": ["native"]}
        assert {"native.qa", "router", "control"} <= {node["id"] for node in told["tree"]["children"]}
        arm = told["statistics"]["programs"]["qa"]["native"]
        assert (arm["requests"], arm["failed"]) == (3, 0)
        assert arm["latency_s"]["p99"] > 0
        assert told["statistics"]["native_share"] == 1
        assert told["flags"] == {"values": Flags().to_dict(), "changed_times": 0}
        assert told["pools"] == []
        json.dumps(told)


async def test_flags_are_changed_in_the_name_of_who_connects_with_the_reason_that_is_given(tmp_path: Path) -> None:
    async with opened(tmp_path) as (app, path):
        answer = await beside(ask, path, "flags.set", changes={"native_percent.qa": "10"}, reason="ticket 12")
        assert answer["value"]["change"]["by"] == f"{ME} by control socket: ticket 12"
        assert answer["value"]["change"]["changes"] == {"native_percent": {"qa": 10.0}}
        assert app.flags.current.native_percent == {"qa": 10.0}
        again = await beside(ask, path, "flags.set", changes={"native_percent.qa": "10"})
        assert again["value"]["change"] is None
        history = (await beside(ask, path, "flags.history"))["value"]["history"]
        assert [line["by"] for line in history] == ["start", f"{ME} by control socket: ticket 12"]
        assert (await beside(ask, path, "flags.get"))["value"]["values"]["native_percent"] == {"qa": 10.0}


async def test_flags_that_cannot_hold_change_nothing_and_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as (app, path):
        wrong = {"mode.qa": "sideways", "fallback_to_legacy": "maybe", "fallback": "x", "native_percent.qa": "ten"}
        answer = await beside(ask, path, "flags.set", changes=wrong)
        assert not answer["ok"]
        assert answer["error"]["kind"] == "bad_flags"
        said = "\n".join(answer["error"]["problems"])
        for name in ("sideways", "maybe", "did you mean 'fallback_to_legacy'", "'ten'"):
            assert name in said
        unknown = await beside(ask, path, "flags.set", changes={"mode.q": "legacy"})
        assert "no program is called that; did you mean 'qa'?" in unknown["error"]["message"]
        for nothing in ({}, {"changes": {}}):
            assert (await beside(ask, path, "flags.set", **nothing))["error"]["kind"] == "bad_flags"
        lines = await beside(ask, path, "flags.set", changes={"mode.qa": "legacy"}, reason="one\nline")
        assert "one line of printable text" in lines["error"]["message"]
        assert app.flags.changed_times == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x00\xff garbage\n", "malformed"),
        (b"\n", "malformed"),
        (b"[1]\n", "malformed"),
        (b'{"v": 1, "do": "status", "id": NaN}\n', "malformed"),
        (b"[" * 50_000 + b"\n", "malformed"),
        (b'{"v": 2, "do": "status"}\n', "version"),
        (b'{"v": true, "do": "status"}\n', "version"),
        (b'{"do": "status"}\n', "version"),
        (b"x" * (control_protocol.REQUEST_LIMIT + 1), "too_long"),
        (b'{"v": 1, "do": "status", "id": "' + b"x" * control_protocol.REQUEST_LIMIT + b'"}\n', "too_long"),
    ],
    ids=["bytes", "empty", "list", "nan", "deep", "version", "true", "none", "endless", "huge"],
)
async def test_what_is_no_question_is_told_so_and_the_connection_closed(
    data: bytes, kind: str, tmp_path: Path
) -> None:
    def both(path: str) -> list[dict[str, Any] | None]:
        peer = Peer(path)
        try:
            peer.send(data)
            return [peer.line(), peer.line()]
        finally:
            peer.close()

    async with opened(tmp_path) as (_, path):
        first, second = await beside(both, path)
        assert first is not None
        assert first["error"]["kind"] == kind
        assert second is None
        assert (await beside(ask, path, "status"))["ok"]


async def test_an_unknown_wish_is_refused_and_the_next_one_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, path):
        asked = [
            b'{"v": 1, "id": "a", "do": "shutdown"}\n',
            b'{"v": 1, "id": "b", "do": "flags.set", "changes": {"mode.qa": 7}}\n',
            b'{"v": 1, "id": "c", "do": "status", "pickle": "x"}\n',
            b'{"v": 1, "id": "d", "do": "flags.get"}\n',
        ]
        heard = await beside(talk, path, *asked)
        assert [each["id"] for each in heard if each] == ["a", "b", "c", "d"]
        assert [each["ok"] for each in heard if each] == [False, False, False, True]


# --- clients that do harm -------------------------------------------------------------------------------------------------


async def test_clients_that_go_away_or_stay_silent_cost_nothing_but_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 3)
    async with opened(tmp_path) as (app, path):
        for _ in range(20):
            peer = await beside(Peer, path)
            peer.send(b'{"v": 1, "do": "status"}\n')
            peer.close()
        silent: list[Peer] = []
        with anyio.fail_after(60):
            while True:  # those who have gone may still be counted for a moment
                peer = await beside(Peer, path)
                peer.send(b'{"v": 1, "do": "flags.get"}\n')
                answer = await beside(peer.line)
                if answer is not None and answer["ok"]:
                    silent.append(peer)
                    if len(silent) == 3:
                        break
                else:
                    peer.close()
        refused = await beside(talk, path, b"")
        assert refused[0]["error"]["kind"] == "busy"
        assert (await app.call("qa", question="?"))["answer"] == "four"
        silent.pop().close()
        with anyio.fail_after(60):
            while not (await beside(ask_or_none, path)):
                pass
        for peer in silent:
            peer.close()


def ask_or_none(path: str) -> bool:
    peer = Peer(path)
    try:
        peer.send(b'{"v": 1, "do": "flags.get"}\n')
        answer = peer.line()
        return answer is not None and answer["ok"]
    except OSError:
        return False
    finally:
        peer.close()


async def test_a_client_that_does_not_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_WRITE", 0.05)
    async with opened(tmp_path) as (app, path):
        peer = await beside(Peer, path)
        peer.socket.setblocking(False)
        with anyio.fail_after(60):
            while True:  # until the app does not take any more, since we take nothing
                try:
                    peer.socket.send(b'{"v": 1, "do": "status"}\n')
                except BlockingIOError:
                    await anyio.sleep(0.01)
                except OSError:
                    break  # it hung up
        peer.close()
        assert (await app.call("qa", question="?"))["answer"] == "four"


async def test_what_a_client_breaks_is_an_event_and_breaks_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> dict[str, object]:
        raise LookupError("not this time")

    monkeypatch.setattr(control, "status", broken)
    async with opened(tmp_path) as (app, path):
        events: list[Event] = []
        app.runtime.events.subscribe(events.append, prefix="router.control.failed")
        assert await beside(talk, path, b'{"v": 1, "do": "status"}\n') == [None]
        assert [event.name for event in events] == ["router.control.failed"]
        assert "LookupError: not this time" in events[0].data["error"]
        assert (await beside(ask, path, "flags.get"))["ok"]


# --- the file -------------------------------------------------------------------------------------------------------------


async def test_the_socket_is_its_users_alone_and_goes_with_the_app(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    async with opened(folder) as (_, path):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(f"{path}.lock").st_mode) == 0o600
    assert list(folder.iterdir()) == []


async def test_a_second_app_on_the_same_path_does_not_start_and_the_first_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, path):
        with pytest.raises(StartFailed, match=f"ControlTaken.*process id {os.getpid()} has it"):
            async with opened(tmp_path):
                pass
        assert (await beside(ask, path, "status"))["ok"]


async def test_a_leftover_of_an_app_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    (tmp_path / "app.sock.lock").write_text("1")
    async with opened(tmp_path) as (_, again):
        assert (await beside(ask, again, "status"))["ok"]


async def test_an_app_that_is_restarted_by_its_supervisor_serves_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as (app, path):
        events: list[Event] = []
        app.runtime.events.subscribe(events.append, prefix="router.control.opened")
        (server,) = [p for p in app.runtime.kernel.processes if isinstance(p.host, control.ControlServer)]
        Ref(server).kill()
        with anyio.fail_after(60):
            while not events:
                await anyio.sleep(0.005)
        assert events[0].name == "router.control.opened"
        assert events[0].data["path"] == path
        assert (await beside(ask, path, "flags.get"))["ok"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "app.sock").write_text("mine"), "no socket of this user"),
        (lambda folder: (folder / "app.sock").symlink_to(folder / "other"), "a symlink"),
        (lambda folder: (folder / "app.sock.lock").symlink_to(folder / "other"), "cannot be opened"),
        (lambda folder: folder.chmod(0o755), "chmod 700"),
    ],
    ids=["file", "symlink", "lock", "folder"],
)
def test_what_is_not_a_socket_of_ours_is_left_alone(
    spoil: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    spoil(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ControlUnavailable, match=says):
        ControlSocket.claim(tmp_path / "app.sock")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not (tmp_path / "other").exists()


def test_a_symlink_where_the_folder_should_be_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ControlUnavailable, match="a symlink to one"):
        ControlSocket.claim(tmp_path / "link" / "app.sock")
    assert list((tmp_path / "real").iterdir()) == []


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlUnavailable, match="at most 107 bytes"):
        ControlSocket.claim(tmp_path / ("x" * 120))
    with pytest.raises(ControlUnavailable, match="FileNotFoundError"):
        ControlSocket.claim(tmp_path / "a" / "b" / "x")


def test_who_gives_it_up_does_not_remove_what_came_after(tmp_path: Path) -> None:
    first = ControlSocket.claim(tmp_path / "app.sock")
    os.unlink(tmp_path / "app.sock")
    (tmp_path / "app.sock").write_text("somebody else's")
    first.release()
    first.release()
    assert (tmp_path / "app.sock").read_text() == "somebody else's"
    with pytest.raises(ControlUnavailable) as caught:
        ControlSocket.claim(tmp_path / "app.sock")
    assert not isinstance(caught.value, ControlTaken)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
async def test_another_user_is_refused_even_if_the_files_let_him_in(tmp_path: Path) -> None:
    script = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        "s.settimeout(30); s.connect(sys.argv[1]); "
        "print(s.makefile().readline())"
    )
    folder = await beside(tempfile.mkdtemp, dir="/tmp")  # where others may go
    async with opened(Path(folder)) as (app, path):
        events: list[Event] = []
        app.runtime.events.subscribe(events.append, prefix="router.control.refused")
        os.chmod(folder, 0o755)
        os.chmod(path, 0o666)
        done = await beside(
            subprocess.run, [sys.executable, "-c", script, path], capture_output=True, text=True, timeout=60
        )
        assert '"forbidden"' in done.stdout, done.stderr
        assert [(event.name, event.data["uid"]) for event in events] == [("router.control.refused", 65534)]
    os.rmdir(folder)


async def test_the_socket_can_be_named_before_the_app_is_open_and_not_after(tmp_path: Path) -> None:
    app = Dspex([ProgramSpec("qa", native=program)])
    assert app.control is None
    app.control = str(tmp_path / "late.sock")
    async with app:
        assert (await beside(ask, app.control, "status"))["ok"]
        with pytest.raises(AppClosed, match="name its control socket before it starts"):
            app.control = None


# --- the parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "texts", "changes"),
    [
        (Flags(), {"use_native_predictors": "off"}, {"use_native_predictors": False}),
        (Flags(), {"mode.qa": "shadow"}, {"mode": {"qa": "shadow"}}),
        (
            Flags(native_percent={"qa": 5, "b": 1}),
            {"mode.qa": "legacy"},
            {"mode": {"qa": "legacy"}, "native_percent": {"b": 1}},
        ),
        (
            Flags(mode={"qa": "shadow", "b": "native"}),
            {"native_percent.qa": "7.5"},
            {"native_percent": {"qa": 7.5}, "mode": {"b": "native"}},
        ),
        (
            Flags(native_percent={"qa": 5}, mode={"qa": "rollout"}),
            {"native_percent.qa": "50"},
            {"native_percent": {"qa": 50.0}},
        ),
        (Flags(native_percent={"qa": 5}), {"native_percent.qa": ""}, {"native_percent": {}}),
        (Flags(mode={"qa": "legacy"}), {"mode": ""}, {"mode": {}}),
        (Flags(), {"features.qa/react": "legacy"}, {"features": {"qa/react": "legacy"}}),
        (Flags(), {"require.a.b": "p95<2s"}, {"require": {"a.b": "p95<2s"}}),
    ],
)
def test_a_text_becomes_a_change(flags: Flags, texts: dict[str, str], changes: dict[str, object]) -> None:
    assert changes_of(flags, texts) == changes
    FlagStore(flags).set(**changes)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"mode": "shadow"}, "as in mode.qa=shadow"),
        ({"use_native_predictors.qa": "true"}, "holds for all programs"),
        ({"native_percent.qa": "many"}, "a number from 0 to 100"),
        ({"mod.qa": "shadow"}, "did you mean 'mode'"),
    ],
)
def test_a_text_that_is_no_change_says_what_would_be_one(texts: dict[str, str], says: str) -> None:
    with pytest.raises(BadFlags, match=says):
        changes_of(Flags(), texts)


def test_rates_are_of_the_last_minute() -> None:
    rates = Rates()
    assert rates.now(0.0, {}) == {}
    for second in range(0, 121, 2):
        rates.sample(float(second), {("qa", "native"): Count(second * 10, second)})
    rate = rates.now(120.0, {("qa", "native"): Count(1200, 120), ("new", "legacy"): Count(30, 0)})
    assert rate["qa", "native"].requests_per_s == 10
    assert rate["qa", "native"].failures_per_s == 1
    assert rate["qa", "native"].seconds == 60
    assert rate["new", "legacy"].requests_per_s == 0.5


def test_both_ends_speak_the_same_version() -> None:
    assert control_client.VERSION == control_protocol.VERSION


async def test_pools_are_shown_with_their_workers(tmp_path: Path) -> None:
    pytest.importorskip("dspy", reason="needs the extra `legacy`")
    path = str(tmp_path / "app.sock")
    programs = [ProgramSpec.of_signature("qa", "question -> answer")]
    async with Dspex(programs, lm=LMSettings("openai/nobody", api_key="k"), workers=1, control=path) as app:
        await app.wait_ready()
        told = (await beside(ask, path, "status"))["value"]
        assert told["programs"] == {"qa": ["native", "legacy"]}
        (pool,) = told["pools"]
        assert (pool["name"], pool["waiting"], pool["running"]) == ("legacy.pool", 0, 0)
        (worker,) = pool["workers"]
        assert worker["state"] == "idle"
        assert worker["dspy"].startswith("3.")
