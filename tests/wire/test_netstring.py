from __future__ import annotations

from typing import Any

import pynetstring
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.errors import FrameTooLarge, FramingError
from adapter.wire import netstring
from adapter.wire.netstring import HEAD, MAX_OUT, CutShort, Decoder, OutOfStep, Oversized, encode

Payloads = list[bytes | Oversized | CutShort]


def frame(payload: bytes) -> bytes:
    """A netstring without the limit of ``encode``."""
    return b"%d:%b," % (len(payload), payload)


def run(pieces: list[bytes], max_payload: int = netstring.MAX_IN) -> tuple[Payloads, bool]:
    """All payloads of a stream that arrives in these pieces, and whether it is out of step."""
    decoder, out = Decoder(max_payload), []
    for piece in pieces:
        try:
            out += decoder.feed(piece)
        except OutOfStep as exc:
            return out + exc.payloads, True
    return out, False


@st.composite
def splits(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def every_byte(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


payloads = st.lists(st.binary(max_size=40) | st.just(b"") | st.just(b"7:inside,"), max_size=8)


@given(payloads, st.data())
def test_any_split_of_a_stream_gives_the_same_payloads(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame, sent))
    assert run(data.draw(splits(stream))) == (sent, False)
    assert run(every_byte(stream)) == (sent, False)
    assert pynetstring.Decoder().feed(stream) == sent


noise = st.lists(
    st.sampled_from([b"0", b"1", b"2", b"12", b":", b",", b"ab", b"1:a,", b"0:,", b"3:xyz,", b" ", b"\xff"]),
    max_size=14,
).map(b"".join)


@given(noise, st.data(), st.sampled_from([netstring.MAX_IN, 11, 2]))
@example(b"0123456789:", None, netstring.MAX_IN)
def test_any_split_of_any_bytes_ends_alike(stream: bytes, data: st.DataObject | None, limit: int) -> None:
    whole = run([stream], limit)
    assert run(every_byte(stream), limit) == whole
    if data is not None:
        assert run(data.draw(splits(stream)), limit) == whole


@given(noise)
def test_an_independent_decoder_agrees(stream: bytes) -> None:
    ours, broken = run([stream])
    theirs: list[bytes] = []
    oracle = pynetstring.Decoder()
    try:
        for byte in every_byte(stream):
            theirs += oracle.feed(byte)
    except pynetstring.ParseError:
        return  # ours may go on in step (wire.resync)
    # The other way round there is one difference: it takes lengths with leading zeros.
    assert ours == theirs[: len(ours)]
    if not broken:
        assert ours == theirs


@pytest.mark.parametrize(
    "fault",
    [
        b":x,",  # no length
        b"-1:x,",
        b"+1:x,",
        b" 1:x,",
        b"1 :x,",
        b"1;x,",
        b"a",
        b"\x00",
        b"\n",
        b"{}",
        b"01:x,",  # a leading zero
        b"00:,",
        "١:x,".encode(),  # a digit, but not an ASCII one
        b"1:xy",  # no comma where it belongs
        b"1:x\n",
        b"0:x",
        b"2:x,1:y,",  # a length that lies
        b"1234567890",  # a length without end
        b"1000000000:",
    ],
)
@pytest.mark.parametrize("pieces", [lambda stream: [stream], every_byte])
def test_a_framing_fault_is_fatal_and_loses_nothing_before_it(fault: bytes, pieces: Any) -> None:
    stream = b"5:first,6:second," + fault
    assert run(pieces(stream)) == ([b"first", b"second"], True)


def test_the_error_says_what_stood_there() -> None:
    with pytest.raises(FramingError, match="out-of-step: no netstring at b'oops, and more'") as caught:
        Decoder().feed(b"1:a,oops, and more")
    assert caught.value.reason == "out-of-step"


@pytest.mark.parametrize("start", [b"", b"0", b"5", b"123456789", b"5:", b"5:ab", b"5:abcde", b"0:"])
def test_the_beginning_of_a_frame_is_waited_for(start: bytes) -> None:
    assert run([b"1:x,", start]) == ([b"x"], False)


@given(st.integers(0, 60), st.integers(1, 50), st.data())
def test_an_oversized_payload_is_passed_over_with_nothing_lost(
    over: int, limit: int, data: st.DataObject
) -> None:
    big = bytes(range(97, 123)) * 6
    big = big[: limit + 1 + over]
    stream = b"".join([b"1:a,", frame(big), frame(big), b"1:b,", frame(big[:limit]), b"0:,"])
    passed = Oversized(big, len(big))
    expected = [b"a", passed, passed, b"b", big[:limit], b""]
    assert run([stream], limit) == (expected, False)
    assert run(every_byte(stream), limit) == (expected, False)
    assert run(data.draw(splits(stream)), limit) == (expected, False)


def test_of_a_long_oversized_payload_only_the_head_is_kept() -> None:
    big = b"h" * HEAD + b"t" * 5000
    stream = b"1:a," + frame(big) + b"1:b,"
    expected = [b"a", Oversized(big[:HEAD], len(big)), b"b"]
    for size in (1, 7, HEAD, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert run(pieces, max_payload=8000) == (expected, False)


def test_what_is_passed_over_is_not_stored() -> None:
    decoder = Decoder(max_payload=8000)
    decoder.feed(b"900000000:")
    for _ in range(50):
        assert decoder.feed(b"z" * 65536) == []
        assert sum(map(len, decoder._parts)) <= HEAD


@pytest.mark.parametrize("pieces", [lambda stream: [stream], every_byte])
def test_an_oversized_payload_without_its_comma_is_out_of_step(pieces: Any) -> None:
    assert run(pieces(b"1:a,12:abcdefghijkl;1:b,"), 10) == ([b"a"], True)


def test_a_payload_of_exactly_the_limit_is_kept() -> None:
    assert run([frame(b"x" * 10)], 10) == ([b"x" * 10], False)
    assert run([frame(b"x" * 11)], 10) == ([Oversized(b"x" * 11, 11)], False)


@given(st.binary(max_size=300))
def test_encode_is_undone_by_the_decoder(payload: bytes) -> None:
    assert Decoder().feed(encode(payload)) == [payload]
    assert encode(payload) == pynetstring.encode(payload)


def test_encode_refuses_what_kamailio_would_not_read() -> None:
    assert len(encode(b"x" * MAX_OUT)) == MAX_OUT + 7
    with pytest.raises(FrameTooLarge, match="frame of 32001 bytes, at most 32000 allowed") as caught:
        encode(b"x" * (MAX_OUT + 1))
    assert (caught.value.found, caught.value.allowed) == (32001, 32000)
