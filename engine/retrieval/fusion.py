"""`Hybrid`: several retrievers as one, by reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar, cast

import anyio

from ..example import Prediction
from ..off_loop import ask
from ..sync import run_sync
from .errors import RetrievalError

__all__ = ["Hybrid", "reciprocal_rank_fusion"]

H = TypeVar("H", bound=Hashable)

CONSTANT = 60.0
"""The paper's: large enough that first places do not decide alone."""


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[H]], *, constant: float = CONSTANT, weights: Sequence[float] | None = None
) -> list[tuple[H, float]]:
    """Join rankings: each gives `weight / (constant + rank)`, ranks from 1, to what it holds.

    Returns every item once with its sum, highest first; of equal sums the one that stood first in the earlier ranking.
    Only the first place of an item within one ranking counts.

    Raises ValueError for a constant below 0, and for weights that are negative or not one for each ranking.
    """
    shares = [1.0] * len(rankings) if weights is None else [float(weight) for weight in weights]
    if len(shares) != len(rankings):
        raise ValueError(f"{len(rankings)} rankings need as many weights, not {len(shares)}")
    if constant < 0 or any(not share >= 0 for share in shares):
        raise ValueError("the constant and the weights must be 0 or more")
    sums: dict[H, float] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        for rank, item in enumerate(dict.fromkeys(ranking), 1):
            sums[item] = sums.get(item, 0.0) + share / (constant + rank)
    return sorted(sums.items(), key=lambda entry: -entry[1])


class Hybrid:
    """Asks all of its retrievers at the same time and joins what they found.

    Retrievers over the same corpus give `indices`, and passages are told apart by them; where one of them gives none, by
    their texts. An error of one is raised: an answer of half of the retrievers would look like a whole one.
    """

    def __init__(
        self,
        retrievers: Sequence[Any],
        k: int = 5,
        *,
        constant: float = CONSTANT,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Join `retrievers`: whatever has `acall(query)`, or is a function of a query, and gives a Prediction with `passages`.

        Args:
            k: passages in the end. How many each retriever contributes is its own `k`: give them 2 to 5 times as many.
            constant: see `reciprocal_rank_fusion`.
            weights: one for each retriever; all count the same without.

        Raises ValueError: no retrievers, or weights that do not fit.
        """
        self.retrievers = list(retrievers)
        if not self.retrievers:
            raise ValueError("Hybrid needs at least one retriever")
        reciprocal_rank_fusion([()] * len(self.retrievers), constant=constant, weights=weights)
        self.k = k
        self.constant = constant
        self.weights = weights

    def __call__(self, query: str, k: int | None = None) -> Prediction:
        """`acall` from synchronous code."""
        return run_sync(self.acall, query, k)

    async def acall(self, query: str, k: int | None = None) -> Prediction:
        """A Prediction with `passages` and `scores`, best first, and `indices` where all retrievers give them.

        Raises what a retriever raises, after the others were cancelled; RetrievalError for one that gives no passages.
        """
        found: list[Prediction] = [Prediction()] * len(self.retrievers)

        async def one(place: int) -> None:
            found[place] = await ask(self.retrievers[place], query)

        try:
            async with anyio.create_task_group() as group:
                for place in range(len(self.retrievers)):
                    group.start_soon(one, place)
        except BaseExceptionGroup as group_error:
            errors = group_error.exceptions
            if all(isinstance(error, Exception) for error in errors):
                raise errors[0] from None
            raise
        lists = [_passages(retriever, each) for retriever, each in zip(self.retrievers, found, strict=True)]
        by_index = all("indices" in each for each in found)
        keys = [list(each["indices"]) for each in found] if by_index else lists
        texts = {key: text for ranked, shown in zip(keys, lists, strict=True) for key, text in zip(ranked, shown, strict=True)}
        joined = reciprocal_rank_fusion(keys, constant=self.constant, weights=self.weights)
        joined = joined[: self.k if k is None else k]
        fields: dict[str, Any] = {"passages": [texts[key] for key, _ in joined], "scores": [score for _, score in joined]}
        if by_index:
            fields["indices"] = [key for key, _ in joined]
        return Prediction(**fields)


def _passages(retriever: object, found: object) -> list[str]:
    passages: object = found["passages"] if isinstance(found, Prediction) and "passages" in found else None
    if not isinstance(passages, list):
        raise RetrievalError(
            f"{type(retriever).__name__} must give a Prediction with a list of `passages`, not {type(found).__name__}."
        )
    return cast("list[str]", passages)
