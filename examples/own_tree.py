"""A supervision tree of your own, with dspex as one child in it: `python examples/own_tree.py`.

A small shop. The shelf is an actor with state, the clerk is an actor that serves customers: it has a program find out what a
message wants (`app.call`), and asks the shelf. Programs, router and pool are one child among these, `app.child()`, and are
restarted, shown and stopped as the other two are.

Half way through, an operator kills the whole of dspex. The supervisor starts it again; the clerk's next question waits for
it; the shelf has not noticed.

It runs offline: the program answers from a script (`DummyLM`). Give the app an `lm`, and nothing else changes.
"""

from __future__ import annotations

import argparse

import anyio
from dspex.engine import DummyLM, Module, Predict
from dspex.router import Dspex, ProgramSpec
from dspex.runtime import Actor, Refuse, open_runtime
from dspex.supervisors import Child, Supervisor, tree

MESSAGES = {
    "One lamp, please.": "order",
    "Do you have lamps?": "question",
    "And another one.": "order",
    "A third, for my aunt.": "order",
}


class SoldOut(Refuse):
    """The customer's bad luck, not the shelf's crash."""


class Shelf(Actor):
    """What there is to sell."""

    def __init__(self, lamps: int) -> None:
        self.lamps = lamps

    def count(self) -> int:
        return self.lamps

    def take(self) -> int:
        """Take one; how many are left. Refuses with SoldOut."""
        if not self.lamps:
            raise SoldOut(None, "no lamps left")
        self.lamps -= 1
        return self.lamps


class Clerk(Actor):
    """Serves up to four customers at a time. The app is an object that knows its way to the tree, whoever is in it now."""

    concurrency = 4

    def __init__(self, app: Dspex) -> None:
        self.app = app

    async def serve(self, message: str) -> str:
        wanted = await self.app.call("wish", message=message, within=20)
        shelf = self.rt.ref("shelf").until(self.deadline)
        if wanted["wish"] == "question":
            return f"We have {await shelf.call(Shelf.count)}."
        try:
            return f"Here you are; {await shelf.call(Shelf.take)} left."
        except SoldOut:
            return "I am sorry, that was the last one."


def wish() -> Module:
    program = Predict("message -> wish")
    program.lm = DummyLM({message: {"wish": wish} for message, wish in MESSAGES.items()})
    return program


def root(app: Dspex) -> Supervisor:
    return Supervisor(
        [
            Child("shelf", lambda: Shelf(lamps=2), name="shelf"),
            app.child(),
            Child("clerk", lambda: Clerk(app), name="clerk"),
        ],
        # The names of a killed tree are free when its last process is gone: starting it again may take some tries.
        intensity=50,
    )


async def main() -> None:
    app = Dspex([ProgramSpec("wish", native=wish)])
    async with open_runtime() as rt:
        await rt.start(root(app), name="root")
        print(tree(rt))
        clerk = rt.ref("clerk").within(30)
        for number, message in enumerate(MESSAGES):
            if number == 2:
                victim = rt.whereis("dspex")
                assert victim is not None
                victim.kill()
                await victim.ended()
                print("   (dspex was killed)")
            print(f"   {message:25}{await clerk.call(Clerk.serve, message)}")
        served = app.counted().programs["wish"]["native"]
        print(f"{served.requests} questions to dspex; the shelf is at incarnation {tree(rt).find('shelf').incarnation}")  # type: ignore[union-attr]
    print(f"left behind: {rt.statistics()['processes']} processes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
