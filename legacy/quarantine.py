"""Requests that kill workers, remembered by what they are: an equal one is refused before it kills another.

A request is its program and its inputs, as a hash: no payload is kept. Kills of unequal requests are never added up, and no
worker or reusable name is ever put in quarantine.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

from .errors import LegacyError
from .frames import encode_payload

__all__ = ["Quarantine", "fingerprint"]

_LIMIT = 10_000


def fingerprint(program: str, inputs: Mapping[str, object], limit: int) -> bytes | None:
    """16 bytes that equal requests share. None for inputs that have no form between processes: those are refused anyway."""
    try:
        return hashlib.blake2b(encode_payload({"p": program, "i": dict(inputs)}, limit=limit), digest_size=16).digest()
    except LegacyError:
        return None


class Quarantine:
    """Counts kills by fingerprint, for `seconds` after the last one. Bounded: the oldest is forgotten first."""

    def __init__(self, max_kills: int, seconds: float) -> None:
        self._max_kills = max_kills
        self._seconds = seconds
        self._kills: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kills)

    def killed(self, mark: bytes, now: float) -> int:
        """One more worker was killed under this request. Returns how many that makes."""
        kills = self.kills(mark, now) + 1
        self._kills[mark] = kills, now
        self._kills.move_to_end(mark)
        while len(self._kills) > _LIMIT:
            self._kills.popitem(last=False)
        return kills

    def survived(self, mark: bytes) -> None:
        """It has ended well: it was not the request that killed."""
        self._kills.pop(mark, None)

    def kills(self, mark: bytes, now: float) -> int:
        kills, when = self._kills.get(mark, (0, now))
        if now - when > self._seconds:
            self._kills.pop(mark, None)
            return 0
        return kills

    def refuses(self, mark: bytes, now: float) -> bool:
        return bool(self._kills) and self.kills(mark, now) >= self._max_kills
