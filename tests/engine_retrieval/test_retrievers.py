"""Retrievers by themselves: async, under concurrency, at the edges, and with input that is none."""

import sys
from pathlib import Path
from typing import Any

import anyio
import numpy
import pytest
from dspex.engine import Embedder, Embeddings, EmbeddingsWithScores, MissingExtra, Prediction, Retrieve, context
from dspex.engine.lm.dummy_vectors import DummyVectorizer
from dspex.engine.retrieval import (
    BM25,
    Hybrid,
    IndexMismatch,
    IndexUnreadable,
    RetrievalError,
    reciprocal_rank_fusion,
)
from dspex.engine.retrieval.batches import Batches
from hypothesis import given
from hypothesis import strategies as st

CORPUS = ["The Eiffel Tower is in Paris.", "Otters eat fish.", "The Colosseum is in Rome.", "Rome is a capital."]
embed = DummyVectorizer()


@pytest.mark.anyio
async def test_on_a_loop_the_corpus_is_embedded_once_at_the_first_query() -> None:
    batches: list[int] = []

    async def counting(texts: list[str]) -> Any:
        batches.append(len(texts))
        await anyio.lowlevel.checkpoint()
        return embed(texts)

    search = Embeddings(CORPUS, counting, k=1)
    assert batches == []
    found: dict[str, str] = {}

    async def ask(query: str) -> None:
        found[query] = (await search.acall(query)).passages[0]

    async with anyio.create_task_group() as group:
        for query in CORPUS:
            group.start_soon(ask, query)
    assert found == {query: query for query in CORPUS}
    assert batches[0] == 4
    assert sum(batches) == 8, "the corpus, and each query"
    assert len(batches) <= 3, "queries that come together are embedded together"


@pytest.mark.anyio
async def test_a_query_that_is_cancelled_takes_no_other_along() -> None:
    begun, go_on = anyio.Event(), anyio.Event()
    rounds: list[list[str]] = []

    async def together(questions: list[str]) -> list[str]:
        rounds.append(questions)
        begun.set()
        await go_on.wait()
        return [question.upper() for question in questions]

    batches: Batches[str, str] = Batches(together)
    answers: dict[str, str] = {}
    scopes = {question: anyio.CancelScope() for question in "abc"}

    async def ask(question: str) -> None:
        with scopes[question]:
            answers[question] = await batches.ask(question)

    async with anyio.create_task_group() as group:
        for question in scopes:
            group.start_soon(ask, question)
        await begun.wait()
        scopes[rounds[0][0]].cancel()  # the one that asks for all of them
        go_on.set()
    assert sorted(rounds[0]) == ["a", "b", "c"]
    left = rounds[0][1:]
    assert answers == {question: question.upper() for question in left}
    assert rounds[1] == left


@pytest.mark.anyio
async def test_one_that_waits_and_leaves_does_not_stop_the_line() -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    async def together(questions: list[int]) -> list[int]:
        begun.set()
        await go_on.wait()
        return questions

    batches: Batches[int, int] = Batches(together, limit=1)
    done: list[int] = []

    async def ask(question: int, scope: anyio.CancelScope) -> None:
        with scope:
            done.append(await batches.ask(question))

    scopes = [anyio.CancelScope() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for question, scope in enumerate(scopes):
            group.start_soon(ask, question, scope)
        await begun.wait()
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert sorted(done) == [0, 2, 3]


@pytest.mark.anyio
async def test_an_error_of_the_embedder_reaches_all_who_asked_and_the_next_query_works() -> None:
    down = True

    async def fails(texts: list[str]) -> Any:
        if down and len(texts) < 4:
            raise ConnectionError("the embedder is down")
        return embed(texts)

    search = await Embeddings(CORPUS, fails).prepare()
    failed = 0

    async def ask() -> None:
        nonlocal failed
        try:
            await search.acall("tower")
        except ConnectionError:
            failed += 1

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert failed == 3
    down = False
    assert (await search.acall(CORPUS[1])).passages[0] == CORPUS[1]


def test_more_are_asked_for_than_there_are() -> None:
    assert len(Embeddings(CORPUS, embed, k=50)("tower").passages) == 4
    assert EmbeddingsWithScores(CORPUS, embed, k=0)("tower").passages == []


def test_of_equal_scores_the_earlier_passage_comes_first() -> None:
    search = Embeddings(["same"] * 30 + ["other"], embed, k=5)
    assert search("same").indices == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("corpus", [[], ["a", None], [1]])
def test_a_corpus_that_is_none_is_refused(corpus: Any) -> None:
    with pytest.raises(ValueError, match="list of texts"):
        Embeddings(corpus, embed)
    with pytest.raises(ValueError, match="list of texts"):
        BM25(corpus)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda texts: [[1.0]] * (len(texts) + 1), "shape"),
        (lambda texts: [1.0] * len(texts), "shape"),
        (lambda texts: [["x"]] * len(texts), "row of numbers"),
        (lambda texts: [[float("nan")]] * len(texts), "NaN"),
        (lambda texts: None, "row of numbers|shape"),
    ],
)
def test_an_embedder_that_returns_something_else_is_refused(rows: Any, said: str) -> None:
    with pytest.raises(RetrievalError, match=said):
        Embeddings(CORPUS, rows)


def test_another_embedder_at_query_time_is_named() -> None:
    search = Embeddings(CORPUS, embed)
    search.embedder = lambda texts: numpy.ones((len(texts), 3))
    with pytest.raises(IndexMismatch, match="3 numbers"):
        search("tower")


def test_a_query_that_is_no_text_is_refused() -> None:
    search: Any = Embeddings(CORPUS, embed)
    with pytest.raises(TypeError, match="a query is a text"):
        search(None)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b'{"k": "5", "normalize": true, "corpus": ["a"], "has_faiss_index": false}'),
        ("config.json", b'{"k": 5, "normalize": true, "corpus": [1], "has_faiss_index": false}'),
        ("config.json", b'{"k": 5, "normalize": true, "corpus": ["a"], "has_faiss_index": false}'),
        ("corpus_embeddings.npy", b"\x93NUMPY garbage"),
        ("corpus_embeddings.npy", b""),
    ],
)
def test_damaged_files_are_refused_and_left(tmp_path: Path, file: str, content: bytes) -> None:
    Embeddings(CORPUS, embed).save(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(IndexUnreadable):
        Embeddings.from_saved(tmp_path, embed)
    assert (tmp_path / file).read_bytes() == content


def test_an_array_of_pickled_objects_is_not_unpickled(tmp_path: Path) -> None:
    Embeddings(CORPUS, embed).save(tmp_path)
    opened = tmp_path / "opened"

    class Trap:
        def __reduce__(self) -> Any:
            return open, (str(opened), "w")

    numpy.save(tmp_path / "corpus_embeddings.npy", numpy.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(IndexUnreadable):
        Embeddings.from_saved(tmp_path, embed)
    assert not opened.exists()


def test_words_find_what_shares_one_with_the_query() -> None:
    search = BM25(CORPUS, k=3)
    found = search("Which capital is Rome?")
    assert found.indices == [3, 2, 0]
    assert found.passages[0] == CORPUS[3]
    assert found.scores == sorted(found.scores, reverse=True)
    assert search("zebra").passages == []
    assert search("").passages == []
    assert search("rome", k=1).indices == [3]


def test_words_of_ones_own_making() -> None:
    search = BM25(["der Fluß", "DAS HAUS"], tokenize=lambda text: text.casefold().split())
    assert search("fluss").indices == [0]
    assert BM25(["...", "a"])("a").indices == [1]
    assert BM25(["...", "!"])("a").indices == []


def test_a_retriever_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"dspex\[retrieval\]"):
        BM25(CORPUS)("rome")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match="brute_force_threshold"):
        Embeddings(CORPUS, embed, brute_force_threshold=2)


@pytest.mark.anyio
async def test_a_hybrid_joins_rankings_of_one_corpus_by_index() -> None:
    words, vectors = BM25(CORPUS, k=4), Embeddings(CORPUS, embed, k=4)
    found = await Hybrid([vectors, words], k=2).acall("Rome capital")
    assert found.indices == [3, 2]
    assert found.passages == [CORPUS[3], CORPUS[2]]
    assert found.scores[0] == pytest.approx(2 / 61)


@pytest.mark.anyio
async def test_a_hybrid_takes_functions_and_tells_passages_apart_by_text() -> None:
    def other(query: str) -> Prediction:
        return Prediction(passages=["elsewhere", CORPUS[3]])

    found = await Hybrid([BM25(CORPUS, k=1), other], weights=[2, 1]).acall("capital")
    assert found.passages == [CORPUS[3], "elsewhere"]
    assert "indices" not in found


@pytest.mark.anyio
async def test_a_retriever_that_fails_is_not_left_out_silently() -> None:
    async def fails(query: str) -> Prediction:
        raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        await Hybrid([BM25(CORPUS), fails]).acall("rome")
    with pytest.raises(RetrievalError, match="passages"):
        await Hybrid([lambda query: ["a"]]).acall("rome")


def test_a_hybrid_of_nothing_or_with_other_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Hybrid([])
    with pytest.raises(ValueError, match="as many weights"):
        Hybrid([BM25(CORPUS)], weights=[1, 2])
    with pytest.raises(ValueError, match="0 or more"):
        reciprocal_rank_fusion([["a"]], weights=[-1])


@given(st.lists(st.lists(st.integers(0, 8), unique=True), min_size=1, max_size=4))
def test_fusion_gives_each_item_once_and_keeps_a_lone_ranking(rankings: list[list[int]]) -> None:
    joined = reciprocal_rank_fusion(rankings)
    assert sorted(item for item, _ in joined) == sorted({item for ranking in rankings for item in ranking})
    assert [score for _, score in joined] == sorted((score for _, score in joined), reverse=True)
    for ranking in rankings:
        assert [item for item, _ in reciprocal_rank_fusion([ranking])] == ranking


@pytest.mark.anyio
async def test_retrieve_takes_a_retriever_as_its_model() -> None:
    with context(rm=BM25(CORPUS)):
        assert (await Retrieve(k=1).acall("capital")).passages == [CORPUS[3]]
    with context(rm=Embeddings(CORPUS, embed)):
        assert (await Retrieve(k=1).acall(CORPUS[1])).passages == [CORPUS[1]]
    with context(rm=lambda query, k: CORPUS[:k]):
        assert (await Retrieve(k=2).acall("anything")).passages == CORPUS[:2]


@pytest.mark.anyio
async def test_an_embedder_of_the_engine_serves_both_faces() -> None:
    search = Embeddings(CORPUS, Embedder(embed), k=1)
    assert (await search.acall(CORPUS[2])).indices == [2]
    assert (await anyio.to_thread.run_sync(search, CORPUS[1])).indices == [1]
