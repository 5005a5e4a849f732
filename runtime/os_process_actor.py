"""An operating-system process as an actor: started, watched, restarted and stopped by the tree like any other.

    def web() -> OsProcess:
        return OsProcess(["python", "-m", "http.server", "8000"], on_line=lambda line: print(line.text))

    await rt.start(Supervisor([Child("web", web)]))

The actor lives exactly as long as its process. The process ends by itself: so does the actor, NORMAL for an expected
status, else crashed with `OsProcessExited`. The actor ends, in whatever way: the process and its group are killed. When
the whole interpreter is killed (SIGKILL), nothing here can act: the process then sees its standard input end, and a
program that must not outlive its host watches for that.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import anyio

from .actor import Actor
from .exits import NORMAL, ActorError, Exit, Reason, Refuse
from .os_process import OsProcessHandle, read_pipe, spawn_os_process
from .signals import ExitSignal

__all__ = ["OsProcess", "OsProcessExited", "OutputLine"]

_TAIL_LINES = 20
_LAST_OUTPUT_SECONDS = 1.0
"""How long output written before the end may be read after it. Only a foreign holder of the pipe makes it last."""


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line that the process wrote, without its end; a line longer than `max_line` bytes comes in pieces."""

    stream: Literal["stdout", "stderr"]
    text: str
    """UTF-8; bytes that are none are replaced."""


class OsProcessExited(ActorError):
    """The process ended by itself with a status that was not expected.

    `status` is its exit status, or minus the number of the signal that ended it; `log` the last lines of its stderr.
    """

    def __init__(self, program: str, status: int, log: Sequence[str] = ()) -> None:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        self.program = program
        self.status = status
        self.log = tuple(log)
        super().__init__("\n  ".join((f"{program} {how}", *self.log)))


class OsProcess(Actor):
    """Runs `argv`, without a shell, as leader of a session of its own. `init` raises what `spawn_os_process` raises.

    `on_line` is called on the actor's event loop with each `OutputLine`; give `ref.send` to receive them as messages.
    What it raises crashes the actor. Without it the output is read and dropped, except for the end of stderr, which
    `OsProcessExited` carries. A slow callback slows the process down: nothing is buffered beyond one read.

    `grace`: seconds between SIGTERM and SIGKILL in an orderly stop; a supervisor's shutdown time should be longer.
    `expected`: exit statuses with which the actor ends NORMAL.
    """

    trap_exit: ClassVar[bool] = True  # so that an orderly stop reaches `terminate`, which knows about grace

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        on_line: Callable[[OutputLine], object] | None = None,
        grace: float = 1.0,
        expected: Collection[int] = (0,),
        max_line: int = 65536,
    ) -> None:
        self._argv = argv
        self._env = env
        self._cwd = cwd
        self._on_line = on_line
        self._grace = grace
        self._expected = frozenset(expected)
        self._max_line = max_line
        self._log: deque[str] = deque(maxlen=_TAIL_LINES)
        self._open_streams = 0
        self._process: OsProcessHandle | None = None

    async def init(self) -> None:
        self._process = process = await spawn_os_process(
            self._argv,
            env=self._env,
            cwd=self._cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._open_streams = 2
        self._output_ended = anyio.Event()
        self.task(self._own, process)
        self.task(self._read_lines, process.stdout, "stdout")
        self.task(self._read_lines, process.stderr, "stderr")

    async def terminate(self, reason: Reason) -> None:
        if self._process is None:
            return
        if self._grace > 0:
            self._process.terminate()
            with anyio.move_on_after(self._grace):
                await self._process.wait()
                await self._output_ended.wait()
        await self._process.aclose()

    async def handle_info(self, message: Any) -> None:
        if isinstance(message, ExitSignal):
            if message.reason is not NORMAL:
                self.stop(message.reason)
            return
        await super().handle_info(message)

    def pid(self) -> int:
        """The process id: to show, not to signal; it is given to somebody else when this process is gone."""
        assert self._process is not None
        return self._process.pid

    async def write(self, data: bytes) -> None:
        """Writes all of `data` to its standard input, waiting while the pipe is full.

        Refuses with `BrokenPipeError` when the process has closed it or `close_stdin` was called; `data` is then partly
        written, or not at all. The actor takes no other message meanwhile.
        """
        assert self._process is not None
        rest = memoryview(data)
        while rest:
            if self._process.stdin is None:
                raise Refuse(BrokenPipeError(f"standard input of {self._program} is closed"))
            try:
                rest = rest[os.write(self._process.stdin, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._process.stdin)
            except BrokenPipeError as error:
                raise Refuse(error) from None

    def close_stdin(self) -> None:
        """Tells the process that there is no more input."""
        assert self._process is not None
        if self._process.stdin is not None:
            anyio.notify_closing(self._process.stdin)
            os.close(self._process.stdin)
            self._process.stdin = None

    @property
    def _program(self) -> str:
        return os.path.basename(os.fspath(self._argv[0]))

    async def _own(self, process: OsProcessHandle) -> None:
        """A helper task, so that it ends with the actor whatever ends the actor; and the process ends with it."""
        async with process:
            status = await process.wait()
            with anyio.move_on_after(_LAST_OUTPUT_SECONDS):
                await self._output_ended.wait()
        if status in self._expected:
            raise Exit(NORMAL)
        raise OsProcessExited(self._program, status, self._log)

    async def _read_lines(self, descriptor: int | None, stream: Literal["stdout", "stderr"]) -> None:
        assert descriptor is not None
        rest = b""
        try:
            while part := await read_pipe(descriptor):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._tell(stream, line)
                if len(rest) >= self._max_line:
                    self._tell(stream, rest)
                    rest = b""
        except anyio.ClosedResourceError:
            return  # the actor is stopping
        if rest:
            self._tell(stream, rest)
        self._open_streams -= 1
        if not self._open_streams:
            self._output_ended.set()

    def _tell(self, stream: Literal["stdout", "stderr"], line: bytes) -> None:
        for start in range(0, len(line) or 1, self._max_line):
            text = line[start : start + self._max_line].decode(errors="replace")
            if stream == "stderr":
                self._log.append(text)
            if self._on_line is not None:
                self._on_line(OutputLine(stream, text))
