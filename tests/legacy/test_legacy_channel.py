"""The framed channel over a real socket pair, on both event loops."""

import os
import socket
import struct
from collections.abc import Iterator

import anyio
import pytest
from dspex.legacy import FrameTooLarge, ProtocolError, Unserializable
from dspex.legacy.channel import Channel, ChannelClosed, ChannelFull
from dspex.legacy.frames import encode_frame

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_messages_arrive_in_order_and_both_ways(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = Channel(pair[0]), Channel(pair[1])
    for number in range(100):
        a.post({"op": "x", "number": number})
        b.post({"op": "y", "number": number})
    assert [(await b.receive())["number"] for _ in range(100)] == list(range(100))
    assert [(await a.receive())["op"] for _ in range(100)] == ["y"] * 100
    a.close()
    b.close()


async def test_a_message_larger_than_the_socket_takes_is_pumped_as_the_other_side_reads(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    a, b = Channel(pair[0]), Channel(pair[1])
    big = "x" * 100_000  # below what goes by a memory file
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(a.pump)
            a.post({"op": "big", "value": big})
            assert a.waiting > 10_000, "the socket took it all at once: this test tests nothing"
            assert (await b.receive())["value"] == big
            assert a.waiting == 0
            a.close()
    b.close()


async def test_a_large_message_goes_beside_the_stream_and_leaves_no_file_and_no_descriptor(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, b = Channel(pair[0]), Channel(pair[1])
    before, shared = len(os.listdir("/proc/self/fd")), os.listdir("/dev/shm")
    big = "x" * 5_000_000
    for _ in range(3):
        a.post({"op": "big", "value": big})
        assert a.waiting == 0, "the stream carries a header only: a ping behind it waits for nothing"
        a.post({"op": "ping"})
    for _ in range(2):
        assert (await b.receive())["value"] == big
        assert (await b.receive())["op"] == "ping"
    assert os.listdir("/dev/shm") == shared
    b.close()  # with one message unread
    a.close()
    assert len(os.listdir("/proc/self/fd")) <= before - 2


async def test_a_payload_in_memory_without_its_descriptor_or_with_less_than_it_announces_is_garbage(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a = Channel(pair[0])
    pair[1].send(struct.pack(">I", 0x80000000 | 200_000))
    with pytest.raises(ProtocolError, match="without its descriptor"):
        await a.receive()
    a.close()
    ours, theirs = socket.socketpair()
    b = Channel(ours)
    for length, said in ((200_000, "holds 5"), (5, "no frames|not JSON|must hold")):
        fd = os.memfd_create("test")
        os.write(fd, b"12345")
        socket.send_fds(theirs, [struct.pack(">I", 0x80000000 | length)], [fd])
        os.close(fd)
        with pytest.raises(ProtocolError, match=said):
            await b.receive()
        b.close()
        theirs.close()
        ours, theirs = socket.socketpair()
        b = Channel(ours)
    reading, writing = os.pipe()  # a reader that trusted it would wait for ever
    socket.send_fds(theirs, [struct.pack(">I", 0x80000000 | 5)], [reading])
    with pytest.raises(ProtocolError, match="must be a memory file"):
        await b.receive()
    for fd in (reading, writing):
        os.close(fd)
    b.close()
    theirs.close()


async def test_what_waits_to_be_written_is_bounded_and_the_refused_message_leaves_no_trace(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, b = Channel(pair[0], buffer=100_000), Channel(pair[1])
    posted = 0

    def post_until_refused() -> None:
        nonlocal posted
        while True:
            a.post({"op": "x", "number": posted, "fill": "y" * 10_000})
            posted += 1

    with pytest.raises(ChannelFull):
        post_until_refused()
    assert 0 < a.waiting <= 100_000
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(a.pump)
            assert [(await b.receive())["number"] for _ in range(posted)] == list(range(posted))
            a.post({"op": "x", "number": -1})
            assert (await b.receive())["number"] == -1
            a.close()
    b.close()


async def test_a_cancelled_receive_loses_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    a, raw = Channel(pair[0]), pair[1]
    frame = encode_frame({"op": "x", "value": "whole"})
    raw.sendall(frame[:7])
    with anyio.move_on_after(0) as gave_up:
        await a.receive()
    assert gave_up.cancelled_caught
    raw.sendall(frame[7:] + frame)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await a.receive()
    assert scope.cancelled_caught
    assert [(await a.receive())["value"] for _ in range(2)] == ["whole", "whole"]
    a.close()


async def test_a_flood_of_messages_does_not_starve_other_tasks(pair: tuple[socket.socket, socket.socket]) -> None:
    a, raw = Channel(pair[0]), pair[1]
    raw.sendall(encode_frame({"op": "x"}) * 5_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        for _ in range(5_000):
            await a.receive()
        group.cancel_scope.cancel()
    assert turns > 1_000
    a.close()


@pytest.mark.parametrize(("sent", "half"), [(b"", False), (struct.pack(">I", 10) + b"half", True)])
async def test_the_end_of_the_stream_says_whether_it_came_in_the_middle_of_a_message(
    pair: tuple[socket.socket, socket.socket], sent: bytes, half: bool
) -> None:
    a, raw = Channel(pair[0]), pair[1]
    raw.sendall(encode_frame({"op": "last"}) + sent)
    raw.close()
    assert await a.receive() == {"op": "last"}
    with pytest.raises(ChannelClosed) as closed:
        await a.receive()
    assert closed.value.half_frame is half
    a.close()


async def test_garbage_is_a_protocol_error_after_the_messages_before_it(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    a, raw = Channel(pair[0]), pair[1]
    raw.sendall(encode_frame({"op": "last"}) + b"\xff" * 8)
    assert await a.receive() == {"op": "last"}
    for _ in range(2):
        with pytest.raises(ProtocolError):
            await a.receive()
    a.close()


async def test_closing_wakes_both_tasks(pair: tuple[socket.socket, socket.socket]) -> None:
    a = Channel(pair[0])
    ended: list[str] = []

    async def receive() -> None:
        with pytest.raises(ChannelClosed):
            await a.receive()
        ended.append("receive")

    async def pump() -> None:
        await a.pump()
        ended.append("pump")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            group.start_soon(pump)
            await anyio.wait_all_tasks_blocked()
            a.close()
    assert sorted(ended) == ["pump", "receive"]
    a.close()
    with pytest.raises(ChannelClosed):
        a.post({"op": "x"})


async def test_a_refused_message_leaves_the_channel_usable(pair: tuple[socket.socket, socket.socket]) -> None:
    a, b = Channel(pair[0], limit=1_000), Channel(pair[1])
    with pytest.raises(FrameTooLarge):
        a.post({"op": "x", "value": "y" * 1_000})
    with pytest.raises(Unserializable):
        a.post({"op": "x", "value": object()})
    a.post({"op": "x", "value": "fits"})
    assert (await b.receive())["value"] == "fits"
    a.close()
    b.close()
