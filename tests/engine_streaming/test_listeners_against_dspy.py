"""Listeners give the pieces that dspy's give for the same chunks, however the text is cut; and what is better, is better."""

import random
import re
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine import StreamListener
from dspex.engine.lm.chunks import chunk_of
from dspex.engine.lm.wire import Delta

CHAT = [
    "[[ ## reasoning ## ]]\nLet me think. It is [1] easy.\n\n[[ ## answer ## ]]\nTo get to the other side!\n\nReally "
    "[sic].\n\n[[ ## completed ## ]]\n",
    "[[ ## answer ## ]]\n42\n[[ ## judgement ## ]]\nfine",
    "[[ ## answer ## ]]\nonly an answer, without an end",
    "no marks at all",
]
XML = ["<reasoning>\nhm <b>x</b>\n</reasoning>\n<answer>\nTo get there <now\n</answer>\n", "<answer>42</answer>"]
JSON = ['{"answer": "To get there, and more"}', '{"answer": 42}', '{"reasoning": "so", "answer": "yes"}', '{"other": 1}']
ADAPTERS = {"ChatAdapter": CHAT, "XMLAdapter": XML, "JSONAdapter": JSON}
CASES = [(adapter, text) for adapter, texts in ADAPTERS.items() for text in texts]


def cut(text: str, longest: int, seed: int) -> list[str]:
    luck, pieces = random.Random(seed), []
    while text:
        length = luck.randint(1, longest)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def _in_more_than_ten(pieces: list[str], adapter: str) -> bool:
    """Whether a mark of the layout is cut into more than ten pieces."""
    if adapter == "JSONAdapter":
        return False
    ends, at = [], 0
    for piece in pieces:
        at += len(piece)
        ends.append(at)
    marks = re.finditer(r"\s*\[\[ ## \w+ ## \]\]|</?\w+>", "".join(pieces))
    return any(sum(mark.start() < end <= mark.end() for end in ends) > 9 for mark in marks)


def heard(library: Any, adapter: str, texts: list[str], *, reuse: bool = False) -> tuple[Any, ...]:
    kind = StreamListener if library is engine else library.streaming.StreamListener
    listener = kind("answer", allow_reuse=reuse)
    responses = []
    with library.context(adapter=getattr(library, adapter)()):
        for text in texts:
            responses.append(listener.receive(chunk_of(Delta(text=text), model="m", predict_id=1)))
        responses.append(listener.finalize())
    pieces = [(each.chunk, each.is_last_chunk) for each in responses if each]
    return pieces, listener.stream_start, listener.stream_end, listener.cache_hit


@pytest.mark.parametrize(("adapter", "text"), CASES)
@pytest.mark.parametrize("longest", [3, 4, 6])
def test_tokens_give_the_pieces_of_dspy(dspy: ModuleType, adapter: str, text: str, longest: int) -> None:
    for seed in range(15):
        pieces = cut(text, longest, seed)
        if _in_more_than_ten(pieces, adapter):
            continue  # dspy lets go of a mark then, and takes it for text
        assert heard(engine, adapter, pieces) == heard(dspy, adapter, pieces), pieces


@pytest.mark.parametrize(("adapter", "text"), CASES)
def test_a_listener_may_be_used_again(dspy: ModuleType, adapter: str, text: str) -> None:
    pieces = [*cut(text, 6, 1), *cut(text, 6, 2)]
    assert heard(engine, adapter, pieces, reuse=True) == heard(dspy, adapter, pieces, reuse=True)


@pytest.mark.parametrize(("adapter", "text"), [*zip(ADAPTERS, [CHAT[0], XML[0], '{"answer": "x", "b": 1}'], strict=True)])
def test_a_field_that_comes_at_once_is_not_called_streamed(adapter: str, text: str) -> None:
    assert heard(engine, adapter, [text]) == ([], True, True, True)


def test_a_field_starts_with_the_chunk_that_has_its_mark() -> None:
    pieces, *_ = heard(engine, "ChatAdapter", ["[[ ## answer ## ]]\nTo", " be", "\n\n[[ ## completed ## ]]"])
    assert pieces == [("To", False), (" be", False), ("", True)]


def test_brackets_in_a_value_are_text() -> None:
    for value, layout, adapter in (
        ("[[1, 2], [3]] [[ ## not this", "[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]", "ChatAdapter"),
        ("a <b>bold</b> </answe r>", "<answer>\n{}\n</answer>", "XMLAdapter"),
    ):
        for longest in (1, 2, 4, 9):
            for seed in range(10):
                pieces, *_ = heard(engine, adapter, cut(layout.replace("{}", value), longest, seed))
                assert "".join(chunk for chunk, _ in pieces) == value


@pytest.mark.parametrize("value", ['"a {b} \\"c\\", }"', "[1, {\"x\": [2]}, 3]", "-4.5e3", '{"answer": "nested"}', "null"])
def test_a_json_value_ends_where_it_ends(value: str) -> None:
    text = f'{{"first": "x", "answer": {value}, "judgement": "no part of it"}}'
    for longest in (1, 3, 7, 12):
        for seed in range(10):
            pieces, _, ended, _ = heard(engine, "JSONAdapter", cut(text, longest, seed))
            if pieces:
                assert "".join(chunk for chunk, _ in pieces).strip() == value
                assert ended


def test_an_adapter_that_cannot_be_streamed_is_named(dspy: ModuleType) -> None:
    for library in (dspy, engine):
        listener = (StreamListener if library is engine else dspy.streaming.StreamListener)("answer")
        adapter = library.TwoStepAdapter(library.LM("openai/gpt-4o-mini"))
        with library.context(adapter=adapter), pytest.raises(ValueError, match="Unsupported adapter for streaming"):
            listener.receive(chunk_of(Delta(text="x"), model="m", predict_id=1))


def test_a_listener_finds_its_predictor_or_says_why_not(dspy: ModuleType) -> None:
    class Two(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = engine.Predict("question -> answer")
            self.second = engine.Predict("answer -> answer2")

    program = Two()
    listener = StreamListener("answer2")
    engine.streamify(program, stream_listeners=[listener])
    assert (listener.predict_name, listener.predict) == ("second", program.second)
    with pytest.raises(ValueError, match="Signature field nothing is not a field of any predictor"):
        engine.streamify(program, stream_listeners=[StreamListener("nothing")])
    program.second = engine.Predict("question -> answer")
    with pytest.raises(ValueError, match="Signature field answer is not unique in the program"):
        engine.streamify(program, stream_listeners=[StreamListener("answer")])
    engine.streamify(program, stream_listeners=[StreamListener("answer", predict=program.first, predict_name="first")])
