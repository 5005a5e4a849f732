"""`Retrieve`: passages from whatever `settings.rm` is, as dspy 3.4's module of that name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..base_module import Parameter
from ..callbacks import with_callbacks
from ..example import Prediction
from ..off_loop import ask
from ..settings import settings
from ..sync import run_sync

__all__ = ["Retrieve"]


class Retrieve(Parameter):
    """Asks the retrieval model of `configure(rm=...)` or `context(rm=...)` for passages.

    A retrieval model is anything that is called as `rm(query, k=3)`, or awaited as `rm.acall(query, k=3)`, and gives
    passages: objects with `long_text`, texts, or a Prediction with `passages` (as `Embeddings`, `BM25` and `Hybrid` do).
    """

    name = "Search"
    input_variable = "query"
    desc = "takes a search query and returns one or more potentially relevant passages from a corpus"

    def __init__(self, k: int = 3, callbacks: list[Any] | None = None) -> None:
        """`k` passages a query, unless the call says otherwise."""
        self.k = k
        self.callbacks = callbacks or []

    def reset(self) -> None:
        """Nothing is learnt, so nothing is forgotten."""

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """What a state file keeps: `k`. (In dspy 3.4 a program with a `Retrieve` cannot be saved: this fails there.)"""
        return {"k": self.k}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take `k` from a state."""
        for name, value in state.items():
            setattr(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        """`acall` from synchronous code."""
        return run_sync(self.acall, *args, **kwargs)

    def forward(self, query: str, k: int | None = None, **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code."""
        return run_sync(self.aforward, query, k, **kwargs)

    @with_callbacks
    async def acall(self, *args: Any, **kwargs: Any) -> Prediction:
        """As `aforward`, heard by callbacks."""
        return await self.aforward(*args, **kwargs)

    async def aforward(self, query: str, k: int | None = None, **kwargs: Any) -> Prediction:
        """A Prediction with `passages`, a list of texts, best first.

        A plain function runs in a worker thread. Keyword arguments go to the retrieval model.

        Raises AssertionError, as dspy does, if there is no retrieval model; AttributeError for passages that are none.
        """
        rm = settings.get("rm")
        if not rm:
            raise AssertionError("No RM is loaded.")
        found = await ask(rm, query, k=self.k if k is None else k, **kwargs)
        if isinstance(found, Prediction) and "passages" in found:
            found = found["passages"]
        elif isinstance(found, str) or not isinstance(found, Iterable):
            found = [found]
        passages = [each if isinstance(each, str) else each.long_text for each in found]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        return Prediction(passages=passages)
