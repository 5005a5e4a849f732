"""The host's side of a warden process: started, asked for workers, listened to.

What the process is and why is said in `worker/warden.py`. Whoever starts one must close it, whatever happens in between,
and keep `run` running meanwhile.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import anyio

from ..runtime.os_process import OsProcessHandle, spawn_os_process
from .environment import WORKER_PROGRAM, check_hello, worker_environment
from .errors import LegacyError, MissingLegacy, ProtocolError, WorkerStartFailed
from .forked import ForkedProcess
from .output import WorkerOutput
from .specs import PoolOptions
from .worker import control, wire

__all__ = ["Warden", "WardenGone", "can_fork"]

_STOP_SECONDS = 6.0


class WardenGone(LegacyError):
    """The warden ended before it had forked the worker. Another will do it."""


def can_fork(options: PoolOptions) -> bool:
    """Whether workers can come from a warden on this platform; `options.start` may say that they must not."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and options.script is None


class _Order:
    """One fork, from the order to its answer."""

    __slots__ = ("done", "error", "pid", "pidfd")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.error: LegacyError | None = None


class Warden:
    """A live warden process. `start` it, `run` it, wait for `ready`, `fork` workers, `close` it."""

    def __init__(self, name: str, options: PoolOptions, process: OsProcessHandle, sock: socket.socket) -> None:
        self.name = name
        self._options = options
        self._process = process
        sock.setblocking(False)
        self._sock = sock
        assert process.stdout is not None
        self.output = WorkerOutput(process.stdout, name, "")
        self._numbers = itertools.count(1)
        self._orders: dict[int, _Order] = {}
        self._workers: dict[int, ForkedProcess] = {}
        self._early: dict[int, dict[str, Any]] = {}
        self._settled = anyio.Event()
        self._failure: LegacyError | None = None
        self._gone = False
        self.dspy = ""
        self.load_s = self.warm_s = math.nan
        self.threads = 0
        self.template_pid = 0
        self.templates_lost = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def alive(self) -> bool:
        """False once its end has been noticed."""
        return not self._gone

    @classmethod
    async def start(cls, name: str, options: PoolOptions) -> Warden:
        """Starts the process and returns when its template has said hello; that imports dspy meanwhile.

        Raises `MissingLegacy`, `WorkerStartFailed` or `ProtocolError`; then, and when cancelled, nothing is left of it.
        """
        ours, theirs = control.pair()
        try:
            argv = [
                options.python, "-X", "utf8", "-X", "faulthandler", str(WORKER_PROGRAM), "warden",
                "--fd", str(theirs.fileno()), "--host-pid", str(os.getpid()),
                *(f"--import-path={path}" for path in options.import_paths),
                *(f"--preload={module}" for module in options.preload),
                *([] if options.warm else ["--cold"]),
            ]  # fmt: skip
            process = await spawn_os_process(
                argv,
                env=worker_environment(options),
                pass_fds=(theirs.fileno(),),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise WorkerStartFailed(name, f"{options.python} could not be started: {error}") from error
            raise
        finally:
            theirs.close()
        warden = cls(name, options, process, ours)
        try:
            await warden._greet()
        except BaseException:
            await warden.close()
            raise
        return warden

    async def run(self, on_template_lost: Callable[[int, int], None] | None = None) -> None:
        """Listens until the warden has ended. `on_template_lost(pid, returncode)` hears of templates that died."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.output.run)
            while True:
                received = await self._receive()
                if received is None:
                    break
                self._take(*received, on_template_lost)
            group.cancel_scope.cancel()
        with anyio.move_on_after(1.0):
            await self._process.wait()
        self._end()

    async def ready(self) -> None:
        """Waits until workers can be forked. Raises what hinders it: `MissingLegacy`, `WorkerStartFailed`, `WardenGone`."""
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def fork(self, incarnation: str, channel: socket.socket, *, frame_limit: int) -> ForkedProcess:
        """A new worker at the other end of `channel`'s pair, which is closed here. It has not said hello yet.

        Cancelled, or when it raises (`WorkerStartFailed`, `WardenGone`), there is no worker: its lifeline is cut.
        """
        number = next(self._numbers)
        lifeline_reader, lifeline = os.pipe()
        stdout, output = os.pipe()
        os.set_blocking(stdout, False)
        order = _Order()
        try:
            try:
                await self.ready()
                if self._gone:
                    raise WardenGone("the warden has ended")
                self._orders[number] = order
                message = {"op": "fork", "id": number, "incarnation": incarnation, "frame_limit": frame_limit}
                await self._send(message, (channel.fileno(), output, lifeline_reader))
            finally:
                channel.close()
                os.close(lifeline_reader)
                os.close(output)
            with anyio.move_on_after(self._options.start_timeout):
                await order.done.wait()
            if order.error is not None:
                raise order.error
            if order.pid is None:
                raise WorkerStartFailed(self.name, f"no fork within {self._options.start_timeout:g} s")
            process = ForkedProcess(order.pid, order.pidfd, lifeline, stdout)
        except BaseException:
            os.close(lifeline)
            os.close(stdout)
            if order.pidfd is not None:
                os.close(order.pidfd)
            raise
        finally:
            self._orders.pop(number, None)
        early = self._early.pop(process.pid, None)
        if early is not None:
            self._report(process, early)
        elif self._gone:
            process.warden_gone()
        else:
            self._workers[process.pid] = process
        return process

    async def close(self) -> None:
        """Ends it and everything below it, and waits for that. Idempotent, shielded, bounded."""
        with anyio.CancelScope(shield=True):
            if self._sock.fileno() != -1:
                anyio.notify_closing(self._sock)
                self._sock.close()  # it kills its workers and what they left behind, and leaves
                with anyio.move_on_after(_STOP_SECONDS):
                    await self._process.wait()
            self._end()
            self.output.finish()
            await self._process.aclose()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._gone = True
        gone = WardenGone(f"{self.name} has ended")
        if self._failure is None:
            self._failure = gone
        self._settled.set()
        for order in self._orders.values():
            if order.pid is None:
                order.error = gone
            order.done.set()
        workers, self._workers = self._workers, {}
        for process in workers.values():
            process.warden_gone()
        self._early.clear()

    async def _greet(self) -> None:
        failed: LegacyError | None = None
        hello: dict[str, Any] | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self.output.run)
            with anyio.move_on_after(self._options.start_timeout):
                received = await self._receive()
                if received is None:
                    with anyio.move_on_after(1.0):
                        await self._process.wait()
                    self.output.drain()
                    status = self._process.returncode
                    failed = WorkerStartFailed(
                        self.name, f"it ended with status {status}", log=self.output.tail()
                    )
                else:
                    hello = received[0]
            group.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if hello is None:
            raise WorkerStartFailed(
                self.name, f"no 'hello' within {self._options.start_timeout:g} s", log=self.output.tail()
            )
        if hello["op"] != "hello":
            raise ProtocolError(f"{self.name} said {hello['op']!r:.40} where 'hello' was due")
        self.template_pid = int(hello["pid"])
        check_hello(self.name, self._options, hello)

    def _take(
        self, message: dict[str, Any], fds: list[int], on_template_lost: Callable[[int, int], None] | None
    ) -> None:
        op = message["op"]
        if op == "forked":
            order = self._orders.get(message["id"])
            if order is None:  # nobody waits for it any more: its lifeline is cut, it dies
                for fd in fds:
                    os.close(fd)
            else:
                order.pid, order.pidfd = int(message["pid"]), fds[0] if fds else None
                order.done.set()
        elif op == "exited":
            process = self._workers.pop(message["pid"], None)
            if process is not None:
                self._report(process, message)
            elif any(order.pid == message["pid"] for order in self._orders.values()):
                self._early[message["pid"]] = message  # its forker has not run yet
        elif op == "refused":
            order = self._orders.get(message["id"])
            if order is not None:
                order.error = WardenGone(f"{self.name}: {message['reason']}")
                order.done.set()
        elif op == "ready":
            self.dspy = str(message["dspy"])
            self.load_s, self.warm_s = float(message["load_s"]), float(message["warm_s"])
            self.threads = int(message["threads"])
            self._settled.set()
        elif op == "failed":
            self.output.drain()
            trace = str(message["traceback"])
            if message["missing"]:
                self._failure = MissingLegacy(self._options.python, trace)
            else:
                reason = f"importing dspy failed: {message['message']}"
                self._failure = WorkerStartFailed(
                    self.name, reason, remote_traceback=trace, log=self.output.tail()
                )
            self._settled.set()
        elif op == "hello":
            self.template_pid = int(message["pid"])
        elif op == "template":
            self.templates_lost += 1
            if not message["again"] and self._failure is None:
                self.output.drain()
                reason = f"importing dspy ended the template with status {message['returncode']}"
                self._failure = WorkerStartFailed(
                    self.name, reason, remote_traceback=reason, log=self.output.tail()
                )
                self._settled.set()
            if on_template_lost is not None:
                on_template_lost(int(message["pid"]), int(message["returncode"]))

    @staticmethod
    def _report(process: ForkedProcess, message: dict[str, Any]) -> None:
        process.report(
            int(message["returncode"]), peak_bytes=int(message["peak_kib"]) * 1024, swept=int(message["swept"])
        )

    async def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        while True:
            try:
                return control.receive(self._sock)
            except BlockingIOError:
                try:
                    await anyio.wait_readable(self._sock)
                except (anyio.ClosedResourceError, OSError):
                    return None
            except (OSError, wire.Malformed):
                return None

    async def _send(self, message: dict[str, Any], fds: tuple[int, ...]) -> None:
        while True:
            try:
                control.send(self._sock, message, fds)
                return
            except BlockingIOError:
                try:
                    await anyio.wait_writable(self._sock)
                except (anyio.ClosedResourceError, OSError) as error:
                    raise WardenGone(f"{self.name} has ended") from error
            except OSError as error:
                raise WardenGone(f"{self.name} has ended") from error
