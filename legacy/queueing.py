"""Where requests wait: one bounded queue, first come first served, and what happens when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .policies import Overflow
from .requests import Request

__all__ = ["RequestQueue"]


class RequestQueue:
    """`limit` requests wait in it. With "wait" more wait behind it, bounded by their callers' deadlines only.

    Finding a request by its number, adding and removing cost the same however many wait.
    """

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self._limit = limit
        self._overflow = overflow
        self._waiting: OrderedDict[int, Request] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._waiting.values()))

    def is_full(self) -> bool:
        return len(self._waiting) >= self._limit

    @property
    def refuses(self) -> bool:
        """True: one more is to be refused now."""
        return self._overflow == "reject" and self.is_full()

    def shed(self) -> Request | None:
        """The request that has to go, if one more comes in now."""
        if self._overflow != "shed_oldest" or not self.is_full():
            return None
        return self._waiting.popitem(last=False)[1]

    def add(self, request: Request, *, first: bool = False) -> None:
        """`first`: it has waited already."""
        self._waiting[request.number] = request
        if first:
            self._waiting.move_to_end(request.number, last=False)

    def first(self) -> Request | None:
        """The one that has waited longest."""
        return next(iter(self._waiting.values()), None)

    def remove(self, request: Request) -> bool:
        return self._waiting.pop(request.number, None) is not None

    def oldest_since(self) -> float | None:
        """When the one that has waited longest was accepted."""
        first = self.first()
        return None if first is None else first.since
