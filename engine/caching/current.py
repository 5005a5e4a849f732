"""The cache in use: built when it is first needed, replaced by `configure_cache` or by `engine.cache = ...`.

Where the file is: `$DSPY_CACHEDIR`, or `~/.dspy_cache`, as in dspy (whose own files there are left alone). How large it
may grow: `$DSPY_CACHE_LIMIT` bytes, default 3e10.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cache import Cache

__all__ = ["configure_cache", "current_cache", "default_cache_dir", "set_current_cache"]

_current: Cache | None = None
_lock = threading.Lock()


def default_cache_dir() -> str:
    """The directory used when none is given. Never raises: without a home it is `.dspy_cache` here."""
    explicit = os.environ.get("DSPY_CACHEDIR")
    if explicit:
        return explicit
    try:
        return os.path.join(Path.home(), ".dspy_cache")
    except RuntimeError:
        return ".dspy_cache"


def default_size_limit() -> int:
    """Bytes of answers kept on disk when no limit is given."""
    return int(float(os.environ.get("DSPY_CACHE_LIMIT", 3e10)))


def current_cache() -> Cache:
    """The cache in use; the default one is made now if there is none."""
    global _current
    found = _current
    if found is None:
        with _lock:
            found = _current
            if found is None:
                found = _current = Cache(
                    enable_disk_cache=True,
                    enable_memory_cache=True,
                    disk_cache_dir=default_cache_dir(),
                    disk_size_limit_bytes=default_size_limit(),
                    memory_max_entries=1_000_000,
                )
    return found


def set_current_cache(cache: Any) -> None:
    """Use this cache from now on; None means the default one, made anew when needed."""
    global _current
    with _lock:
        _current = cache


def configure_cache(
    enable_disk_cache: bool | None = True,
    enable_memory_cache: bool | None = True,
    disk_cache_dir: str | os.PathLike[str] | None = None,
    disk_size_limit_bytes: int | None = None,
    memory_max_entries: float = 1_000_000,
    restrict_pickle: bool = False,
    safe_types: Sequence[type[Any]] | None = None,
) -> None:
    """Use a cache with these parameters from now on (see `Cache`). Both levels off means that nothing is cached.

    Args:
        disk_cache_dir: default `$DSPY_CACHEDIR` or `~/.dspy_cache`.
        disk_size_limit_bytes: default `$DSPY_CACHE_LIMIT` or 30 GB.
    """
    made = Cache(
        bool(enable_disk_cache),
        bool(enable_memory_cache),
        disk_cache_dir if disk_cache_dir is not None else default_cache_dir(),
        disk_size_limit_bytes if disk_size_limit_bytes is not None else default_size_limit(),
        memory_max_entries,
        restrict_pickle=restrict_pickle,
        safe_types=safe_types,
    )
    set_current_cache(made)
