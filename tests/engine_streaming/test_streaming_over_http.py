"""Programs streamed from real HTTP servers through the real SDKs: pieces as they come, errors, and readers who leave."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import dspex.engine as engine
import pytest
from dspex.engine import LM, LMError, LMServerError, LMStreamAssemblyError, StreamListener, StreamResponse, streamify
from scripted_server import END, HANG_UP, STREAM, answer, chat_chunk, event, scripted_server

pytestmark = pytest.mark.anyio

ANSWER = ["[[ ##", " answer", " ## ]]\n", "To", " be", " or", " not", "\n\n[[ ## com", "pleted ## ]]"]


def lm_at(url: str, provider: str = "openai", **options: Any) -> LM:
    options = {"num_retries": 0, "cache": False, **options}
    return LM(f"{provider}/m", base_url=url, api_key="sk-not-a-real-key", **options)


async def read_into(items: list[Any], stream: AsyncIterator[Any]) -> None:
    async for item in stream:
        items.append(item)


async def openai_stream(body: dict[str, Any]) -> AsyncIterator[bytes]:
    yield STREAM
    for text in ANSWER:
        yield chat_chunk(text)
    yield chat_chunk(finish="stop")
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    yield event({"id": "c1", "model": "m-1", "choices": [], "usage": usage})
    yield event("[DONE]")
    yield END


async def anthropic_stream(body: dict[str, Any]) -> AsyncIterator[bytes]:
    def named(data: dict[str, Any]) -> bytes:
        return event(data, data["type"])

    yield STREAM
    message = {"id": "msg", "type": "message", "role": "assistant", "model": "m-1", "content": []}
    yield named({"type": "message_start", "message": {**message, "usage": {"input_tokens": 3, "output_tokens": 1}}})
    yield named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for text in ANSWER:
        yield named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    yield named({"type": "content_block_stop", "index": 0})
    yield named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}})
    yield named({"type": "message_stop"})
    yield END


async def responses_stream(body: dict[str, Any]) -> AsyncIterator[bytes]:
    yield STREAM
    for text in ANSWER:
        yield event({"type": "response.output_text.delta", "delta": text, "item_id": "i", "output_index": 0})
    part = {"type": "output_text", "text": "".join(ANSWER), "annotations": []}
    output = [{"type": "message", "role": "assistant", "id": "i", "status": "completed", "content": [part]}]
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    whole = {"id": "r", "object": "response", "model": "m-1", "status": "completed", "output": output, "usage": usage}
    yield event({"type": "response.completed", "response": whole})
    yield END


@pytest.mark.parametrize(
    ("provider", "options", "script"),
    [
        ("openai", {}, openai_stream),
        ("openai", {"model_type": "responses"}, responses_stream),
        ("anthropic", {}, anthropic_stream),
    ],
    ids=["openai", "responses", "anthropic"],
)
async def test_a_field_comes_in_pieces_and_then_the_prediction(provider: str, options: Any, script: Any) -> None:
    async with scripted_server(script) as server, lm_at(server.url, provider, **options) as lm:
        with engine.context(lm=lm):
            ask = streamify(engine.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
            items = [item async for item in ask(question="?")]
        assert server.bodies[0]["stream"] is True
    pieces, prediction = items[:-1], items[-1]
    assert [piece.chunk for piece in pieces] == ["To", " be", " or", " not", ""]
    assert [piece.is_last_chunk for piece in pieces] == [False, False, False, False, True]
    assert {(piece.predict_name, piece.signature_field_name) for piece in pieces} == {("self", "answer")}
    assert prediction.answer == "To be or not"
    (entry,) = lm.history
    assert entry["usage"]["total_tokens"] == 7
    assert entry["outputs"] in (["".join(ANSWER)], [{"text": "".join(ANSWER)}])


async def test_the_first_piece_is_handed_out_while_the_model_still_writes() -> None:
    seen = anyio.Event()

    async def slow(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk("[[ ## answer ## ]]\nTo")
        await seen.wait()
        yield chat_chunk(" be\n\n[[ ## completed ## ]]")
        yield chat_chunk(finish="stop")
        yield event("[DONE]")
        yield END

    async with scripted_server(slow) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm):
            ask = streamify(engine.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
            chunks = []
            with anyio.fail_after(20):
                async for item in ask(question="?"):
                    if isinstance(item, StreamResponse):
                        chunks.append(item.chunk)
                    seen.set()
    assert chunks == ["To", " be"]


@pytest.mark.parametrize("leaving", ["break", "cancel"])
async def test_a_reader_who_leaves_closes_the_connection(leaving: str) -> None:
    async def endless(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk("[[ ## answer ## ]]\nTo")
        await anyio.sleep_forever()

    async with scripted_server(endless) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm), anyio.fail_after(20):
            stream = streamify(engine.Predict("question -> answer"))(question="?")
            if leaving == "break":
                async for _ in stream:
                    break
                await stream.aclose()
            else:
                with anyio.CancelScope() as scope:
                    async for _ in stream:
                        scope.cancel()
                await stream.aclose()
            await server.hung_up.wait()
    assert lm.history == []


async def test_a_stream_that_breaks_off_is_a_typed_error_and_is_not_asked_again() -> None:
    async def broken(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk("[[ ## answer ## ]]\nTo be")
        yield HANG_UP

    async with scripted_server(broken) as server, lm_at(server.url, num_retries=3) as lm:
        seen: list[Any] = []
        with engine.context(lm=lm), pytest.raises(LMError) as caught:
            await read_into(seen, streamify(engine.Predict("question -> answer"))(question="?"))
        assert len(server.bodies) == 1
    assert caught.value.model == "openai/m"
    assert seen


async def test_a_stream_that_ends_too_early_says_so_and_has_what_came() -> None:
    async def short(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk("To be")
        yield event("[DONE]")
        yield END

    async with scripted_server(short) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm), pytest.raises(LMStreamAssemblyError) as caught:
            async for _ in streamify(engine.Predict("question -> answer"))(question="?"):
                pass
    assert caught.value.partial == "To be"


async def test_a_failure_before_the_first_piece_is_tried_again() -> None:
    refused: list[bool] = []

    async def once(body: dict[str, Any]) -> AsyncIterator[bytes]:
        if not refused:
            refused.append(True)
            yield answer({"error": {"message": "later"}}, 503, {"retry-after-ms": "1"})
            return
        async for piece in openai_stream(body):
            yield piece

    async with scripted_server(once) as server, lm_at(server.url, num_retries=1) as lm:
        with engine.context(lm=lm):
            items = [item async for item in streamify(engine.Predict("question -> answer"))(question="?")]
        assert len(server.bodies) == 2
    assert items[-1].answer == "To be or not"


async def test_the_programs_error_reaches_the_reader_as_it_is() -> None:
    async def refusing(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield answer({"error": {"message": "no"}}, 500)

    async with scripted_server(refusing) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm), pytest.raises(LMServerError):
            async for _ in streamify(engine.Predict("question -> answer"))(question="?"):
                pass


async def test_an_answer_that_was_seen_is_not_asked_for_again_in_another_format() -> None:
    async def mumbling(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk("no field here")
        yield chat_chunk(finish="stop")
        yield event("[DONE]")
        yield END

    async with scripted_server(mumbling) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm), pytest.raises(engine.AdapterParseError):
            async for _ in streamify(engine.Predict("question -> answer"))(question="?"):
                pass
        assert len(server.bodies) == 1  # without a reader, JSON would have been asked for


async def test_only_the_predictor_that_is_listened_to_is_streamed() -> None:
    class Two(engine.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = engine.Predict("question -> draft")
            self.second = engine.Predict("question -> answer")

        async def aforward(self, question: str) -> engine.Prediction:
            await self.first.acall(question=question)
            return await self.second.acall(question=question)

    async def either(body: dict[str, Any]) -> AsyncIterator[bytes]:
        if body.get("stream"):
            async for piece in openai_stream(body):
                yield piece
        else:
            message = {"content": "[[ ## draft ## ]]\nx"}
            yield answer({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})

    async with scripted_server(either) as server, lm_at(server.url) as lm:
        with engine.context(lm=lm):
            ask = streamify(
                Two(), stream_listeners=[StreamListener("answer")], include_final_prediction_in_output_stream=False
            )
            items = [item async for item in ask(question="?")]
        assert [bool(body.get("stream")) for body in server.bodies] == [False, True]
    assert {item.predict_name for item in items} == {"second"}


async def test_a_cached_answer_is_not_streamed_and_the_prediction_comes_anyway() -> None:
    engine.configure_cache(enable_disk_cache=False)
    async with scripted_server(openai_stream) as server, lm_at(server.url, cache=True) as lm:
        with engine.context(lm=lm):
            for _ in range(2):
                ask = streamify(
                    engine.Predict("question -> answer"),
                    stream_listeners=[StreamListener("answer")],
                    include_final_prediction_in_output_stream=False,
                )
                items = [item async for item in ask(question="?")]
        assert len(server.bodies) == 1
    (prediction,) = items
    assert prediction.answer == "To be or not"


async def test_tool_calls_and_thinking_are_streamed_and_put_together() -> None:
    async def calling(body: dict[str, Any]) -> AsyncIterator[bytes]:
        yield STREAM
        yield chat_chunk(reasoning_content="hm")
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "search", "arguments": ""}}
        yield chat_chunk(tool_calls=[first])
        for piece in ('{"q":', ' "x"}'):
            yield chat_chunk(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
        yield chat_chunk(finish="tool_calls")
        yield event("[DONE]")
        yield END

    send, receive = anyio.create_memory_object_stream[Any](100)
    async with scripted_server(calling) as server, lm_at(server.url) as lm:
        with engine.context(send_stream=send):
            (output,) = await lm.acall("hi")
    send.close()
    async with receive:
        chunks = [chunk async for chunk in receive]
    function = {"name": "search", "arguments": '{"q": "x"}'}
    assert output["tool_calls"] == [{"id": "call_1", "type": "function", "function": function}]
    assert output["reasoning_content"] == "hm"
    assert chunks[0].choices[0].delta.reasoning_content == "hm"
    assert chunks[1].choices[0].delta.tool_calls[0]["id"] == "call_1"
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
