"""Flags for features, prices, bounds and the trail in a running app: a real server, real dspy workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dspex.engine import Price
from dspex.legacy import LMSettings
from dspex.router import AppCollector, Dspex, EngineMissing, Flags, ProgramSpec, flag_history
from openai_server import OpenAIServer

pytest.importorskip("dspy", reason="needs the extra `legacy`")
pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    server = OpenAIServer()
    yield server
    server.close()


async def test_an_app_obeys_feature_flags_counts_dollars_and_its_own_share_and_keeps_the_trail(
    server: OpenAIServer, tmp_path: Path
) -> None:
    app = Dspex(
        [
            ProgramSpec.of_signature("qa", "question -> answer", module="ChainOfThought", idempotent=True),
            ProgramSpec.of_signature("plain", "question -> answer", idempotent=True),
        ],
        lm=LMSettings("openai/tiny", api_base=server.url, api_key="k", cache=False, options={"num_retries": 0}),
        workers=1,
        prices={"openai/tiny": Price(input=1.0, output=2.0)},
        journal=tmp_path / "journal.sqlite",
        flags=Flags(features={"chain_of_thought": "legacy"}),
    )
    usd = (7 * 1.0 + 5 * 2.0) / 1e6
    async with app:
        kept = await app.call("qa", question="Why?")
        assert (kept.route.engine, kept.route.reason) == ("legacy", "features['chain_of_thought']='legacy'")
        assert (await app.call("plain", question="Why?")).route.engine == "native"
        app.flags.set(features={"chain_of_thought": "legacy", "qa/chain_of_thought": "native"}, by="ops")
        native = await app.call("qa", question="Why?")
        assert native.route.engine == "native"
        assert (kept.route.usd, native.route.usd) == (pytest.approx(usd), pytest.approx(usd))
        app.flags.set(use_native_signatures=False, by="ops")
        signed = await app.call("qa", question="Why?", require="usd<1")
        assert signed.route.engine == "legacy"
        assert signed.route.reason == "require usd<1: only 1 of 20 samples of legacy; use_native_signatures=False"

        stats = await app.stats()
        assert (stats.requests, stats.native_share) == (4, 0.5)
        for arm in stats.programs["qa"].values():
            assert arm.error_rate == 0
            for value in (arm.p50_s, arm.p95_s, arm.p99_s, arm.overhead_p50_s, arm.overhead_p99_s):
                assert value is not None
                assert 0 < value < 60
            assert arm.usd_mean == pytest.approx(usd)
        assert stats.to_dict()["programs"]["qa"]["native"]["overhead_s"]["p50"] > 0
        pytest.importorskip("prometheus_client", reason="needs the extra `prometheus`")
        names = {metric.name for metric in AppCollector(app).collect()}
        assert "dspex_router_overhead_seconds" in names
        explained = app.explain("qa")
        assert explained.next is not None
        assert explained.next.reason == "use_native_signatures=False"
    assert [change.by for change in flag_history(tmp_path / "journal.sqlite")] == ["start", "ops", "ops"]


async def test_a_program_without_a_legacy_side_says_which_feature_flag_is_in_its_way(server: OpenAIServer) -> None:
    from dspex.engine import Predict

    own = ProgramSpec("own", native=lambda: Predict("question -> answer"))
    app = Dspex([own], flags=Flags(features={"predict": "legacy"}))
    async with app:
        with pytest.raises(EngineMissing, match=r"change features\['predict'\]='legacy'"):
            await app.call("own", question="Why?")
