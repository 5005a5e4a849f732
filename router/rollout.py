"""Percentage rollout: a key always lands on the same side, and raising the percentage moves keys one way only.

The place of a key is a hash of program and key, so two programs do not move the same people first. It is the same in
every process and release: a stable function of text, never Python's ``hash``.
"""

from __future__ import annotations

import hashlib
from typing import Final

_PLACES: Final = 1_000_000


def place(program: str, key: str) -> float:
    """Where the key stands, from 0 (inclusive) to 100 (exclusive)."""
    digest = hashlib.blake2b(f"{program}\x00{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _PLACES * 100 / _PLACES


def is_native(program: str, key: str, percent: float) -> bool:
    """True for ``percent`` of the keys; 0 is nobody and 100 everybody, exactly."""
    return place(program, key) < percent
