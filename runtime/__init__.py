"""Actors, mailboxes, links, monitors, exit reasons: Erlang's processes on asyncio and trio."""

from .actor import Actor
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
    is_orderly,
)
from .helper_tasks import TaskHandle
from .inspection import ProcessInfo, process_info
from .os_process import OsProcessHandle, OsProcessStuck, spawn_os_process
from .os_process_actor import OsProcess, OsProcessExited, OutputLine
from .participant import Participant
from .plain import Mailbox, Plain, spawn
from .process import Process
from .ref import NamedRef, Ref
from .replies import Reply
from .runtime import Runtime, Startable, current_runtime, open_runtime
from .signals import IDLE, Address, Down, ExitSignal, Idle, Monitor
from .timers import Timer, TimerFired

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
    "Idle",
    "Ignore",
    "Mailbox",
    "Monitor",
    "NameTaken",
    "NamedRef",
    "NotAHandler",
    "OsProcess",
    "OsProcessExited",
    "OsProcessHandle",
    "OsProcessStuck",
    "OutputLine",
    "Participant",
    "Plain",
    "Process",
    "ProcessInfo",
    "Reason",
    "ReceiveTimeout",
    "Ref",
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
    "TreeFailed",
    "UnknownProcess",
    "current_runtime",
    "is_orderly",
    "log_events",
    "open_runtime",
    "process_info",
    "spawn",
    "spawn_os_process",
]
