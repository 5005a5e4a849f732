"""The point where a model is really asked, and where a job stands by: it counts, it may stop, it may know the answer.

What reaches this point is a request that no cache has answered. `METER` holds the meter of the job that runs here, if any;
without one a request costs one look at a context variable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["METER", "Codec", "Meter", "metered"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """How answers of one kind are kept as text, and what they cost."""

    to_text: Callable[[T], str]
    """JSON. Raises ValueError or TypeError for an answer that holds what JSON does not."""
    from_text: Callable[[str], T]
    tokens: Callable[[T], int | None]
    """Of prompt and answer; None: the model did not say."""
    cost: Callable[[T], float | None]
    """US dollars; None: nobody knows."""


class Meter(Protocol):
    """What a job does with a request."""

    async def ask(
        self,
        request: Mapping[str, Any],
        make: Callable[[], Awaitable[T]],
        codec: Codec[T],
        *,
        one_answer: bool,
        requests: int,
    ) -> T:
        """The answer of `await make()`, or the one that is known.

        Args:
            request: what makes it differ from others; without credentials and addresses.
            one_answer: equal requests have one answer, wherever they are made (the LM caches). Else each has its own.
            requests: how many it takes, where each of several candidates is asked for by itself.

        Does not return when the job is to stop: it waits to be cancelled.
        """
        ...


METER: ContextVar[Meter | None] = ContextVar("dspex meter", default=None)


async def metered(
    request: Callable[[], Mapping[str, Any]],
    make: Callable[[], Awaitable[T]],
    codec: Codec[T],
    *,
    one_answer: bool,
    requests: int = 1,
) -> T:
    """`await make()`, under the eyes of the job that runs here. What it asks in turn (an LM that asks another) is not
    counted again."""
    meter = METER.get()
    if meter is None:
        return await make()

    async def alone() -> T:
        token = METER.set(None)
        try:
            return await make()
        finally:
            METER.reset(token)

    return await meter.ask(request(), alone, codec, one_answer=one_answer, requests=requests)
