"""`ControlServer`: a running application answers questions about itself, and changes its flags, over a local socket.

    app = Dspex([...], control="/run/user/1000/dspex/shop.sock")      # then: dspex status, dspex flags set mode.qa=shadow

It is a child of the app's tree. What a client sends can neither end nor delay the app: lines are short and counted, readers
that do not read are given up, and at most `CONNECTIONS` are served at a time. Who may connect is told in `control_socket`,
what is said in `control_protocol`. Flags are changed in the name of the user who connects, as the kernel tells it, with the
reason that he gives.

Events:

    router.control.opened     path     the socket is there
    router.control.refused    uid      somebody else's process connected; uid: its user
    router.control.failed     error    a client could not be served; the app and all others are
"""

from __future__ import annotations

import pwd
import socket
from contextlib import suppress
from typing import Any, Final, final

import anyio
import anyio.to_thread

from ..runtime import Actor, Reason
from .control_flags import changes_of
from .control_protocol import REQUEST_LIMIT, BadRequest, ControlRequest, answer_line, error_line, parse_request
from .control_rates import INTERVAL
from .control_socket import may_control, peer_of
from .control_status import ControlDesk, change_told, flags_told, history_told, status
from .errors import AppClosed, BadFlags

CONNECTIONS: Final = 16
"""Served at a time; one more is told so, and closed."""

IDLE: Final = 300.0
"""Seconds that a client may say nothing."""

_WRITE: Final = 10.0
_CHUNK: Final = 16 * 1024


@final
class ControlServer(Actor):
    """Serves one desk. ``init`` raises ControlUnavailable: an app that could not be controlled as told does not start."""

    trap_exit = True  # so that `terminate` runs

    def __init__(self, desk: ControlDesk) -> None:
        self._desk = desk
        self._served = 0
        self._answered = 0

    async def init(self) -> None:
        """Claim the socket."""
        self._since = self.rt.now()
        claimed = self._desk.listen()
        self.rt.events.emit("router.control.opened", path=str(claimed.path))
        self.task(self._sample)
        self.task(self._accept, claimed.listener)

    async def terminate(self, reason: Reason) -> None:
        """Remove it."""
        self._desk.release()

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return f"{self._desk.path}, {self._answered} answered"

    async def _sample(self) -> None:
        while True:
            self._desk.rates.sample(self.rt.now(), self._desk.counts())
            await self.rt.sleep(INTERVAL)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await anyio.wait_readable(listener)
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:  # out of descriptors: the app has other worries, and this one can wait
                self.rt.events.emit("router.control.failed", error=f"{type(error).__name__}: {error}")
                await self.rt.sleep(1.0)
                continue
            connection.setblocking(False)
            if self._served >= CONNECTIONS:
                with connection, suppress(OSError):
                    connection.send(error_line(None, "busy", f"{CONNECTIONS} clients are connected already: try again"))
                continue
            self._served += 1
            self.task(self._serve, connection)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                uid = peer_of(connection)[1]
                if not may_control(uid):
                    self.rt.events.emit("router.control.refused", uid=uid)
                    await _send(connection, error_line(None, "forbidden", "this application belongs to another user"))
                    return
                await self._converse(connection, uid)
        except (OSError, TimeoutError):
            pass  # the client went away, or does not read
        except Exception as error:  # whatever it was, it was about this client: the app goes on
            self.rt.events.emit("router.control.failed", error=f"{type(error).__name__}: {error}")
        finally:
            self._served -= 1

    async def _converse(self, connection: socket.socket, uid: int) -> None:
        lines = _Lines(connection)
        while True:
            try:
                line = await lines.next()
                if line is None:
                    return
                request = parse_request(line)
            except BadRequest as error:
                await _send(connection, error_line(error.id, error.kind, str(error)))
                if error.fatal:
                    return
                continue
            await _send(connection, await self._answer(request, uid))
            self._answered += 1

    async def _answer(self, request: ControlRequest, uid: int) -> bytes:
        value: dict[str, Any]
        match request.do:
            case "status":
                try:
                    value = await status(self._desk, self.rt, self._since)
                except AppClosed:
                    return error_line(request.id, "stopping", "it is about to stop")
            case "flags.get":
                value = flags_told(self._desk.flags)
            case "flags.history":
                value = {"history": history_told(self._desk.flags)}
            case "flags.set":
                try:
                    value = await self._set(request, uid)
                except BadFlags as error:
                    return error_line(request.id, "bad_flags", str(error), problems=list(error.problems))
        return answer_line(request.id, value)

    async def _set(self, request: ControlRequest, uid: int) -> dict[str, Any]:
        if not request.changes:
            raise BadFlags(["flags.set needs changes: name at least one flag"])
        # Names may come over the network (LDAP), which must not hold the loop. Afterwards nothing waits: read, change.
        name = await anyio.to_thread.run_sync(_user, uid)
        reason = (request.reason or "").strip()
        if not reason.isprintable():
            raise BadFlags(["a reason is one line of printable text: it becomes a line of the audit trail"])
        by = f"{name} by control socket" + (f": {reason}" if reason else "")
        store = self._desk.flags
        before = store.changed_times
        store.set(by=by, **changes_of(store.current, request.changes))
        change = store.history[-1] if store.changed_times > before else None
        return {**flags_told(store), "change": None if change is None else change_told(change)}


@final
class _Lines:
    """What a client says, line by line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = bytearray()

    async def next(self) -> bytes | None:
        """The next line; None: the client has gone. Raises BadRequest for one that is too long, TimeoutError for silence."""
        while (end := self._said.find(b"\n")) < 0:
            if len(self._said) >= REQUEST_LIMIT:
                raise BadRequest("too_long", f"a question has at most {REQUEST_LIMIT} bytes")
            with anyio.fail_after(IDLE):
                await anyio.wait_readable(self._connection)
            with suppress(BlockingIOError):
                part = self._connection.recv(_CHUNK)
                if not part:
                    return None
                self._said += part
        if end >= REQUEST_LIMIT:
            raise BadRequest("too_long", f"a question has at most {REQUEST_LIMIT} bytes")
        line = bytes(self._said[:end])
        del self._said[: end + 1]
        return line


async def _send(connection: socket.socket, line: bytes) -> None:
    """Send it all. Raises TimeoutError if it is not read, OSError if nobody is there."""
    left = memoryview(line)
    with anyio.fail_after(_WRITE):
        while left:
            try:
                left = left[connection.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(connection)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
