"""The LM clients against servers that hang, hang up, lie or are not there."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from dspex.engine import LM, LMTransportError, LMUnexpectedError, LMUnsupportedModelError
from dspex.engine.lm.retry import Backoff

pytestmark = pytest.mark.anyio

PROVIDERS = ["openai", "anthropic"]


@asynccontextmanager
async def server(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A TCP server whose every connection, once a whole request has arrived, is given to `handle`."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                await _read_request(stream)
                await handle(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        group.cancel_scope.cancel()


async def _read_request(stream: SocketStream) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += await stream.receive()


def answering(body: bytes, content_type: bytes = b"application/json") -> Callable[[SocketStream], Awaitable[None]]:
    async def handle(stream: SocketStream) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type + b"\r\nConnection: close\r\n"
        await stream.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    return handle


def client(provider: str, url: str, **options: object) -> LM:
    return LM(f"{provider}/m", base_url=url, api_key="sk-not-a-real-key", num_retries=0, **options)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_unreachable_server_is_a_transport_error_that_names_the_address(provider: str) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    await listener.aclose()
    async with client(provider, f"http://user:password@127.0.0.1:{port}/v1") as lm:
        with pytest.raises(LMTransportError) as caught:
            await lm.acall("hi")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "password" not in str(caught.value)
    assert caught.value.provider == provider


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_transport_error_is_tried_again_after_growing_waits(provider: str) -> None:
    async def hang_up(stream: SocketStream) -> None:
        moments.append(anyio.current_time())

    moments: list[float] = []
    async with server(hang_up) as url, LM(f"{provider}/m", base_url=url, api_key="sk-key-key", num_retries=3) as lm:
        lm._backoff = Backoff(first=0.1)
        with pytest.raises(LMTransportError):
            await lm.acall("hi")
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert len(waits) == 3
    assert waits == sorted(waits)
    assert waits[0] >= 0.075


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"<html>Welcome to the proxy</html>", b"text/html", id="an HTML page"),
        pytest.param(b"{not json", b"application/json", id="broken JSON"),
        pytest.param(b'{"choices": null, "content": null}', b"application/json", id="no answer in it"),
        pytest.param(b'{"choices": [], "content": "x"}', b"application/json", id="an empty answer"),
        pytest.param(b"[1, 2]", b"application/json", id="a list"),
        pytest.param(b"null", b"application/json", id="null"),
        pytest.param(b"", b"application/json", id="nothing"),
    ],
)
async def test_a_200_that_is_no_answer_is_an_unexpected_error(provider: str, body: bytes, content_type: bytes) -> None:
    async with server(answering(body, content_type)) as url, client(provider, url) as lm:
        with pytest.raises(LMUnexpectedError) as caught:
            await lm.acall("hi")
    assert caught.value.model == f"{provider}/m"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_that_breaks_off_is_a_transport_error(provider: str) -> None:
    async def half(stream: SocketStream) -> None:
        await stream.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"choices"')

    async with server(half) as url, client(provider, url) as lm:
        with pytest.raises(LMTransportError):
            await lm.acall("hi")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_server_that_does_not_speak_http_is_a_transport_error(provider: str) -> None:
    async def garbage(stream: SocketStream) -> None:
        await stream.send(b"\x00\x01SSH-2.0-nonsense\r\n\r\n")

    async with server(garbage) as url, client(provider, url) as lm:
        with pytest.raises(LMTransportError):
            await lm.acall("hi")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_cancelling_a_call_closes_its_connection(provider: str) -> None:
    arrived, left = anyio.Event(), anyio.Event()

    async def hang(stream: SocketStream) -> None:
        arrived.set()
        try:
            await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            left.set()

    with anyio.fail_after(30):
        async with server(hang) as url, client(provider, url) as lm, anyio.create_task_group() as group:
            group.start_soon(lm.acall, "hi")
            await arrived.wait()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await left.wait()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_large_answer_arrives_whole(provider: str) -> None:
    text = "x" * 5_000_000
    if provider == "openai":
        body = '{"model":"m","choices":[{"message":{"role":"assistant","content":"' + text + '"}}]}'
    else:
        body = '{"type":"message","model":"m","content":[{"type":"text","text":"' + text + '"}]}'
    async with server(answering(body.encode())) as url, client(provider, url) as lm:
        assert await lm.acall("hi") == [text]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_answer_cut_off_at_the_limit_is_logged_without_its_text(
    provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    if provider == "openai":
        body = b'{"model":"m","choices":[{"finish_reason":"length","message":{"content":"secret words"}}]}'
    else:
        body = b'{"type":"message","stop_reason":"max_tokens","content":[{"type":"text","text":"secret words"}]}'
    async with server(answering(body)) as url, client(provider, url, max_tokens=3) as lm:
        with caplog.at_level(logging.WARNING, logger="dspex.engine.lm"):
            assert await lm.acall("hi") == ["secret words"]
    assert "LM response was truncated" in caplog.text
    assert "secret words" not in caplog.text


async def test_reasoning_and_logprobs_come_back_beside_the_text() -> None:
    body = (
        b'{"model":"m","choices":[{"finish_reason":"stop","message":{"content":"4","reasoning_content":"2 and 2"},'
        b'"logprobs":{"content":[{"token":"4","logprob":-0.5,"bytes":[52],"top_logprobs":[]}]}}]}'
    )
    async with server(answering(body)) as url, client("openai", url) as lm:
        (output,) = await lm.acall("2+2?", logprobs=True)
    assert isinstance(output, dict)
    assert output["text"] == "4"
    assert output["reasoning_content"] == "2 and 2"
    assert output["logprobs"]["content"][0]["logprob"] == -0.5


async def test_the_request_id_of_a_refusal_is_kept() -> None:
    async def refuse(stream: SocketStream) -> None:
        body = b'{"error":{"message":"no such model","code":"model_not_found"}}'
        await stream.send(
            b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nx-request-id: req_42\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )

    async with server(refuse) as url, client("openai", url) as lm:
        with pytest.raises(LMUnsupportedModelError) as caught:
            await lm.acall("hi")
    assert caught.value.request_id == "req_42"
    assert caught.value.provider_code == "model_not_found"
