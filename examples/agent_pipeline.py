"""A long-lived pipeline of agents, and a crash in the middle of it: `python examples/agent_pipeline.py`.

Messages from customers come to a desk. A first agent finds out the mood, a second writes the reply, an archive files it. Each
step is a stage of a demand-driven pipeline: nobody gets more than it asked for, so a slow agent slows the desk down and no
queue grows. The programs are actors of their own, shared by whoever needs them.

One message makes the first agent crash. Its supervisor (`rest_for_one`) starts it anew, with the steps below it; they
subscribe again, and the desk, which was above the crash and lives on, hands out once more what was not filed. Every message is
answered once.

It runs offline: the programs answer from a script (`DummyLM`). Give them an `LM` instead, and nothing else changes.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from dspex.engine import DummyLM, Predict
from dspex.engine.actors import ProgramActor
from dspex.runtime import Crash, Event, Reason, open_runtime
from dspex.runtime.stages import Consumer, Producer, Stage, Subscribe, Subscription
from dspex.supervisors import Child, Supervisor, tree

MESSAGES = {
    "Your parcel came a day early, thank you!": "good",
    "The lamp was broken when I opened the box.": "bad",
    "I still wait for my refund, and it is June.": "bad",
    "You saved our wedding, all of you.": "good",
    "\0 (a message that the first agent cannot digest)": "bad",
    "Where do I leave five stars?": "good",
    "The manual is in a language I do not read.": "bad",
    "Best shop in town.": "good",
}
REPLIES = {"good": "Thank you, we will tell everybody here.", "bad": "We are sorry. A colleague calls you today."}


@dataclass(frozen=True)
class Ticket:
    number: int
    message: str


@dataclass(frozen=True)
class Sorted:
    ticket: Ticket
    mood: str


@dataclass(frozen=True)
class Answered:
    ticket: Ticket
    mood: str
    reply: str


class Desk(Producer[Ticket]):
    """Hands out tickets, and keeps each until it is filed."""

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self.handed_out: dict[int, Ticket] = {}
        self.owed = 0
        self.numbers = 0

    def submit(self, message: str) -> int:
        self.numbers += 1
        self.waiting.append(Ticket(self.numbers, message))
        self.emit(self.take())
        return self.numbers

    def filed(self, number: int) -> None:
        self.handed_out.pop(number, None)

    async def handle_demand(self, demand: int) -> Sequence[Ticket]:
        self.owed += demand
        return self.take()

    async def handle_cancel(self, reason: Reason, subscription: Subscription) -> None:
        """The steps below are gone, with what they had in hand: it is to be done again."""
        self.waiting.extendleft(reversed(self.handed_out.values()))
        self.handed_out.clear()

    async def handle_subscribe(self, subscription: Subscription) -> None:
        """They are back: what was asked for and not delivered is still owed."""
        self.emit(self.take())

    def take(self) -> list[Ticket]:
        count = min(self.owed, len(self.waiting))
        tickets = [self.waiting.popleft() for _ in range(count)]
        self.owed -= count
        self.handed_out.update((ticket.number, ticket) for ticket in tickets)
        return tickets


class Sort(Stage[Ticket, Sorted]):
    """Finds out the mood. The first time it sees the odd message, it crashes: as if a library had a bug."""

    subscribe_to = (Subscribe("desk", max_demand=3, min_demand=2),)
    crashes = 0

    async def handle_events(self, events: list[Ticket], subscription: Subscription) -> list[Sorted]:
        found: list[Sorted] = []
        for ticket in events:
            if "\0" in ticket.message and not Sort.crashes:
                Sort.crashes += 1
                raise UnicodeError("what is this?")
            program = self.rt.ref("mood").within(30)
            prediction = await program.call(ProgramActor.run, {"message": ticket.message})
            found.append(Sorted(ticket, prediction.mood))
        return found


class Write(Stage[Sorted, Answered]):
    """Writes the replies."""

    subscribe_to = (Subscribe("sort", max_demand=2, min_demand=1),)

    async def handle_events(self, events: list[Sorted], subscription: Subscription) -> list[Answered]:
        written: list[Answered] = []
        for event in events:
            asked = {"message": event.ticket.message, "mood": event.mood}
            prediction = await self.rt.ref("reply").within(30).call(ProgramActor.run, asked)
            written.append(Answered(event.ticket, event.mood, prediction.reply))
        return written


class Archive(Consumer[Answered]):
    """Files what was answered, each ticket once."""

    subscribe_to = (Subscribe("write", max_demand=1),)

    def __init__(self, shelf: dict[int, Answered], full: anyio.Event) -> None:
        self.shelf = shelf
        self.full = full

    async def handle_events(self, events: list[Answered], subscription: Subscription) -> None:
        for event in events:
            number = event.ticket.number
            if number not in self.shelf:
                self.shelf[number] = event
                print(f"   filed {number}  {event.mood:4}  {event.reply}")
            self.rt.ref("desk").cast(Desk.filed, number)
        if len(self.shelf) == len(MESSAGES):
            self.full.set()


def root(shelf: dict[int, Answered], full: anyio.Event) -> Supervisor:
    mood = DummyLM({message: {"mood": mood} for message, mood in MESSAGES.items()})
    reply = DummyLM({f"]]\n{mood}": {"reply": reply} for mood, reply in REPLIES.items()})
    agents = [
        Child("mood", lambda: ProgramActor(Predict("message -> mood"), lm=mood), name="mood"),
        Child("reply", lambda: ProgramActor(Predict("message, mood -> reply"), lm=reply), name="reply"),
    ]
    steps = [
        Child("desk", Desk, name="desk"),
        Child("sort", Sort, name="sort"),
        Child("write", Write, name="write"),
        Child("archive", lambda: Archive(shelf, full), name="archive"),
    ]
    return Supervisor(
        [
            Child("agents", lambda: Supervisor(agents), type="supervisor"),
            Child("pipeline", lambda: Supervisor(steps, strategy="rest_for_one", intensity=3), type="supervisor"),
        ]
    )


async def main() -> None:
    shelf: dict[int, Answered] = {}
    full = anyio.Event()
    Sort.crashes = 0

    def crashed(event: Event) -> None:
        reason = event.data["reason"]
        if event.data["child"] == "sort" and isinstance(reason, Crash):
            print(f"   sort crashed: {reason.error!r}; it is started again, with write and archive")

    async with open_runtime() as rt:
        rt.events.subscribe(crashed, prefix="supervisor.child.terminated")
        await rt.start(root(shelf, full), name="root")
        print(tree(rt))
        desk = rt.ref("desk")
        for message in MESSAGES:
            await desk.call(Desk.submit, message)
        with anyio.fail_after(30):
            await full.wait()
        node = tree(rt).find("sort")
        assert node is not None
        print(f"   sort is at incarnation {node.incarnation}, desk at {tree(rt).find('desk').incarnation}")  # type: ignore[union-attr]
    print(f"{len(shelf)} of {len(MESSAGES)} messages answered; left behind: {rt.statistics()['processes']} processes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
