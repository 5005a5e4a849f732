"""Rate limits in virtual time, prices of answers, and embeddings from a real server."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import dspex.engine as engine
import pytest
import trio
import trio.testing
from dspex.engine import LM, Embedder, LMUnsupportedFeatureError, Price
from dspex.engine.lm.limits import RateLimit, rate_limit_for
from scripted_server import answer, chat_answer, scripted_server


def limit(now: float = 0.0, **limits: Any) -> RateLimit:
    made = RateLimit()
    made.tighten(**{"requests_per_minute": None, "tokens_per_minute": None, **limits}, now=now)
    return made


def in_virtual_time(main: Any) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_calls_over_the_limit_wait_their_turn_in_order() -> None:
    async def main() -> None:
        pace = limit(trio.current_time(), requests_per_minute=60)
        start, times = trio.current_time(), []

        async def call(number: int) -> None:
            await pace.acquire(10)
            times.append((number, round(trio.current_time() - start, 3)))

        async with trio.open_nursery() as nursery:
            for number in range(63):
                nursery.start_soon(call, number)
                await trio.testing.wait_all_tasks_blocked()
        assert [number for number, _ in times] == list(range(63))
        assert [time for _, time in times[58:]] == [0.0, 0.0, 1.0, 2.0, 3.0]

    in_virtual_time(main)


def test_tokens_are_guessed_before_and_corrected_after() -> None:
    async def main() -> None:
        pace = limit(trio.current_time(), tokens_per_minute=600)
        start = trio.current_time()
        reserved = await pace.acquire(100)
        pace.settle(reserved, {"total_tokens": 600, "completion_tokens": 500})
        await pace.acquire(100)  # 100 of prompt and, now, 100 expected of answer, at ten a second
        assert trio.current_time() - start == pytest.approx(20.0)

    in_virtual_time(main)


def test_a_refusal_makes_everyone_wait_and_slows_the_pace_until_it_has_been_quiet() -> None:
    async def main() -> None:
        pace = limit(trio.current_time(), requests_per_minute=60)
        start = trio.current_time()
        await pace.acquire(1)
        pace.refused(7.0)
        pace.refused(5.0)
        assert pace.statistics().pace == 0.5  # one storm, one reason
        await pace.acquire(1)
        assert trio.current_time() - start == pytest.approx(7.0)
        await trio.sleep(600)
        await pace.acquire(1)
        assert pace.statistics().pace == 1.0
        assert pace.statistics().refusals == 2

    in_virtual_time(main)


def test_a_caller_who_leaves_the_queue_gives_up_its_turn() -> None:
    async def main() -> None:
        pace = limit(trio.current_time(), requests_per_minute=1)
        await pace.acquire(1)
        with trio.move_on_after(5):
            await pace.acquire(1)
        assert pace.statistics().waiting == 0
        start = trio.current_time()
        await pace.acquire(1)
        assert trio.current_time() - start == pytest.approx(55.0)

    in_virtual_time(main)


@pytest.mark.anyio
async def test_all_lms_of_a_model_share_the_lower_limit_and_429_is_heard() -> None:
    asked: list[int] = []

    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        asked.append(1)
        if len(asked) == 1:
            yield answer({"error": {"message": "slow"}}, 429, {"retry-after-ms": "20"})
        else:
            yield chat_answer("x")

    async with scripted_server(script) as server:
        options: dict[str, Any] = {"base_url": server.url, "api_key": "k", "cache": False}
        first = LM("openai/limited", requests_per_minute=6000, **options)
        second = LM("openai/limited", requests_per_minute=600, **options)
        async with first, second:
            assert await first.acall("hi") == ["x"]
            assert await second.acall("hi") == ["x"]
            shared = rate_limit_for("openai/limited", server.url, requests_per_minute=None, tokens_per_minute=None)
            counts = shared.statistics()
            assert (counts.requests, counts.refusals, counts.pace) == (3, 1, 0.5)
            assert await first.limits() == await second.limits() == counts
            assert await LM("openai/limited", **options).limits() is None


@pytest.mark.anyio
async def test_cost_is_reported_or_worked_out_from_given_prices_and_never_invented() -> None:
    async def script(body: dict[str, Any]) -> AsyncIterator[bytes]:
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        usage["prompt_tokens_details"] = {"cached_tokens": 400}
        if body["messages"][0]["content"] == "reported":
            usage["cost"] = 0.125
        yield chat_answer("x", usage=usage)

    engine.configure_cache(enable_disk_cache=False)
    price = Price(input=2.0, output=10.0, cached_input=0.5)
    async with scripted_server(script) as server:
        async with LM("openai/m", base_url=server.url, api_key="k", price=price) as lm:
            await lm.acall("worked out")
            await lm.acall("worked out")  # from the cache: what it cost at the time, and no usage
            await lm.acall("reported")
            await lm.copy(price=None).acall("unknown")
            worked_out, kept, reported = lm.history
        async with LM("openai/other", base_url=server.url, api_key="k") as other:
            await other.acall("unknown")
    assert worked_out["cost"] == pytest.approx((600 * 2.0 + 400 * 0.5 + 100 * 10.0) / 1e6)
    assert worked_out["cost_details"]["kind"] == "estimate"
    assert (kept["cost"], kept["usage"]) == (worked_out["cost"], {})
    assert (reported["cost"], reported["cost_details"]["kind"]) == (0.125, "reported")
    assert other.history[0]["cost"] is None
    with pytest.raises(ValueError, match=r"Price\.output"):
        Price(input=1, output=-1)


async def embedding(body: dict[str, Any]) -> AsyncIterator[bytes]:
    data = [{"object": "embedding", "index": i, "embedding": [len(t), i]} for i, t in enumerate(body["input"])]
    yield answer({"object": "list", "model": "e", "data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}})


@pytest.mark.anyio
async def test_texts_are_embedded_in_batches_and_remembered() -> None:
    pytest.importorskip("numpy", reason="embeddings are numpy arrays: needs numpy")
    engine.configure_cache(enable_disk_cache=False)
    async with scripted_server(embedding) as server:
        embed = Embedder("openai/e", batch_size=2, base_url=server.url, api_key="k", dimensions=2)
        vectors = await embed.acall(["a", "bb", "ccc"])
        assert vectors.tolist() == [[1, 0], [2, 1], [3, 0]]
        assert str(vectors.dtype) == "float32"
        assert [len(body["input"]) for body in server.bodies] == [2, 1]
        assert server.bodies[0]["dimensions"] == 2
        await embed.acall(["a", "bb", "ccc"])
        assert len(server.bodies) == 2
        assert (await embed.acall("dddd", caching=False)).shape == (2,)
        with pytest.raises(ValueError, match="All inputs must be strings"):
            await embed.acall(["a", 1])
        await embed.aclose()


@pytest.mark.anyio
async def test_the_client_embeds_without_numpy_and_says_who_cannot() -> None:
    async with scripted_server(embedding) as server:
        async with LM("openai/e", base_url=server.url, api_key="k") as lm:
            assert await lm.embed(["a", "bb"]) == [[1, 0], [2, 1]]
            assert server.paths == ["/v1/embeddings"]
        async with LM("anthropic/e", base_url=server.url, api_key="k") as lm:
            with pytest.raises(LMUnsupportedFeatureError):
                await lm.embed(["a"])


@pytest.mark.anyio
async def test_a_function_may_embed() -> None:
    pytest.importorskip("numpy", reason="embeddings are numpy arrays: needs numpy")
    calls: list[list[str]] = []

    def plain(texts: list[str], scale: int = 1) -> list[list[int]]:
        calls.append(texts)
        return [[len(text) * scale] for text in texts]

    async def asynchronous(texts: list[str]) -> list[list[int]]:
        await anyio.lowlevel.checkpoint()
        return [[len(text)] for text in texts]

    embed = Embedder(plain, batch_size=1, scale=2)
    assert (await embed.acall(["a", "bb"])).tolist() == [[2], [4]]
    assert (await embed.acall(["a", "bb"])).tolist() == [[2], [4]]
    assert calls == [["a"], ["bb"]]
    assert (await Embedder(asynchronous).acall("abc")).tolist() == [3]
    with pytest.raises(ValueError, match="must be a string or a callable"):
        await Embedder(3).acall("a")  # type: ignore[arg-type]
