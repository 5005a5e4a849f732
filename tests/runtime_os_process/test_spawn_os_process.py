"""Real processes, real signals: what `spawn_os_process` promises about birth, waiting, death and what is left."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest
from dspex.runtime import os_process, os_process_handle
from dspex.runtime.os_process import OsProcessHandle, spawn_os_process
from own_processes import children

pytestmark = pytest.mark.anyio


def program(source: str) -> list[str]:
    return [sys.executable, "-S", "-c", source]


@pytest.fixture(params=["pidfd with group signals", "pidfd of an older kernel", "no pidfd"], autouse=True)
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs on all three ways that platforms let us identify, signal and await a process."""
    if request.param == "pidfd of an older kernel":
        monkeypatch.setattr(os_process_handle, "_SIGNAL_PROCESS_GROUP", 1 << 30)  # a flag that no kernel knows: EINVAL
    elif request.param == "no pidfd":
        monkeypatch.setattr(os_process_handle, "_open_pidfd", lambda pid: None)


async def read_line(descriptor: int | None) -> bytes:
    assert descriptor is not None
    line = b""
    while not line.endswith(b"\n"):
        await anyio.wait_readable(descriptor)
        part = os.read(descriptor, 4096)
        if not part:
            break
        line += part
    return line.strip()


def runs(pid: int) -> bool:
    """Whether a process does anything: a zombie that waits for its (foreign) parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool]) -> None:
    """For what has no event to wait for: processes that are not our children, threads."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.002)


async def until_gone(pid: int) -> None:
    await until(lambda: not runs(pid))


def watchers() -> int:
    return sum(thread.name.startswith("dspex-wait") for thread in threading.enumerate())


async def test_exit_status_is_returned_by_wait_and_stays() -> None:
    async with await spawn_os_process(program("raise SystemExit(7)")) as process:
        assert await process.wait() == 7
        assert await process.wait() == 7
        assert process.returncode == 7


async def test_exit_status_255_is_reaped_like_any_other() -> None:
    async with await spawn_os_process(program("import os; os._exit(255)")) as process:
        assert await process.wait() == 255
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


async def test_terminate_is_a_negative_status() -> None:
    async with await spawn_os_process(["sleep", "60"]) as process:
        assert process.returncode is None
        process.terminate()
        assert await process.wait() == -signal.SIGTERM


async def test_leaving_the_block_kills_and_reaps() -> None:
    async with await spawn_os_process(["sleep", "60"]) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    await process.aclose()


async def test_grace_lets_the_process_finish_by_itself() -> None:
    source = "import signal,sys; signal.signal(15, lambda *a: sys.exit(3)); print('ready', flush=True); signal.pause()"
    process = await spawn_os_process(program(source), stdout=subprocess.PIPE)
    assert await read_line(process.stdout) == b"ready"
    await process.aclose(grace=5)
    assert process.returncode == 3


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    source = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    process = await spawn_os_process(program(source), stdout=subprocess.PIPE)
    assert await read_line(process.stdout) == b"ready"
    await process.aclose(grace=0.05)
    assert process.returncode == -signal.SIGKILL


GRANDCHILD = "import subprocess,sys,signal; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); {then}"


async def test_kill_reaches_the_grandchildren() -> None:
    process = await spawn_os_process(program(GRANDCHILD.format(then="signal.pause()")), stdout=subprocess.PIPE)
    grandchild = int(await read_line(process.stdout))
    assert runs(grandchild)
    await process.aclose()
    await until_gone(grandchild)


async def test_grandchildren_left_behind_by_an_orderly_exit_are_killed() -> None:
    process = await spawn_os_process(program(GRANDCHILD.format(then="import os; os._exit(0)")), stdout=subprocess.PIPE)
    grandchild = int(await read_line(process.stdout))
    assert await process.wait() == 0
    await until_gone(grandchild)
    await process.aclose()


async def test_many_tasks_may_wait_and_a_cancelled_one_disturbs_nobody() -> None:
    codes: list[int] = []

    async def waiter(process: OsProcessHandle) -> None:
        codes.append(await process.wait())

    async with await spawn_os_process(["sleep", "60"]) as process, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(waiter, process)
        with anyio.move_on_after(0.02) as patience:
            await process.wait()
        assert patience.cancelled_caught
        assert process.returncode is None
        process.kill()
    assert codes == [-9, -9, -9]


async def test_many_tasks_wait_by_one_descriptor_so_that_a_process_without_free_ones_learns_of_the_end() -> None:
    codes: list[int] = []

    async def waiter(process: OsProcessHandle) -> None:
        codes.append(await process.wait())

    async with await spawn_os_process(["sleep", "60"]) as process, anyio.create_task_group() as group:
        before = len(os.listdir("/proc/self/fd"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # not one more can be opened
        try:
            for _ in range(20):
                group.start_soon(waiter, process)
            await anyio.wait_all_tasks_blocked()
            process.kill()
            with anyio.fail_after(30):
                await process.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) <= before
    assert codes == [-9] * 20


async def test_the_watch_is_handed_on_when_the_watcher_goes_away_in_the_moment_of_the_end() -> None:
    for _ in range(3):
        codes: list[int] = []

        async def waiter(process: OsProcessHandle, codes: list[int] = codes) -> None:
            codes.append(await process.wait())

        async with await spawn_os_process(["sleep", "60"]) as process, anyio.create_task_group() as group:
            first = anyio.CancelScope()

            async def watcher(process: OsProcessHandle = process, first: anyio.CancelScope = first) -> None:
                with first:
                    await process.wait()

            group.start_soon(watcher)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                group.start_soon(waiter, process)
            await anyio.wait_all_tasks_blocked()
            process.kill()
            limit = time.monotonic() + 30
            while runs(process.pid):  # the loop must not see the end before the watcher is cancelled
                assert time.monotonic() < limit
                time.sleep(0.001)  # noqa: ASYNC251
            first.cancel()
            with anyio.fail_after(30):
                await process.wait()
        assert codes == [-9, -9, -9]


async def test_pipes_are_ours_and_carry_bytes() -> None:
    source = (
        "import sys; d = sys.stdin.buffer.readline(); sys.stdout.buffer.write(d.upper()); sys.stderr.write('bad\\n')"
    )
    async with await spawn_os_process(
        program(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        os.write(process.stdin, b"hello\n")
        assert await read_line(process.stdout) == b"HELLO"
        assert await read_line(process.stderr) == b"bad"
    assert (process.stdin, process.stdout, process.stderr) == (None, None, None)


async def test_only_the_named_descriptors_environment_and_directory_reach_the_child(tmp_path: os.PathLike[str]) -> None:
    wanted, unwanted = os.pipe()
    os.set_inheritable(unwanted, True)
    source = (
        "import os\n"
        "def is_open(fd):\n try: os.fstat(fd); return True\n except OSError: return False\n"
        f"print(is_open({wanted}), is_open({unwanted}), os.environ.get('SECRET'), os.environ.get('A'), os.getcwd(),"
        " os.getsid(0) == os.getpid(), sep='|')"
    )
    os.environ["SECRET"] = "1"
    try:
        async with await spawn_os_process(
            program(source), stdout=subprocess.PIPE, pass_fds=[wanted], env={"A": "b"}, cwd=tmp_path
        ) as process:
            assert (await read_line(process.stdout)).decode() == f"True|False|None|b|{tmp_path}|True"
    finally:
        del os.environ["SECRET"]
        os.close(wanted)
        os.close(unwanted)


async def test_a_program_that_does_not_exist_is_file_not_found_and_leaves_no_descriptor() -> None:
    with pytest.raises(FileNotFoundError):  # also starts what is started once
        await spawn_os_process(["/no/such/program"])
    await until(lambda: not watchers())
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        await spawn_os_process(["/no/such/program"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert len(os.listdir("/proc/self/fd")) == len(before)


async def test_starting_and_closing_leaves_no_descriptor_and_no_thread_behind() -> None:
    async def once() -> None:
        async with await spawn_os_process(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            await process.wait()

    await once()
    await until(lambda: not watchers())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await once()
    await until(lambda: not watchers())
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("delay", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008])
async def test_cancellation_at_any_moment_of_the_start_leaves_no_child(delay: float) -> None:
    seen: list[OsProcessHandle] = []
    for _ in range(5):
        with anyio.move_on_after(delay):
            seen.append(await spawn_os_process(["sleep", "60"]))
    for process in seen:
        await process.aclose()
    assert not children()


async def test_a_start_that_was_cancelled_while_queued_is_never_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, launched = threading.Event(), list[str]()
    launch = os_process._Command.launch

    def gated(command: os_process._Command) -> OsProcessHandle:
        launched.append(command.argv[0])
        if command.argv[0] == "true":
            assert gate.wait(10)
        return launch(command)

    monkeypatch.setattr(os_process._Command, "launch", gated)
    async with anyio.create_task_group() as group:

        async def first() -> None:
            async with await spawn_os_process(["true"]) as process:
                await process.wait()

        group.start_soon(first)
        await until(lambda: bool(launched))
        with anyio.move_on_after(0.02) as patience:
            await spawn_os_process(["sleep", "60"])
        assert patience.cancelled_caught
        gate.set()
    async with await spawn_os_process(["true"]):  # the queue has moved past the withdrawn job
        pass
    assert launched == ["true", "true"]


async def test_a_start_that_is_cancelled_while_forking_ends_dead_and_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    forked, gate, handles = threading.Event(), threading.Event(), list[OsProcessHandle]()
    launch = os_process._Command.launch

    def gated(command: os_process._Command) -> OsProcessHandle:
        handles.append(launch(command))
        forked.set()
        assert gate.wait(10)
        return handles[0]

    monkeypatch.setattr(os_process._Command, "launch", gated)
    async with anyio.create_task_group() as group:
        group.start_soon(spawn_os_process, ["sleep", "60"])
        await until(forked.is_set)
        group.cancel_scope.cancel()
        threading.Timer(0.05, gate.set).start()
    assert handles[0].returncode == -signal.SIGKILL
    assert not children()


async def test_a_dropped_handle_kills_and_warns() -> None:
    process = await spawn_os_process(["sleep", "60"])
    pid = process.pid
    with pytest.warns(ResourceWarning, match=f"pid={pid} running.*never closed"):
        del process

    await until_gone(pid)


async def test_a_child_reaped_by_somebody_else_is_over_with_status_255_and_nobody_is_signalled() -> None:
    process = await spawn_os_process(["sleep", "60"])
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    process.kill()
    assert await process.wait() == 255
    await process.aclose()


async def test_the_host_s_signal_handling_is_untouched() -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    fired: list[int] = []
    mine = lambda number, frame: fired.append(number)  # noqa: E731
    previous = signal.signal(signal.SIGCHLD, mine)
    try:
        async with await spawn_os_process(["true"]) as process:
            assert await process.wait() == 0
        assert signal.getsignal(signal.SIGCHLD) is mine
    finally:
        signal.signal(signal.SIGCHLD, previous)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


async def test_the_event_loop_keeps_turning_while_a_start_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    launch = os_process._Command.launch

    def slow(command: os_process._Command) -> OsProcessHandle:
        assert gate.wait(10)
        return launch(command)

    monkeypatch.setattr(os_process._Command, "launch", slow)
    async with anyio.create_task_group() as group:

        async def start() -> None:
            async with await spawn_os_process(["true"]) as process:
                await process.wait()

        group.start_soon(start)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        gate.set()


async def test_two_event_loops_in_two_threads_own_processes_at_once() -> None:
    async def elsewhere() -> int:
        async with await spawn_os_process(program("raise SystemExit(5)")) as process:
            return await process.wait()

    results: list[int] = []

    def other_loop(backend: str) -> None:
        results.append(anyio.run(elsewhere, backend=backend))

    async with anyio.create_task_group() as group:
        for backend in ("asyncio", "trio"):
            group.start_soon(anyio.to_thread.run_sync, other_loop, backend)
        assert await elsewhere() == 5
    assert results == [5, 5]


DIES_WITH_PARENT = """
import sys
import anyio
from dspex.runtime.os_process import spawn_os_process
async def main():
    process = await spawn_os_process([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    print(process.pid, flush=True)
    {end}
anyio.run(main)
"""


@pytest.mark.parametrize("end", ["raise SystemExit(1)", "sys.exit()", "raise KeyboardInterrupt"])
async def test_the_end_of_the_interpreter_kills_what_nobody_closed(end: str) -> None:
    source = DIES_WITH_PARENT.format(end=end)
    async with await spawn_os_process([sys.executable, "-P", "-c", source], stdout=subprocess.PIPE) as host:
        child = int(await read_line(host.stdout))
        await host.wait()
    await until_gone(child)


async def test_a_fork_of_the_host_neither_kills_nor_inherits_the_processes() -> None:
    async with await spawn_os_process(["sleep", "60"]) as process:
        pid = os.fork()
        if pid == 0:
            os_process_handle._kill_all()
            process.__del__()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert process.returncode is None
