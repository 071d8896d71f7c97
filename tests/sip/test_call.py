"""An outgoing call, step by step: what is sent for what came, and when it is sent again."""

from __future__ import annotations

import pytest

from adapter.sip.call import PATIENCE, T1, Call, Out, State, Wanted
from adapter.sip.message import Message, response

WANTED = Wanted("sip:4420@p:5060", "sip:me@c", "id@c", "c:1000", "c:2000", timeout=10)


def begun(wanted: Wanted = WANTED) -> tuple[Call, Message]:
    call = Call(wanted)
    (out,) = call.start(0.0)
    assert out.first_hop
    return call, Message.parse(out.message.encode())


def first_lines(sent: list[Out]) -> list[str]:
    return [out.message.first for out in sent]


def reply(invite: Message, code: int, *headers: tuple[str, str]) -> Message:
    return response(invite, code, "Whatever", "their-tag", *headers)


def test_an_answered_call_is_acknowledged_and_ended() -> None:
    call, invite = begun()
    assert call.received(reply(invite, 180), 1.0) == []
    routes = (("record-route", "<sip:p;lr>, <sip:q:99;lr>"), ("contact", "<sip:gw@g:5080>"))
    ack, bye = call.received(reply(invite, 200, *routes), 2.0)
    for sent, line in ((ack, "ACK sip:gw@g:5080 SIP/2.0"), (bye, "BYE sip:gw@g:5080 SIP/2.0")):
        assert sent.message.first == line
        assert not sent.first_hop
        assert sent.message.all("route") == ["<sip:q:99;lr>", "<sip:p;lr>"], "the last router is the nearest"
        assert sent.message.get("to").endswith(";tag=their-tag")
    assert ack.message.branch != bye.message.branch != invite.branch
    assert call.received(reply(bye.message, 200), 2.1) == []
    assert call.state is State.OVER
    assert call.final is not None
    assert call.final.code == 200


def test_it_is_held_for_as_long_as_was_wished() -> None:
    call, invite = begun(Wanted("sip:4420@p", "sip:me@c", "id@c", "c:1", "c:2", hold=5))
    assert first_lines(call.received(reply(invite, 200), 2.0)) == ["ACK sip:4420@p SIP/2.0"]
    assert call.next == 7.0
    assert call.tick(6.9) == []
    assert first_lines(call.tick(7.0)) == ["BYE sip:4420@p SIP/2.0"]


def test_a_second_copy_of_the_answer_is_acknowledged_again() -> None:
    call, invite = begun(Wanted("sip:4420@p", "sip:me@c", "id@c", "c:1", "c:2", hold=5))
    call.received(reply(invite, 200), 2.0)
    assert first_lines(call.received(reply(invite, 200), 2.5)) == ["ACK sip:4420@p SIP/2.0"]


def test_a_refusal_is_acknowledged_within_the_transaction() -> None:
    call, invite = begun()
    (ack,) = call.received(reply(invite, 403), 1.0)
    assert (ack.first_hop, ack.message.branch, ack.message.get("cseq")) == (True, invite.branch, "1 ACK")
    assert ack.message.get("to") == reply(invite, 403).get("to")
    assert (call.state, call.next) == (State.OVER, float("inf"))
    assert len(call.received(reply(invite, 403), 1.5)) == 1, "sent again, since our ACK was lost"


def test_the_invite_is_sent_again_until_anything_answers() -> None:
    call, invite = begun()
    times = []
    while call.next < 9:
        times.append(call.next)
        assert first_lines(call.tick(call.next)) == [invite.first]
    assert times == [T1, 3 * T1, 7 * T1, 15 * T1]
    call.received(reply(invite, 100), 9.0)
    assert call.next == 10.0


def test_nobody_answers_at_all() -> None:
    call, _ = begun()
    assert call.tick(10.0) == [], "nothing to cancel: nobody has the call"
    assert (call.state, call.final) == (State.OVER, None)


def test_one_that_rings_for_too_long_is_cancelled() -> None:
    call, invite = begun()
    call.received(reply(invite, 180), 1.0)
    (cancel,) = call.tick(10.0)
    assert (cancel.message.first, cancel.message.branch) == ("CANCEL sip:4420@p:5060 SIP/2.0", invite.branch)
    assert cancel.message.get("cseq") == "1 CANCEL"
    assert call.received(reply(cancel.message, 200), 10.1) == []
    assert first_lines(call.received(reply(invite, 487), 10.2)) == ["ACK sip:4420@p:5060 SIP/2.0"]
    assert call.state is State.OVER


def test_an_answer_that_crosses_the_cancel_is_ended_by_bye() -> None:
    call, invite = begun(Wanted("sip:4420@p", "sip:me@c", "id@c", "c:1", "c:2", hold=60))
    call.received(reply(invite, 180), 1.0)
    call.tick(10.0)
    assert [line.split()[0] for line in first_lines(call.received(reply(invite, 200), 10.1))] == [
        "ACK",
        "BYE",
    ]


def test_nobody_answers_cancel_and_bye() -> None:
    call, invite = begun()
    call.received(reply(invite, 180), 1.0)
    call.tick(10.0)
    assert first_lines(call.tick(10.5)) == ["CANCEL sip:4420@p:5060 SIP/2.0"], "again"
    assert call.tick(10.0 + PATIENCE) == []
    assert call.state is State.OVER


def test_the_other_side_hangs_up() -> None:
    call, invite = begun(Wanted("sip:4420@p", "sip:me@c", "id@c", "c:1", "c:2", hold=60))
    call.received(reply(invite, 200), 1.0)
    bye = Message(
        "BYE sip:c:2 SIP/2.0",
        (
            ("via", "SIP/2.0/UDP g;branch=z9hG4bK-g"),
            ("call-id", "id@c"),
            ("cseq", "7 BYE"),
            ("to", "<x>;tag=caller"),
        ),
    )
    (answer,) = call.received(bye, 2.0)
    assert answer.message.first == "SIP/2.0 200 OK"
    assert call.state is State.OVER


@pytest.mark.parametrize(
    ("code", "line"), [(0, None), (180, "CANCEL sip:4420@p SIP/2.0"), (200, "BYE sip:4420@p SIP/2.0")]
)
def test_ctrl_c_leaves_no_call_behind(code: int, line: str | None) -> None:
    call, invite = begun(Wanted("sip:4420@p", "sip:me@c", "id@c", "c:1", "c:2", hold=60))
    if code:
        call.received(reply(invite, code), 1.0)
    assert first_lines(call.hang_up(2.0)) == ([line] if line else [])
