"""Crash an actor on purpose, at exactly the n-th message it handles.

    with inject_crash(rt, "worker", at=3) as injection:
        await rt.start(tree)
        ...
    assert injection.crashed == [3]

Messages of a name are counted over all its incarnations, calls, casts and plain messages alike, from 1; the continuations
and helper tasks of an actor are its own doing and do not count. The message at which it crashes is lost, as with any crash.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from types import CoroutineType, FunctionType
from typing import Any, Final, cast, final

from ..actor import Actor
from ..events import Event
from ..exits import NotAHandler, Refuse
from ..runtime import Runtime


@final
class InjectedCrash(Exception):
    """What an actor crashes with when a test makes it."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self.name = name
        self.number = number

    def __str__(self) -> str:
        return f"{self.name!r} was made to crash at its message {self.number}"


@final
class Injection:
    """What an injection has seen and done so far."""

    def __init__(self, name: str, at: Iterable[int], error: Callable[[int], Exception]) -> None:
        self.name = name
        self.at = frozenset(at)
        self.messages = 0
        """Messages of that name so far."""
        self.crashed: list[int] = []
        """At which of them it crashed."""
        self.active = True
        self._error = error

    def message(self) -> None:
        """The actor begins to handle one more. Raises what it is to crash with."""
        if not self.active:
            return
        self.messages += 1
        if self.messages in self.at:
            self.crashed.append(self.messages)
            raise self._error(self.messages)


@contextmanager
def inject_crash(
    rt: Runtime, name: str, *, at: int | Iterable[int], error: Callable[[int], Exception] | None = None
) -> Generator[Injection]:
    """Within the block, let the actor of this name crash at the given messages.

    It holds for incarnations that start within the block: open it before the tree starts. ``error`` makes the exception
    from the number of the message; InjectedCrash by default. Raises ValueError for a number below 1 or no name.
    """
    numbers = frozenset({at} if isinstance(at, int) else at)
    if not numbers or any(isinstance(n, bool) or n < 1 for n in numbers):
        raise ValueError(f"messages are counted from 1: at={at!r}")
    if not name:
        raise ValueError("an actor is found by its registered name, a non-empty str")
    injection = Injection(name, numbers, error or (lambda number: InjectedCrash(name, number)))

    def started(event: Event) -> None:
        process = rt.kernel.names.get(name)
        if process is not None and process.label == event.data["process"] and isinstance(process.host, Actor):
            process.host.__class__ = _counting(type(process.host), injection)

    unsubscribe = rt.events.subscribe(started, prefix="runtime.process.started")
    try:
        yield injection
    finally:
        injection.active = False
        unsubscribe()


_INSIDE: Final[ContextVar[bool]] = ContextVar("dspex_injected", default=False)
"""True in a handler: the methods it calls itself are no messages."""


def _counting(cls: type[Actor], injection: Injection) -> type[Actor]:
    """A subclass in every respect like the class, whose public methods count. Handlers are looked up in the actor's class,
    so this is where all messages come by, and nothing else has to know."""
    body: dict[str, Any] = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    for base in cls.__mro__:
        if base is Actor:
            break
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and not name.startswith("_") and name not in ("init", "terminate"):
                body.setdefault(name, _counted(value, injection))
    body.setdefault("handle_info", _counted(Actor.handle_info, injection))
    return type(cls.__name__, (cls,), body)


def _counted(function: Callable[..., Any], injection: Injection) -> Callable[..., Any]:
    @functools.wraps(function)
    def handler(*args: Any, **kwargs: Any) -> Any:
        if _INSIDE.get():
            return function(*args, **kwargs)
        injection.message()
        token = _INSIDE.set(True)
        try:
            value = function(*args, **kwargs)
        except TypeError as error:
            traceback = error.__traceback__
            if traceback is not None and traceback.tb_next is None:
                # The arguments do not fit, the handler was never entered: the sender's mistake, as without the injection.
                raise Refuse(NotAHandler(f"{function.__qualname__} cannot be called so: {error}")) from error
            raise
        finally:
            _INSIDE.reset(token)
        return _inside(cast("Coroutine[Any, Any, Any]", value)) if type(value) is CoroutineType else value

    return handler


async def _inside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    token = _INSIDE.set(True)
    try:
        return await coroutine
    finally:
        _INSIDE.reset(token)
