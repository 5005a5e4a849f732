"""`Embeddings` and `Retrieve` beside the installed dspy: equal passages, indices and scores, and files that go both ways."""

import json
import random
from pathlib import Path
from typing import Any

import dspex.engine as ours
import dspy
import numpy
import pytest
from dspex.engine.lm.dummy_vectors import DummyVectorizer, dummy_rm

random.seed(7)
WORDS = ["tower", "river", "otter", "paris", "rome", "bridge", "lake", "stone", "light", "paper", "music", "train"]
CORPUS = [" ".join(random.choices(WORDS, k=6)) + f" {n}" for n in range(200)]
QUERIES = [" ".join(random.choices(WORDS, k=3)) for _ in range(25)]
embed = DummyVectorizer()


def plain(texts: list[str]) -> Any:
    """Float64, not of length 1."""
    return embed(texts).astype("float64") * 3


@pytest.mark.parametrize("embedder", [embed, plain])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_same_is_found_with_the_same_scores(embedder: Any, normalize: bool) -> None:
    mine = ours.EmbeddingsWithScores(CORPUS, embedder, k=7, normalize=normalize)
    theirs = dspy.retrievers.EmbeddingsWithScores(CORPUS, embedder, k=7, normalize=normalize)
    for query in QUERIES:
        found, expected = mine(query), theirs(query)
        assert found.scores == expected.scores
        order = sorted(range(7), key=lambda place: (-expected.scores[place], expected.indices[place]))
        if len(set(expected.scores)) == 7:  # of equal scores dspy's sort takes any
            assert found.indices == [expected.indices[place] for place in order]
        assert found.passages == [CORPUS[index] for index in found.indices]
        assert list(found.keys()) == list(expected.keys())


def test_without_scores_there_are_two_fields() -> None:
    found = ours.Embeddings(CORPUS, embed, k=3)("tower")
    assert list(found.keys()) == ["passages", "indices"]
    assert ours.retrievers.Embeddings is ours.Embeddings
    assert ours.retrievers.embeddings.EmbeddingsWithScores is ours.EmbeddingsWithScores


def test_what_dspy_saved_is_loaded_and_the_other_way_round(tmp_path: Path) -> None:
    mine, theirs = ours.EmbeddingsWithScores(CORPUS, embed, k=4), dspy.EmbeddingsWithScores(CORPUS, embed, k=4)
    mine.save(tmp_path / "mine")
    theirs.save(str(tmp_path / "theirs"))
    here = ours.EmbeddingsWithScores.from_saved(tmp_path / "theirs", embed)
    there = dspy.EmbeddingsWithScores.from_saved(str(tmp_path / "mine"), embed)
    for query in QUERIES[:5]:
        assert here(query).scores == there(query).scores == mine(query).scores
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["config.json", "corpus_embeddings.npy"]
    assert (tmp_path / "mine/config.json").read_text() == (tmp_path / "theirs/config.json").read_text()


def test_an_approximate_index_is_built_above_the_threshold_and_its_file_goes_both_ways(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="the extra `retrieval` is not installed")
    faiss.omp_set_num_threads(1)  # its threads spin: on a busy machine they would train for half a minute
    rng = numpy.random.default_rng(3)
    vectors = rng.standard_normal((1200, 64)).astype("float32")
    corpus = [str(n) for n in range(len(vectors))]

    def by_number(texts: list[str]) -> Any:
        return vectors[[int(text) for text in texts]]

    mine = ours.EmbeddingsWithScores(corpus, by_number, k=3, brute_force_threshold=1000)
    assert mine.index is not None
    assert mine("17").indices[0] == 17
    assert mine("17").scores[0] == pytest.approx(1.0)
    mine.save(tmp_path)
    there = dspy.EmbeddingsWithScores.from_saved(str(tmp_path), by_number)
    assert there("17").indices == mine("17").indices
    here = ours.EmbeddingsWithScores.from_saved(tmp_path, by_number)
    assert here.index is not None
    assert here("17").indices == mine("17").indices


@pytest.mark.parametrize("missing", ["k", "normalize", "corpus", "has_faiss_index"])
def test_a_configuration_that_lacks_something_is_refused_in_dspys_words(tmp_path: Path, missing: str) -> None:
    ours.Embeddings(CORPUS[:3], embed).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config[missing]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=missing) as mine:
        ours.Embeddings.from_saved(tmp_path, embed)
    with pytest.raises(ValueError, match=missing) as theirs:
        dspy.Embeddings.from_saved(str(tmp_path), embed)
    assert str(mine.value) == str(theirs.value)


@pytest.mark.parametrize("gone", ["", "config.json", "corpus_embeddings.npy"])
def test_missing_files_are_named_in_dspys_words(tmp_path: Path, gone: str) -> None:
    folder = tmp_path / "saved"
    if gone:
        ours.Embeddings(CORPUS[:3], embed).save(folder)
        (folder / gone).unlink()
    said = []
    for engine in (ours, dspy):
        with pytest.raises(FileNotFoundError) as refused:
            engine.Embeddings.from_saved(str(folder), embed)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_caching_is_refused_in_dspys_words() -> None:
    said = []
    for engine in (ours, dspy):
        with pytest.raises(AssertionError) as refused:
            engine.Embeddings(CORPUS, embed, cache=True)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_retrieve_asks_the_retrieval_model_of_the_settings() -> None:
    for engine in (ours, dspy):
        with engine.context(rm=dummy_rm(CORPUS)):
            assert engine.Retrieve(k=2)("tower").passages == [each.long_text for each in dummy_rm(CORPUS)("tower", k=2)]
            assert len(engine.Retrieve()("tower").passages) == 3
            assert len(engine.Retrieve(k=2)("tower", k=5).passages) == 5


def test_retrieve_keeps_k_in_the_state_and_is_a_parameter() -> None:
    class Rag(ours.Module):
        def __init__(self) -> None:
            super().__init__()
            self.retrieve = ours.Retrieve(k=9)

    assert Rag().dump_state() == {"retrieve": {"k": 9}}
    assert ours.Retrieve(k=9).dump_state() == dspy.Retrieve(k=9).dump_state()
    program = Rag()
    program.load_state({"retrieve": {"k": 4}})
    assert program.retrieve.k == 4


def test_retrieve_without_a_model_says_so_as_dspy_does() -> None:
    said = []
    for engine in (ours, dspy):
        with engine.context(rm=None), pytest.raises(AssertionError) as refused:
            engine.Retrieve()("tower")
        said.append(str(refused.value))
    assert said == ["No RM is loaded."] * 2


def test_callbacks_hear_of_a_retrieval() -> None:
    def heard(engine: Any) -> list[str]:
        events: list[str] = []

        class Listener(engine.utils.callback.BaseCallback):
            def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
                events.append(f"start {type(instance).__name__} {inputs}")

            def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
                events.append(f"end {outputs.passages}")

        with engine.context(rm=dummy_rm(CORPUS)):
            engine.Retrieve(k=1, callbacks=[Listener()])("tower")
        return events

    assert heard(ours) == heard(dspy)
