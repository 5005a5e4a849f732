"""A model judges whether two answers are the same: a real client, a real server, a metric that is async."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import anyio
import pytest
from dspex.engine import LM, Prediction
from dspex.router import Flags, FlagStore, Request, Router, ShadowOptions, judged_by, shadow_report
from dspex.router.comparison import scores_of
from openai_server import OpenAIServer
from scripted_arms import scripted

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


def judge_of(server: OpenAIServer) -> LM:
    return LM("openai/judge", api_base=server.url, api_key="k", cache=False, num_retries=0)


async def test_the_judge_is_asked_about_answers_that_differ_and_only_about_those(server: OpenAIServer) -> None:
    lm = judge_of(server)
    metric = judged_by(lm)
    paris = Prediction(reasoning="I know.", answer="Paris", sure=True)
    assert (await scores_of(metric, paris, Prediction(reasoning="Guessed.", answer="Paris", sure=True))).score == 1
    assert server.bodies == []
    assert (await scores_of(metric, paris, Prediction(reasoning="", answer="PARIS", sure=True))).score == 1
    assert (await scores_of(metric, paris, Prediction(reasoning="", answer="Lyon", sure=True))).score == 0
    assert len(server.bodies) == 2
    asked = server.bodies[1]["messages"][-1]["content"]
    assert '{"answer": "Paris", "sure": true}' in asked
    assert "I know." not in asked
    await lm.aclose()


async def test_shadows_are_judged_by_the_model_and_its_failure_is_no_difference(
    server: OpenAIServer, tmp_path: Path
) -> None:
    lm = judge_of(server)
    answers = iter(["4", "FOUR", "five"])

    async def native(request: Request) -> Mapping[str, object]:
        return {"answer": next(answers)}

    async def legacy(request: Request) -> Mapping[str, object]:
        return {"answer": "four"}

    journal = tmp_path / "journal.sqlite"
    options = ShadowOptions(metric=judged_by(lm))
    flags = FlagStore(Flags(mode={"qa": "shadow"}))
    async with scripted(flags, native=native, legacy=legacy, shadow=options, journal=journal) as (rt, router):
        done = 0

        def count(_: object) -> None:
            nonlocal done
            done += 1

        rt.events.subscribe(count, prefix="router.shadow.compared")
        with anyio.fail_after(60):
            for wanted in (1, 2, 3):
                if wanted == 3:
                    await lm.aclose()
                    server.close()  # the judge goes away
                await router.call(Router.run, "qa", {})
                while done < wanted:
                    await rt.sleep(0.005)
    report = shadow_report(journal, "qa")
    assert (report.compared, report.identical, report.score, report.metric_errors) == (3, 1, 0.5, 1)
