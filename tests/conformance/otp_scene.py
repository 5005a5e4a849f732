"""What is written down while a scenario runs: who is who, what happened, and whether anything is still going on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from dspex.runtime import Address, Event, Monitor, NamedRef, Ref, Runtime, Timer
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import BadChildSpec
from otp_terms import bad_spec, decode, encode, term_order

GIVE_UP = 1_000.0
"""Virtual seconds after which something that should come to rest has not."""


REPORTS = {
    "supervisor.child.terminated": "child_terminated",
    "supervisor.child.start_failed": "start_error",
    "supervisor.child.shutdown_failed": "shutdown_error",
}
"""How OTP calls what a supervisor reports."""


class UnknownTarget(Exception):
    """No process of that name was ever started."""


class Scene:
    """One scenario's names and trace."""

    def __init__(self, rt: Runtime, make_gs: Callable[..., Any], raw: Callable[..., Any]) -> None:
        self.rt = rt
        self.make_gs = make_gs
        self.raw = raw
        self.events: list[list[Any]] = []
        self.recording = True
        self._counts: dict[str, int] = {}
        self._refs: dict[str, Ref[Any]] = {}
        """By scenario label, "w1#2"."""
        self._labels: dict[Address, str] = {}
        self._by_process: dict[str, str] = {}
        """The runtime's label of a process to the scenario's."""
        self._stillborn: set[str] = set()
        self.things: dict[str, Monitor | Timer] = {}
        """Monitors and timers by the names the scenario gave them."""
        self._thing_names: dict[Monitor | Timer, str] = {}
        self.hidden: set[Monitor] = set()
        """Monitors of the replay itself."""
        self.kinds: dict[str, str] = {}
        """"gs", "raw", "sup" or "dynamic", by name and by "@registered name"."""
        self._busy = 0
        self._stopping: dict[str, int] = {}
        """Supervisors that wait for a child with a time limit, by the runtime's label."""
        self._changed = anyio.Event()
        rt.events.subscribe(self._heard)

    # --- names --------------------------------------------------------------------------------------------------

    def born(self, name: str, ref: Ref[Any] | None, kind: str) -> str:
        """A process of this name runs its init: the next incarnation. Returns its label."""
        self._counts[name] = self._counts.get(name, 0) + 1
        label = f"{name}#{self._counts[name]}"
        self.kinds[name] = kind
        if ref is not None:
            self._refs[label] = ref
            self._labels[ref] = label
            self._by_process[ref.label] = label
        return label

    def incarnation(self, label: str) -> int:
        return int(label.rpartition("#")[2])

    def introduce(self, ref: Ref[Any], label: str) -> None:
        """The driver: a process with a label of its own and no incarnations."""
        self._refs[label] = ref
        self._labels[ref] = label

    def latest(self, name: str) -> Ref[Any]:
        """ "w1" or "w1#1". Raises UnknownTarget."""
        label = name if "#" in name or name == "driver" else f"{name}#{self._counts.get(name, 0)}"
        try:
            return self._refs[label]
        except KeyError:
            raise UnknownTarget(name) from None

    def target(self, target: str) -> Ref[Any] | NamedRef[Any]:
        """ "w1", "w1#1", "@name" or "driver"."""
        return self.rt.ref(target[1:]) if target.startswith("@") else self.latest(target)

    def name(self, thing: Address | Monitor | Timer) -> str:
        if isinstance(thing, Address):
            return f"<{self._labels.get(thing, '?')}>"
        return f"&{self._thing_names.get(thing, '?')}"

    def call_it(self, name: str, thing: Monitor | Timer) -> None:
        self.things[name] = thing
        self._thing_names[thing] = name

    def known(self, ref: Address) -> str | None:
        return self._labels.get(ref)

    def decode(self, term: Any) -> Any:
        return decode(term, self._resolve)

    def _resolve(self, text: str) -> Any:
        return self.latest(text[1:-1]) if text[0] == "<" else self.things[text[1:]]

    def encode(self, value: Any) -> Any:
        return encode(value, self.name)

    def alive(self) -> list[str]:
        """Labels of all processes of the scenario that live, sorted."""
        return sorted(label for label, ref in self._refs.items() if ref.alive and label != "driver")

    # --- the trace ----------------------------------------------------------------------------------------------

    def record(self, what: str, label: str, *details: Any) -> None:
        if self.recording:
            self.events.append([what, label, *(self.encode(detail) for detail in details)])

    def stillborn(self, what: str, label: str, *details: Any) -> None:
        """Its init failed or asked to be ignored: from now on nothing of it is told."""
        self.record(what, label, *details)
        self._stillborn.add(label)

    def unborn(self, name: str, error: BadChildSpec, parent: str) -> None:
        """A supervisor whose flags or specs are wrong; OTP finds out in its init, this runtime when it is made."""
        label = self.born(name, None, "sup")
        self.record("start", label, parent)
        self.record("initfail", label, bad_spec(error, within=True), parent)

    def message(self, what: str, label: str, message: Any) -> None:
        """A process handles a message."""
        if self.recording:
            self.events.append([what, label, self.encode(message)])

    def take(self) -> list[list[Any]]:
        """What happened since it was asked last, without the signals of the stillborn."""
        events, self.events = self.events, []
        return [event for event in events if not self._from_the_stillborn(event)]

    def _from_the_stillborn(self, event: list[Any]) -> bool:
        match event:
            case ["msg", _, {"EXIT": [sender, _]}]:
                return sender[1:-1] in self._stillborn
        return False

    def _heard(self, event: Event) -> None:
        if event.name == "runtime.process.exited":
            process = event.data["process"]
            label = self._by_process.get(process)
            if label is not None and label not in self._stillborn:
                self.record("exit", label, event.data["reason"])
            if self._stopping.pop(process, 0):
                self._change()
        elif event.name.startswith("supervisor."):
            self._supervisor_event(event, event.data["supervisor"])

    def _supervisor_event(self, event: Event, process: str) -> None:
        label = self._by_process[process]
        child = event.data["child"]
        if event.name == "supervisor.child.stopping":
            if event.data["seconds"] is not None:
                self._stopping[process] = self._stopping.get(process, 0) + 1
        elif event.name == "supervisor.child.stopped":
            left = self._stopping.pop(process, 0) - 1
            if left > 0:
                self._stopping[process] = left
            self._change()
        elif event.name == "supervisor.gave_up":
            self.events.append(["report", label, ["shutdown", child, "reached_max_restart_intensity"]])
        elif event.name in REPORTS:
            report = [REPORTS[event.name], child, self.encode(event.data["reason"])]
            if "count" in event.data:
                self._tell_of_many(label, [*report, event.data["count"]])
            else:
                self.events.append(["report", label, report])

    def _tell_of_many(self, label: str, report: list[Any]) -> None:
        """One report for each reason: OTP counts them in a map, which is in the order of terms. Here an exception is another
        one in each process, there two errors are equal if their values and places are."""
        at = len(self.events)
        while at and self.events[at - 1][:2] == ["report", label] and len(self.events[at - 1][2]) == len(report):
            other = self.events[at - 1][2]
            if other[:3] == report[:3]:
                other[3] += report[3]
                return
            if term_order(other[2]) < term_order(report[2]):
                break
            at -= 1
        self.events.insert(at, ["report", label, report])

    # --- rest ---------------------------------------------------------------------------------------------------

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While something of the scenario sleeps or hangs, it has not come to rest."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._change()

    async def sleep(self, ms: float) -> None:
        with self.busy():
            await self.rt.sleep(ms / 1000)

    async def hang(self) -> None:
        with self.busy():
            await anyio.sleep_forever()

    def _change(self) -> None:
        self._changed.set()

    async def rest(self) -> None:
        """Wait until nothing is going on: no task runs, nobody sleeps on purpose, no shutdown time runs."""
        with anyio.fail_after(GIVE_UP):
            while True:
                self._changed = anyio.Event()
                await all_tasks_blocked()
                if not self._busy and not self._stopping:
                    return
                await self._changed.wait()
