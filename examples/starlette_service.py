"""A web service with a supervision tree inside: one counter for each room, kept by actors that may crash.

    uvicorn --app-dir examples starlette_service:app
    curl -X POST localhost:8000/rooms/kitchen/visits           {"room": "kitchen", "visits": 1}
    curl -X POST localhost:8000/rooms/kitchen/crash            502: the partition crashed, and is started again
    curl localhost:8000/health                                 the tree, and how often something was restarted

The runtime opens and closes with the application's lifespan. Rooms are spread over four partitions by their name.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypedDict

from dspex.runtime import Actor, ActorExit, CallTimeout, Refuse, Runtime, UnknownProcess, log_events, open_runtime
from dspex.supervisors import Child, PartitionRef, PartitionSupervisor, Supervisor, partition, tree
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class Full(Refuse):
    """No more visits to that room: the visitor's error, not the actor's."""


class Rooms(Actor):
    """The visits to some of the rooms."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.visits: dict[str, int] = {}

    def visit(self, room: str) -> int:
        """Count one more. Refuses with Full at the third."""
        if self.visits.get(room, 0) >= 3:
            raise Full(None, room)
        self.visits[room] = self.visits.get(room, 0) + 1
        return self.visits[room]

    def crash(self) -> None:
        """What a bug would do."""
        raise RuntimeError("as asked")


def supervision_tree() -> Supervisor:
    """Everything that lives as long as the service."""
    return Supervisor(
        [
            Child(
                "rooms",
                lambda: PartitionSupervisor(
                    Rooms, partitions=4, with_arguments=lambda n: (n,), intensity=10, period=60, name="rooms"
                ),
                type="supervisor",
            ),
        ]
    )


class State(TypedDict):
    """What every request finds in ``request.state``."""

    rt: Runtime


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[State]:
    async with open_runtime() as rt:
        log_events(rt.events)
        await rt.start(supervision_tree(), name="root")
        yield {"rt": rt}


def rooms(request: Request) -> PartitionRef[Rooms]:
    """Whoever counts the room of this request; it has two seconds."""
    rt: Runtime = request.state.rt
    return partition(rt.ref("rooms"), request.path_params["room"]).within(2)


async def visit(request: Request) -> Response:
    room = request.path_params["room"]
    return JSONResponse({"room": room, "visits": await rooms(request).call(Rooms.visit, room)})


async def crash(request: Request) -> Response:
    await rooms(request).call(Rooms.crash)
    raise AssertionError("it answered")


async def health(request: Request) -> Response:
    rt: Runtime = request.state.rt
    statistics = await rt.ref("rooms").call(PartitionSupervisor.statistics)
    return PlainTextResponse(f"{tree(rt)}\nrestarts {statistics.restarts}\n")


def answer(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What the outside sees of an error inside: its class, not its text."""

    async def handler(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": type(error).__name__}, status_code=status)

    return handler


app = Starlette(
    routes=[
        Route("/rooms/{room}/visits", visit, methods=["POST"]),
        Route("/rooms/{room}/crash", crash, methods=["POST"]),
        Route("/health", health),
    ],
    exception_handlers={
        Full: answer(409),
        ActorExit: answer(502),
        UnknownProcess: answer(503),
        CallTimeout: answer(504),
    },
    lifespan=lifespan,
)
