"""Answers kept in memory and on disk: `Cache`, the one in use, `configure_cache` and `request_cache`."""

from .cache import Cache, CacheStatistics, MemoryCache
from .current import configure_cache, current_cache, default_cache_dir, set_current_cache
from .decorator import request_cache
from .disk import DiskStatistics, DiskStore
from .flight import SingleFlight

__all__ = [
    "Cache",
    "CacheStatistics",
    "DiskStatistics",
    "DiskStore",
    "MemoryCache",
    "SingleFlight",
    "configure_cache",
    "current_cache",
    "default_cache_dir",
    "request_cache",
    "set_current_cache",
]
