"""What the tests of supervisors are made of: a worker that writes down its life, and a supervisor over several."""

from __future__ import annotations

from typing import Any

from dspex.runtime import Actor, Ignore, Ref, Runtime
from dspex.runtime.testing import all_tasks_blocked
from dspex.supervisors import Child, Supervisor


class Worker(Actor):
    """Trapping exits, so that an orderly stop is written down too."""

    trap_exit = True

    def __init__(self, book: Book, name: str) -> None:
        self.book = book
        self.name = name

    async def init(self) -> None:
        self.book.starts[self.name] = self.book.starts.get(self.name, 0) + 1
        await self.rt.sleep(self.book.preparations.get(self.name, 0.0))
        plan = self.book.plans.get(self.name, [])
        if plan:
            failure = plan.pop(0)
            if isinstance(failure, Exception):
                if not isinstance(failure, Ignore):
                    self.book.log.append(f"!{self.name}")
                raise failure
        self.book.log.append(f"+{self.name}")

    async def terminate(self, reason: object) -> None:
        await self.rt.sleep(self.book.farewells.get(self.name, 0.0))
        self.book.log.append(f"-{self.name}")

    def leave(self, reason: object) -> None:
        self.stop(reason)

    def crash(self, error: Exception) -> None:
        raise error

    def detach(self) -> None:
        parent = self.ref.process.parent
        assert parent is not None
        self.unlink(parent.address)


class Book:
    """One log for all workers, and what is to go wrong."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.starts: dict[str, int] = {}
        self.plans: dict[str, list[Exception | None]] = {}
        """For each start of a worker: what its init raises."""
        self.preparations: dict[str, float] = {}
        """Seconds a worker takes to start."""
        self.farewells: dict[str, float] = {}
        """Seconds a worker takes to terminate."""

    def child(self, name: str, **options: Any) -> Child:
        return Child(name, lambda: Worker(self, name), name=name, **options)

    def children(self, names: str = "abc", **options: Any) -> list[Child]:
        return [self.child(name, **options) for name in names]

    def take(self) -> str:
        """What happened since it was asked last."""
        log, self.log = self.log, []
        return " ".join(log)


async def crash(rt: Runtime, name: str, error: Exception | None = None) -> None:
    """Let a worker crash and wait until nothing more happens."""
    rt.ref(name).cast(Worker.crash, error or ValueError("boom"))
    await all_tasks_blocked()


async def leave(rt: Runtime, name: str, reason: object) -> None:
    """Let a worker stop by itself and wait until nothing more happens."""
    rt.ref(name).cast(Worker.leave, reason)
    await all_tasks_blocked()


async def supervise(rt: Runtime, children: list[Child], **options: Any) -> Ref[Supervisor]:
    """Start a supervisor that does not fail the block when it gives up."""

    class Contained(Supervisor):
        escalates = False

    return await rt.start(Contained(children, **{"intensity": 100, **options}), name="sup")
