"""Modules, however they are written, called from synchronous code, from either event loop, and from threads."""

import contextvars
import gc
import logging
import subprocess
import sys
import textwrap
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import dspex.engine as engine
import pytest
from dspex.engine.settings import DEFAULT_CONFIG
from dspex.engine.sync import run_sync


def dummy(count: int = 20) -> engine.DummyLM:
    return engine.DummyLM([{"answer": f"a{number}"} for number in range(count)])


class SyncStyle(engine.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = engine.Predict("question -> answer")

    def forward(self, question: str) -> engine.Prediction:
        first = self.predict(question=question)
        return self.predict(question=first.answer)


class AsyncStyle(engine.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = engine.Predict("question -> answer")

    async def aforward(self, question: str) -> engine.Prediction:
        first = await self.predict.acall(question=question)
        return await self.predict.acall(question=first.answer)


@pytest.mark.parametrize("style", [SyncStyle, AsyncStyle])
def test_a_module_of_either_style_can_be_called_synchronously(style: type[engine.Module]) -> None:
    with engine.context(lm=dummy()):
        assert style()(question="x").answer == "a1"


@pytest.mark.anyio
@pytest.mark.parametrize("style", [SyncStyle, AsyncStyle])
async def test_a_module_of_either_style_can_be_awaited(style: type[engine.Module]) -> None:
    with engine.context(lm=dummy()):
        assert (await style().acall(question="x")).answer == "a1"


@pytest.mark.anyio
async def test_a_synchronous_call_on_an_event_loop_says_what_to_do() -> None:
    with engine.context(lm=dummy()):
        for call in (engine.Predict("question -> answer"), SyncStyle(), AsyncStyle()):
            with pytest.raises(engine.SyncInsideLoopError, match=r"await program\.acall") as caught:
                call(question="x")
            assert isinstance(caught.value, RuntimeError)
        with pytest.raises(engine.SyncInsideLoopError):
            engine.settings.lm("hi")


@pytest.mark.anyio
async def test_a_synchronous_call_in_a_worker_thread_runs_on_the_loop_it_came_from() -> None:
    loop_thread = threading.get_ident()
    seen: list[int] = []

    async def where() -> None:
        seen.append(threading.get_ident())

    await anyio.to_thread.run_sync(run_sync, where)
    assert seen == [loop_thread]


@pytest.mark.anyio
async def test_a_call_of_which_the_loop_hears_when_it_is_cancelled_already_does_not_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on, asks = threading.Event(), threading.Event()
    run = anyio.from_thread.run

    def observed(*arguments: Any) -> Any:
        asks.set()
        return run(*arguments)

    monkeypatch.setattr(anyio.from_thread, "run", observed)
    begun: list[str] = []

    async def never() -> None:
        begun.append("it waits, and cancelling does not reach it")
        await anyio.sleep(1)

    class Asking(engine.Module):
        def forward(self) -> None:
            assert go_on.wait(30)
            run_sync(never)

    scope = anyio.CancelScope()

    async def alone_in_its_scope() -> None:
        with scope:
            await Asking().acall()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(alone_in_its_scope)
            await anyio.wait_all_tasks_blocked()
            go_on.set()  # and the loop stands still until the thread has asked
            assert asks.wait(30)
            scope.cancel()
    assert begun == []



@pytest.mark.anyio
async def test_cancelling_reaches_what_a_synchronous_style_module_waits_for() -> None:
    waiting, ended = anyio.Event(), anyio.Event()

    class Slow(engine.BaseLM):
        async def aforward(self, prompt=None, messages=None, **kwargs):
            waiting.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()

    with anyio.fail_after(20), engine.context(lm=Slow("slow")):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await SyncStyle().acall(question="x")

            group.start_soon(call)
            await waiting.wait()
            group.cancel_scope.cancel()
        await ended.wait()


def test_settings_hold_inside_a_synchronous_call() -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="outside")

    async def read() -> tuple[str, Any]:
        return mark.get(), engine.settings.num_threads

    mark.set("inside")
    with engine.context(num_threads=99):
        assert run_sync(read) == ("inside", 99)


def test_an_exception_comes_out_of_a_synchronous_call_as_it_is() -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_sync(fail)
    assert run_sync(_answer) == 42


async def _answer() -> int:
    return 42


def test_each_thread_has_a_loop_of_its_own_and_leaves_none_behind() -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(run_sync(_answer))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()  # an unclosed loop would be a ResourceWarning here, which pytest's settings make an error
    assert results == [42] * 8


def test_ctrl_c_cancels_the_call_and_lets_it_clean_up() -> None:
    script = """
        import os, signal, anyio
        from dspex.engine.sync import run_sync

        async def wait():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await anyio.sleep(30)
            finally:
                print("cleaned up", flush=True)

        async def answer():
            return 42

        try:
            run_sync(wait)
        except KeyboardInterrupt:
            print("interrupted", run_sync(answer))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.split("\n")[:2] == ["cleaned up", "interrupted 42"], done
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_module_without_a_body_says_what_to_define() -> None:
    with pytest.raises(AttributeError, match="define `aforward`"):
        engine.Module()()


class Nested(engine.Module):
    def __init__(self) -> None:  # no super().__init__(): dspy allows it, so do we
        self.one = engine.Predict("a -> b")
        self.same = self.one
        self.many = [engine.Predict("b -> c"), "text", engine.ChainOfThought("c -> d")]
        self.named = {"x": engine.Predict("d -> e")}
        self.frozen = engine.ChainOfThought("e -> f")
        self.frozen._compiled = True
        self.inner = SyncStyle()


def test_parameters_have_the_names_that_dspy_gives(dspy: Any) -> None:
    assert [name for name, _ in Nested().named_parameters()] == [
        "one", "many[0]", "many[2].predict", "named['x']", "inner.predict",
    ]  # fmt: skip
    assert [name for name, _ in engine.Predict("a -> b").named_parameters()] == ["self"]
    theirs, ours = dspy.ChainOfThought("a -> b"), engine.ChainOfThought("a -> b")
    for inspect in (
        lambda program: [name for name, _ in program.named_parameters()],
        lambda program: [name for name, _ in program.named_predictors()],
        lambda program: [name for name, _ in program.named_sub_modules()],
        lambda program: len(program.predictors()),
        lambda program: len(program.parameters()),
    ):
        assert inspect(ours) == inspect(theirs)


def test_every_sub_module_is_found_once() -> None:
    names = [name for name, _ in Nested().named_sub_modules()]
    assert names[0] == "self"
    assert {"self.one", "self.many[0]", "self.many[2]", "self.named[x]", "self.frozen", "self.inner"} <= set(names)
    assert "self.same" not in names
    assert "self.frozen.predict" in names
    assert "self.frozen.predict" not in [name for name, _ in Nested().named_sub_modules(skip_compiled=True)]


def test_predictors_are_replaced_where_they_are() -> None:
    program = Nested()
    made = program.map_named_predictors(lambda predictor: engine.Predict("new -> field"))
    assert made is program
    for predictor in (program.one, program.many[0], program.many[2].predict, program.named["x"], program.inner.predict):
        assert predictor.signature.signature == "new -> field"
    assert program.frozen.predict.signature.signature == "e -> reasoning, f"


def test_set_lm_reaches_every_predictor_and_get_lm_finds_it() -> None:
    program = Nested()
    assert program.get_lm() is None
    lm = dummy()
    program.set_lm(lm)
    assert program.get_lm() is lm
    program.one.lm = dummy()
    with pytest.raises(ValueError, match="Multiple LMs"):
        program.get_lm()


def test_a_deep_copy_is_independent_and_a_reset_copy_is_empty() -> None:
    program = SyncStyle()
    program.predict.demos = [{"question": "q", "answer": "a"}]
    program.set_lm(dummy())
    copy, reset = program.deepcopy(), program.reset_copy()
    copy.predict.demos.append({})
    assert len(program.predict.demos) == 1
    assert reset.predict.demos == []
    assert reset.get_lm() is None


def test_what_cannot_be_copied_is_shared_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    program = SyncStyle()
    program.lock = threading.Lock()
    made = program.deepcopy()
    assert made.lock is program.lock
    assert made.predict is not program.predict
    assert "'lock'" in caplog.text


def test_history_is_kept_by_the_lm_and_by_every_module_that_was_calling() -> None:
    program, lm = SyncStyle(), dummy()
    with engine.context(lm=lm):
        program(question="x")
    assert len(lm.history) == len(program.history) == len(program.predict.history) == 2


def test_usage_is_attached_to_the_outermost_prediction() -> None:
    class Counting(engine.BaseLM):
        async def aforward(self, prompt=None, messages=None, **kwargs):
            content = "[[ ## answer ## ]]\nx"
            usage = {"prompt_tokens": 3, "details": {"cached": 1}, "flag": True}
            return {"model": "m", "choices": [{"message": {"content": content}}], "usage": usage}

    with engine.context(lm=Counting("counting"), track_usage=True):
        prediction = SyncStyle()(question="x")
    usage = {"counting": {"prompt_tokens": 6, "details": {"cached": 2}, "flag": True}}
    assert prediction.get_lm_usage() == usage
    with engine.context(lm=Counting("counting")), engine.track_usage() as outer, engine.track_usage() as inner:
        SyncStyle()(question="x")
    assert outer.get_total_tokens() == inner.get_total_tokens() == usage


def test_a_blocking_lm_of_ones_own_works_in_both_worlds() -> None:
    class Blocking(engine.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            self.thread = threading.get_ident()
            return {"model": "m", "choices": [{"message": {"content": "[[ ## answer ## ]]\nx"}}], "usage": {}}

    async def asynchronous() -> None:
        assert (await engine.Predict("question -> answer").acall(question="x")).answer == "x"

    lm = Blocking("blocking")
    with engine.context(lm=lm):
        assert engine.Predict("question -> answer")(question="x").answer == "x"
        assert lm.thread == threading.get_ident()  # its caller waits anyway
        anyio.run(asynchronous)
    assert lm.thread != threading.get_ident()  # it may block; the loop it was called from may not


def test_an_lm_without_a_body_says_what_to_define() -> None:
    with pytest.raises(NotImplementedError, match="must implement this method"):
        engine.BaseLM("nothing")("hi")
    with pytest.raises(ValueError, match="prompt or messages"):
        engine.BaseLM("nothing")()


def test_a_context_covers_the_keys_it_names_and_no_others() -> None:
    engine.configure(num_threads=1, my_own_key="a")
    with engine.context(num_threads=2):
        engine.configure(max_errors=77)
        assert engine.settings.num_threads == 2
        assert engine.settings.max_errors == 77
        assert engine.settings["my_own_key"] == "a"
    assert engine.settings.num_threads == 1
    assert engine.settings.get("no such key", 5) == 5
    assert "my_own_key" in engine.settings
    with pytest.raises(AttributeError, match="no_such_key"):
        _ = engine.settings.no_such_key


def test_settings_may_be_changed_from_any_thread() -> None:
    thread = threading.Thread(target=lambda: engine.configure(num_threads=5))
    thread.start()
    thread.join()
    assert engine.settings.num_threads == 5
    engine.configure(num_threads=6)  # dspy raises here: another thread was first
    assert engine.settings.num_threads == 6


@pytest.mark.anyio
async def test_tasks_do_not_see_each_others_contexts() -> None:
    seen: dict[int, int] = {}

    async def work(number: int) -> None:
        with engine.context(num_threads=number):
            await anyio.lowlevel.checkpoint()
            seen[number] = engine.settings.num_threads

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work, number)
    assert seen == {number: number for number in range(20)}


def test_every_setting_of_dspy_has_its_default(dspy: Any) -> None:
    from dspy.dsp.utils.settings import DEFAULT_CONFIG as THEIRS

    assert dict(DEFAULT_CONFIG) == dict(THEIRS)


def test_every_setting_of_dspy_is_accepted() -> None:
    with engine.context(send_stream=object(), stream_listeners=[object()], callbacks=[object()]):
        assert len(engine.settings.callbacks) == 1
    assert engine.settings.callbacks == []


def test_inputs_a_program_cannot_do_without_are_known() -> None:
    class Typed(engine.Signature):
        needed: str = engine.InputField()
        with_default: str = engine.InputField(default="x")
        nullable: str | None = engine.InputField()
        answer: str = engine.OutputField()

    class Open(engine.Module):
        async def aforward(self, **inputs: Any) -> None: ...

    assert engine.required_inputs(engine.Predict(Typed)) == ("needed",)
    assert engine.required_inputs(engine.ChainOfThought("a, b -> c")) == ("a", "b")
    assert engine.required_inputs(SyncStyle()) == ("question",)
    assert engine.required_inputs(Open()) == ()
    engine.check_inputs(engine.Predict(Typed), {"needed": 1, "unknown": 2})
    with pytest.raises(engine.MissingInputError, match="`a`, `b`") as caught:
        engine.check_inputs(engine.Predict("a, b, c -> d"), {"c": 1})
    assert (caught.value.missing, caught.value.given) == (("a", "b"), ("c",))


def test_importing_the_engine_imports_no_sdk_and_logs_nothing() -> None:
    script = (
        "import sys, dspex.engine\n"
        "dspex.engine.LM('openai/x'); dspex.engine.LM('anthropic/x')\n"
        "heavy = 'openai anthropic dspy litellm numpy httpx httpx2 trio stamina structlog'.split()\n"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_loggers_of_the_engine_are_left_to_the_host() -> None:
    logger = logging.getLogger("dspex.engine")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


def test_blocking_code_inside_a_synchronous_call_may_make_synchronous_calls() -> None:
    class Inner(engine.BaseLM):
        async def aforward(self, prompt=None, messages=None, **kwargs):
            await anyio.lowlevel.checkpoint()
            return {"model": "m", "choices": [{"message": {"content": "[[ ## answer ## ]]\nx"}}], "usage": {}}

    class Wrapping(engine.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            (text,) = inner(messages=messages)
            return {"model": "m", "choices": [{"message": {"content": text}}], "usage": {}}

    class Asks(engine.BaseCallback):
        def on_lm_end(self, call_id, outputs, exception=None):
            if len(heard) < 3:
                heard.append(1)
                heard.append(inner("once more"))

    heard: list[Any] = []
    inner = Inner("inner")
    with engine.context(lm=Wrapping("outer"), callbacks=[Asks()]):
        for _ in range(2):
            assert engine.Predict("question -> answer")(question="?").answer == "x"
    assert len(heard) >= 2
