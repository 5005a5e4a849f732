"""How a state machine's class says what its messages are, and which method handles the events of which states.

@event
def push(self, code: str) -> bool: ...

@in_state("locked", "jammed")
def shut(self, event: StateEvent) -> Transition[str] | None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, final

from .transitions import StateEvent


class Machine(Protocol):
    """Where declared messages arrive."""

    async def __deliver__(self, method: Callable[..., object], args: tuple[Any, ...]) -> None: ...
    def __turn_down__(self, method: Callable[..., object], error: TypeError) -> None: ...


M = TypeVar("M", bound=Machine)
P = ParamSpec("P")
R = TypeVar("R")


def event(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Declare a message that is handled by state. The method gives its name, arguments and reply; its body never runs."""
    parameters = inspect.signature(method)
    plain = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters.parameters.values())
    count = len(parameters.parameters) - 1

    @functools.wraps(method)
    async def deliver(self: Machine, /, *args: Any, **kwargs: Any) -> None:
        if kwargs or not plain or len(args) != count:
            try:
                bound = parameters.bind(self, *args, **kwargs)
            except TypeError as error:
                self.__turn_down__(method, error)
                return
            bound.apply_defaults()
            args = bound.args[1:] + tuple(bound.kwargs.values())
        await self.__deliver__(deliver, args)

    return cast(Callable[Concatenate[M, P], R], deliver)


@final
class StateHandler:
    """A method that handles the events of some states. It is no message: nobody outside can call it."""

    __slots__ = ("function", "states")

    def __init__(self, function: Callable[[Any, StateEvent], object], states: tuple[Hashable, ...]) -> None:
        self.function = function
        self.states = states


def in_state(*states: Hashable) -> Callable[[Callable[[Any, Any], object]], StateHandler]:
    """The method handles what happens in these states: ``def m(self, event) -> Transition | None``, plain or async."""
    if not states:
        raise TypeError("in_state needs a state: write @in_state('locked')")
    return lambda function: StateHandler(function, states)


def handlers_of(cls: type) -> dict[Hashable, Callable[[Any, StateEvent], object]]:
    """By state. A method that is overridden counts as its override; raises TypeError if two handle the same state."""
    named: dict[str, StateHandler] = {}
    for base in reversed(cls.__mro__):
        members: Mapping[str, object] = vars(base)
        for name, member in members.items():
            named.pop(name, None)
            if isinstance(member, StateHandler):
                named[name] = member
    handlers: dict[Hashable, Callable[[Any, StateEvent], object]] = {}
    for handler in named.values():
        for state in handler.states:
            if state in handlers:
                raise TypeError(f"{cls.__name__} has two handlers for state {state!r}")
            handlers[state] = handler.function
    return handlers
