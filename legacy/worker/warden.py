"""The warden: parent of a pool's workers, so that the process that embeds the runtime need not be one.

    runtime ── warden ─┬─ template     has imported dspy, forks workers (twice, so that they become the warden's children)
                       ├─ worker       one per slot, each bound to the runtime by its lifeline (see `mortal`)
                       └─ worker

It is a child subreaper: workers forked by the template become its children, it learns their true exit statuses and
tells the runtime; and what a dead worker leaves behind, sessions of their own or not, becomes its child too and is killed.
It never runs code of anybody else, has one thread, and imports nothing but the standard library, so it has no reason to
hang. If it is killed all the same, workers live on: their lives hang on the runtime. If the template dies, it makes another.

runtime -> warden    fork (and three descriptors: channel, output, lifeline)
warden -> runtime    hello, ready, failed (the template's words, passed on), forked (and a pidfd), refused, exited, template
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import control, mortal
from .template import serve_template
from .wire import Malformed

_TEMPLATES = 5
"""Templates that may die within `_TEMPLATE_PERIOD` seconds; then forking is refused."""
_TEMPLATE_PERIOD = 60.0

_SWEEP_SECONDS = 2.0
_STOP_SECONDS = 5.0


def _wake(number: int, frame: object) -> None:
    """A signal that is handled at all writes to the wakeup socket; there is nothing else to do."""


class Warden:
    """Its one loop and what it knows: the workers, the template, the orders that wait."""

    def __init__(self, host: socket.socket, import_paths: Sequence[str], preload: Sequence[str], *, warm: bool) -> None:
        self._host = host
        self._template_arguments = (import_paths, preload, warm)
        self._template: socket.socket | None = None
        self._template_pid = 0
        self._ready = False
        self._deaths: deque[float] = deque(maxlen=_TEMPLATES)
        self._orders: deque[tuple[dict[str, Any], list[int]]] = deque()
        self._forking: dict[str, Any] | None = None
        """The order that the template has in hand: until it is over, an unknown child may be a newborn worker."""
        self._workers: set[int] = set()
        self._early: dict[int, tuple[int, int]] = {}
        """Unknown children that ended during a fork: status and peak memory, in case one was the newborn."""
        self._asked_to_stop = False
        self._wakeup, wakeup_writer = socket.socketpair()
        self._wakeup.setblocking(False)
        wakeup_writer.setblocking(False)
        self._wakeup_writer = wakeup_writer
        signal.signal(signal.SIGCHLD, _wake)
        signal.signal(signal.SIGTERM, self._stop)
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Until the runtime is gone or asks for the end; then nothing is left of what was started here."""
        self._start_template()
        while not self._asked_to_stop:
            poll = select.poll()
            for sock in (self._host, self._wakeup, self._template):
                if sock is not None:
                    poll.register(sock, select.POLLIN)
            ready = {fd for fd, _ in poll.poll()}
            if self._template is not None and self._template.fileno() in ready:
                self._from_template()
            if self._host.fileno() in ready and not self._from_host():
                break
            with suppress(BlockingIOError):
                self._wakeup.recv(4096)
            self._reap()
            self._give_orders()
        self._end_all()

    def _stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _tell(self, message: dict[str, object], fds: Sequence[int] = ()) -> None:
        try:
            control.send(self._host, message, fds)
        except OSError:
            self._asked_to_stop = True

    # --- the template -----------------------------------------------------------------------------------------------

    def _start_template(self) -> None:
        ours, theirs = control.pair()
        pid = os.fork()
        if pid == 0:
            for number in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            for sock in (ours, self._host, self._wakeup, self._wakeup_writer):
                sock.close()
            for _, fds in self._orders:
                for fd in fds:
                    os.close(fd)
            serve_template(theirs, *self._template_arguments)
        theirs.close()
        self._template, self._template_pid, self._ready = ours, pid, False

    def _from_template(self) -> None:
        assert self._template is not None
        try:
            received = control.receive(self._template)
        except Malformed:
            received = None
        if received is None:
            return  # its end is reaped
        message, fds = received
        for fd in fds:
            os.close(fd)
        if message["op"] == "born":
            self._born(message["pid"])
            return
        if message["op"] == "ready":
            self._ready = True
        self._tell(message)

    def _template_ended(self, status: int) -> None:
        assert self._template is not None
        self._template.close()
        self._template, was_ready = None, self._ready
        self._ready = False
        if self._forking is not None:
            self._refuse(self._forking, "the template died while it forked")
            self._forking = None
        returncode = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        self._deaths.append(now)
        seldom = len(self._deaths) < _TEMPLATES or now - self._deaths[0] > _TEMPLATE_PERIOD
        # Somebody killed it: another will do. That it ended by itself while it loaded, another would do as well.
        again = seldom and (was_ready or returncode < 0)
        self._tell({"op": "template", "pid": self._template_pid, "returncode": returncode, "again": again})
        if again:
            self._start_template()
            return
        while self._orders:
            order, fds = self._orders.popleft()
            self._refuse(order, "there is no template to fork from")
            for fd in fds:
                os.close(fd)

    # --- orders -----------------------------------------------------------------------------------------------------

    def _from_host(self) -> bool:
        try:
            received = control.receive(self._host)
        except Malformed:
            return False
        if received is None:
            return False
        order, fds = received
        if order["op"] != "fork":
            return False
        if self._template is None:
            self._refuse(order, "there is no template to fork from")
            for fd in fds:
                os.close(fd)
        else:
            self._orders.append((order, fds))
        return True

    def _give_orders(self) -> None:
        if not self._orders or self._forking is not None or not self._ready or self._template is None:
            return
        order, fds = self._orders.popleft()
        self._forking = order
        with suppress(OSError):  # a template that is gone is reaped, and the order refused then
            control.send(self._template, order, fds)
        for fd in fds:
            os.close(fd)

    def _born(self, pid: int) -> None:
        order, self._forking = self._forking, None
        assert order is not None
        early = self._early.pop(pid, None)
        self._early.clear()
        self._workers.add(pid)
        try:
            # While it is our unreaped child its number is its own; of one that ended already nobody needs a descriptor.
            pidfd = os.pidfd_open(pid) if early is None else None
        except OSError:
            pidfd = None
        self._tell({"op": "forked", "id": order["id"], "pid": pid}, () if pidfd is None else (pidfd,))
        if pidfd is not None:
            os.close(pidfd)
        if early is not None:
            self._worker_ended(pid, *early)

    def _refuse(self, order: dict[str, Any], reason: str) -> None:
        self._tell({"op": "refused", "id": order["id"], "reason": reason})

    # --- ends -------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        ended: list[tuple[int, int, int]] = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended.append((pid, status, usage.ru_maxrss))
        for pid, status, peak in ended:
            if pid == self._template_pid and self._template is not None:
                while select.select([self._template], [], [], 0)[0] and self._last_words():
                    pass
                self._template_ended(status)
            elif pid in self._workers:
                self._worker_ended(pid, status, peak)
            elif self._forking is not None:
                self._early[pid] = (status, peak)

    def _last_words(self) -> bool:
        """What the template said before it died. False: that was all."""
        assert self._template is not None
        peeked = self._template.recv(1, socket.MSG_PEEK)
        if peeked:
            self._from_template()
        return bool(peeked)

    def _worker_ended(self, pid: int, status: int, peak_kib: int) -> None:
        swept = self._sweep()
        self._workers.discard(pid)
        self._tell(
            {
                "op": "exited",
                "pid": pid,
                "returncode": os.waitstatus_to_exitcode(status),
                "peak_kib": peak_kib,
                "swept": swept,
            }
        )

    def _sweep(self) -> int:
        """Kills what dead workers left behind: children of ours that we did not make. Returns how many."""
        if self._forking is not None:
            # An unknown child may be the newborn. The fork takes a few ms; its report comes before anything else.
            assert self._template is not None
            if select.select([self._template], [], [], _SWEEP_SECONDS)[0]:
                self._from_template()
        swept = 0
        limit = time.monotonic() + _SWEEP_SECONDS
        while strangers := mortal.children() - self._workers - {self._template_pid}:
            for pid in strangers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in strangers:
                swept += self._buried(pid, limit)
            if time.monotonic() > limit:
                break
        return swept

    @staticmethod
    def _buried(pid: int, limit: float) -> bool:
        while time.monotonic() < limit:
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    return True
            except ChildProcessError:
                return True
            time.sleep(0.001)
        return False

    def _end_all(self) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._workers.clear()
        self._template_pid = 0
        limit = time.monotonic() + _STOP_SECONDS
        while (left := mortal.children()) and time.monotonic() < limit:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                self._buried(pid, limit)


def serve_warden(
    host: socket.socket, host_pid: int, import_paths: Sequence[str], preload: Sequence[str], *, warm: bool
) -> None:
    """The life of the process. Never returns."""
    mortal.adopt_orphans()
    mortal.show_as("dspex-warden")
    warden = Warden(host, import_paths, preload, warm=warm)
    # SIGTERM, not SIGKILL: what the workers leave behind has to be killed by somebody. A forked copy of the runtime may
    # hold the control socket open, so its end alone is not enough.
    mortal.die_with_parent(host_pid, signal.SIGTERM)
    warden.run()
    os._exit(mortal.EXIT_STOPPED)
