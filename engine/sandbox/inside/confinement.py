"""Shuts this process in, before it runs anything that a model wrote.

In this order: die with the host; new user, mount, network, IPC and host-name namespaces; a root directory that holds
the standard library, read-only, and nothing else; limits; no capabilities; the filter on system calls; last, as a
second line that also gives readable errors, an audit hook. Each of the four promises (`GUARANTEES`) is kept by the
kernel; what the kernel does not permit is reported by name and reason, and the host decides. Nothing is weakened
silently.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from . import syscalls

GUARANTEES = ("files", "network", "processes", "limits")
"""What a sandbox promises: it reads and writes no file but the standard library (read-only), reaches no network, starts
and signals no process, and is bounded in memory and processor time."""

_NEW_NAMESPACES = 0x00020000 | 0x40000000 | 0x08000000 | 0x04000000  # mount, network, IPC, host name
_NEW_USER = 0x10000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522

# These bind to shared libraries outside the standard library's folder, which is all that stays visible: loaded now,
# they can be imported later.
_BOUND_TO_LIBRARIES = ("zlib", "_bz2", "_lzma", "_hashlib", "_decimal", "_ctypes", "pyexpat", "_uuid")

_REFUSED_EVENTS = {
    "ctypes.": "native code (ctypes)",
    "socket.": "network",
    "subprocess.": "processes",
    "os.exec": "processes",
    "os.fork": "processes",
    "os.posix_spawn": "processes",
    "os.spawn": "processes",
    "os.system": "processes",
    "os.startfile": "processes",
    "os.kill": "processes",
    "os.putenv": "environment to change",
    "os.unsetenv": "environment to change",
    "pty.": "processes",
    "shutil.": "files",
    "os.remove": "files",
    "os.rename": "files",
    "os.mkdir": "files",
    "os.rmdir": "files",
    "os.truncate": "files",
    "os.link": "files",
    "os.symlink": "files",
    "os.chmod": "files",
    "os.chown": "files",
    "sys.addaudithook": "audit hooks to add",
    "gc.get_objects": "view of the interpreter",
    "gc.get_referrers": "view of the interpreter",
}
_ALLOWED_EVENTS = frozenset({"socket.__new__"})  # event loops make a socketpair; the kernel refuses the rest


def confine(limits: Mapping[str, int]) -> dict[str, str]:
    """Locks this process in and returns what could not be: guarantee to reason, empty when all hold.

    Args:
        limits: `memory` (bytes of address space) and `cpu` (seconds, for the whole life of the process).
    """
    for name in _BOUND_TO_LIBRARIES:
        with suppress(ImportError):  # built without it: then programs cannot import it anywhere
            __import__(name)
    missing: dict[str, str] = {}
    if sys.platform != "linux":
        return dict.fromkeys(GUARANTEES, f"{sys.platform} has no namespaces and no seccomp: only Linux does")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    visible = _standard_library()
    reason = _enter_namespaces(libc)
    if reason is not None:
        missing["files"] = missing["network"] = reason
    else:
        try:
            _change_root(libc, visible)
        except OSError as error:
            missing["files"] = str(error)
    try:
        _limit(limits)
    except (OSError, ValueError) as error:
        missing["limits"] = f"setrlimit: {error}"
    _drop_capabilities(libc)
    try:
        syscalls.deny_dangerous_system_calls(libc)
        missing.pop("network", None)  # without `socket` there is no network, whatever the namespace
    except OSError as error:
        missing["processes"] = f"seccomp: {error}"
    sys.addaudithook(_hook(visible))
    return missing


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _standard_library() -> list[str]:
    """The folders and archives that `import` needs, none inside another."""
    found: list[str] = []
    for path in sorted({os.path.realpath(each) for each in sys.path if os.path.exists(each)}):
        if path != "/" and not any(path.startswith(f"{outer}/") for outer in found):
            found.append(path)
    return found


def _enter_namespaces(libc: ctypes.CDLL) -> str | None:
    """None, or why not. An ordinary user needs a user namespace for the others; root may be able to do without."""
    user, group = os.getuid(), os.getgid()
    try:
        _call(libc.unshare(_NEW_USER | _NEW_NAMESPACES), "unshare(user, mount, net, ipc, uts)")
    except OSError as first:
        try:
            _call(libc.unshare(_NEW_NAMESPACES), "unshare(mount, net, ipc, uts)")
        except OSError:
            return str(first)
        return None
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        return f"mapping the user: {error}"
    return None


def _change_root(libc: ctypes.CDLL, visible: list[str]) -> None:
    """A new root, in memory and read-only, with the standard library in it; the old one is gone from sight."""

    def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
        texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
        data = None if options is None else options.encode()
        _call(libc.mount(*texts, ctypes.c_ulong(flags), data), f"mount {target}")

    # /proc is there on every Linux, and is not wanted any more: a good place to build on.
    root = "/proc"
    mount("none", "/", None, _RECURSIVE | _PRIVATE)
    mount("sandbox", root, "tmpfs", _NOSUID | _NODEV | _NOEXEC, "size=256k,mode=0755")
    for path in visible:
        inside = root + path
        if os.path.isdir(path):
            os.makedirs(inside)
        else:
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY))
        mount(path, inside, None, _BIND | _RECURSIVE)
        held = os.statvfs(inside).f_flag & (_NOSUID | _NODEV | _NOEXEC)  # an outer mount's flags must be kept
        mount(None, inside, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | held)
        for packages in ("site-packages", "dist-packages"):
            if os.path.isdir(f"{inside}/{packages}"):
                mount("none", f"{inside}/{packages}", "tmpfs", _RDONLY | _NOSUID | _NODEV | _NOEXEC, "size=4k")
    os.mkdir(f"{root}/old")
    _call(libc.syscall(_PIVOT_ROOT[os.uname().machine], os.fsencode(root), os.fsencode(f"{root}/old")), "pivot_root")
    os.chdir("/")
    _call(libc.umount2(b"/old", _DETACH), "umount of the old root")
    os.rmdir("/old")
    mount(None, "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | _NOEXEC)


def _limit(limits: Mapping[str, int]) -> None:
    memory, cpu = limits["memory"], limits["cpu"]
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    for capability in range(64):
        if libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


def _hook(visible: list[str]) -> Callable[[str, tuple[object, ...]], None]:
    """The second line: Python's own doors closed with an error that a model can read and act on."""
    readable = tuple(f"{path}/" for path in visible)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = (*arguments, None, None, None)[:3]
            if isinstance(path, int):
                return
            text = os.fsdecode(path) if isinstance(path, str | bytes) else str(path)
            changes = (isinstance(flags, int) and flags & writing) or (isinstance(mode, str) and set(mode) & set("wax+"))
            if changes or not (text in visible or text.startswith(readable)):
                raise PermissionError(f"the sandbox has no files: {text!r} cannot be opened")
            return
        if event in _ALLOWED_EVENTS:
            return
        for start, what in _REFUSED_EVENTS.items():
            if event.startswith(start):
                raise PermissionError(f"the sandbox has no {what}: {event} is refused")

    return hook
