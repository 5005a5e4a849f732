"""`Cache`: answers in memory, and behind it on disk.

    cache = Cache(enable_disk_cache=True, enable_memory_cache=True, disk_cache_dir="/var/cache/mine")
    cache.put({"model": "m", "prompt": "Hi"}, "Hello")
    cache.get({"model": "m", "prompt": "Hi"})          # "Hello"

Names and parameters are those of dspy 3.4; on disk there is JSON in one SQLite file instead of pickles in many. For a
cache of your own, subclass it and override `cache_key`, or `get` and `put`; the engine honours both.
"""

from __future__ import annotations

import copy as copying
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from ..logs import engine_logger
from .disk import DiskStatistics, DiskStore
from .keys import request_key
from .values import UnknownTypeError, ValueCodec

__all__ = ["Cache", "CacheStatistics", "MemoryCache"]

logger = engine_logger("dspex.engine.caching", dspy="dspy.clients.cache")

_ATOMIC = (str, bytes, int, float, bool, type(None))
_ATOMIC_KINDS = frozenset(_ATOMIC)
# Deeper than answers are; what holds itself must not be followed for ever.
_PLAIN_DEPTH = 8


class MemoryCache(OrderedDict[str, Any]):
    """The newest `maxsize` entries by use: reading one by `used` keeps it, the one unused for longest goes first."""

    def __init__(self, maxsize: float) -> None:
        super().__init__()
        self.maxsize = maxsize

    def used(self, key: str) -> Any:
        """The value, which is then the last to go; None when there is none."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().move_to_end(key)
        while len(self) > self.maxsize:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the cache was made."""

    memory_entries: int
    memory_hits: int
    misses: int
    puts: int
    disk: DiskStatistics | None
    """None when the disk level is off."""


class Cache:
    """Two levels of memory for answers. Safe to use from any thread, task and event loop.

    No method fails a call because of the cache: a request that has no key is not cached, a value that cannot be
    written as JSON is kept in memory only, and a disk that refuses is done without (see `disk`).
    """

    def __init__(
        self,
        enable_disk_cache: bool,
        enable_memory_cache: bool,
        disk_cache_dir: str | os.PathLike[str] | None,
        disk_size_limit_bytes: int | None = 1024 * 1024 * 10,
        memory_max_entries: float = 1_000_000,
        restrict_pickle: bool = False,
        safe_types: Sequence[type[Any]] | None = None,
    ) -> None:
        """Describe the cache; the file is opened at the first use.

        Args:
            disk_cache_dir: directory of the cache file, made when missing.
            disk_size_limit_bytes: bytes of answers kept on disk, oldest dropped first; None keeps all.
            memory_max_entries: entries kept in memory, least recently used dropped first; `math.inf` keeps all.
            restrict_pickle: accepted and without effect: nothing is ever pickled.
            safe_types: dataclasses and pydantic models that may be read back from disk although this process has not
                cached one yet (see `values`).

        Raises:
            ValueError: `memory_max_entries` is None or not positive.
            TypeError: an entry of `safe_types` is not a type.
        """
        self.enable_disk_cache = bool(enable_disk_cache)
        self.enable_memory_cache = bool(enable_memory_cache)
        self.disk_cache_dir = os.fspath(disk_cache_dir) if disk_cache_dir is not None else None
        if self.enable_memory_cache:
            if memory_max_entries is None:  # pyright: ignore[reportUnnecessaryComparison]  # users pass it
                raise ValueError("`memory_max_entries` cannot be None. Use `math.inf` if you need an unbounded cache.")
            if memory_max_entries <= 0:
                raise ValueError(f"`memory_max_entries` must be a positive number, but received {memory_max_entries}")
        for kind in safe_types or ():
            if not isinstance(kind, type):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"safe_types entries must be types, got {kind!r}")
        self.memory_cache = MemoryCache(memory_max_entries if self.enable_memory_cache else math.inf)
        self._codec = ValueCodec(safe_types or ())
        self.disk_cache: _DiskLevel | dict[str, Any] = {}
        self._store: DiskStore | None = None
        if self.enable_disk_cache:
            self._store = DiskStore(self.disk_cache_dir, size_limit=disk_size_limit_bytes)
            self.disk_cache = _DiskLevel(self._store, self._codec)
        self._lock = threading.RLock()
        self._unwritten: list[tuple[str, str]] = []
        self._memory_hits = 0
        self._misses = 0
        self._puts = 0

    def __contains__(self, key: str) -> bool:
        return key in self.memory_cache or key in self.disk_cache

    def cache_key(self, request: Mapping[str, Any], ignored_args_for_cache_key: Collection[str] | None = None) -> str:
        """The key of a request, the ignored names left out. Equal for equal requests, in every process."""
        return request_key(request, ignored_args_for_cache_key or ())

    def get(self, request: Mapping[str, Any], ignored_args_for_cache_key: Collection[str] | None = None) -> Any:
        """What was put for this request, as a copy; None when there is nothing.

        A value with a `usage` comes back with an empty one and `cache_hit=True`: no tokens were spent.
        """
        key = self._key(request, ignored_args_for_cache_key)
        if key is None:
            return None
        found = self._in_memory(key)
        if found is None:
            found = self._on_disk(key)
            if found is None:
                return None
        return _as_hit(found)

    async def aget(
        self, request: Mapping[str, Any], ignored_args_for_cache_key: Collection[str] | None = None
    ) -> Any:
        """As `get`, the disk read in a worker thread. A subclass's `get` is honoured."""
        if type(self).get is not Cache.get:
            return await _blocking(self.get, request, ignored_args_for_cache_key)
        key = self._key(request, ignored_args_for_cache_key)
        if key is None:
            return None
        found = self._in_memory(key)
        if found is None:
            if self._store is not None:
                found = await _blocking(self._on_disk, key)
            else:
                self._misses += 1
            if found is None:
                return None
        return _as_hit(found)

    def put(
        self,
        request: Mapping[str, Any],
        value: Any,
        ignored_args_for_cache_key: Collection[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """Keep `value` for this request; with `enable_memory_cache=False`, on disk only."""
        prepared = self._prepared(request, value, ignored_args_for_cache_key, enable_memory_cache)
        if prepared is not None and self._store is not None:
            self._store.put([prepared])

    async def aput(
        self,
        request: Mapping[str, Any],
        value: Any,
        ignored_args_for_cache_key: Collection[str] | None = None,
        enable_memory_cache: bool = True,
    ) -> None:
        """As `put`, the disk write in a worker thread, together with those of other calls that wait. Returns when it
        is written. A subclass's `put` is honoured. Cancelled, the value is in memory and may or may not be on disk.
        """
        if type(self).put is not Cache.put:
            await _blocking(self.put, request, value, ignored_args_for_cache_key, enable_memory_cache)
            return
        prepared = self._prepared(request, value, ignored_args_for_cache_key, enable_memory_cache)
        if prepared is not None:
            with self._lock:
                self._unwritten.append(prepared)
            await _blocking(self._write_what_waits)

    def reset_memory_cache(self) -> None:
        """Forget what is in memory; the disk keeps its part."""
        with self._lock:
            self.memory_cache.clear()

    def save_memory_cache(self, filepath: str | os.PathLike[str]) -> None:
        """Write what is in memory to a JSON file, one entry a line; what JSON cannot hold is left out and logged."""
        if not self.enable_memory_cache:
            return
        with self._lock:
            entries = list(self.memory_cache.items())
        with open(filepath, "w", encoding="utf-8") as file:
            for key, value in entries:
                text = self._text(value)
                if text is not None:
                    file.write(f"{key} {text}\n")

    def load_memory_cache(self, filepath: str | os.PathLike[str], allow_pickle: bool = False) -> None:
        """Replace what is in memory by what `save_memory_cache` wrote.

        Args:
            allow_pickle: must be True, as in dspy: whoever wrote the file decides what the models seem to answer. No
                pickle is ever read.

        Raises:
            ValueError: `allow_pickle` is not True, or the file was not written by `save_memory_cache`.
        """
        if not allow_pickle:
            raise ValueError(
                "A cache file decides what your models seem to answer. Set `allow_pickle=True` to load it if you trust "
                "its source. (It is JSON: nothing is unpickled.)"
            )
        if not self.enable_memory_cache:
            return
        loaded = MemoryCache(self.memory_cache.maxsize)
        try:
            with open(filepath, encoding="utf-8") as file:
                for line in file:
                    key, _, text = line.rstrip("\n").partition(" ")
                    try:
                        loaded[key] = self._codec.decode(text)
                    except UnknownTypeError as error:
                        logger.debug("Skipped a cache entry: %s", error)
        except (UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"{os.fspath(filepath)!r} is not a file that save_memory_cache wrote: {error}") from error
        with self._lock:
            self.memory_cache = loaded

    def close(self) -> None:
        """Close the cache file. The next use opens it again."""
        if self._store is not None:
            self._store.close()

    def statistics(self) -> CacheStatistics:
        """Counts since the cache was made."""
        return CacheStatistics(
            memory_entries=len(self.memory_cache),
            memory_hits=self._memory_hits,
            misses=self._misses,
            puts=self._puts,
            disk=self._store.statistics() if self._store is not None else None,
        )

    def _key(self, request: Mapping[str, Any], ignored: Collection[str] | None) -> str | None:
        if not self.enable_memory_cache and not self.enable_disk_cache:
            return None
        try:
            return self.cache_key(request, cast("Any", ignored))
        except Exception as error:
            # Not the request itself: it is a prompt.
            logger.debug("No cache key for a request: %s: %s", type(error).__name__, error)
            return None

    def _in_memory(self, key: str) -> Any:
        if not self.enable_memory_cache:
            return None
        with self._lock:
            found = self.memory_cache.used(key)
        if found is not None:
            self._memory_hits += 1
        return found

    def _on_disk(self, key: str) -> Any:
        text = self._store.get(key) if self._store is not None else None
        if text is None:
            self._misses += 1
            return None
        try:
            value = self._codec.decode(text)
        except UnknownTypeError as error:
            logger.debug("Not read from the disk cache: %s", error)
            return None
        except (ValueError, KeyError, TypeError) as error:
            logger.debug("Dropped an unreadable entry of the disk cache: %s", error)
            if self._store is not None:
                self._store.delete(key)
            return None
        if self.enable_memory_cache:
            with self._lock:
                self.memory_cache[key] = value
        return value

    def _prepared(
        self, request: Mapping[str, Any], value: Any, ignored: Collection[str] | None, enable_memory_cache: bool
    ) -> tuple[str, str] | None:
        """Puts the value into memory; returns what is to be written to disk, if anything."""
        in_memory = self.enable_memory_cache and enable_memory_cache
        if not in_memory and not self.enable_disk_cache:
            return None
        key = self._key(request, ignored)
        if key is None:
            return None
        self._puts += 1
        if in_memory:
            with self._lock:
                self.memory_cache[key] = value
        if not self.enable_disk_cache:
            return None
        text = self._text(value)
        return None if text is None else (key, text)

    def _text(self, value: object) -> str | None:
        try:
            return self._codec.encode(value)
        except (TypeError, ValueError, RecursionError) as error:
            logger.debug("Kept in memory only: %s", error)
            return None

    def _write_what_waits(self) -> None:
        with self._lock:
            waiting, self._unwritten = self._unwritten, []
        if waiting and self._store is not None:
            self._store.put(waiting)


class _DiskLevel:
    """The disk level as a mapping of values, for those who look into it."""

    def __init__(self, store: DiskStore, codec: ValueCodec) -> None:
        self._store = store
        self._codec = codec

    def __contains__(self, key: str) -> bool:
        return key in self._store

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, key: str) -> Any:
        text = self._store.get(key)
        if text is None:
            raise KeyError(key)
        return self._codec.decode(text)

    def __setitem__(self, key: str, value: Any) -> None:
        self._store.put([(key, self._codec.encode(value))])

    def __delitem__(self, key: str) -> None:
        self._store.delete(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self._store else default

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        del self[key]

    def clear(self) -> None:
        self._store.clear()


def _as_hit(value: Any) -> Any:
    if isinstance(value, _ATOMIC):
        return value
    value = _copied(value)
    if hasattr(value, "usage"):
        # Past a strict model's own __setattr__, which may refuse an attribute it does not know.
        object.__setattr__(value, "usage", {})
        object.__setattr__(value, "cache_hit", True)
    return value


def _copied(value: Any, depth: int = 0) -> Any:
    """A deep copy. Plain dicts and lists, which answers are made of, take a quarter of the time that `deepcopy` takes."""
    kind = cast("type[object]", type(value))
    if kind in _ATOMIC_KINDS:
        return value
    if depth < _PLAIN_DEPTH:
        if kind is dict:
            return {key: _copied(each, depth + 1) for key, each in value.items()}
        if kind is list:
            return [_copied(each, depth + 1) for each in value]
    return copying.deepcopy(value)


# SQLite is used by one thread at a time anyway: more workers would only queue at its lock.
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("dspex cache thread")


async def _blocking(function: Any, *args: Any) -> Any:
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(1)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(partial(function, *args), limiter=limiter)
