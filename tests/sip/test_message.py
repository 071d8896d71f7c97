"""SIP messages: as phones and proxies write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import CodecError
from adapter.sip.ladder import MARGIN, Party, Step, head, line
from adapter.sip.message import Message, uri_of, values

WRITTEN = (
    b"SIP/2.0 302 Moved Temporarily\r\nv: SIP/2.0/UDP p;branch=z9hG4bK-1\r\nVia:SIP/2.0/UDP c\r\n"
    b'i: abc@c\r\nCSEQ: 1 INVITE\r\nm: "A, b" <sip:x@y;lr>\r\nSubject: one\r\n two\r\nl: 4\r\n\r\nbody'
)


def test_short_names_and_folded_lines_are_understood() -> None:
    found = Message.parse(WRITTEN)
    assert (found.code, found.reason, found.method, found.branch) == (
        302,
        "Moved Temporarily",
        "INVITE",
        "z9hG4bK-1",
    )
    assert found.all("Via") == ["SIP/2.0/UDP p;branch=z9hG4bK-1", "SIP/2.0/UDP c"]
    assert (found.get("call-id"), found.contact, found.get("subject")) == ("abc@c", "sip:x@y;lr", "one two")
    assert Message.parse(found.encode()) == Message(
        found.first,
        (*(each for each in found.headers if each[0] != "content-length"), ("content-length", "4")),
        "body",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\nCSeq: 1 GET\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_sip_is_told(data: bytes) -> None:
    with pytest.raises(CodecError):
        Message.parse(data)


@given(st.binary(max_size=200))
def test_nothing_else_comes_of_any_datagram(data: bytes) -> None:
    for given_ in (data, WRITTEN[:40] + data, WRITTEN + data):
        try:
            found = Message.parse(given_)
        except CodecError:
            continue
        assert (found.code, found.method, found.uri) == (302, found.get("cseq").split()[-1], "")


def test_lists_of_routes() -> None:
    assert values(["<sip:a;x=1>, <sip:b>", "<sip:c>"]) == ["<sip:a;x=1>", "<sip:b>", "<sip:c>"]
    assert [uri_of(each) for each in ("<sip:a;lr>;x", "sip:b;tag=1")] == ["sip:a;lr", "sip:b"]


def test_a_line_of_the_ladder() -> None:
    invite = Message(f"INVITE sip:{'4' * 40}@127.0.0.1 SIP/2.0", (("cseq", "1 INVITE"),))
    answer = Message("SIP/2.0 200 OK\x1b[2J", (("cseq", "1 INVITE"),))
    three = tuple(Party)
    drawn = line(Step(0.0042, Party.CALLER, Party.GATEWAY, invite), three)
    assert drawn.startswith("    4.2 ms  |-- INVITE 444")
    assert drawn.endswith("->|")
    shown = line(Step(1.5, Party.GATEWAY, Party.PROXY, answer), three)
    assert "<- 200 OK\\x1b[2J -" in shown, "what a peer sends does not steer the terminal"
    assert len(drawn) == len(shown)
    rails = [place for place, sign in enumerate(shown) if sign == "|"]
    names = head(three)
    assert [names.index(party) + len(party) // 2 for party in three] == rails
    assert rails[0] == MARGIN
