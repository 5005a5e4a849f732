"""A filter on the system calls of this process (seccomp): what a sandbox must never ask the kernel for.

It refuses, with EPERM, everything that starts a process, signals or inspects another one, opens a socket, mounts or
changes namespaces, holds memory that no limit counts, or reaches parts of the kernel that a calculation has no use
for. Threads stay possible: `clone` is let through when it makes a thread. The rest of the kernel stays open to the
process, because what it could reach there (files, the network) is not in its namespaces any more.

The filter is inherited, cannot be taken off, and holds for code that goes around Python (`ctypes`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

__all__ = ["deny_dangerous_system_calls"]

# Names of the numbers, for x86-64 and the generic table that arm64 uses. From Linux's syscall tables; None: not there.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # processes
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # network; `socketpair` stays, event loops wake themselves with it
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # memory that RLIMIT_AS does not count
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the way out of the root directory and the namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    # kernel parts with a history, or of no use to a calculation
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "personality": (135, 92),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
}
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_PRLIMIT64 = (302, 261)
_AUDIT_ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def deny_dangerous_system_calls(libc: ctypes.CDLL) -> None:
    """Puts the filter on this thread and all that it starts. There must be no other thread yet.

    Raises:
        OSError: the kernel takes no filter, or this processor's numbers are not known here.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCH or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    column, arch = _AUDIT_ARCH[machine]
    code = _filter(column, arch)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(each) for each in arguments)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({arguments[0]}): {os.strerror(number)}")


def _filter(column: int, arch: int) -> bytes:
    made: list[bytes] = []

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        made.append(struct.pack("HBBI", code, if_true, if_false, value))

    instruction(_LOAD_WORD, 4)  # seccomp_data.arch
    instruction(_IF_EQUAL, arch, 1, 0)
    instruction(_RETURN, _KILL_PROCESS)  # another table of numbers: the filter below would mean nothing
    instruction(_LOAD_WORD, 0)  # seccomp_data.nr
    if column == 0:
        instruction(_IF_AT_LEAST, _X32, 0, 1)
        instruction(_RETURN, _ERRNO | errno.EPERM)
    for numbers in _NUMBERS.values():
        number = numbers[column]
        if number is not None:
            instruction(_IF_EQUAL, number, 0, 1)
            instruction(_RETURN, _ERRNO | errno.EPERM)
    # glibc asks for clone3 first and, told that there is none, for clone, whose flags can be looked at.
    instruction(_IF_EQUAL, _CLONE3[column], 0, 1)
    instruction(_RETURN, _ERRNO | errno.ENOSYS)
    # The jumps of these eight end at the last line, which allows.
    instruction(_IF_EQUAL, _CLONE[column], 0, 3)
    instruction(_LOAD_WORD, 16)  # low half of args[0]: the flags
    instruction(_IF_ANY_BIT, _CLONE_THREAD, 5, 0)
    instruction(_RETURN, _ERRNO | errno.EPERM)
    instruction(_IF_EQUAL, _PRLIMIT64[column], 0, 3)  # the limits of another process of the same user
    instruction(_LOAD_WORD, 16)  # low half of args[0]: its number, 0 for this one
    instruction(_IF_EQUAL, 0, 1, 0)
    instruction(_RETURN, _ERRNO | errno.EPERM)
    instruction(_RETURN, _ALLOW)
    return b"".join(made)
