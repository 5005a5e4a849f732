"""`request_cache`: the cache in use, around a function of yours.

    @request_cache()
    async def look_up(*, query, limit): ...

    @request_cache(cache_arg_name="request")
    def search(request): ...
"""

from __future__ import annotations

import copy as copying
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ..logs import engine_logger
from .current import current_cache

__all__ = ["request_cache"]

logger = engine_logger("dspex.engine.caching", dspy="dspy.clients.cache")

F = TypeVar("F", bound=Callable[..., Any])

_CREDENTIALS = ("api_key", "api_base", "base_url")


def request_cache(
    cache_arg_name: str | None = None,
    ignored_args_for_cache_key: Sequence[str] | None = None,
    enable_memory_cache: bool = True,
    *,
    maxsize: int | None = None,
) -> Callable[[F], F]:
    """Cache what a function, sync or async, returns.

    Args:
        cache_arg_name: the keyword argument that holds the request; default all arguments together.
        ignored_args_for_cache_key: arguments that make no difference; default api_key, api_base and base_url.
        enable_memory_cache: False keeps new results on disk only.
        maxsize: without effect, as in dspy; says so when given.

    A result of None is not cached. The function's own name is part of the key.
    """
    ignored = list(ignored_args_for_cache_key or _CREDENTIALS)
    if maxsize is not None:
        logger.warning(
            "[DEPRECATION] `maxsize` is deprecated and no longer does anything; the cache is now handled internally by "
            "`dspy.cache`. This parameter will be removed in a future release."
        )

    def decorate(fn: F) -> F:
        def request_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
            request: dict[str, Any]
            if cache_arg_name:
                request = copying.deepcopy(dict(kwargs[cache_arg_name]))
            else:
                request = copying.deepcopy(dict(kwargs))
                request.update({f"positional_arg_{index}": arg for index, arg in enumerate(args)})
            request["_fn_identifier"] = f"{fn.__module__}.{fn.__qualname__}"
            return request

        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                cache, request = current_cache(), request_of(args, kwargs)
                found = await cache.aget(request, ignored)
                if found is None:
                    found = await fn(*args, **kwargs)
                    await cache.aput(request, found, ignored, enable_memory_cache)
                return found

            return cast("F", awaited)

        @functools.wraps(fn)
        def called(*args: Any, **kwargs: Any) -> Any:
            cache, request = current_cache(), request_of(args, kwargs)
            found = cache.get(request, ignored)
            if found is None:
                found = fn(*args, **kwargs)
                cache.put(request, found, ignored, enable_memory_cache)
            return found

        return cast("F", called)

    return decorate
