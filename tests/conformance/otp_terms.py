"""Erlang terms as the scenarios write them in JSON, and the values of this runtime that stand for them.

An atom is a str, a tuple a Python tuple. Exit reasons that have a value of their own in ``dspex.runtime`` are that value:
``normal`` is NORMAL, ``{shutdown, X}`` is Shutdown(X). An error exception is a Crash of ``ErlangError``; what leaves a
gen_server:call is ActorExit or CallTimeout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dspex.runtime import (
    IDLE,
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    Address,
    CallingSelf,
    CallTimeout,
    Crash,
    Down,
    ExitReason,
    ExitSignal,
    Monitor,
    Shutdown,
    Timer,
    TimerFired,
    UnknownProcess,
)
from dspex.supervisors import BadChildSpec, FailedToStart

ATOMS = {"normal": NORMAL, "shutdown": SHUTDOWN, "kill": KILL, "killed": KILLED, "noproc": NOPROC}
NAMES = {value: name for name, value in ATOMS.items()}


class ErlangError(Exception):
    """erlang:error(Value)."""

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self.value = value


class NoCatch(Exception):
    """A throw that nobody catches, in a plain process."""

    def __init__(self, value: object) -> None:
        super().__init__(value)
        self.value = value


def tuple_(*items: object) -> dict[str, Any]:
    """The JSON of a tuple of encoded items."""
    return {"t": list(items)}


def decode(term: Any, resolve: Callable[[str], Any]) -> Any:
    """JSON to value. ``resolve`` finds what "<w1>" and "&m1" mean."""
    if isinstance(term, str):
        if term[:1] in ("<", "&"):
            return resolve(term)
        return ATOMS.get(term, term)
    if isinstance(term, list):
        return [decode(item, resolve) for item in term]
    if isinstance(term, dict) and set(term) == {"t"}:
        items = tuple(decode(item, resolve) for item in term["t"])
        return Shutdown(items[1]) if len(items) == 2 and items[0] is SHUTDOWN else items
    return term


def encode(value: Any, name: Callable[[Address | Monitor | Timer], str]) -> Any:
    """Value to JSON. ``name`` says how the scenario calls a process, a monitor or a timer."""

    def enc(value: Any) -> Any:
        match value:
            case ExitReason():
                return NAMES[value]
            case Shutdown(detail=detail):
                return tuple_("shutdown", enc(detail))
            case FailedToStart(child=child, reason=reason):
                return tuple_("failed_to_start_child", child, enc(reason))
            case Crash(error=BadChildSpec() as error):
                return bad_spec(error, within=True)
            case Crash(error=error):
                return raised(error)
            case ExitSignal(ref=ref, reason=reason):
                return {"EXIT": [name(ref) if ref is not None else "<?>", enc(reason)]}
            case Down(monitor=monitor, ref=ref, reason=reason):
                of = f"@{monitor.name}" if monitor.name is not None else name(ref) if ref is not None else "<?>"
                return {"DOWN": [name(monitor), of, enc(reason)]}
            case TimerFired(timer=timer, message=message):
                return tuple_("timeout", name(timer), enc(message))
            case Address() | Monitor() | Timer():
                return name(value)
            case tuple():
                return tuple_(*map(enc, value))
            case list():
                return [enc(item) for item in value]
            case _ if value is IDLE:
                return "timeout"
            case None | bool() | int() | str() | dict():
                return value
        raise TypeError(f"{value!r} stands for no term")

    def raised(error: BaseException) -> Any:
        """The exit reason of a process that this exception leaves."""
        match error:
            case ErlangError(value=value):
                return tuple_(enc(value), "$stack")
            case NoCatch(value=value):
                return tuple_(tuple_("nocatch", enc(value)), "$stack")
            case ActorExit() | CallTimeout() | CallingSelf() | UnknownProcess():
                return enc(call_exit(error))
        raise TypeError(f"{error!r} stands for no exit reason") from error

    return enc(value)


def term_order(term: Any) -> tuple[Any, ...]:
    """A key that sorts encoded terms as Erlang does: numbers, atoms, processes, tuples by size, lists."""
    match term:
        case bool():
            return 1, str(term).lower()
        case int():
            return 0, term
        case "$stack":
            return 4, ()
        case "$call":
            return 3, 3, ()
        case str():
            return (2, term) if term[:1] in ("<", "&") else (1, term)
        case {"t": items}:
            return 3, len(items), tuple(map(term_order, items))
        case list():
            return 4, tuple(map(term_order, term))
    raise TypeError(f"{term!r} is no term")


def call_exit(error: Exception) -> tuple[object, str]:
    """The reason with which gen_server:call exits."""
    match error:
        case ActorExit(reason=reason):
            return reason, "$call"
        case CallTimeout():
            return "timeout", "$call"
        case CallingSelf():
            return "calling_self", "$call"
        case UnknownProcess():
            return NOPROC, "$call"
    raise TypeError(f"{error!r} does not come from a call") from error


_FLAGS = {"strategy", "intensity", "period", "auto_shutdown"}
_RULES = {"restart": "invalid_restart_type", "type": "invalid_child_type", "duplicate": "duplicate_child_name"}


def bad_spec(error: BadChildSpec, *, within: bool) -> Any:
    """What supervisor(3) says of a bad spec; ``within``: in the supervisor's own init."""
    value = error.value
    if error.rule == "shutdown" and isinstance(value, int | float):
        value = round(value * 1000)
    rule = _RULES.get(error.rule, f"invalid_{error.rule}")
    if error.rule == "significant" and isinstance(value, tuple):
        told = tuple_("bad_combination", [tuple_(*value), tuple_("significant", True)])
    elif error.rule == "template":
        return tuple_("bad_start_spec", value)
    else:
        told = tuple_(rule, value)
    if not within:
        return told
    return tuple_("supervisor_data" if error.rule in _FLAGS else "start_spec", told)
