"""Arms that a test scripts: what an engine says, by the request."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from dspex.engine import Prediction
from dspex.router import (
    Answer,
    Arm,
    FlagStore,
    Request,
    RollbackPolicy,
    Route,
    RoutedProgram,
    Router,
    ShadowOptions,
    router_children,
)
from dspex.runtime import NamedRef, Runtime, open_runtime
from dspex.supervisors import Child, Supervisor

Behaviour = Callable[[Request], Awaitable[Mapping[str, object]]]

PROGRAMS = [
    RoutedProgram("qa", native="qa", legacy="pool"),
    RoutedProgram("native-only", native="qa"),
    RoutedProgram("legacy-only", legacy="pool"),
]


class ScriptedNative(Arm):
    engine = "native"

    def __init__(self, behaviour: Behaviour, observer: str | None) -> None:
        super().__init__(observer=observer)
        self.behaviour = behaviour

    async def answer(self, request: Request) -> Answer:
        values = await self.behaviour(request)
        route = Route(self.engine, request.reason, request.failed, self.rt.now() - request.since)
        return Answer(Prediction(**values), route)


class ScriptedLegacy(ScriptedNative):
    engine = "legacy"


async def says_four(request: Request) -> Mapping[str, object]:
    return {"answer": "4", "score": 0.5}


@asynccontextmanager
async def scripted(
    flags: FlagStore,
    *,
    native: Behaviour = says_four,
    legacy: Behaviour = says_four,
    shadow: ShadowOptions | None = None,
    journal: Path | None = None,
    rollback: RollbackPolicy | None = None,
) -> AsyncIterator[tuple[Runtime, NamedRef[Router]]]:
    """The router's own children, with the two arms replaced."""
    children = router_children(PROGRAMS, flags, shadow=shadow, journal=journal, rollback=rollback)
    arms = {"native": (ScriptedNative, native), "legacy-arm": (ScriptedLegacy, legacy)}

    def replaced(child: Child) -> Child:
        if child.id not in arms:
            return child
        kind, behaviour = arms[child.id]
        return Child(child.id, lambda: kind(behaviour, "ledger"), name=child.name)

    async with open_runtime() as rt:
        await rt.start(Supervisor([replaced(child) for child in children]))
        yield rt, rt.ref("router")

