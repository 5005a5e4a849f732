"""`dspex.engine.cache`: the cache in use as an attribute of the engine's module, which loads the cache when it is touched."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .caching import Cache

__all__ = ["live_cache_attribute"]


class _WithCache(ModuleType):
    """A module whose attribute `cache` is the cache in use, for reading and for replacing."""

    def __reduce__(self) -> tuple[Any, ...]:
        # cloudpickle knows modules by their exact class only, and a pickled program refers to this one.
        return importlib.import_module, (self.__name__,)

    @property
    def cache(self) -> Cache:
        from .caching import current_cache

        return current_cache()

    @cache.setter
    def cache(self, value: Any) -> None:
        from .caching import set_current_cache

        set_current_cache(value)

    @cache.deleter
    def cache(self) -> None:
        from .caching import set_current_cache

        set_current_cache(None)


def live_cache_attribute(module_name: str) -> None:
    """Give the module the attribute `cache`: `engine.cache = MyCache(...)` then takes effect, as in dspy."""
    sys.modules[module_name].__class__ = _WithCache
