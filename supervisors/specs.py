"""Child specs: what a supervisor needs to know of a child, by OTP's vocabulary.

    Child("cache", lambda: Cache(size=1000))
    Child("pool", make_pool, restart="transient", shutdown=30, name="pool")

The error tree of this room:

    SupervisorError                    (an ActorError)
    ├── BadChildSpec                   the spec breaks a rule; the message names it          (also a ValueError)
    ├── ChildNotFound                  no child has that id                                  (also a LookupError)
    ├── ChildRunning                   restart_child or delete_child of a live child
    ├── ChildRestarting                the supervisor is between two attempts to restart it
    ├── RestartLimitReached            more restarts than the intensity allows: the supervisor gave up
    └── ChildPresent                   start_child with an id that is taken; ``ref`` if it is alive
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ..runtime import ActorError, NamedRef, Ref, Startable

Restart = Literal["permanent", "transient", "temporary"]
"""permanent: always restarted (the default). transient: only after an abnormal end. temporary: never, and its spec goes
with it."""

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""one_for_one: only the child that ended is restarted (the default). one_for_all: all of them. rest_for_one: it and those
started after it."""

AutoShutdown = Literal["never", "any_significant", "all_significant"]
"""Whether the supervisor stops by itself when significant children end by themselves."""

Shutdown = float | Literal["brutal_kill", "infinity"]
"""Seconds (>= 0) to stop in before it is killed; "brutal_kill": killed at once; "infinity": as long as it takes."""


class SupervisorError(ActorError):
    """Base of what a supervisor refuses."""


class BadChildSpec(SupervisorError, ValueError):
    """A spec that breaks a rule: ``rule`` names the field, or is "duplicate" for an id used twice.

    ``value`` is what was given; for "significant", the setting that does not go with it as a pair.
    """

    def __init__(self, rule: str, value: object, message: str) -> None:
        super().__init__(rule, value, message)
        self.rule = rule
        self.value = value

    def __str__(self) -> str:
        return str(self.args[2])


class ChildNotFound(SupervisorError, LookupError):
    """No child has that id."""


class ChildRunning(SupervisorError):
    """The child is alive: terminate it first."""


class ChildRestarting(SupervisorError):
    """The supervisor is trying to restart the child."""


class ChildPresent(SupervisorError):
    """The id is taken: ``start_child`` starts no second one.

    ``ref`` is its process, None if it is not running; while ``restarting``, the process whose end led to that, if it was
    this child's own.
    """

    def __init__(self, id: str, ref: Ref[Any] | None, *, restarting: bool) -> None:
        super().__init__(id, ref)
        self.id = id
        self.ref = ref
        self.restarting = restarting

    def __str__(self) -> str:
        if self.restarting:
            return f"there is a child {self.id!r} already, being restarted"
        return f"there is a child {self.id!r} already" + ("" if self.ref else ", not running: restart_child it")


class RestartLimitReached(SupervisorError):
    """A supervisor gave up. ``__cause__`` is what ended the child last, if that was an exception."""

    def __init__(self, child: str, restarts: int, period: float) -> None:
        super().__init__(child, restarts, period)
        self.child = child
        self.restarts = restarts
        self.period = period

    def __str__(self) -> str:
        return f"child {self.child!r}: restart {self.restarts} within {self.period:g} s is one more than allowed"


@dataclass(frozen=True, slots=True)
class Child:
    """How to start a child, what to do when it ends, how to stop it. Raises BadChildSpec when a rule is broken."""

    id: str
    """Unique among its supervisor's children."""
    start: Callable[[], Startable]
    """Makes a new actor, process or supervisor for each start. What it raises is a failed start."""
    restart: Restart = "permanent"
    shutdown: Shutdown | None = None
    """None: 5 seconds for a worker, "infinity" for a supervisor."""
    type: Literal["worker", "supervisor"] = "worker"
    """Say "supervisor" for a supervisor, so that it gets the time to stop its own children."""
    significant: bool = False
    """Its own end counts for ``auto_shutdown``; not for permanent children."""
    name: str | NamedRef[Any] | None = None
    """A registered name, or a key ``via`` a registry, that every incarnation takes."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("id", self.id, f"a child's id is a non-empty str, not {self.id!r}")
        if not callable(self.start):
            raise BadChildSpec(
                "start",
                self.start,
                f"child {self.id!r}: start is {self.start!r}; give a factory such as lambda: Worker(...), called at each start",
            )
        _check(self.id, "restart", self.restart, get_args(Restart))
        if not isinstance(self.significant, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec(
                "significant", self.significant, f"child {self.id!r}: significant is a bool, not {self.significant!r}"
            )
        if self.significant and self.restart == "permanent":
            raise BadChildSpec(
                "significant",
                ("restart", "permanent"),
                f"child {self.id!r}: a permanent child cannot be significant, it never ends by itself for good",
            )
        _check(self.id, "type", self.type, ("worker", "supervisor"))
        shutdown: object = self.shutdown
        if isinstance(shutdown, str):
            _check(self.id, "shutdown", shutdown, ("brutal_kill", "infinity"))
        elif shutdown is not None and (
            isinstance(shutdown, bool)
            or not isinstance(shutdown, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
            or not 0 <= shutdown < math.inf
        ):
            raise BadChildSpec(
                "shutdown",
                shutdown,
                f'child {self.id!r}: shutdown is seconds >= 0, "brutal_kill" or "infinity", not {shutdown!r}',
            )
        name: object = self.name
        if name is not None and not isinstance(name, NamedRef) and (not isinstance(name, str) or not name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("name", name, f"child {self.id!r}: a name is a non-empty str, not {name!r}")

    @property
    def patience(self) -> float | None:
        """Seconds given to stop; None: as long as it takes; 0 with ``brutal``."""
        if self.shutdown is None:
            return _WORKER_SECONDS if self.type == "worker" else None
        if self.shutdown == "infinity":
            return None
        return 0.0 if self.shutdown == "brutal_kill" else float(self.shutdown)

    @property
    def brutal(self) -> bool:
        """True: killed without being asked."""
        return self.shutdown == "brutal_kill"


_WORKER_SECONDS: Final = 5.0


def _check(id: str, what: str, value: object, allowed: Iterable[str]) -> None:
    if value not in tuple(allowed):
        raise BadChildSpec(what, value, f"child {id!r}: {what} is one of {', '.join(allowed)}, not {value!r}")


def check_children(children: Iterable[Child], auto_shutdown: AutoShutdown) -> list[Child]:
    """The specs as a list, for a supervisor with this ``auto_shutdown``. Raises BadChildSpec for the first that breaks a
    rule: what is no Child, an id used twice, a significant child where nobody minds.
    """
    if isinstance(children, Child):
        raise BadChildSpec("children", children, f"children are a list of specs: write [Child({children.id!r}, ...)]")
    if isinstance(children, str | bytes) or not isinstance(children, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadChildSpec("children", children, f"children are a list of specs, not {children!r}")
    listed: list[Child] = []
    seen: set[str] = set()
    for child in children:
        if not isinstance(child, Child):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadChildSpec("child", child, f"{child!r} is no child spec: write Child(id, factory)")
        check_significant(child, auto_shutdown)
        if child.id in seen:
            raise BadChildSpec("duplicate", child.id, f"two children have the id {child.id!r}")
        seen.add(child.id)
        listed.append(child)
    return listed


def check_significant(child: Child, auto_shutdown: AutoShutdown) -> None:
    """Raises BadChildSpec for a significant child of a supervisor that does not mind."""
    if child.significant and auto_shutdown == "never":
        raise BadChildSpec(
            "significant",
            ("auto_shutdown", "never"),
            f'child {child.id!r} is significant, and this supervisor has auto_shutdown="never"',
        )
