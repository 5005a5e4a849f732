"""Actors, mailboxes, links, monitors, exit reasons: Erlang's processes on asyncio and trio."""

from .actor import Actor
from .bounded import Overflow
from .event_log import log_events
from .events import Event, EventBus
from .exits import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorError,
    ActorExit,
    BadProcess,
    CallingSelf,
    CallTimeout,
    Crash,
    Exit,
    ExitReason,
    Ignore,
    MailboxFull,
    NameTaken,
    NotAHandler,
    Reason,
    ReceiveTimeout,
    Refuse,
    RuntimeClosed,
    Shutdown,
    StartFailed,
    Stop,
    TreeFailed,
    UnknownProcess,
    WrongThread,
    is_orderly,
)
from .helper_tasks import TaskHandle
from .inspection import ProcessInfo, get_state, process_info, replace_state, resume, suspend, trace
from .multi_call import MultiReply, Refs, multi_call, multi_cast
from .os_process import OsProcessHandle, OsProcessStuck, spawn_os_process
from .os_process_actor import OsProcess, OsProcessExited, OutputLine
from .participant import Participant
from .plain import Mailbox, Plain, spawn
from .process import Process, ProcessStatistics
from .ref import NamedRef, Ref
from .replies import Reply
from .runtime import Runtime, Startable, current_runtime, open_runtime
from .signals import IDLE, Address, Down, ExitSignal, Idle, Monitor
from .threads import FromThread, in_abandoned_thread, in_thread
from .timers import Timer, TimerFired
from .tracing import Traced, Tracer

__all__ = [
    "IDLE",
    "KILL",
    "KILLED",
    "NOPROC",
    "NORMAL",
    "SHUTDOWN",
    "Actor",
    "ActorError",
    "ActorExit",
    "Address",
    "BadProcess",
    "CallTimeout",
    "CallingSelf",
    "Crash",
    "Down",
    "Event",
    "EventBus",
    "Exit",
    "ExitReason",
    "ExitSignal",
    "FromThread",
    "Idle",
    "Ignore",
    "Mailbox",
    "MailboxFull",
    "Monitor",
    "MultiReply",
    "NameTaken",
    "NamedRef",
    "NotAHandler",
    "OsProcess",
    "OsProcessExited",
    "OsProcessHandle",
    "OsProcessStuck",
    "OutputLine",
    "Overflow",
    "Participant",
    "Plain",
    "Process",
    "ProcessInfo",
    "ProcessStatistics",
    "Reason",
    "ReceiveTimeout",
    "Ref",
    "Refs",
    "Refuse",
    "Reply",
    "Runtime",
    "RuntimeClosed",
    "Shutdown",
    "StartFailed",
    "Startable",
    "Stop",
    "TaskHandle",
    "Timer",
    "TimerFired",
    "Traced",
    "Tracer",
    "TreeFailed",
    "UnknownProcess",
    "WrongThread",
    "current_runtime",
    "get_state",
    "in_abandoned_thread",
    "in_thread",
    "is_orderly",
    "log_events",
    "multi_call",
    "multi_cast",
    "open_runtime",
    "process_info",
    "replace_state",
    "resume",
    "spawn",
    "spawn_os_process",
    "suspend",
    "trace",
]
