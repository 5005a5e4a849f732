"""Groups of processes, as Erlang's pg, and topics to publish to, on top of them.

    workers = await rt.start(Groups(), name="workers")          # a scope: groups of one scope know nothing of another's
    Groups.at("workers").join("search", ref_a, ref_b)           # without a ref: the process that runs this code
    for ref in Groups.at("workers").members("search"):
        ref.send("hello")

    await rt.start(PubSub(), name="news")
    PubSub.at("news").subscribe("sport")                        # inside an actor: it gets what is published
    PubSub.at("news").publish("sport", "1:0")

A process may join a group several times and is then there several times; it has to leave as often, or to end. Groups need
not be made: one without members is empty. The members of a group come in the order they joined (pg promises no order).

Its events:

    runtime.groups.joined     scope, process
    runtime.groups.left       scope, process         by itself, or because it ended
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, final

from .process import Process
from .ref import NamedRef, Ref, process_of
from .signals import Address, Down, Monitor
from .tables import Table


@final
class GroupWatch:
    """One act of watching a group or a scope; it pairs Joined and Left with its ``watch`` call by identity."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class Joined:
    """What watchers get when processes have joined a group: all that joined in one call."""

    watch: GroupWatch
    group: Any
    members: tuple[Ref[Any], ...]


@final
@dataclass(frozen=True, slots=True)
class Left:
    """What watchers get when processes have left, or have ended: then one Left for each time they had joined."""

    watch: GroupWatch
    group: Any
    members: tuple[Ref[Any], ...]


@final
class _Watcher:
    __slots__ = ("everything", "group", "process")

    def __init__(self, process: Process, group: Hashable, *, everything: bool) -> None:
        self.process = process
        self.group = group
        self.everything = everything


class Groups(Table):
    """A scope. All methods but ``at`` are called directly, on the object; groups are named by any hashable value."""

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._groups: dict[Hashable, list[Ref[Any]]] = {}
        self._of: dict[Process, list[Hashable]] = {}
        """The groups of each member, oldest first, as often as it joined."""
        self._monitors: dict[Process, Monitor] = {}
        self._watchers: dict[GroupWatch, _Watcher] = {}

    # --- members ------------------------------------------------------------------------------------------------

    def join(self, group: Hashable, *members: Address | NamedRef[Any]) -> None:
        """Add these processes, or the one that runs this code. One that is dead joins and leaves at once, as in pg.

        Raises BadProcess for what is no process, before anybody has joined, and outside any process without members.
        """
        joined = self._meant(members)
        for process in joined:
            self._groups.setdefault(group, []).append(Ref(process))
            self._of.setdefault(process, []).append(group)
        self._tell(Joined, group, joined)
        for process in joined:
            self._watch_over(process)
            self._emit("joined", process)

    def leave(self, group: Hashable, *members: Address | NamedRef[Any]) -> bool:
        """Undo one ``join`` of each. False: none of them was in the group. Those who were not are passed over."""
        left = [process for process in self._meant(members) if self._remove(group, process)]
        if not left:
            return False
        self._tell(Left, group, left)
        for process in left:
            self._emit("left", process)
        return True

    def members(self, group: Hashable) -> list[Ref[Any]]:
        """The live members, in the order they joined, as often as they did."""
        return [ref for ref in self._groups.get(group, ()) if ref.alive]

    def groups(self) -> list[Any]:
        """The groups that have members."""
        return list(self._groups)

    # --- watching -----------------------------------------------------------------------------------------------

    def watch(self, group: Hashable, *, watcher: Address | None = None) -> tuple[GroupWatch, list[Ref[Any]]]:
        """The members now, and from now on Joined and Left to the process that runs this code, or ``watcher``."""
        return self._watching(_Watcher(self._whom(watcher), group, everything=False)), self.members(group)

    def watch_all(self, *, watcher: Address | None = None) -> tuple[GroupWatch, dict[Any, list[Ref[Any]]]]:
        """As ``watch``, for all groups of the scope: pg's monitor_scope."""
        watch = self._watching(_Watcher(self._whom(watcher), None, everything=True))
        return watch, {group: self.members(group) for group in self._groups}

    def unwatch(self, watch: GroupWatch) -> bool:
        """Stop watching; what is in the mailbox stays there. False: it was not watching any more."""
        watcher = self._watchers.pop(watch, None)
        if watcher is None:
            return False
        self._release(watcher.process)
        return True

    # --- the rest -----------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, int]:
        """Counts: groups, memberships, watchers."""
        return {
            "groups": len(self._groups),
            "members": sum(map(len, self._groups.values())),
            "watchers": len(self._watchers),
        }

    def tree_detail(self) -> str:
        """How many there are."""
        return f"{len(self._groups)} groups"

    async def handle_info(self, message: Any) -> None:
        """The end of a member or a watcher takes it away."""
        if isinstance(message, Down):
            if isinstance(message.ref, Address):
                self._ended(process_of(message.ref))
        else:
            await super().handle_info(message)

    # --- the inside ---------------------------------------------------------------------------------------------

    def _meant(self, members: tuple[Address | NamedRef[Any], ...]) -> list[Process]:
        return [self._whom(member) for member in members] if members else [self._whom(None)]

    def _watching(self, watcher: _Watcher) -> GroupWatch:
        watch = GroupWatch()
        self._watchers[watch] = watcher
        self._watch_over(watcher.process)
        return watch

    def _watch_over(self, process: Process) -> None:
        if process not in self._monitors:
            self._monitors[process] = self.monitor(process.address)

    def _release(self, process: Process) -> None:
        if process not in self._of and all(watcher.process is not process for watcher in self._watchers.values()):
            monitor = self._monitors.pop(process, None)
            if monitor is not None:
                self.demonitor(monitor)

    def _remove(self, group: Hashable, process: Process) -> bool:
        mine = self._of.get(process)
        if mine is None or group not in mine:
            return False
        mine.remove(group)
        members = self._groups[group]
        members.remove(next(ref for ref in members if ref.process is process))
        if not members:
            del self._groups[group]
        if not mine:
            del self._of[process]
            self._release(process)
        return True

    def _ended(self, process: Process) -> None:
        self._monitors.pop(process, None)
        for watch in [watch for watch, watcher in self._watchers.items() if watcher.process is process]:
            del self._watchers[watch]
        for group in tuple(self._of.get(process, ())):
            self._remove(group, process)
            self._tell(Left, group, [process])
            self._emit("left", process)

    def _tell(self, kind: type[Joined] | type[Left], group: Hashable, processes: list[Process]) -> None:
        members = tuple(Ref[Any](process) for process in processes)
        for watch, watcher in tuple(self._watchers.items()):
            if watcher.everything or watcher.group == group:
                Ref[Any](watcher.process).send(kind(watch, group, members))

    def _emit(self, what: str, process: Process) -> None:
        self.rt.events.emit(f"runtime.groups.{what}", scope=self.ref.label, process=process.label)


class PubSub(Groups):
    """Topics. A subscriber gets the plain message as it was published, once for each time it has subscribed."""

    def subscribe(self, topic: Hashable, subscriber: Address | NamedRef[Any] | None = None) -> None:
        """Send what is published to the process that runs this code, or ``subscriber``, until it unsubscribes or ends."""
        self.join(topic, *(() if subscriber is None else (subscriber,)))

    def unsubscribe(self, topic: Hashable, subscriber: Address | NamedRef[Any] | None = None) -> None:
        """Undo all its subscriptions to the topic; none is fine."""
        members = () if subscriber is None else (subscriber,)
        while self.leave(topic, *members):
            pass

    def publish(self, topic: Hashable, message: object) -> int:
        """Send ``message`` to all subscribers; returns to how many. Also from code that runs in no process."""
        members = self.members(topic)
        for ref in members:
            ref.send(message)
        return len(members)

    def broadcast_from(self, topic: Hashable, message: object, *, sender: Address | NamedRef[Any] | None = None) -> int:
        """As ``publish``, to all but the sender: the process that runs this code, or ``sender``."""
        process = self._whom(sender)
        members = [ref for ref in self.members(topic) if ref.process is not process]
        for ref in members:
            ref.send(message)
        return len(members)
