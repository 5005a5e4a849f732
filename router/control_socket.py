"""The socket file that a running application is controlled through: who may have it, and whose it is.

Only the user that the application runs as gets at it, three times over: the folder is his and closed to others (0700), the
file is too (0600), and the kernel is asked who connects (SO_PEERCRED); root is let in, whom no permission keeps out.

A lock file beside it, held as long as the application lives, says whether it is in use. The kernel drops the lock of a
process that was killed, so that a socket file without a holder is a leftover and is replaced; asking by connecting could
not tell a leftover from an application that is about to listen. Nothing that is not a socket of ours is ever removed, and
no symlink is followed where the file or its folder should be.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from .errors import ControlTaken, ControlUnavailable

_LONGEST: Final = 107
"""Bytes of a path that Linux takes (sockaddr_un), less its terminator."""

_WAITING: Final = 16


@final
class ControlSocket:
    """A listening socket and its file. Made by `claim`; `release` once."""

    def __init__(self, path: Path, listener: socket.socket, lock: int) -> None:
        self.path = path
        self.listener = listener
        self._lock = lock
        found = os.lstat(path)
        self._file = (found.st_dev, found.st_ino)

    @classmethod
    def claim(cls, path: str | os.PathLike[str]) -> ControlSocket:
        """Listen there. A missing folder is made; a leftover of an application that is gone is replaced.

        Raises ControlTaken if another application has it, and ControlUnavailable with what else is in the way.
        """
        where = Path(os.path.abspath(path))
        if not hasattr(socket, "SO_PEERCRED"):
            raise ControlUnavailable(
                where, "this system does not tell who connects (no SO_PEERCRED); run without control="
            )
        if len(os.fsencode(where)) > _LONGEST:
            raise ControlUnavailable(where, f"a socket's path has at most {_LONGEST} bytes; name a shorter one")
        try:
            _own_folder(where)
            lock = _locked(where)
        except ControlUnavailable:
            raise
        except OSError as error:
            raise ControlUnavailable(where, _said(error)) from error
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_leftover(where)
            listener.bind(os.fspath(where))  # never through a symlink: a name that is taken is refused
            os.chmod(where, 0o600)
            listener.listen(_WAITING)
            listener.setblocking(False)
            return cls(where, listener, lock)
        except BaseException as error:
            listener.close()
            _unlocked(where, lock)
            if isinstance(error, OSError) and not isinstance(error, ControlUnavailable):
                raise ControlUnavailable(where, _said(error)) from error
            raise

    def release(self) -> None:
        """Stop listening and remove the file, if it is still this one. Calling it again does nothing."""
        if self._lock < 0:
            return
        self.listener.close()
        with suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._file:
                os.unlink(self.path)
        _unlocked(self.path, self._lock)
        self._lock = -1


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """The process id and user id of who has connected, from the kernel. Raises OSError."""
    pid, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return pid, uid


def may_control(uid: int) -> bool:
    """Whether a user may: the application's own, and root."""
    return uid in (os.geteuid(), 0)


def _own_folder(path: Path) -> None:
    folder = path.parent
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise ControlUnavailable(path, f"{folder} is no folder, or a symlink to one: name the folder itself")
    if found.st_uid != os.geteuid():
        raise ControlUnavailable(path, f"{folder} belongs to user {found.st_uid}: name a folder of your own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ControlUnavailable(
            path, f"others may enter {folder}: chmod 700 {folder}, or name a folder that is yours alone"
        )


def _locked(path: Path) -> int:
    """A lock file's descriptor. The file is removed by its holder, so that a lock on a removed one is none: look again."""
    name = f"{path}.lock"
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.lstat(name)):
                    os.ftruncate(lock, 0)
                    os.write(lock, f"{os.getpid()}\n".encode())
                    return lock
        except BlockingIOError as error:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise ControlTaken(path, holder) from error
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _unlocked(path: Path, lock: int) -> None:
    with suppress(OSError):
        os.unlink(f"{path}.lock")  # before it is given up: whoever takes it afterwards makes a new one
    os.close(lock)


def _remove_leftover(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        what = "a symlink" if stat.S_ISLNK(found.st_mode) else "no socket of this user"
        raise ControlUnavailable(path, f"there is {what} at this path, which is left alone: name another one")
    os.unlink(path)


def _said(error: OSError) -> str:
    return f"{error.strerror or error} ({type(error).__name__}): name a path in a folder that this user may write"
