"""The process in which model-written code runs, seen from the host: started, spoken with, killed.

It is a fresh interpreter (`locked_python`, or Deno), started by path with an empty environment and one descriptor, the
channel. `inside/` says how it locks itself in; here is what does not depend on its goodwill: it is killed with its whole
group when it takes too long, writes too much, or is not wanted any more, and when this process ends.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import anyio

from ...runtime.os_process import OsProcessHandle, spawn_os_process
from .errors import CodeInterpreterError, SandboxUnavailableError
from .limits import SandboxLimits

__all__ = ["INSIDE", "SandboxProcess", "locked_python"]

INSIDE = Path(__file__).with_name("inside")
_START_SECONDS = 20.0
"""A start takes 0.06 s on an idle machine."""

Message = dict[str, Any]


def locked_python(limits: SandboxLimits, accept_missing: Collection[str]) -> list[str]:
    """The command of a CPython that locks itself in; it refuses if a guarantee not in `accept_missing` is not possible.

    Raises:
        CodeInterpreterError: it is not known which Python this is.
    """
    if not sys.executable:
        raise CodeInterpreterError("sys.executable is empty, so no Python can be started for the sandbox.")
    options = {"memory": limits.memory_bytes, "cpu": limits.session_cpu_seconds, "accept": sorted(accept_missing)}
    return [sys.executable, "-I", "-S", "-X", "utf8", str(INSIDE / "worker.py"), json.dumps(options)]


class SandboxProcess:
    """One sandbox. Made by `open`; belongs to no event loop, so it may be used from several, one after the other."""

    def __init__(self, handle: OsProcessHandle, channel: socket.socket, limits: SandboxLimits) -> None:
        self._handle = handle
        self._channel = channel
        self._limits = limits
        self._arrived: list[bytes] = []
        self._size = 0
        self._sending = anyio.Lock()
        self.missing: dict[str, str] = {}
        """Guarantees that this machine cannot give and the caller did without, with the reason."""

    @classmethod
    async def open(
        cls, argv: Sequence[str], limits: SandboxLimits, *, start_seconds: float = _START_SECONDS
    ) -> SandboxProcess:
        """Start a process that speaks the protocol of `inside/worker.py`, and wait until it says that it is locked in.

        Cancelled, it leaves no process behind.

        Raises:
            SandboxUnavailableError: it says that the kernel does not permit what it must guarantee.
            CodeInterpreterError: the process cannot be started, or does not speak.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                channel = theirs.fileno()
                handle = await spawn_os_process(argv, env={}, cwd="/", stdin=channel, stdout=channel)
        except OSError as error:
            ours.close()
            raise CodeInterpreterError(f"Unable to start the sandbox process: {error}") from error
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        made = cls(handle, ours, limits)
        try:
            with anyio.move_on_after(start_seconds):
                greeting = await made.receive()
                if greeting["type"] == "refused":
                    raise SandboxUnavailableError(cast("Mapping[str, str]", greeting["missing"]))
                if greeting["type"] != "ready":
                    raise CodeInterpreterError(f"The sandbox process began with {greeting['type']!r}.")
                made.missing = dict(greeting["missing"])
                return made
            raise CodeInterpreterError(f"The sandbox process did not start within {start_seconds:g} seconds.")
        except BaseException:
            await made.aclose()
            raise

    @property
    def pid(self) -> int:
        """The operating system's number for the process."""
        return self._handle.pid

    async def send(self, message: Mapping[str, Any]) -> None:
        """Write one message, whole. Several tasks may.

        Raises:
            CodeInterpreterError: the process is gone.
        """
        view = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        async with self._sending:
            while view:
                try:
                    try:
                        view = view[self._channel.send(view) :]
                    except BlockingIOError:
                        await anyio.wait_writable(self._channel)
                except (OSError, anyio.ClosedResourceError) as error:
                    raise CodeInterpreterError(self._how_it_ended()) from error

    async def receive(self) -> Message:
        """The next message. Cancelled, it has taken none.

        Raises:
            CodeInterpreterError: the process is gone, or sends what is no message, or one that is too long.
        """
        while not self._arrived or b"\n" not in self._arrived[-1]:
            try:
                try:
                    part = self._channel.recv(1 << 18)
                except BlockingIOError:
                    await anyio.wait_readable(self._channel)
                    continue
            except (OSError, anyio.ClosedResourceError) as error:
                raise CodeInterpreterError(self._how_it_ended()) from error
            if not part:
                raise CodeInterpreterError(self._how_it_ended())
            self._arrived.append(part)
            self._size += len(part)
            if self._size > self._limits.message_bytes:
                raise CodeInterpreterError(
                    f"The sandbox process sent more than {self._limits.message_bytes} bytes at once. Let the code "
                    "return less, or raise SandboxLimits.message_bytes."
                )
        line, _, rest = b"".join(self._arrived).partition(b"\n")
        self._arrived = [rest] if rest else []
        self._size = len(rest)
        try:
            message: object = json.loads(line)
        except ValueError as error:
            raise CodeInterpreterError(f"The sandbox process sent no JSON: {line[:200]!r}") from error
        if not isinstance(message, dict) or not isinstance(cast("Message", message).get("type"), str):
            raise CodeInterpreterError(f"The sandbox process sent no message: {line[:200]!r}")
        return cast("Message", message)

    def _how_it_ended(self) -> str:
        code = self._handle.returncode
        return "Python worker exited unexpectedly." + ("" if code is None else f" Its exit code was {code}.")

    def kill(self) -> None:
        """End it now, with its group. It is reaped by `aclose`."""
        self._handle.kill()

    async def aclose(self) -> None:
        """End it, reap it, close the channel. Idempotent, bounded (5 s), not interruptible."""
        with anyio.CancelScope(shield=True):
            anyio.notify_closing(self._channel)  # a task that waits on it hears that it is closed, and does not wait on
            self._channel.close()
            await self._handle.aclose()
