"""Other actor libraries, as contenders in ``actors.py``; each is imported only if it is there.

Each does what its documentation shows for the job, at its defaults, with logging off.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from actor_contenders import Contender, CrashAndAnswer, Gathering, Subject

INSTALL = {"pykka": "pykka", "xoscar": "xoscar", "casty": "casty", "tapio": "tapio-py"}
"""Module to the name on PyPI."""


def missing() -> list[str]:
    """What to install, by name."""
    return [package for module, package in INSTALL.items() if find_spec(module) is None]


def peers() -> list[Contender]:
    """Those that are installed."""
    logging.disable(logging.CRITICAL)
    found = {
        "pykka": Contender("pykka (threads)", "asyncio", open_pykka, on_loop=False, most=1_000),
        "xoscar": Contender("xoscar", "asyncio", open_xoscar),
        "casty": Contender("casty (Rust)", "asyncio", open_casty, casty_crashing),
        "tapio": Contender("tapio-py", "asyncio", open_tapio, tapio_crashing),
    }
    return [contender for module, contender in found.items() if find_spec(module) is not None]


# --- pykka: a thread an actor -----------------------------------------------------------------------------------------


@asynccontextmanager
async def open_pykka() -> AsyncGenerator[Any]:
    import pykka

    class Counter(pykka.ThreadingActor):
        def __init__(self) -> None:
            super().__init__()
            self.value = 0

        def on_receive(self, message: int) -> int:
            self.value += message
            return self.value

    class One(Subject):
        def __init__(self) -> None:
            self.ref = Counter.start()

        def cast(self, n: int) -> None:
            self.ref.tell(n)

        async def call(self, n: int) -> int:
            return self.ref.ask(n)

        async def stop(self) -> None:
            self.ref.stop()

    class Place:
        async def make(self) -> One:
            return One()

        async def ask_all(self, subjects: Sequence[One]) -> None:
            pykka.get_all([subject.ref.ask(1, block=False) for subject in subjects])

    yield Place()


# --- xoscar: the handler runs in the caller's task --------------------------------------------------------------------


@asynccontextmanager
async def open_xoscar() -> AsyncGenerator[Any]:
    import xoscar

    class Counter(xoscar.Actor):
        def __init__(self) -> None:
            self.value = 0

        async def add(self, n: int) -> int:
            self.value += n
            return self.value

    class One(Subject):
        def __init__(self, ref: Any) -> None:
            self.ref = ref

        async def casts(self, count: int) -> None:
            for _ in range(count):
                await self.ref.add.tell(1)

        async def call(self, n: int) -> int:
            return await self.ref.add(n)

        async def stop(self) -> None:
            await self.ref.destroy()

    numbers = itertools.count()

    class Place(Gathering):
        async def make(self) -> One:
            uid = f"counter-{next(numbers)}"
            await xoscar.create_actor(Counter, address=pool.external_address, uid=uid)
            # Asked for again, it is a reference that knows that the actor lives in this process, and is ten times as fast.
            return One(await xoscar.actor_ref(pool.external_address, uid))

    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
    async with pool:
        yield Place()


# --- casty ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_casty() -> AsyncGenerator[Any]:
    from casty import ActorSystem

    kind = _casty_actor()
    messages = _casty_messages()
    numbers = itertools.count()

    class One(Subject):
        def __init__(self, ref: Any) -> None:
            self.ref = ref
            self.one = messages[0](1)

        def cast(self, n: int) -> None:
            self.ref.tell(self.one)

        async def call(self, n: int) -> int:
            return await self.ref.ask(messages[1](n))

        async def stop(self) -> None:
            await self.ref.ask(messages[2]())

    class Place(Gathering):
        async def make(self) -> One:
            one = One(system.ref(kind, f"k{next(numbers)}"))
            await one.call(0)  # it is started by its first message
            return one

    async with ActorSystem() as system:
        yield Place()


@asynccontextmanager
async def casty_crashing(_: int) -> AsyncGenerator[CrashAndAnswer]:
    from casty import ActorFailed

    async with open_casty() as place:
        one = await place.make()

        async def crash_and_answer() -> None:
            with suppress(ActorFailed):
                await one.call(-1)
            await one.call(1)

        yield crash_and_answer


def _casty_messages() -> tuple[Any, Any, Any]:
    if not _CASTY:
        _make_casty()
    return _CASTY["Tell"], _CASTY["Ask"], _CASTY["End"]


def _casty_actor() -> Any:
    if not _CASTY:
        _make_casty()
    return _CASTY["counter"]


_CASTY: dict[str, Any] = {}
"""Its types are looked up in the module that defines them, so they are made once."""


def _make_casty() -> None:
    from casty import Askable, Backoff, Context, actor

    @dataclass(frozen=True)
    class Tell:
        n: int

    @dataclass(frozen=True)
    class Ask(Askable[int]):
        n: int

    @dataclass(frozen=True)
    class End(Askable[int]):
        pass

    async def counter(ctx) -> None:  # type: ignore[no-untyped-def]
        value = 0
        async for message in ctx.inbox:
            if isinstance(message, Tell):
                value += message.n
            elif isinstance(message, Ask):
                if message.n < 0:
                    raise RuntimeError("crash")
                value += message.n
                message.reply_to.tell(value)
            else:
                message.reply_to.tell(value)
                return

    counter.__annotations__["ctx"] = Context[int, Tell | Ask | End]
    tick = timedelta(milliseconds=1)
    made = actor(initial=0, backoff=Backoff(first=tick, limit=tick))(counter)
    _CASTY.update(Tell=Tell, Ask=Ask, End=End, counter=made)


# --- tapio-py ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_tapio() -> AsyncGenerator[Any]:
    async with _tapio(None) as place:
        yield place


@asynccontextmanager
async def tapio_crashing(times: int) -> AsyncGenerator[CrashAndAnswer]:
    from tapio import AskTargetTerminated, AskTimeoutError, SupervisorStrategy

    async with _tapio(SupervisorStrategy.restart(max_restarts=times + 1, window=timedelta(hours=1))) as place:
        one = await place.make()

        async def crash_and_answer() -> None:
            one.cast(-1)
            with suppress(AskTargetTerminated, AskTimeoutError):
                await one.call(1)

        yield crash_and_answer


@asynccontextmanager
async def _tapio(strategy: Any) -> AsyncGenerator[Any]:
    from tapio import ActorRef, ActorSystem, Behaviors, Message

    class Answer(Message):
        value: int

    class Add(Message):
        n: int
        reply_to: ActorRef[Answer] | None = None
        last: bool = False

    def counter() -> Any:
        value = 0

        async def on_add(message: Add) -> Any:
            nonlocal value
            if message.n < 0:
                raise RuntimeError("crash")
            value += message.n
            if message.reply_to is not None:
                message.reply_to.tell(Answer(value=value))
            return Behaviors.stopped() if message.last else Behaviors.same()

        behavior = Behaviors.receive_message(on_add)
        return behavior if strategy is None else Behaviors.supervise(behavior).on_failure(strategy)

    class One(Subject):
        def __init__(self, ref: Any) -> None:
            self.ref = ref

        def cast(self, n: int) -> None:
            self.ref.tell(Add(n=n))

        async def call(self, n: int, *, last: bool = False) -> int:
            # Its default of 5 s is for a system at rest; a backlog takes it longer.
            minute = timedelta(minutes=1)
            answer = await self.ref.ask(lambda to: Add(n=n, reply_to=to, last=last), expect=Answer, timeout=minute)
            return answer.value

        async def stop(self) -> None:
            await self.call(0, last=True)

    numbers = itertools.count()

    class Place(Gathering):
        async def make(self) -> One:
            one = One(system.spawn(counter(), name=f"counter-{next(numbers)}"))
            await one.call(0)  # spawn does not wait
            return one

    async with ActorSystem(f"benchmark-{time.monotonic_ns()}") as system:
        yield Place()
        await asyncio.sleep(0)
