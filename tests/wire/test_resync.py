"""Frames that end before their length does: the stream goes on where that is certain, and only there."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.wire.event import Malformed, parse
from adapter.wire.netstring import CutShort, Decoder, OutOfStep, Payload

if TYPE_CHECKING:
    from collections.abc import Sequence


def body(number: int, ua: str = "sip:phone", tail: str = "") -> bytes:
    """What a configuration pastes together, with a User-Agent as it came."""
    ids = f'"tm_trans":{{"tm_index":{number},"tm_label":{number + 70_000}}}'
    return f'{{"event":"invite_request",{ids},"ua":"{ua}","tail":"{tail}"}}'.encode()


def as_kamailio(payload: bytes) -> bytes:
    """``snprintf("%d:%.*s,")``: the length counts all, the text ends at a NUL."""
    return b"%d:%b," % (len(payload), payload.partition(b"\0")[0])


def run(pieces: Sequence[bytes]) -> list[Payload]:
    decoder = Decoder()
    return [payload for piece in pieces for payload in decoder.feed(piece)]


def split(stream: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    cuts = sorted(rng.randrange(len(stream)) for _ in range(rng.randrange(6)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(st.integers(0, 7), st.text("xyz ,:1", max_size=20), st.text("abc,:", max_size=60), st.integers(0, 99))
def test_one_nul_costs_the_caller_who_wrote_it_and_nobody_else(
    at: int, before: str, behind: str, seed: int
) -> None:
    sent = [body(number) for number in range(8)]
    sent[at] = body(at, f"{before}\0{behind}")
    stream = b"".join(map(as_kamailio, [*sent, body(8), body(9)]))
    found = run(split(stream, seed))
    cut = found[at]
    assert isinstance(cut, CutShort)
    assert cut == CutShort(sent[at].partition(b"\0")[0], len(sent[at]), 0)
    told = parse(cut)
    assert isinstance(told, Malformed)
    assert (told.reason, told.ids) == ("cut-short", (at, at + 70_000, None))
    assert found == [*sent[:at], cut, *sent[at + 1 :], body(8), body(9)]


def test_in_the_colon_form_too() -> None:
    first, second = b"invite_request:3:4:e30\0AAAAA", b"invite_request:5:6:e30="
    assert run([as_kamailio(first), as_kamailio(second)]) == [CutShort(first[:22], len(first)), second]


def test_two_callers_in_a_row_who_write_a_nul() -> None:
    sent = [body(0), body(1, "a\0b"), body(2, "c\0d"), body(3)]
    found = run([b"".join(map(as_kamailio, sent))])
    assert [type(each) for each in found] == [bytes, CutShort, CutShort, bytes]


def test_what_hides_behind_a_long_rest_is_given_up_since_the_caller_may_have_written_it() -> None:
    long = body(1, "a\0" + "b" * 400)
    stream = b"".join(map(as_kamailio, [body(0), long, body(2), body(3), body(4), body(5), body(6)]))
    first, cut, *rest = run([stream])
    assert first == body(0)
    assert isinstance(cut, CutShort)
    assert cut.head == long.partition(b"\0")[0]
    assert cut.lost > 0
    assert rest, "the stream goes on"
    assert rest == [body(number) for number in range(7 - len(rest), 7)]


FORGED = body(666)


@pytest.mark.parametrize("behind", [0, 20, 60, 130, 300])
@pytest.mark.parametrize("pad", [0, 1, 50])
@pytest.mark.parametrize("seed", range(6))
def test_no_caller_makes_a_frame(behind: int, pad: int, seed: int) -> None:
    """His header holds a whole frame, and a NUL where he likes."""
    forged = FORGED.decode()
    ua = f"x,{len(forged)}:{forged}{'y' * pad}\0{'b' * behind}"
    following = [body(2), body(3, f"x,{len(forged)}:{forged},"), body(4), body(5)]
    stream = b"".join(map(as_kamailio, [body(0), body(1, ua), *following]))
    decoder = Decoder()
    found: list[Payload] = []
    try:
        for piece in split(stream, seed):
            found += decoder.feed(piece)
    except OutOfStep as exc:
        found += exc.payloads
    assert FORGED not in found
    assert all(isinstance(each, CutShort) or each in [body(0), *following] for each in found)


def by_length(stream: bytes) -> list[bytes]:
    """What a reader delivers that trusts the lengths, until one is wrong."""
    found = []
    while (header := re.match(rb"([0-9]+):", stream)) and stream[(end := header.end() + int(header[1])) :][
        :1
    ] == b",":
        found.append(stream[header.end() : end])
        stream = stream[end + 1 :]
    return found


@given(st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=4), st.integers(0, 400), st.integers(0, 99))
@example([0, 0], 68, 0)
def test_nor_does_he_with_several_calls(kinds: list[int], behind: int, seed: int) -> None:
    """But for a rest so long that the forged frame stands where the length says."""
    forged = FORGED.decode()
    frame = f"{len(forged)}:{forged}"
    agents = [f"x,{frame}\0{'b' * behind}", f"x,{frame},\0{'b' * behind}", f"a\0{'b' * behind},{frame},"]
    sent = [body(0), *(body(9, agents[kind]) for kind in kinds), body(1), body(2)]
    stream = b"".join(map(as_kamailio, sent))
    decoder = Decoder()
    found: list[Payload] = []
    try:
        for piece in split(stream, seed):
            found += decoder.feed(piece)
    except OutOfStep as exc:
        found += exc.payloads
    assert FORGED not in found or FORGED in by_length(stream)


def test_without_a_frame_behind_it_is_out_of_step() -> None:
    with pytest.raises(OutOfStep):
        run([b"9:abc,def,ghi,jkl"])
