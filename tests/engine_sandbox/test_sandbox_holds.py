"""What a sandbox must hold against: real attempts to get out, to stay, and to take more than is given."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from dspex.engine import CodeExecutionError, CodeInterpreterError, PythonInterpreter, SandboxLimits

SMALL = SandboxLimits(seconds=1.0, cpu_seconds=2, memory_bytes=256 << 20, output_bytes=10_000)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[PythonInterpreter]:
    """One session for all attempts that leave it alive."""
    with PythonInterpreter(limits=SMALL) as interpreter:
        yield interpreter


def attempt(sandbox: PythonInterpreter, code: str) -> str:
    with pytest.raises(CodeExecutionError) as caught:
        sandbox.execute(code)
    return str(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "open('/proc/self/environ').read()",
        "open('/proc/1/environ').read()",
        "import os; os.open('/etc/hostname', os.O_RDONLY)",
        "import pathlib; pathlib.Path('/etc/passwd').read_bytes()",
        "import io; io.FileIO('/etc/passwd')",
        "import os; os.listdir('/etc')",
        "import os; os.stat('/etc/passwd')",
        "import os; os.readlink('/proc/self/exe')",
        "open('/tmp/x', 'w')",
        "import tempfile; tempfile.mkdtemp()",
        "import os; os.mkdir('/new')",
        "import os; open(os.__file__, 'a')",
        "import os; os.remove(os.__file__)",
        "import os; os.rename(os.__file__, os.__file__ + 'x')",
        "import os; os.chmod(os.__file__, 0o777)",
        "import os; os.truncate(os.__file__, 0)",
        "import os; os.symlink('/etc', '/link')",
        "import sqlite3; sqlite3.connect('/tmp/x.db').execute('create table t (a)')",
    ],
)
def test_there_are_no_files(sandbox: PythonInterpreter, code: str):
    before = Path(os.__file__).read_bytes()
    attempt(sandbox, code)
    assert Path(os.__file__).read_bytes() == before


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.create_connection(('127.0.0.1', {port}))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/')",
        "import _socket; _socket.socket(2, 1)",
        "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', {port}))",
    ],
)
def test_there_is_no_network(sandbox: PythonInterpreter, code: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        attempt(sandbox, code.replace("{port}", str(server.getsockname()[1])))
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.fork()",
        "import os; os.forkpty()",
        "import os; os.system('true')",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['true'])",
        "import subprocess; subprocess.Popen('true', shell=True)",
        "import multiprocessing; p = multiprocessing.Process(target=print); p.start()",
        "while True: __import__('os').fork()",
        "import os; os.kill(os.getppid(), 9)",
        "import os, signal; os.kill(1, signal.SIGTERM)",
        "import os; os.killpg(0, 15)",
        "import signal; signal.pidfd_send_signal(0, 9)",
        "import ctypes; ctypes.CDLL(None)",
        "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))",
        "import os; os.setpriority(os.PRIO_PROCESS, 1, 19)",
        "import os; os.sched_setaffinity(1, {0})",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import os; os.memfd_create('x')",
    ],
)
def test_there_are_no_other_processes(sandbox: PythonInterpreter, code: str):
    attempt(sandbox, code)


def test_the_kernel_refuses_what_goes_round_the_audit_hook():
    # Started without the hook, everything else the same: native calls straight to libc.
    code = (
        "import ctypes\nlibc = ctypes.PyDLL(None, use_errno=True)\nfound = {}\n"
        "for name, args in {'fork': (), 'socket': (2, 1, 0), 'kill': (1, 0), 'unshare': (0x10000000,),\n"
        "                   'chroot': (b'/',), 'open': (b'/etc/passwd', 0), 'execv': (b'/bin/true', None),\n"
        "                   'mount': (None, b'/', None, 32, None), 'shmget': (0, 4096, 0o1600)}.items():\n"
        "    found[name] = getattr(libc, name)(*args)\n"
        "found"
    )
    result = _without_hook(code)
    assert result == dict.fromkeys(result, -1)


def _without_hook(code: str) -> dict[str, int]:
    """Runs `code` in a process that is shut in as a sandbox, but for the audit hook."""
    folder = Path(__file__).resolve().parents[2] / "engine" / "sandbox" / "inside"
    program = f"""
import importlib.util, json, sys, types
package = types.ModuleType("inside"); package.__path__ = [{str(folder)!r}]; sys.modules["inside"] = package
from inside import confinement
sys.addaudithook = lambda hook: None
missing = confinement.confine({{"memory": 256 << 20, "cpu": 10}})
assert missing == {{}}, missing
names = {{}}
exec({code!r}.rsplit(chr(10), 1)[0], names)
print(json.dumps(names["found"]))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("x = bytearray(10 ** 10)", "MemoryError"),
        ("x = []\nwhile True: x.append(bytearray(10 ** 6))", "MemoryError"),
        ("while True: pass", "TimeoutError"),
        ("import time; time.sleep(60)", "TimeoutError"),
        ("import threading; threading.Event().wait()", "TimeoutError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_takes_too_much_is_told_and_the_session_goes_on(sandbox: PythonInterpreter, code: str, kind: str):
    sandbox.execute("x = None; kept = 7")
    assert attempt(sandbox, code).startswith(f"{kind}:")
    assert sandbox.execute("x = None\nkept") == 7


def test_output_is_bounded(sandbox: PythonInterpreter):
    text = sandbox.execute("print('y' * 10_000_000)")
    assert len(text) < 11_000
    assert text.endswith("more bytes of output were dropped]")


def test_the_environment_is_empty(sandbox: PythonInterpreter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_SECRET", "hunter2")
    with PythonInterpreter(limits=SMALL) as interpreter:
        names = interpreter.execute("import os; sorted(os.environ)")
    assert "A_SECRET" not in names
    assert set(names) <= {"LC_CTYPE"}


def test_no_descriptor_but_the_channel_is_there():
    readable, writable = os.pipe()
    os.set_inheritable(readable, True)
    try:
        with PythonInterpreter(limits=SMALL) as interpreter:
            found = interpreter.execute(
                "import os\nfound = []\nfor number in range(64):\n    try:\n        os.fstat(number)\n"
                "        found.append(number)\n    except OSError:\n        pass\nfound"
            )
    finally:
        os.close(readable)
        os.close(writable)
    assert len(found) == 4  # three on /dev/null, and the channel


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os._exit(5)", "exited unexpectedly"),
        ("import os; os.abort()", "exited unexpectedly"),
        ("import os\nfor n in range(3, 64):\n    try: os.close(n)\n    except OSError: pass", "exited unexpectedly"),
        ("import os\nfor n in range(3, 64):\n    try: os.write(n, b'nonsense\\n')\n    except OSError: pass", "JSON"),
        ("import os\nfor n in range(3, 64):\n    try: os.write(n, b'[1]\\n')\n    except OSError: pass", "no message"),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(30,), daemon=True, name='stays').start()",
            "background threads running: ['stays']",
        ),
    ],
)
def test_what_breaks_the_session_ends_it_and_says_so(code: str, message: str):
    with PythonInterpreter(limits=SMALL) as interpreter:
        with pytest.raises(CodeInterpreterError) as caught:
            interpreter.execute(code)
        assert message in str(caught.value)
        assert not isinstance(caught.value, CodeExecutionError)
        with pytest.raises(CodeInterpreterError, match="session has ended"):
            interpreter.execute("1")


def test_code_that_ignores_the_end_of_its_time_is_killed():
    code = (
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
        "while True: pass"
    )
    limits = SandboxLimits(seconds=0.5, cpu_seconds=60)
    with PythonInterpreter(limits=limits) as interpreter:
        interpreter.start()
        pid = interpreter._process.pid
        with pytest.raises(CodeInterpreterError, match="exceeded execution timeout"):
            interpreter.execute(code)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_message_without_end_is_cut_off():
    limits = SandboxLimits(message_bytes=1 << 20)
    with PythonInterpreter(limits=limits) as interpreter, pytest.raises(CodeInterpreterError, match="message_bytes"):
        interpreter.execute("'x' * (4 << 20)")


@pytest.mark.anyio
async def test_a_cancelled_execution_leaves_no_process(anyio_backend: str):
    async with PythonInterpreter() as interpreter:
        await interpreter.astart()
        pid = interpreter._process.pid
        with anyio.move_on_after(0.2):
            await interpreter.aexecute("while True: pass")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        with pytest.raises(CodeInterpreterError, match="session has ended"):
            await interpreter.aexecute("1")


@pytest.mark.anyio
async def test_time_in_a_host_tool_is_not_the_codes_time(anyio_backend: str):
    async def slow() -> str:
        await anyio.sleep(0.7)
        return "done"

    async with PythonInterpreter(tools={"slow": slow}, limits=SandboxLimits(seconds=0.4)) as interpreter:
        assert await interpreter.aexecute("slow()") == "done"
        began = time.monotonic()
        with pytest.raises(CodeExecutionError, match="TimeoutError"):
            await interpreter.aexecute("slow()\nwhile True: pass")
        assert time.monotonic() - began >= 0.7


@pytest.mark.anyio
async def test_tools_called_by_threads_of_the_code_run_side_by_side(anyio_backend: str):
    together = 0
    most = 0

    async def meet(number: int) -> int:
        nonlocal together, most
        together += 1
        most = max(most, together)
        while most < 3:
            await anyio.sleep(0.01)
        together -= 1
        return number * 2

    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(3) as pool:\n    print(list(pool.map(lambda n: meet(number=n), [1, 2, 3])))"
    )
    async with PythonInterpreter(tools={"meet": meet}) as interpreter:
        with anyio.fail_after(20):
            assert await interpreter.aexecute(code) == "[2, 4, 6]\n"
        assert interpreter.statistics().tool_calls == 3
