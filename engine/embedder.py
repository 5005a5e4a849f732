"""`Embedder`: texts to vectors, by a hosted model or a function of yours.

    embed = Embedder("openai/text-embedding-3-small", batch_size=100)
    vectors = await embed.acall(["hello", "world"])       # shape (2, 1536); embed([...]) outside an event loop

    embed = Embedder(model.encode)                         # any function from a list of texts to rows of numbers

The result is a numpy array of float32: one row a text, or one vector for a single text.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.to_thread

from .caching import MemoryCache, current_cache
from .lm import LM, MissingExtra
from .sync import alone_on_own_loop, run_sync

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder"]

_NOT_IN_KEYS = ("api_key", "api_base", "base_url")
_KEPT_OF_A_FUNCTION = 10_000  # batches


class Embedder:
    """Makes vectors of texts, in batches, and remembers them.

    Vectors of a hosted model are kept in the engine's cache; those of a function only as long as this object lives,
    since nothing tells one function from another of the same source.
    """

    def __init__(
        self, model: str | Callable[..., Any], batch_size: int = 200, caching: bool = True, **kwargs: Any
    ) -> None:
        """Describe the embedder. Nothing is imported or opened until the first call.

        Args:
            model: "openai/<name>" or another prefix whose service speaks OpenAI's HTTP; or a function, plain or async,
                from a list of texts to one row of numbers for each.
            batch_size: texts a request at most.
            caching: reuse vectors of equal batches.
            **kwargs: for the function; or options of every request: `api_key`, `base_url`, `timeout` (seconds),
                `num_retries`, `dimensions`, ...
        """
        self.model = model
        self.batch_size = batch_size
        self.caching = caching
        self.default_kwargs = kwargs
        self._lm: LM | None = None
        self._of_function = MemoryCache(_KEPT_OF_A_FUNCTION)

    def __call__(
        self, inputs: str | Sequence[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> NDArray[Any]:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.acall, inputs, batch_size, caching, **kwargs)

    async def acall(
        self, inputs: str | Sequence[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> NDArray[Any]:
        """Embed one text or several. A plain function runs in a worker thread.

        Raises:
            ValueError: an input is not a string, or `model` is neither a string nor callable.
            MissingExtra: numpy, or the SDK, is not installed.
            LMError: the request failed. Cancellation passes through and ends it.
        """
        numpy = _numpy()
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not all(isinstance(text, str) for text in texts):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError("All inputs must be strings.")
        if not isinstance(self.model, str) and not callable(self.model):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(
                f"`model` in `dspy.Embedder` must be a string or a callable, but got {type(self.model)}."
            )
        size = batch_size or self.batch_size
        options = {**self.default_kwargs, **kwargs}
        keep = self.caching if caching is None else caching
        rows: list[Any] = []
        for start in range(0, len(texts), size):
            rows.extend(await self._batch(texts[start : start + size], keep, options))
        vectors = numpy.array(rows, dtype=numpy.float32)
        return vectors[0] if isinstance(inputs, str) else vectors

    async def aclose(self) -> None:
        """Close the connections of a hosted model in the running event loop. A later call opens new ones."""
        if self._lm is not None:
            await self._lm.aclose()

    async def _batch(self, texts: list[str], keep: bool, options: dict[str, Any]) -> Iterable[Any]:
        if not isinstance(self.model, str):
            return await self._by_function(self.model, texts, keep, options)
        if not keep:
            return await self._hosted(self.model, texts, options)
        cache = current_cache()
        key = {"_fn_identifier": "dspex.engine.embedder", "model": self.model, "input": texts, **options}
        found = await cache.aget(key, _NOT_IN_KEYS)
        if found is None:
            found = await self._hosted(self.model, texts, options)
            await cache.aput(key, found, _NOT_IN_KEYS)
        return found

    async def _hosted(self, model: str, texts: list[str], options: dict[str, Any]) -> list[list[float]]:
        if self._lm is None:
            self._lm = LM(model, cache=False)
        return await self._lm.embed(texts, **options)

    async def _by_function(
        self, function: Callable[..., Any], texts: list[str], keep: bool, options: dict[str, Any]
    ) -> Iterable[Any]:
        key = repr((texts, sorted(options.items(), key=repr)))
        found = self._of_function.used(key) if keep else None
        if found is not None:
            return found
        if iscoroutinefunction(function) or alone_on_own_loop():
            rows = function(texts, **options)
        else:
            rows = await anyio.to_thread.run_sync(partial(function, texts, **options), abandon_on_cancel=True)
        if isawaitable(rows):
            rows = await rows
        if keep:
            self._of_function[key] = rows
        return cast("Iterable[Any]", rows)


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ModuleNotFoundError as error:
        raise MissingExtra("embeddings", module="numpy", purpose="Embedder") from error
