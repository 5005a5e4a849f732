"""One worker process from birth to death, with no actor in sight: started, greeted, loaded, talked to, killed.

Who starts one must close it, whatever happens in between. `run` is the one task that keeps it alive and learns of its
end: it reads what arrives and raises when the process has ended, writes garbage, or is silent for too long.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from ..runtime.os_process import spawn_os_process
from .channel import Channel, ChannelClosed
from .environment import WORKER_PROGRAM, check_hello, worker_environment
from .errors import LegacyError, MissingLegacy, ProtocolError, WorkerCrashed, WorkerStartFailed
from .forked import ChildProcess, ForkedProcess
from .liveness import oom_kills, runs
from .output import WorkerOutput
from .spawned import SpawnedProcess
from .specs import PoolOptions
from .warden import Warden

__all__ = ["Hello", "WorkerProcess"]

_LAST_WORDS = 1.0
"""Seconds for the end of a dead worker's stream to arrive: its group is dead too, so this is the kernel's time only."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker says of itself before it imports dspy. `dspy` is "" for a checkout without metadata."""

    pid: int
    python: str
    executable: str
    dspy: str


class WorkerProcess:
    """A live worker process and the channel to it. Made by `start`; end it with `close`."""

    def __init__(
        self, name: str, incarnation: str, options: PoolOptions, process: ChildProcess, channel: Channel
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.channel = channel
        self._options = options
        self._process = process
        assert process.stdout is not None
        self.output = WorkerOutput(process.stdout, name, incarnation)
        self._hello: Hello | None = None
        self.dspy = ""
        """Version of the dspy that `load` imported."""
        self.cache_error = ""
        """Why it has no disk cache although the options ask for one."""
        self.forked = False
        """Forked from a warden's template; False: started by itself, with an import of dspy of its own."""
        self._killed = False
        self._oom_kills = oom_kills()
        self.load_s = math.nan
        self.rss_bytes = 0
        """Its own resident memory, as it last told."""
        self.busy = False
        """Set by the owner while a request runs: then a silent process is not taken for dead if the kernel says it runs."""
        self._end_of_stream = anyio.Event()

    @property
    def hello(self) -> Hello:
        assert self._hello is not None, "start() returns after the worker's hello"
        return self._hello

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it lives; then its exit status, or minus the number of the signal that ended it."""
        return self._process.returncode

    @property
    def swept(self) -> int:
        """Processes that it left behind and that were killed after its end, as far as they were counted."""
        return self._process.swept if isinstance(self._process, ForkedProcess) else 0

    @classmethod
    async def start(cls, name: str, options: PoolOptions, warden: Warden | None = None) -> WorkerProcess:
        """Has `warden` fork a process, or starts one, and returns when it has said hello; nothing is loaded yet.

        Raises `MissingLegacy`, `WorkerStartFailed`, `ProtocolError` or `WardenGone`; then, and when cancelled, the
        process is dead.
        """
        incarnation = secrets.token_hex(6)
        ours, theirs = socket.socketpair()
        try:
            if warden is not None:
                process: ChildProcess = await warden.fork(incarnation, theirs, frame_limit=options.frame_limit)
            else:
                process = await _spawn(incarnation, options, theirs)
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise WorkerStartFailed(name, f"{options.python} could not be started: {error}") from error
            raise
        finally:
            theirs.close()
        worker = cls(name, incarnation, options, process, Channel(ours, limit=options.frame_limit))
        worker.forked = warden is not None
        try:
            worker._hello = await worker._greeted()
        except BaseException:
            await worker.close()
            raise
        return worker

    async def load(self) -> float:
        """Has the worker import dspy; returns the seconds it took. Not while `run` runs: this reads the channel itself.

        Raises `MissingLegacy` (dspy or something that it needs cannot be imported), `WorkerStartFailed` or
        `ProtocolError`.
        """
        options = self._options
        self.channel.post(
            {
                "op": "load",
                "programs": {name: program.as_message() for name, program in options.programs.items()},
                "cache_dir": options.cache_dir,
                "cache_bytes": options.cache_bytes,
                "host_tools": options.tool_descriptions(),
            }
        )
        message = await self._expect("ready", "failed")
        if message["op"] == "ready":
            self.dspy = str(message.get("dspy"))
            self.cache_error = str(message.get("cache_error") or "")
            self.load_s = _number(message.get("load_s"))
            return self.load_s
        self.output.drain()
        if message.get("missing"):
            raise MissingLegacy(options.python, str(message.get("traceback")))
        raise WorkerStartFailed(
            self.name,
            f"importing dspy failed: {message.get('message')}",
            remote_traceback=str(message.get("traceback")),
            log=self.output.tail(),
        )

    async def run(self, on_message: Callable[[dict[str, Any]], None]) -> LegacyError:
        """Serves the channel until the worker is of no use any more; returns why: `WorkerCrashed` or `ProtocolError`.

        Every message but pongs is handed to `on_message`, in order; what arrived before the end is handed over before
        it. `on_message` may raise `ProtocolError`.
        """
        ends: list[LegacyError] = []

        def end(error: LegacyError) -> None:
            ends.append(error)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(self.channel.pump)
            group.start_soon(self.output.run)
            group.start_soon(self._read, on_message, end)
            group.start_soon(self._await_exit, end)
            group.start_soon(self._listen_for_life, end)
        return ends[0]

    async def ask_to_stop(self, grace: float) -> None:
        """Asks an idle worker to end by itself and gives it `grace` seconds. `close` it all the same."""
        try:
            self.channel.post({"op": "stop"})
        except LegacyError:
            return
        with anyio.move_on_after(grace):
            await self._process.wait()

    def on_orphaned(self, told: Callable[[], None]) -> None:
        """`told` is called once if the warden that forked this process is gone, or when it goes."""
        if isinstance(self._process, ForkedProcess):
            self._process.on_orphaned(told)

    def kill(self) -> None:
        """Sends SIGKILL to the worker and its process group, at once."""
        self._killed = True
        self._process.kill()

    async def close(self) -> None:
        """Kills it if it lives, waits until it is gone, closes everything. Idempotent, shielded, bounded to 5 s."""
        with anyio.CancelScope(shield=True):
            self._process.kill()  # first: a worker that sees its channel end would leave by itself, with another status
            self.channel.close()
            self.output.finish()
            await self._process.aclose()

    def crashed(self, reason: str = "", *, maybe_started: bool = False) -> WorkerCrashed:
        """The error that says how this process ended."""
        self.output.drain()
        returncode = self._process.returncode
        if not reason and returncode == -9 and not self._killed and oom_kills() > self._oom_kills:
            reason = "ended by SIGKILL, and the kernel has killed for want of memory meanwhile"
        return WorkerCrashed(
            self.name,
            self.incarnation,
            returncode=returncode,
            maybe_started=maybe_started,
            reason=reason,
            log=self.output.tail(),
        )

    async def _greeted(self) -> Hello:
        message = await self._expect("hello")
        self._process.identify(message.get("pid"))
        version = check_hello(self.name, self._options, message)
        return Hello(self.pid, str(message.get("python")), str(message.get("executable")), version)

    async def _expect(self, *operations: str) -> dict[str, Any]:
        """The next message, which must be one of `operations`, within the time for a start. Output is drained."""
        message: dict[str, Any] | None = None
        failure: LegacyError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self.channel.pump)
            group.start_soon(self.output.run)
            with anyio.move_on_after(self._options.start_timeout):
                try:
                    message = await self.channel.receive()
                except (ChannelClosed, ProtocolError) as error:
                    failure = error
            group.cancel_scope.cancel()
        if isinstance(failure, ProtocolError):
            raise failure
        if failure is not None:
            with anyio.move_on_after(_LAST_WORDS):
                await self._process.wait()
            crash = self.crashed()
            raise WorkerStartFailed(self.name, crash.reason, log=crash.log) from failure
        if message is None:
            self.output.drain()
            raise WorkerStartFailed(
                self.name,
                f"no {operations[0]!r} within {self._options.start_timeout:g} s; it was killed",
                log=self.output.tail(),
            )
        if message["op"] not in operations or message.get("incarnation") != self.incarnation:
            raise ProtocolError(f"{self.name} said {message['op']!r:.40} where {operations[0]!r} was due")
        return message

    async def _read(self, on_message: Callable[[dict[str, Any]], None], end: Callable[[LegacyError], None]) -> None:
        while True:
            try:
                message = await self.channel.receive()
            except ChannelClosed:
                self._end_of_stream.set()
                return  # the process ends with its channel; _await_exit learns how
            except ProtocolError as error:
                end(error)
                return
            if message["op"] != "pong":
                self.output.drain()  # what was printed before a reply is logged under that reply's request
                try:
                    on_message(message)
                except ProtocolError as error:
                    end(error)
                    return

    async def _await_exit(self, end: Callable[[LegacyError], None]) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._give_time_to_exit)
            await self._process.wait()
            group.cancel_scope.cancel()
        with anyio.move_on_after(_LAST_WORDS):
            await self._end_of_stream.wait()  # a reply that was written before the end is still delivered
        end(self.crashed())

    async def _give_time_to_exit(self) -> None:
        """A worker that closed its channel is of no use; if it does not end by itself, it is made to."""
        await self._end_of_stream.wait()
        await anyio.sleep(_LAST_WORDS)
        self._process.kill()

    async def _listen_for_life(self, end: Callable[[LegacyError], None]) -> None:
        # An idle worker answers or is broken. One that runs a program may be in a C call that holds the GIL, where no
        # Python code can answer: the kernel says whether it lives, and the request's deadline how long it may take.
        # Counted in pings, not read from a clock: a host that was itself suspended must not take its workers for dead.
        bearable = math.ceil(self._options.heartbeat_timeout / self._options.heartbeat)
        heard, unanswered = -1, 0
        while True:
            if self.channel.received_bytes != heard:
                heard, unanswered = self.channel.received_bytes, 0
            elif unanswered >= bearable and not (self.busy and runs(self.pid)):
                end(self.crashed(f"silent for {self._options.heartbeat_timeout:g} s; it was killed"))
                return
            unanswered += 1
            with suppress(LegacyError):  # its buffer is full or it is gone: no sign of life in either case
                self.channel.post({"op": "ping", "id": unanswered})
            await anyio.sleep(self._options.heartbeat)


async def _spawn(incarnation: str, options: PoolOptions, theirs: socket.socket) -> SpawnedProcess:
    """A process of its own, which imports dspy for itself."""
    lifeline_reader, lifeline = os.pipe()
    try:
        argv = [
            options.python, "-X", "utf8", "-X", "faulthandler", options.script or str(WORKER_PROGRAM), "worker",
            "--fd", str(theirs.fileno()), "--incarnation", incarnation, "--lifeline", str(lifeline_reader),
            "--host-pid", str(os.getpid()), "--frame-limit", str(options.frame_limit),
            *(f"--import-path={path}" for path in options.import_paths),
        ]  # fmt: skip
        handle = await spawn_os_process(
            argv,
            env=worker_environment(options),
            pass_fds=(theirs.fileno(), lifeline_reader),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(lifeline_reader)
    return SpawnedProcess(handle, lifeline)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
