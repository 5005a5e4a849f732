"""An OS process in the tree: it ends with its actor, its actor ends with it."""

import os
import signal
import sys
from collections.abc import Awaitable, Callable

import anyio
import pytest
from dspex.runtime import (
    KILL,
    KILLED,
    NORMAL,
    Actor,
    ActorExit,
    Crash,
    Down,
    Ref,
    Runtime,
    StartFailed,
    open_runtime,
)
from dspex.runtime.os_process_actor import OsProcess, OsProcessExited, OutputLine
from dspex.supervisors import Child, Supervisor
from own_processes import children

pytestmark = pytest.mark.anyio


def program(source: str, **options: object) -> OsProcess:
    return OsProcess([sys.executable, "-S", "-u", "-c", source], **options)  # type: ignore[arg-type]


class Mailbox(Actor):
    """Keeps every plain message for whoever receives it, in order."""

    def __init__(self) -> None:
        self.messages: list[object] = []
        self.arrived = anyio.Event()

    async def handle_info(self, message: object) -> None:
        self.messages.append(message)
        self.arrived.set()

    def watch(self, other: Ref[OsProcess]) -> None:
        self.monitor(other)

    async def _receive(self) -> object:
        while not self.messages:
            self.arrived = anyio.Event()
            await self.arrived.wait()
        return self.messages.pop(0)


async def mailbox(rt: Runtime) -> tuple[Ref[Mailbox], Callable[[], Awaitable[object]]]:
    actor = Mailbox()
    return await rt.start(actor), actor._receive


def runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_its_lines_arrive_as_messages_and_an_orderly_end_is_normal() -> None:
    source = "import sys; input(); print('one'); print('two'); print('no end', end=''); sys.stderr.write('caution\\n')"
    async with open_runtime() as rt:
        ref, receive = await mailbox(rt)
        process = await rt.start(program(source, on_line=ref.send))
        await ref.call(Mailbox.watch, process)
        await process.call(OsProcess.write, b"\n")
        got: list[object] = []
        with anyio.fail_after(10):
            while not isinstance(got[-1] if got else None, Down):
                got.append(await receive())
    lines = [line for line in got if isinstance(line, OutputLine)]
    assert [line.text for line in lines if line.stream == "stdout"] == ["one", "two", "no end"]
    assert [line.text for line in lines if line.stream == "stderr"] == ["caution"]
    assert isinstance(got[-1], Down)
    assert got[-1].reason is NORMAL


async def test_an_unexpected_status_is_a_crash_that_carries_status_and_last_words() -> None:
    async with open_runtime() as rt:
        process = await rt.start(program("import sys; input(); sys.stderr.write('out of luck\\n'); sys.exit(4)"))
        ref, receive = await mailbox(rt)
        await ref.call(Mailbox.watch, process)
        await process.call(OsProcess.write, b"go\n")
        with anyio.fail_after(10):
            down = await receive()
        assert isinstance(down, Down)
        assert isinstance(down.reason, Crash)
        assert isinstance(down.reason.error, OsProcessExited)
        assert (down.reason.error.status, down.reason.error.log) == (4, ("out of luck",))
        with pytest.raises(ActorExit):
            await process.call(OsProcess.pid)


@pytest.mark.parametrize(("expected", "normal"), [((0, 4), True), ((0, 5), False)])
async def test_which_statuses_are_normal_is_the_owner_s_choice(expected: tuple[int, ...], normal: bool) -> None:
    async with open_runtime() as rt:
        process = await rt.start(program("input(); raise SystemExit(4)", expected=expected))
        ref, receive = await mailbox(rt)
        await ref.call(Mailbox.watch, process)
        await process.call(OsProcess.write, b"\n")
        with anyio.fail_after(10):
            down = await receive()
        assert isinstance(down, Down)
        assert (down.reason is NORMAL) == normal


async def test_a_program_that_cannot_be_started_fails_the_start() -> None:
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(OsProcess(["/no/such/program"]))
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.error, FileNotFoundError)


async def test_input_is_written_whole_even_beyond_the_pipe_s_capacity() -> None:
    source = "import sys; print(len(sys.stdin.buffer.read()))"
    async with open_runtime() as rt:
        ref, receive = await mailbox(rt)
        process = await rt.start(program(source, on_line=ref.send))
        await process.within(10).call(OsProcess.write, b"x" * 1_000_000)
        await process.call(OsProcess.close_stdin)
        with anyio.fail_after(10):
            assert await receive() == OutputLine("stdout", "1000000")


async def test_writing_after_close_is_refused_and_the_actor_lives() -> None:
    async with open_runtime() as rt:
        process = await rt.start(OsProcess(["sleep", "60"]))
        await process.call(OsProcess.close_stdin)
        with pytest.raises(BrokenPipeError, match="standard input of sleep is closed"):
            await process.call(OsProcess.write, b"late")
        assert runs(await process.call(OsProcess.pid))


async def test_a_long_line_comes_in_bounded_pieces() -> None:
    async with open_runtime() as rt:
        ref, receive = await mailbox(rt)
        await rt.start(program("print('x' * 25)", on_line=ref.send, max_line=10))
        pieces: list[str] = []
        with anyio.fail_after(10):
            while sum(map(len, pieces)) < 25:
                line = await receive()
                assert isinstance(line, OutputLine)
                pieces.append(line.text)
        assert "".join(pieces) == "x" * 25
        assert all(len(piece) <= 10 for piece in pieces)


async def test_leaving_the_runtime_gives_the_process_its_grace() -> None:
    source = (
        "import signal,sys,time; signal.signal(15, lambda *a: (print('bye'), sys.exit(0))); print('up'); time.sleep(60)"
    )
    said: list[str] = []
    up = anyio.Event()

    def listen(line: OutputLine) -> None:
        said.append(line.text)
        up.set()

    async with open_runtime() as rt:
        process = await rt.start(program(source, on_line=listen, grace=10))
        pid = await process.call(OsProcess.pid)
        with anyio.fail_after(10):
            await up.wait()
    assert not runs(pid)
    assert said == ["up", "bye"]


async def test_killing_the_actor_brutally_kills_the_process_and_its_group() -> None:
    source = "import subprocess,time; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)"
    async with open_runtime() as rt:
        ref, receive = await mailbox(rt)
        process = await rt.start(program(source, on_line=ref.send))
        await ref.call(Mailbox.watch, process)
        pid = await process.call(OsProcess.pid)
        with anyio.fail_after(10):
            line = await receive()
            assert isinstance(line, OutputLine)
            process.exit(KILL)
            down = await receive()
        assert isinstance(down, Down)
        assert down.reason is KILLED
        assert not runs(pid)
        with anyio.fail_after(5):
            while runs(int(line.text)):
                await anyio.sleep(0.002)  # it is not our child: there is nothing to wait for


async def test_a_supervisor_restarts_it_after_sigkill() -> None:
    async with open_runtime() as rt:
        started, receive = await mailbox(rt)
        spec = Child("echo", lambda: program("print('up'); input()", on_line=started.send))
        await rt.start(Supervisor([spec]))
        with anyio.fail_after(10):
            await receive()
            first = next(pid for pid in children())
            os.kill(first, signal.SIGKILL)
            await receive()
        second = [pid for pid in children() if runs(pid)]
        assert second
        assert first not in second
    assert not children()


async def test_cancelling_the_host_leaves_nothing() -> None:
    pids: list[int] = []
    with anyio.CancelScope() as scope:
        async with open_runtime() as rt:
            for _ in range(3):
                process = await rt.start(OsProcess(["sleep", "60"]))
                pids.append(await process.call(OsProcess.pid))
            scope.cancel()
            await anyio.sleep_forever()
    assert len(pids) == 3
    assert not any(map(runs, pids))


async def test_a_callback_that_raises_crashes_the_actor_and_takes_the_process_along() -> None:
    def refuse(line: OutputLine) -> None:
        raise ValueError(line.text)

    async with open_runtime() as rt:
        ref, receive = await mailbox(rt)
        process = await rt.start(program("input(); print('hello'); input()", on_line=refuse))
        pid = await process.call(OsProcess.pid)
        await ref.call(Mailbox.watch, process)
        await process.call(OsProcess.write, b"\n")
        with anyio.fail_after(10):
            down = await receive()
        assert isinstance(down, Down)
        assert isinstance(down.reason, Crash)
        assert isinstance(down.reason.error, ValueError)
        assert not runs(pid)
