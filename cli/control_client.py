"""The other end of a running application's control socket: which socket, one question, one answer.

The address is `--socket`, or what `DSPEX_CONTROL` names, or the one socket in the user's folder for them. The protocol is
that of `router/control_protocol.py`; its version is repeated here, since that room costs a second to import and `dspex
status` should not (a test holds the two equal).
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, final

from .ending import Unusable

VERSION: Final = 1

ANSWER_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one answer; more is no application of ours."""

SECONDS: Final = 15.0
"""For one answer. A pool that does not answer is given two of them by the application."""

VARIABLE: Final = "DSPEX_CONTROL"


@final
class Refused(Exception):
    """The application does not do what it was asked; `problems` has a sentence for each reason."""

    def __init__(self, kind: str, message: str, problems: list[str]) -> None:
        super().__init__(message)
        self.kind = kind
        self.problems = problems


def socket_folder() -> Path:
    """Where sockets are by default: in the user's runtime folder, or in a folder of his own under /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "dspex") if runtime else Path(tempfile.gettempdir(), f"dspex-{os.geteuid()}")


def find_socket(given: str | None) -> str:
    """The socket to ask. Ends the command where it is not clear which."""
    named = given or os.environ.get(VARIABLE)
    if named:
        return named
    folder = socket_folder()
    found = sorted(str(path) for path in folder.glob("*.sock")) if _is_mine(folder) else []
    alive = [path for path in found if _answers(path)]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise Unusable(f"several applications run; say which by --socket: {', '.join(alive)}")
    raise Unusable(
        f"no application of this user is running (no live socket in {folder}). Start one with `dspex run APP`, give yours "
        f"`Dspex(control=...)`, or name its socket by --socket or {VARIABLE}"
    )


def _is_mine(folder: Path) -> bool:
    """Whether it is this user's own: in /tmp, anybody may have made one of that name."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _answers(path: str) -> bool:
    try:
        with _connected(path):
            return True
    except OSError:
        return False


def _connected(path: str) -> socket.socket:
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(f"{path} is no socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(SECONDS)
        connection.connect(path)
        # Whoever listens hears reasons and says what runs: it must be this user's, or root's.
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            raise OSError(f"{path} is served by another user ({uid})")
    except BaseException:
        connection.close()
        raise
    return connection


def ask(path: str, do: str, **arguments: object) -> dict[str, Any]:
    """One question. Raises Refused; ends the command where nobody answers."""
    question = json.dumps({"v": VERSION, "id": 1, "do": do, **arguments}).encode() + b"\n"
    try:
        with _connected(path) as connection:
            with suppress(BrokenPipeError):  # it has said why before it hung up
                connection.sendall(question)
            with connection.makefile("rb") as answers:
                line = answers.readline(ANSWER_LIMIT)
    except FileNotFoundError as error:
        raise Unusable(f"there is no socket {path}: is the application running? (`dspex run APP`)") from error
    except ConnectionRefusedError as error:
        raise Unusable(
            f"{path} is a leftover: its application is gone. Start it again; the file is then replaced"
        ) from error
    except TimeoutError as error:
        raise Unusable(
            f"the application at {path} did not answer within {SECONDS:g} s; it may be busy or stopped"
        ) from error
    except OSError as error:
        raise Unusable(f"{path} cannot be asked: {error}") from error
    return _read(path, line)


def _read(path: str, line: bytes) -> dict[str, Any]:
    if not line:
        raise Unusable(
            f"the application at {path} closed the connection: it is about to stop, or no application of dspex"
        )
    try:
        said: Any = json.loads(line)
        if said["ok"]:
            value: Mapping[str, Any] = said["value"]
            return dict(value)
        why: Mapping[str, Any] = said["error"]
        refused = Refused(str(why["kind"]), str(why["message"]), [str(each) for each in why.get("problems", [])])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable(f"what listens at {path} does not speak as an application of dspex does") from error
    _raise(refused)


def _raise(refused: Refused) -> NoReturn:
    if refused.kind == "bad_flags":
        raise refused
    raise Unusable(f"the application refuses: {refused}") from refused
