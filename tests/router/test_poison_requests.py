"""Requests and choosers that are none: a typed error for who asked, and nothing for anybody else."""

from typing import Any

import anyio
import pytest
from dspex.engine import BaseLM, Predict
from dspex.router import Dspex, EngineMissing, Flags, ProgramSpec, UnknownProgram
from dspex.runtime import CallTimeout

pytestmark = pytest.mark.anyio


class Says(BaseLM):
    """"hold" is answered never, everything else with four."""

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        if "hold" in messages[-1]["content"]:
            await anyio.sleep_forever()
        text = "[[ ## answer ## ]]\nfour\n\n[[ ## completed ## ]]"
        return {"model": "says", "choices": [{"message": {"content": text}}], "usage": {}}


def qa() -> Predict:
    program = Predict("question -> answer")
    program.lm = Says("says")
    return program


QA = ProgramSpec("qa", native=qa)


class Chooser:
    def __init__(self) -> None:
        self.says: Any = None

    def choose(self, program: str, key: str | None) -> Any:
        return self.says


@pytest.mark.parametrize(
    ("program", "options", "error"),
    [
        (["qa"], {}, UnknownProgram),
        (None, {}, UnknownProgram),
        ("qa", {"engine": ["native"]}, ValueError),
        ("qa", {"engine": 1}, ValueError),
        ("qa", {"require": ["p95<2s"]}, ValueError),
        ("qa", {"within": float("nan")}, ValueError),
        ("qa", {"within": -1}, ValueError),
        ("qa", {"within": "5"}, TypeError),
    ],
)
async def test_a_request_that_is_none_is_refused_and_ends_no_part_of_the_tree(
    program: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    async with Dspex([QA]) as app:
        before = {name: app.runtime.ref(name).resolve() for name in ("router", "native", "native.qa")}
        with pytest.raises(error):
            await app.call(program, question="2 + 2?", **options)
        with pytest.raises(error):
            async with app.stream(program, question="2 + 2?", **options) as stream:
                await anext(stream)
        assert (await app.call("qa", question="2 + 2?"))["answer"] == "four"
        assert {name: app.runtime.ref(name).resolve() for name in before} == before


@pytest.mark.parametrize("says", ["native", ("n", "a typo"), (["native"], "a list"), ("native",), 5])
async def test_a_chooser_that_says_no_engine_leaves_it_to_the_flags(says: Any) -> None:
    chooser = Chooser()
    chooser.says = says
    async with Dspex([QA], chooser=chooser) as app:
        failed: list[object] = []
        app.runtime.events.subscribe(failed.append, prefix="router.chooser_failed")
        answer = await app.call("qa", question="2 + 2?")
        assert answer.route.reason == "use_native_predictors=True"
        assert len(failed) == 1
    assert "the chooser fails" in str(app.explain("qa").notes)


async def test_an_engine_that_the_chooser_chose_and_that_is_missing_is_the_chooser_s() -> None:
    chooser = Chooser()
    chooser.says = ("legacy", "a guess")
    async with Dspex([QA], chooser=chooser) as app:
        with pytest.raises(EngineMissing, match=r"the chooser \(a guess\) sends 'qa'"):
            await app.call("qa", question="2 + 2?")
        assert "the chooser (a guess)" in (app.explain("qa").refused or "")


async def test_an_engine_that_is_silent_beyond_the_deadline_is_counted_as_failed_and_who_leaves_is_not() -> None:
    async with Dspex([QA]) as app:
        with pytest.raises(CallTimeout):
            await app.call("qa", question="hold", within=0.6)  # the engine's own limit is the first here to be noticed
        with pytest.raises(CallTimeout):
            async with app.stream("qa", question="hold", within=0.05) as stream:
                await anext(stream)
        with anyio.move_on_after(0.05):
            await app.call("qa", question="hold")
        native = (await app.stats()).programs["qa"]["native"]
        assert (native.requests, native.failed, dict(native.errors)) == (2, 2, {"CallTimeout": 2})
        assert (await app.call("qa", question="2 + 2?"))["answer"] == "four"
        assert (await app.stats()).programs["qa"]["native"].requests == 3


async def test_map_may_name_the_engine_for_all_of_its_requests() -> None:
    async with Dspex([QA], flags=Flags(native_percent={"qa": 100})) as app:
        routes = [answer.route.reason async for answer in app.map("qa", [{"question": "?"}] * 2, engine="native")]
        assert routes == ["engine='native' in the call"] * 2
        with pytest.raises(EngineMissing):
            async for _ in app.program("qa").map([{"question": "?"}], engine="legacy"):
                pass


@pytest.mark.parametrize(("within", "error"), [(-1, ValueError), (float("nan"), ValueError), ("soon", TypeError)])
async def test_draining_for_no_time_is_refused_and_nothing_is_shut(within: Any, error: type[Exception]) -> None:
    async with Dspex([QA]) as app:
        with pytest.raises(error):
            await app.drain(within=within)
        assert (await app.call("qa", question="2 + 2?"))["answer"] == "four"
        await app.drain()
        assert (await app.stats()).requests == 1, "what was counted is there after the tree was stopped"
