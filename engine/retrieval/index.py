"""`PassageIndex`: a growing collection of passages as a supervised actor, searched by meaning, by words, or by both.

    index = Child("passages", lambda: PassageIndex(Embedder("openai/text-embedding-3-small"), path="passages.db"))
    ...
    await ref.call(PassageIndex.add, ["The Eiffel Tower is in Paris."], keys=["eiffel"])
    for hit in await ref.call(PassageIndex.search, "Where is it?", k=3):
        print(hit.passage, hit.score)

What `add` has answered is on the disk: a crash, a restart or a SIGKILL loses nothing of it. Searches go on while passages
are embedded and added.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, final, get_args

import anyio
import anyio.to_thread

from ...runtime import Actor, ExitSignal, Reason, Ref, Refuse, is_orderly
from ..example import Prediction
from ..off_loop import ask, in_thread
from .batches import Batches
from .bm25 import Lexical, words
from .errors import IndexMismatch
from .fusion import reciprocal_rank_fusion
from .rows import Rows
from .store import Row, Store
from .vectors import AT_ONCE, normalized, rows_of, search

__all__ = ["By", "Hit", "IndexRetriever", "IndexStatistics", "PassageIndex"]

By = Literal["meaning", "words", "both"]
"""meaning: vectors. words: BM25. both: the two rankings joined by reciprocal rank fusion."""

_DEEPER = 4  # times k, the part of each ranking that is joined
_NO_METADATA: Mapping[str, Any] = {}

T = TypeVar("T")
_Found = list[tuple[Row, float]]


@final
@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found."""

    id: int
    """Its number in the index, for `remove`; never given twice."""
    key: str | None
    passage: str
    score: float
    """By meaning the cosine, by words BM25's score, by both the fused one: comparable within one search only."""
    metadata: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class IndexStatistics:
    """What an index holds, and what it has done since its actor started."""

    passages: int
    dimension: int | None
    """Numbers in a vector; None while empty."""
    bytes: int
    """Of the vectors in memory."""
    searches: int
    added: int
    removed: int


class PassageIndex(Actor):
    """Passages, their vectors and a file. Searches are exact.

    Several indexes, in one process or in many, may name the same file: each sees what the others add and remove at its
    next search. What fails in one request is raised at its caller; the actor goes on. A file that cannot be opened, or
    was made by another embedder, fails the start.
    """

    trap_exit = True  # a supervisor's shutdown lets it close the file

    def __init__(
        self,
        embedder: Any,
        *,
        path: str | os.PathLike[str] | None = None,
        k: int = 5,
        by: By = "meaning",
        tokenize: Callable[[str], Sequence[str]] = words,
        concurrency: int = 16,
    ) -> None:
        """Describe the actor.

        Args:
            embedder: an `Embedder`, or a function from a list of texts to an array of one row each, plain or async. It
                belongs to this actor, which closes its connections.
            path: the SQLite file, made when missing. None: in memory, gone with the actor.
            k: hits of a search that does not say.
            by: how a search that does not say looks for them.
            tokenize: what makes words of a text, for the search by words (extra `retrieval`: bm25s).
            concurrency: requests at a time; the others wait in the mailbox.

        Raises ValueError: `by` is none of the three, `k` or `concurrency` is less than 1.
        """
        _check_by(by)
        if k < 1 or concurrency < 1:
            raise ValueError("k and concurrency must be at least 1")
        self._embedder = embedder
        self._path = ":memory:" if path is None else os.fspath(path)
        self._k = k
        self._by: By = by
        self._tokenize = tokenize
        self.concurrency = max(concurrency, 2)
        self._searches = self._added = self._removed = 0

    async def init(self) -> None:
        """Open the file and read it."""
        self._file = anyio.Lock()
        self._indexing = anyio.Lock()
        self._rows = Rows()
        self._lexical: tuple[Rows, int, Lexical] | None = None
        self._queries: Batches[tuple[str, int], _Found] = Batches(self._nearest)
        model = getattr(self._embedder, "model", None)
        name = model if isinstance(model, str) else None
        self._store = await anyio.to_thread.run_sync(lambda: Store(self._path, embedder=name))
        await self._look()

    async def terminate(self, reason: Reason) -> None:
        """Close the file, and the embedder's connections."""
        self._store.close()
        aclose = getattr(self._embedder, "aclose", None)
        if inspect.iscoroutinefunction(aclose):
            await aclose()

    async def handle_info(self, message: object) -> None:
        """A linked process that ends abnormally ends this actor too, as if it did not trap exits."""
        if isinstance(message, ExitSignal):
            if not is_orderly(message.reason):
                self.stop(message.reason)
            return
        await super().handle_info(message)

    # --- messages -----------------------------------------------------------------------------------------------

    async def add(
        self,
        passages: Sequence[str],
        *,
        keys: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """Embed and keep passages, all or none; returns their numbers. Answered when they are on the disk.

        Args:
            keys: a name for each of them; what has that name already is replaced.
            metadata: a JSON object for each of them, which hits carry.

        Raises at the caller:
            ValueError: passages are not a list of texts, or keys and metadata do not fit them.
            IndexMismatch: vectors of another dimension than those in the index.
            RetrievalError, IndexUnreadable, and what the embedder raises.
        """
        try:
            texts, names, facts = _checked(passages, keys, metadata)
            if not texts:
                return []
            rows = (await self._embedded(texts)).astype("<f4")
            entries = list(zip(names, texts, facts, (row.tobytes() for row in rows), strict=True))
            numbers = await self._on_file(lambda: self._store.add(entries, rows.shape[1]))
            await self._look(ours=True)
        except Exception as error:
            raise Refuse(error) from error
        self._added += len(numbers)
        return numbers

    async def remove(self, *, ids: Sequence[int] = (), keys: Sequence[str] = ()) -> int:
        """Remove passages by number or key; returns how many went. Those that are not there are passed over."""
        try:
            gone = await self._on_file(lambda: self._store.remove(list(ids), list(keys)))
            await self._look(ours=True)
        except Exception as error:
            raise Refuse(error) from error
        self._removed += gone
        return gone

    async def search(self, query: str, k: int | None = None, by: By | None = None) -> list[Hit]:
        """The best `k` passages, best first; by words only those that share one with the query, so there may be fewer.

        Raises at the caller:
            TypeError: the query is not a text. ValueError: `by` is none of the three.
            RetrievalError, IndexUnreadable, MissingExtra, and what the embedder raises.
        """
        try:
            if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"a query is a text, not {type(query).__name__}")
            way = self._by if by is None else _check_by(by)
            count = self._k if k is None else k
            await self._look()
            self._searches += 1
            if way == "meaning":
                found = await self._queries.ask((query, count))
            elif way == "words":
                found = await self._by_words(query, count)
            else:
                depth = count * _DEEPER
                rankings = [await self._queries.ask((query, depth)), await self._by_words(query, depth)]
                by_id = {row.id: row for ranking in rankings for row, _ in ranking}
                joined = reciprocal_rank_fusion([[row.id for row, _ in ranking] for ranking in rankings])[:count]
                found = [(by_id[id], score) for id, score in joined]
        except Exception as error:
            raise Refuse(error) from error
        return [Hit(row.id, row.key, row.passage, score, row.metadata) for row, score in found]

    def statistics(self) -> IndexStatistics:
        """What it holds and has done."""
        rows = self._rows
        return IndexStatistics(
            passages=len(rows.all),
            dimension=rows.dimension,
            bytes=rows.nbytes,
            searches=self._searches,
            added=self._added,
            removed=self._removed,
        )

    def tree_detail(self) -> str:
        """Shown by `supervisors.tree`."""
        return f"{len(self._rows.all)} passages"

    # --- the two rankings ---------------------------------------------------------------------------------------

    async def _embedded(self, texts: Sequence[str]) -> Any:
        return normalized(rows_of(await ask(self._embedder, list(texts)), len(texts)))

    async def _nearest(self, questions: list[tuple[str, int]]) -> list[_Found]:
        """For several searches by meaning at once."""
        if not self._rows.all:
            return [[] for _ in questions]
        asked = (await self._embedded([query for query, _ in questions])).astype("<f4")
        rows = self._rows  # as they are now: passages may have come or gone meanwhile
        if not rows.all:
            return [[] for _ in questions]
        if asked.shape[1] != rows.dimension:
            raise IndexMismatch(
                f"The embedder makes vectors of {asked.shape[1]} numbers, and the index holds {rows.dimension}: use the one "
                "it was made with, or embed the passages into a new file."
            )
        matrix, counts = rows.matrix(), [count for _, count in questions]
        found = (
            search(matrix, asked, counts) if matrix.size <= AT_ONCE else await in_thread(search, matrix, asked, counts)
        )
        return [
            [(rows.all[place], score) for place, score in zip(top.tolist(), scores.tolist(), strict=True)]
            for top, scores in found
        ]

    async def _by_words(self, query: str, count: int) -> _Found:
        async with self._indexing:
            rows = self._rows
            known = self._lexical
            size = len(rows.all)
            if known is None or known[0] is not rows or known[1] != size:
                texts = [row.passage for row in rows.all]
                made = await in_thread(lambda: Lexical(texts, self._tokenize, "lucene", 1.5, 0.75))
                known = self._lexical = (rows, size, made)
        places, scores = await in_thread(known[2].best, query, count)
        return [(rows.all[place], score) for place, score in zip(places, scores, strict=True)]

    # --- the file -----------------------------------------------------------------------------------------------

    async def _on_file(self, function: Callable[[], T]) -> T:
        async with self._file:
            return await anyio.to_thread.run_sync(function)  # waits for the thread when cancelled: one user at a time

    async def _look(self, *, ours: bool = False) -> None:
        """Take over what has changed in the file."""
        if ours:
            self._store.look_again()
        elif self._path == ":memory:" and self._rows.all:
            return
        changes = await self._on_file(self._store.changes)
        if changes is None:
            return
        rows = Rows() if changes.whole else self._rows
        rows.extend(changes.rows)
        self._rows = rows


class IndexRetriever:
    """A `PassageIndex` where a retriever is wanted: `configure(rm=IndexRetriever(ref))`, or a part of a `Hybrid`."""

    def __init__(self, index: Ref[PassageIndex], k: int = 5, *, by: By | None = None) -> None:
        """Ask `index` for `k` passages; `by` as the index does, if not said."""
        self._index = index
        self.k = k
        self._by: By | None = by

    async def acall(self, query: str, k: int | None = None) -> Prediction:
        """A Prediction with `passages`, `indices` (numbers in the index), `scores` and `hits`.

        Raises as `PassageIndex.search`.
        """
        hits = await self._index.call(PassageIndex.search, query, self.k if k is None else k, self._by)
        return Prediction(
            passages=[hit.passage for hit in hits],
            indices=[hit.id for hit in hits],
            scores=[hit.score for hit in hits],
            hits=hits,
        )


def _check_by(by: By) -> By:
    if by not in get_args(By):
        raise ValueError(f"by is one of {', '.join(get_args(By))}, not {by!r}")
    return by


def _checked(
    passages: object, keys: Sequence[str] | None, metadata: Sequence[Mapping[str, Any]] | None
) -> tuple[list[str], list[str | None], list[Mapping[str, Any]]]:
    if isinstance(passages, str) or not isinstance(passages, Sequence):
        raise ValueError(f"passages are a list of texts, not {type(passages).__name__}")
    texts: list[Any] = list(passages)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("every passage is a text")
    names: list[str | None] = [None] * len(texts) if keys is None else list(keys)
    facts: list[Mapping[str, Any]] = [_NO_METADATA] * len(texts) if metadata is None else [dict(each) for each in metadata]
    if len(names) != len(texts) or len(facts) != len(texts):
        raise ValueError(f"{len(texts)} passages need as many keys and metadata, if any")
    if keys is not None and (len(set(names)) < len(names) or not all(isinstance(name, str) for name in names)):
        raise ValueError("keys are texts, each used once")
    try:
        json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata are JSON objects ({error})") from error
    return texts, names, facts
