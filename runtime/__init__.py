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
from .groups import Groups, GroupWatch, Joined, Left, PubSub
from .helper_tasks import TaskHandle
from .inspection import ProcessInfo, process_info
from .named import Named
from .os_process import OsProcessHandle, OsProcessStuck, spawn_os_process
from .os_process_actor import OsProcess, OsProcessExited, OutputLine
from .participant import Participant
from .plain import Mailbox, Plain, spawn
from .process import Process
from .ref import NamedRef, Ref
from .registry import Entry, KeyTaken, Registered, Registry, Unregistered, Via, via
from .replies import Reply
from .runtime import Runtime, Startable, current_runtime, open_runtime
from .signals import IDLE, Address, Down, ExitSignal, Idle, Monitor
from .state_machine import StateMachine
from .tasks import Exited, Ok, Task, await_many, yield_many
from .timers import Interval, Timer, TimerFired

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
    "Entry",
    "Event",
    "EventBus",
    "Exit",
    "ExitReason",
    "ExitSignal",
    "Exited",
    "GroupWatch",
    "Groups",
    "Idle",
    "Ignore",
    "Interval",
    "Joined",
    "KeyTaken",
    "Left",
    "Mailbox",
    "Monitor",
    "NameTaken",
    "Named",
    "NamedRef",
    "NotAHandler",
    "Ok",
    "OsProcess",
    "OsProcessExited",
    "OsProcessHandle",
    "OsProcessStuck",
    "OutputLine",
    "Participant",
    "Plain",
    "Process",
    "ProcessInfo",
    "PubSub",
    "Reason",
    "ReceiveTimeout",
    "Ref",
    "Refuse",
    "Registered",
    "Registry",
    "Reply",
    "Runtime",
    "RuntimeClosed",
    "Shutdown",
    "StartFailed",
    "Startable",
    "StateMachine",
    "Stop",
    "Task",
    "TaskHandle",
    "Timer",
    "TimerFired",
    "TreeFailed",
    "UnknownProcess",
    "Unregistered",
    "Via",
    "await_many",
    "current_runtime",
    "is_orderly",
    "log_events",
    "open_runtime",
    "process_info",
    "spawn",
    "spawn_os_process",
    "via",
    "yield_many",
]
