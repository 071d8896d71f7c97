"""Each limit of what is read, at its border."""

from __future__ import annotations

from typing import Any

import pytest

from adapter import contract
from adapter.bodies import MAX_DEPTH
from adapter.errors import CodecError
from adapter.wire import command, event, netstring
from adapter.wire.event import Malformed, Suspended


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A frame of so many levels, what is innermost counted as one."""
    depth = levels - 3
    return b'{"event":"e","tm_index":1,"tm_label":2,"data":{"a":%b1%b}}' % (opening * depth, closing * depth)


@pytest.mark.parametrize("how", [(), (b'{"a":', b"}")])
def test_an_event_has_so_many_levels_and_no_more(how: tuple[bytes, ...]) -> None:
    assert isinstance(event.parse(nested(MAX_DEPTH, *how)), Suspended)
    for levels in (MAX_DEPTH + 1, 500, 990, 5000):
        found = event.parse(nested(levels, *how))
        assert isinstance(found, Malformed)
        assert (found.reason, found.ids) == ("not-json", (1, 2, None))


def test_many_brackets_are_not_many_levels() -> None:
    frame = b'{"event":"e","tm_index":1,"tm_label":2,"data":{"a":[%b1],"b":"%b"}}' % (
        b"{}," * 500,
        b"[" * 500,
    )
    assert isinstance(event.parse(frame), Suspended)


def test_a_command_is_not_read_before_it_is_measured() -> None:
    command.check_command(b'{"a":"%b"}' % (b"x" * (netstring.MAX_OUT - 8)))
    for body in (b'{"a":"%b"}' % (b"x" * (netstring.MAX_OUT - 7)), b"[" * (netstring.MAX_OUT + 1)):
        with pytest.raises(CodecError) as caught:
            command.check_command(body)
        assert caught.value.reason == "too-large"


def test_a_frame_in_many_pieces_is_joined_once() -> None:
    decoder = netstring.Decoder(1 << 20)
    frame = b"%d:%b," % (1 << 20, b"x" * (1 << 20))
    for at in range(0, len(frame) - 1, 4096):
        piece = frame[at : at + 4096]
        assert decoder.feed(piece[: len(frame) - 1 - at]) == []
    assert len(decoder._parts) == 257
    assert decoder.feed(b",") == [b"x" * (1 << 20)]
    assert decoder.feed(b"1:a,") == [b"a"]


@pytest.mark.parametrize("field", ["event", "node"])
def test_names_are_no_longer_than_the_bus_has_them(field: str) -> None:
    for length in (contract.MAX_NAME, contract.MAX_NAME + 1):
        names: dict[str, Any] = {"event": "e", "node": "n", field: "x" * length}
        body = contract.encode_request(contract.Request(**names, data=None))
        if length == contract.MAX_NAME:
            assert contract.decode_request(body).is_notice
            continue
        with pytest.raises(CodecError) as caught:
            contract.decode_request(body)
        assert caught.value.reason == "not-a-request"


@pytest.mark.parametrize("body", [b"[]", b'{"tm_trans":{}}', b'{"adapter":{}}', b'{"a":1,"tm_label":2}'])
def test_a_command_is_no_resume_and_no_status(body: bytes) -> None:
    with pytest.raises(CodecError) as caught:
        command.check_command(body)
    assert caught.value.reason == "not-a-command"
