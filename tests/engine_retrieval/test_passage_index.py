"""A collection of passages as an actor: what it answered is kept, whatever happens to it."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex import Child, StartFailed, Supervisor, open_runtime, tree
from dspex.engine import Retrieve, context
from dspex.engine.lm.dummy_vectors import DummyVectorizer
from dspex.engine.retrieval import Hit, IndexMismatch, IndexRetriever, IndexUnreadable, PassageIndex, RetrievalError
from dspex.runtime import KILLED, Ref

pytestmark = pytest.mark.anyio

CORPUS = ["The Eiffel Tower is in Paris.", "Otters eat fish.", "The Colosseum is in Rome.", "Rome is a capital."]
embed = DummyVectorizer()


class NamedEmbedder:
    """Says which model it is, as `Embedder` does for a hosted one."""

    def __init__(self, model: str, factor: int = 1) -> None:
        self.model = model
        self.closed = False

    async def acall(self, texts: list[str]) -> Any:
        return embed(texts)

    async def aclose(self) -> None:
        self.closed = True


async def search(index: Ref[PassageIndex], query: str, **options: Any) -> list[str]:
    return [hit.passage for hit in await index.call(PassageIndex.search, query, **options)]


async def test_it_finds_by_meaning_by_words_and_by_both() -> None:
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(embed, k=2))
        assert await index.call(PassageIndex.search, "anything") == []
        assert await index.call(PassageIndex.add, CORPUS) == [1, 2, 3, 4]
        assert await search(index, CORPUS[1], k=1) == [CORPUS[1]]
        assert await search(index, "capital", by="words") == [CORPUS[3]]
        assert await search(index, "Rome capital", by="both") == [CORPUS[3], CORPUS[2]]
        assert await search(index, "zebra", by="words") == []
        (hit,) = await index.call(PassageIndex.search, CORPUS[0], k=1)
        assert (hit.id, hit.key, dict(hit.metadata)) == (1, None, {})
        assert hit.score == pytest.approx(1.0)


async def test_a_restarted_index_holds_what_it_had_answered(tmp_path: Path) -> None:
    path = tmp_path / "passages.db"
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("index", lambda: PassageIndex(embed, path=path), name="index")]))
        index: Any = rt.ref("index")
        await index.call(PassageIndex.add, CORPUS, keys=["a", "b", "c", "d"], metadata=[{"page": n} for n in range(4)])
        first = rt.whereis("index")
        assert first is not None
        first.exit(KILLED)
        with anyio.fail_after(30):
            while rt.whereis("index") in (None, first):
                await anyio.sleep(0.01)
        (hit,) = await index.call(PassageIndex.search, CORPUS[2], k=1)
        assert hit == Hit(3, "c", CORPUS[2], pytest.approx(1.0), {"page": 2})  # type: ignore[arg-type]
    async with open_runtime() as rt:
        again = await rt.start(PassageIndex(embed, path=path))
        assert (await again.call(PassageIndex.statistics)).passages == 4


async def test_a_key_replaces_and_removal_removes(tmp_path: Path) -> None:
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(embed, path=tmp_path / "p.db"))
        await index.call(PassageIndex.add, CORPUS, keys=["a", "b", "c", "d"])
        await index.call(PassageIndex.add, ["Otters swim."], keys=["b"])
        assert CORPUS[1] not in await search(index, "Otters", k=10)
        assert "Otters swim." in await search(index, "Otters", by="words")
        assert await index.call(PassageIndex.remove, keys=["a", "nobody"], ids=[3, 99]) == 2
        assert sorted(await search(index, "Rome", k=10)) == sorted(["Otters swim.", CORPUS[3]])
        held = await index.call(PassageIndex.statistics)
        assert (held.passages, held.added, held.removed, held.dimension) == (2, 5, 2, 100)


async def test_two_indexes_on_one_file_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    async with open_runtime() as rt:
        one = await rt.start(PassageIndex(embed, path=path))
        two = await rt.start(PassageIndex(embed, path=path))
        await one.call(PassageIndex.add, CORPUS[:2], keys=["a", "b"])
        assert await search(two, CORPUS[0], k=1) == [CORPUS[0]]
        await two.call(PassageIndex.add, CORPUS[2:])
        assert await search(one, CORPUS[3], k=1) == [CORPUS[3]]
        await one.call(PassageIndex.remove, keys=["a"])
        assert CORPUS[0] not in await search(two, CORPUS[0], k=9)


async def test_searches_and_additions_run_side_by_side() -> None:
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(embed))

        async def add(number: int) -> None:
            await index.call(PassageIndex.add, [f"passage {number}", f"other {number}"])

        async def look() -> None:
            hits = await index.call(PassageIndex.search, "passage", k=100)
            assert len({hit.id for hit in hits}) == len(hits)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(add, number)
                group.start_soon(look)
        assert (await index.call(PassageIndex.statistics)).passages == 40


CHILD = """
import sys, anyio
from dspex import open_runtime
from dspex.engine.lm.dummy_vectors import DummyVectorizer
from dspex.engine.retrieval import PassageIndex

async def main():
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(DummyVectorizer(), path=sys.argv[1]))
        for n in range(100000):
            await index.call(PassageIndex.add, [f"passage {n}"], keys=[str(n)])
            print(n, flush=True)

anyio.run(main, backend=sys.argv[2])
"""


async def test_a_process_that_is_killed_loses_nothing_that_was_answered(tmp_path: Path, anyio_backend: str) -> None:
    path = tmp_path / "p.db"
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", CHILD, str(path), anyio_backend], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    answered = -1
    while answered < 25:
        answered = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    answered = int(rest[-1]) if rest else answered
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(embed, path=path))
        held = await index.call(PassageIndex.search, "passage", k=100_000)
        assert {str(n) for n in range(answered + 1)} <= {hit.key for hit in held}


async def test_what_is_no_passage_is_refused_and_nothing_is_added() -> None:
    async with open_runtime() as rt:
        index: Any = await rt.start(PassageIndex(embed))
        for bad, options in [
            ("one text", {}),
            ([1], {}),
            (7, {}),
            (CORPUS, {"keys": ["a"]}),
            (CORPUS[:2], {"keys": ["a", "a"]}),
            (CORPUS[:2], {"keys": ["a", 2]}),
            (CORPUS[:1], {"metadata": [{"x": object()}]}),
        ]:
            with pytest.raises(ValueError, match=r"."):
                await index.call(PassageIndex.add, bad, **options)
        with pytest.raises(TypeError, match="a query is a text"):
            await index.call(PassageIndex.search, None)
        with pytest.raises(ValueError, match="by is one of"):
            await index.call(PassageIndex.search, "x", by="magic")
        assert await index.call(PassageIndex.add, []) == []
        assert (await index.call(PassageIndex.statistics)).passages == 0
    with pytest.raises(ValueError, match="by is one of"):
        PassageIndex(embed, by="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        PassageIndex(embed, k=0)


async def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    mine = NamedEmbedder("one")
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(mine, path=path))
        await index.call(PassageIndex.add, CORPUS)
    assert mine.closed
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as failed:
            await rt.start(PassageIndex(NamedEmbedder("two"), path=path))
        assert isinstance(failed.value.__cause__, IndexMismatch)
        other = await rt.start(PassageIndex(lambda texts: [[1.0, 2.0]] * len(texts), path=path))
        with pytest.raises(IndexMismatch, match="100"):
            await other.call(PassageIndex.add, ["new"])
        with pytest.raises(IndexMismatch, match="100"):
            await other.call(PassageIndex.search, "new")
        assert (await other.call(PassageIndex.statistics)).passages == 4


async def test_a_file_of_something_else_fails_the_start_and_is_left(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all" * 100)
    for path in (theirs, garbage, tmp_path / "no" / "folder.db"):
        before = path.read_bytes() if path.exists() else None
        async with open_runtime() as rt:
            with pytest.raises(StartFailed) as failed:
                await rt.start(PassageIndex(embed, path=path))
        assert isinstance(failed.value.__cause__, IndexUnreadable)
        assert (path.read_bytes() if path.exists() else None) == before


async def test_an_embedder_that_fails_fails_one_request_only() -> None:
    fails = True

    async def flaky(texts: list[str]) -> Any:
        if fails:
            raise ConnectionError("down")
        return embed(texts)

    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(flaky))
        with pytest.raises(ConnectionError):
            await index.call(PassageIndex.add, CORPUS)
        fails = False
        await index.call(PassageIndex.add, CORPUS)
        assert await search(index, CORPUS[0], k=1) == [CORPUS[0]]
        bad: Any = await rt.start(PassageIndex(lambda texts: [["x"]]))
        with pytest.raises(RetrievalError):
            await bad.call(PassageIndex.add, ["a"])


async def test_programs_retrieve_from_it() -> None:
    async with open_runtime() as rt:
        index = await rt.start(PassageIndex(embed, by="both"))
        await index.call(PassageIndex.add, CORPUS)
        with context(rm=IndexRetriever(index)):
            assert (await Retrieve(k=1).acall(CORPUS[1])).passages == [CORPUS[1]]
        assert "4 passages" in str(tree(rt))
