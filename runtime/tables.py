"""Tables: actors whose state anybody on the loop may read and change at once, without a message.

A registry that is asked by message answers a moment later, when its answer may be wrong already. Everything in one runtime
lives on one event loop, so its methods can be called directly instead, as Elixir's Registry reads its ETS table:

    Registry.at("sessions").lookup("user-7")

``at`` finds the table that has the name now, so what holds a name survives the table's restart. The table is a process all the
same: it is supervised, it has the entries as long as it lives, and it hears of the end of those who are in it.
"""

from __future__ import annotations

from typing import Any, Self, TypeVar

from .actor import Actor
from .exits import BadProcess, UnknownProcess
from .process import BESIDE, CURRENT, Body, Process
from .ref import NamedRef, Ref, process_of
from .runtime import Runtime, current_runtime
from .signals import Address

T = TypeVar("T", bound="Table")


class Table(Actor):
    """The base of Registry and Groups."""

    def __init__(self, *, name: str | None = None) -> None:
        self._name = name

    @classmethod
    def at(cls, where: Self | Ref[Self] | NamedRef[Self] | str) -> Self:
        """The live table behind a reference or a name of the current runtime.

        Raises UnknownProcess if there is none, BadProcess if what is there is no such table.
        """
        if isinstance(where, str):
            where = current_runtime().ref(where)
        if isinstance(where, NamedRef):
            ref = where.resolve()
            if ref is None:
                raise UnknownProcess(where.name)
            where = ref
        found: object = where.process.host if isinstance(where, Ref) else where
        if isinstance(where, Ref) and not where.alive:
            raise UnknownProcess(where.label)
        if not isinstance(found, cls):
            raise BadProcess(f"{where!r} is no {cls.__name__}")
        if not found.ref.alive:
            raise UnknownProcess(found.ref.label)
        return found

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> tuple[Process, Body]:
        """See ``Startable``; the name given in the constructor holds if none is given to start."""
        return super().__start__(runtime, parent, name or self._name)

    def _whom(self, given: Address | NamedRef[Any] | None) -> Process:
        """The process meant: the one given, else the one that runs this code. Raises UnknownProcess if the table is gone."""
        if not self.ref.alive:
            raise UnknownProcess(self.ref.label)
        if isinstance(given, NamedRef):
            holder = given.holder()
            if holder is None:
                raise UnknownProcess(given.name)
            return holder
        if given is not None:
            return process_of(given)
        current = CURRENT.get()
        own = self.ref.process
        if current is None or (current is own and not BESIDE.get()):
            raise BadProcess(
                f"{own.label}: this code runs in no process that could be meant; call the table's method inside the "
                "process (not through ref.call), or say which process it is about"
            )
        return current
