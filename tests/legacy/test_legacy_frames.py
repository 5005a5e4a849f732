"""The codec of the channel: everything round-trips or is refused by name, and garbage is a typed error."""

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from dspex.legacy import FrameTooLarge, ProtocolError, Unserializable, frames
from dspex.legacy.frames import FrameDecoder, encode_frame
from dspex.legacy.worker import wire
from hypothesis import example, given, settings
from hypothesis import strategies as st

# Lone surrogates, NaN, infinities and integers of any size are in these on purpose.
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**63 - 2, max_value=2**65)
    | st.floats()
    | st.text(alphabet=st.characters())
    | st.text(alphabet=st.characters(categories=["Cs", "Ll"]))
    | st.binary()
    | st.just("$dspex")
)
keys = scalars | st.tuples(scalars, scalars)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(keys, inner)
        | st.sets(scalars)
        | st.frozensets(scalars)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from True and from 1.0, 0.0 from -0.0, and takes NaN for NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(ka, kb) and same(va, vb) for (ka, va), (kb, vb) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return a == b


@given(values)
def test_what_the_host_writes_the_worker_reads_as_it_was(value: Any) -> None:
    frame = encode_frame({"op": "run", "inputs": value})
    assert same(wire.unpack(frame[4:])["inputs"], value)


@example({float("nan"), float("nan")})
@given(values)
def test_what_the_worker_writes_the_host_reads_as_it_was(value: Any) -> None:
    frame = wire.pack(wire.to_wire({"op": "result", "value": value}))
    (message,) = FrameDecoder().feed(frame)
    assert same(message["value"], value)


@given(values)
def test_the_codec_is_the_same_without_orjson(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "orjson", None)
        frame = encode_frame({"op": "run", "value": value})
        (message,) = FrameDecoder().feed(frame)
    assert same(message["value"], value)
    assert same(FrameDecoder().feed(frame)[0]["value"], value)


@settings(max_examples=50)
@given(st.lists(values, min_size=1, max_size=5), st.data())
def test_messages_arrive_whole_however_the_bytes_are_cut(sent: list[Any], data: st.DataObject) -> None:
    stream = b"".join(encode_frame({"op": "x", "value": value}) for value in sent)
    decoder, received, at = FrameDecoder(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream) - at))
        received += decoder.feed(stream[at : at + step])
        at += step
    assert all(map(same, [message["value"] for message in received], sent))
    assert len(received) == len(sent)
    assert decoder.pending == 0


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=150)
def test_garbage_is_a_protocol_error_and_nothing_else(chunks: list[bytes]) -> None:
    decoder, broken = FrameDecoder(limit=1000), False
    for chunk in chunks:
        try:
            decoder.feed(chunk)
            assert not broken, "a stream that was garbage has meaning again"
        except ProtocolError:
            broken = True


@given(st.binary(max_size=300))
@settings(max_examples=150)
def test_garbage_inside_a_frame_is_a_protocol_error_and_nothing_else(payload: bytes) -> None:
    decoder = FrameDecoder()
    try:
        (message,) = decoder.feed(struct.pack(">I", len(payload)) + payload)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            decoder.feed(b"")
    else:
        assert isinstance(message["op"], str)


@given(
    st.recursive(st.just({"$dspex": ["int", "zz"]}) | scalars, lambda i: st.lists(i) | st.dictionaries(st.text(), i))
)
def test_any_json_under_a_tag_is_a_value_or_a_protocol_error(data: Any) -> None:
    for name in ("map", "tuple", "set", "frozenset", "bytes", "int", "float", "typed", "array", "unheard-of"):
        frame = wire.frame(
            json.dumps({"op": "x", "value": {"$dspex": [name, wire.to_wire(data)]}}).encode(), 2**20
        )
        with suppress(ProtocolError):
            FrameDecoder().feed(frame)


def test_half_a_frame_is_pending_and_no_message() -> None:
    frame = encode_frame({"op": "x", "value": "y" * 100})
    decoder = FrameDecoder()
    assert decoder.feed(frame[:50]) == []
    assert decoder.pending == 50


def test_messages_before_garbage_are_delivered_before_the_error() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame({"op": "last"}) + b"\xff" * 8) == [{"op": "last"}]
    with pytest.raises(ProtocolError):
        decoder.raise_if_broken()


def test_a_length_over_the_limit_is_refused_before_its_bytes_arrive() -> None:
    with pytest.raises(ProtocolError, match="announces 2000 bytes and the limit is 1000"):
        FrameDecoder(limit=1000).feed(struct.pack(">I", 2000))


def test_the_limit_is_exact_and_the_sender_refuses_beyond_it() -> None:
    size = len(encode_frame({"op": "x", "value": "abc"})) - 4
    assert encode_frame({"op": "x", "value": "abc"}, limit=size)
    with pytest.raises(FrameTooLarge) as refused:
        encode_frame({"op": "x", "value": "abcd"}, limit=size)
    assert (refused.value.size, refused.value.limit, refused.value.direction) == (size + 1, size, "request")
    with pytest.raises(wire.Oversize):
        wire.pack({"op": "x", "value": "abcd"}, size)


@pytest.mark.parametrize("value", [object(), print, 3 + 4j, {"deep": [1, {object()}]}, Exception("no"), range(3)])
def test_what_has_no_form_is_refused_with_its_place_and_type(value: object) -> None:
    with pytest.raises(Unserializable, match=r"message\.inputs\.here"):
        encode_frame({"op": "run", "inputs": {"here": value}})


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Unserializable, match="contains itself"):
        encode_frame({"op": "run", "inputs": endless})


def test_the_deepest_value_allowed_still_travels() -> None:
    value: Any = "bottom"
    for _ in range(wire.MAX_DEPTH - 1):
        value = {1: value}
    frame = encode_frame({"op": "x", "value": value})
    assert FrameDecoder().feed(frame)[0]["value"] == value
    assert wire.unpack(frame[4:])["value"] == value
    with pytest.raises(Unserializable, match="nested deeper"):
        encode_frame({"op": "x", "value": {1: value}})
