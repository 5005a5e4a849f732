"""A name for what is started by somebody else's hand, such as each child of a dynamic supervisor.

sessions = DynamicSupervisor(lambda user: Named(Session(user), via("registry", user)))
await ref.call(DynamicSupervisor.start_child, "anna")       # StartFailed, if anna has one: its KeyTaken names who
"""

from __future__ import annotations

from typing import Any, final

from .exits import BadProcess
from .process import Body, Process
from .ref import NamedRef
from .runtime import Runtime, Startable


@final
class Named:
    """``startable``, to be started under ``name``: a str, or a key ``via`` a registry. A name given to the start wins.

    Starting it raises NameTaken. Raises BadProcess for what cannot be started.
    """

    def __init__(self, startable: Startable, name: str | NamedRef[Any]) -> None:
        if not callable(getattr(type(startable), "__start__", None)):
            raise BadProcess(f"{startable!r} cannot be started: give an Actor or a Supervisor")
        self._startable = startable
        self._name = name

    @property
    def escalates(self) -> bool:
        """See ``Startable``."""
        return self._startable.escalates

    @property
    def shutdown(self) -> float | None:
        """See ``Startable``."""
        return self._startable.shutdown

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``."""
        if isinstance(self._name, str):
            return self._startable.__start__(runtime, parent, name or self._name)
        process, body = self._startable.__start__(runtime, parent, name)
        self._name.claim(process)
        return process, body
