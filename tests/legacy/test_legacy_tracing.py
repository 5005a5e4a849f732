"""A traced request: its worker tells call by call what its program does, and nothing of what is said."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest
from dspex.legacy import (
    ImportedProgram,
    LegacyPool,
    LMCall,
    LMSettings,
    ProtocolError,
    SignatureProgram,
    SpanBegan,
    SpanEnded,
)
from dspex.legacy.tracing import tell
from legacy_pools import PROGRAMS, OpenPool, Pool, arrived
from openai_server import OpenAIServer

pytestmark = pytest.mark.anyio

MORE = {
    **PROGRAMS,
    "think": SignatureProgram("question -> answer", module="ChainOfThought", idempotent=True),
    "says": ImportedProgram("legacy_programs:SaysItsTrace"),
    "many": ImportedProgram("legacy_programs:ManyCalls"),
}


class Tracer:
    """Keeps what it is told."""

    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def __init__(self) -> None:
        self.told: list[SpanBegan | SpanEnded] = []
        self.lefts: list[tuple[str | None, int]] = []
        self.entered: list[int | None] = []

    def began(self, span: SpanBegan) -> None:
        self.told.append(span)

    def ended(self, span: SpanEnded) -> None:
        self.told.append(span)

    def left(self, error: str | None, lost: int) -> None:
        self.lefts.append((error, lost))

    def within(self, number: int | None) -> AbstractContextManager[None]:
        @contextmanager
        def entered() -> Iterator[None]:
            self.entered.append(number)
            yield

        return entered()

    def begun(self) -> list[SpanBegan]:
        return [span for span in self.told if isinstance(span, SpanBegan)]

    def over(self) -> dict[int, SpanEnded]:
        return {span.number: span for span in self.told if isinstance(span, SpanEnded)}


async def run(pool: Pool, program: str, tracer: Tracer, **inputs: Any) -> Any:
    return await pool.ref.within(60).call(LegacyPool.run, program, inputs, tracer=tracer)


async def test_calls_come_with_their_parents_times_and_counts(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=lm) as pool:
        tracer = Tracer()
        result = await run(pool, "think", tracer, question="Why?")
    assert result.values["answer"] == "answer to Why?"
    think, predict, lm = tracer.begun()
    assert [(span.kind, span.name, span.parent) for span in (think, predict, lm)] == [
        ("module", "ChainOfThought", None),
        ("module", "Predict", think.number),
        ("lm", "openai/tiny", predict.number),
    ]
    over = tracer.over()
    assert all(over[span.number].at_ns >= span.at_ns for span in tracer.begun())
    assert over[lm.number].facts == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "model": "tiny",
        "cache_hit": False,
        "finish_reasons": ["stop"],
    }
    assert "tiny" in lm.name
    assert "Why?" not in repr(tracer.told)
    assert tracer.lefts == [(None, 0)]


async def test_an_answer_from_dspy_s_cache_is_told_as_one(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=replace(lm, cache=True)) as pool:
        tracers = Tracer(), Tracer()
        for tracer in tracers:
            await run(pool, "qa", tracer, question="Why twice?")
    first, second = (tracer.over()[2].facts for tracer in tracers)
    assert (first["cache_hit"], second["cache_hit"]) == (False, True)
    assert first["prompt_tokens"] == 7
    assert "prompt_tokens" not in second


async def test_a_request_that_nobody_traces_tells_nothing(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=lm) as pool:
        traced = Tracer()
        await run(pool, "think", traced, question="Why?")
        before = len(traced.told)
        await pool.ref.within(60).call(LegacyPool.run, "think", {"question": "And?"})
        assert len(traced.told) == before
        statistics = await pool.ref.call(LegacyPool.statistics)
    assert statistics.completed == 2


async def test_an_error_is_told_by_its_class(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=lm) as pool:
        tracer = Tracer()
        with pytest.raises(Exception, match="as you wish"):
            await run(pool, "qa", tracer, question="status 400")
    errors = {span.name: tracer.over()[span.number].error for span in tracer.begun()}
    assert errors["openai/tiny"] == errors["Predict"]
    assert errors["Predict"] is not None
    assert "as you wish" not in repr(tracer.told)


async def test_the_program_can_read_the_trace_it_is_in(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=lm) as pool:
        tracer = Tracer()
        traced = await run(pool, "says", tracer)
        untraced = await pool.ref.within(60).call(LegacyPool.run, "says", {})
    assert traced.values["trace"] == tracer.traceparent
    assert untraced.values["trace"] == "None"


async def test_what_the_host_does_for_a_call_is_done_within_it(open_pool: OpenPool) -> None:
    answers = iter(
        [
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nlook\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## next_thought ## ]]\nt\n\n[[ ## next_tool_name ## ]]\nfinish\n\n[[ ## next_tool_args ## ]]\n{}",
            "[[ ## reasoning ## ]]\nt\n\n[[ ## answer ## ]]\nso",
        ]
    )

    async def serve(call: LMCall) -> str:
        return next(answers) + "\n\n[[ ## completed ## ]]"

    tracer = Tracer()
    async with open_pool(
        programs={"act": SignatureProgram("question -> answer", module="ReAct", tools=("look",))},
        callables={"look": lambda: "seen"},
        lm=LMSettings("openai/tiny", host=True),
        lm_server=serve,
    ) as pool:
        result = await run(pool, "act", tracer, question="Why?")
    assert result.values["answer"] == "so"
    by_number = {span.number: span for span in tracer.begun()}
    assert [span.kind for span in by_number.values()].count("lm") == 0, "the host makes these calls, and tells of them"
    entered = [by_number[number].name for number in tracer.entered if number is not None]
    assert entered == ["Predict", "look", "Predict", "Predict"]
    assert len(tracer.entered) == 4


async def test_calls_beyond_the_bound_are_counted(open_pool: OpenPool, lm: LMSettings) -> None:
    async with open_pool(programs=MORE, lm=lm) as pool:
        tracer = Tracer()
        await run(pool, "many", tracer, count=150)
        again = Tracer()
        await run(pool, "many", again, count=2)
    begun = tracer.begun()
    assert len(begun) == 256
    assert set(tracer.over()) == {span.number for span in begun}
    assert tracer.lefts == [(None, 1 + 150 * 2 - 256)]
    assert len(again.begun()) == 5
    assert again.lefts == [(None, 0)]


async def test_a_worker_that_dies_leaves_word_of_where_it_was(
    open_pool: OpenPool, server: OpenAIServer, lm: LMSettings
) -> None:
    async with open_pool(programs=MORE, lm=lm, max_kills=3) as pool:
        tracer = Tracer()
        async with anyio.create_task_group() as group:
            group.start_soon(partial(run, pool, "think", tracer, question="hold on"))
            await arrived(server)
            assert [span.name for span in tracer.begun()] == ["ChainOfThought", "Predict", "openai/tiny"]
            os.kill((await pool.heard("legacy.worker.started"))["pid"], signal.SIGKILL)
            await arrived(server)  # the next one has it
            assert tracer.lefts == [("WorkerCrashed", 0)]
            assert tracer.over() == {}
            server.release.set()
        assert tracer.lefts == [("WorkerCrashed", 0), (None, 0)]
    assert [span.name for span in tracer.begun()] == ["ChainOfThought", "Predict", "openai/tiny"] * 2
    assert set(tracer.over()) == {1, 2, 3}


GOOD = {"op": "span", "span": 1, "parent": None, "at": 1, "kind": "module", "name": "m", "facts": {}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"span": 0},
        {"span": 257},
        {"span": "1"},
        {"at": "now"},
        {"parent": "x"},
        {"kind": "fish"},
        {"op": "span_end", "span": None},
    ],
)
def test_a_frame_that_tells_of_no_call_breaks_the_protocol(wrong: dict[str, Any]) -> None:
    tracer = Tracer()
    with pytest.raises(ProtocolError):
        tell(tracer, {**GOOD, **wrong}, worker="w")
    assert tracer.told == []


def test_what_a_worker_tells_is_bounded_and_plain() -> None:
    tracer = Tracer()
    facts = {"long": "x" * 5000, "list": list(range(1000)), "nested": {"a": 1}, **{f"f{n}": n for n in range(100)}}
    tell(tracer, {**GOOD, "name": "n" * 5000, "facts": facts}, worker="w")
    tell(tracer, {**GOOD, "op": "span_end", "error": "E" * 5000, "facts": 7}, worker="w")
    (begun,), (over,) = tracer.begun(), tracer.over().values()
    assert len(begun.name) == len(str(begun.facts["long"])) == len(str(over.error)) == 200
    assert len(begun.facts) <= 32
    assert len(list(begun.facts["list"])) == 32  # type: ignore[call-overload]
    assert "nested" not in begun.facts
