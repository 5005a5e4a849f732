"""Callbacks hear the same, in the same order, with the same parents, from dspy and from the engine."""

import logging
from types import ModuleType
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine.callbacks import ACTIVE_CALL_ID, with_callbacks


def recorder(base: type, active: Any) -> Any:
    """A callback that writes down every event as (name, depth of its parent, inputs or outputs)."""

    class Recorder(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self.events: list[tuple[Any, ...]] = []
            self.depth: dict[Any, int] = {None: 0}

        def start(self, name: str, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.depth[call_id] = self.depth[active.get()] + 1
            keys = sorted(inputs)
            self.events.append((name, "start", self.depth[call_id], type(instance).__name__, keys))

        def end(self, name: str, call_id: str, outputs: Any, exception: BaseException | None) -> None:
            self.events.append((name, "end", self.depth[call_id], outputs is None, type(exception).__name__))

    for name in ("module", "lm", "adapter_format", "adapter_parse", "tool"):

        def on_start(self: Any, call_id: str, instance: Any, inputs: dict[str, Any], name: str = name) -> None:
            self.start(name, call_id, instance, inputs)

        def on_end(
            self: Any, call_id: str, outputs: Any, exception: BaseException | None = None, name: str = name
        ) -> None:
            self.end(name, call_id, outputs, exception)

        setattr(Recorder, f"on_{name}_start", on_start)
        setattr(Recorder, f"on_{name}_end", on_end)
    return Recorder()


@pytest.fixture
def both(dspy: ModuleType) -> Any:
    from dspy.utils.callback import ACTIVE_CALL_ID as THEIRS
    from dspy.utils.callback import BaseCallback

    return (dspy, recorder(BaseCallback, THEIRS)), (engine, recorder(engine.BaseCallback, ACTIVE_CALL_ID))


def dummy(library: Any, answers: Any, **options: Any) -> Any:
    from dspy.utils import DummyLM

    return (DummyLM if library is not engine else engine.DummyLM)(answers, **options)


def test_a_chain_of_thought_is_heard_in_the_same_order(both: Any) -> None:
    for library, heard in both:
        lm = dummy(library, [{"reasoning": "r", "answer": "a"}])
        with library.context(lm=lm, callbacks=[heard]):
            library.ChainOfThought("question -> answer")(question="?")
    theirs, ours = (heard.events for _, heard in both)
    assert ours == theirs
    assert [event[:2] for event in ours].count(("lm", "start")) == 1


def test_a_failure_is_heard_by_every_end(both: Any) -> None:
    for library, heard in both:
        adapter = library.ChatAdapter(use_json_adapter_fallback=False)
        lm = dummy(library, {"nothing": {}})
        with library.context(lm=lm, callbacks=[heard], adapter=adapter), pytest.raises(library.AdapterParseError):
            library.Predict("question -> answer")(question="?")
    theirs, ours = (heard.events for _, heard in both)
    assert ours == theirs
    assert ours[-1] == ("module", "end", 1, True, "AdapterParseError")


def test_an_lms_own_callbacks_hear_only_of_it(both: Any) -> None:
    for library, heard in both:
        lm = dummy(library, [{"answer": "a"}])
        lm.callbacks = [heard]
        with library.context(lm=lm):
            library.Predict("question -> answer")(question="?")
            lm("hi")
    theirs, ours = (heard.events for _, heard in both)
    assert ours == theirs
    assert {event[0] for event in ours} == {"lm"}


@pytest.mark.anyio
async def test_cancellation_is_heard_too() -> None:
    class Slow(engine.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            started.set()
            await anyio.sleep_forever()

    started = anyio.Event()
    heard = recorder(engine.BaseCallback, ACTIVE_CALL_ID)
    with engine.context(lm=Slow("slow"), callbacks=[heard]):
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                await engine.Predict("question -> answer").acall(question="?")

            group.start_soon(ask)
            await started.wait()
            group.cancel_scope.cancel()
    assert [event[:2] for event in heard.events[-2:]] == [("lm", "end"), ("module", "end")]
    assert heard.events[-1][-1] in ("CancelledError", "Cancelled")
    assert ACTIVE_CALL_ID.get() is None


@pytest.mark.anyio
async def test_concurrent_calls_have_their_own_parents() -> None:
    heard = recorder(engine.BaseCallback, ACTIVE_CALL_ID)
    with engine.context(lm=engine.DummyLM({"q": {"answer": "a"}}), callbacks=[heard]):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(lambda: engine.Predict("question -> answer").acall(question="q"))
    assert {event[2] for event in heard.events if event[0] == "lm"} == {2}


def test_what_a_handler_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(engine.BaseCallback):
        def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            raise ValueError("start is broken")

        def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            raise ValueError("end is broken")

    with engine.context(callbacks=[Broken()]), caplog.at_level(logging.WARNING):
        assert engine.DummyLM([{"answer": "a"}])("hi")
    assert "Error when calling callback" in caplog.text
    assert "end handler on function" in caplog.text


def test_a_method_of_ones_own_takes_part() -> None:
    heard = recorder(engine.BaseCallback, ACTIVE_CALL_ID)

    class Own(engine.Module):
        @with_callbacks
        def work(self, x: int, y: str = "b", *rest: int, **more: Any) -> int:
            return x

    with engine.context(callbacks=[heard]):
        assert Own().work(1, more=2) == 1
        with pytest.raises(TypeError):
            Own().work()
    assert heard.events == [
        ("module", "start", 1, "Own", ["more", "rest", "x", "y"]),
        ("module", "end", 1, False, "NoneType"),
    ]
