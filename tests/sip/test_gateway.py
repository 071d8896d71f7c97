"""The gateway that is played: it rings, answers, is cancelled, and sends again what was lost."""

from __future__ import annotations

from adapter.address import Address
from adapter.sip.call import T1, Call, Wanted
from adapter.sip.gateway import LONGEST, Back, Gateway
from adapter.sip.message import Message

PROXY = Address("127.0.0.1", 5060)


def invited(gateway: Gateway, now: float = 0.0) -> tuple[Message, list[Back]]:
    (out,) = Call(Wanted("sip:4420@g", "sip:me@c", "id@c", "c:1", "c:2")).start(0.0)
    return out.message, gateway.received(out.message, PROXY, now)


def of(invite: Message, method: str) -> Message:
    headers = tuple((name, f"1 {method}" if name == "cseq" else value) for name, value in invite.headers)
    return Message(f"{method} sip:4420@g SIP/2.0", headers)


def codes(sent: list[Back]) -> list[int]:
    return [back.message.code for back in sent]


def test_it_answers_at_once_and_says_what_it_speaks() -> None:
    gateway = Gateway("g:5080", body="v=0\r\n")
    invite, sent = invited(gateway)
    assert codes(sent) == [180, 200]
    assert all(back.to == PROXY for back in sent)
    answer = Message.parse(sent[1].message.encode())
    assert (answer.body, answer.contact, answer.get("via")) == ("v=0\r\n", "sip:g:5080", invite.get("via"))
    assert gateway.received(of(invite, "ACK"), PROXY, 0.1) == []
    assert gateway.next == float("inf")
    assert codes(gateway.received(of(invite, "BYE"), PROXY, 0.2)) == [200]


def test_it_rings_for_as_long_as_was_wished() -> None:
    gateway = Gateway("g:5080", code=486, ring=3)
    _, sent = invited(gateway)
    assert (codes(sent), gateway.next) == ([180], 3)
    assert gateway.tick(2.9) == []
    assert codes(gateway.tick(3.0)) == [486]


def test_a_call_that_is_cancelled_while_it_rings() -> None:
    gateway = Gateway("g:5080", ring=3)
    invite, _ = invited(gateway)
    cancelled = gateway.received(of(invite, "CANCEL"), PROXY, 1.0)
    assert [(back.message.code, back.message.method) for back in cancelled] == [
        (200, "CANCEL"),
        (487, "INVITE"),
    ]
    assert codes(gateway.received(of(invite, "CANCEL"), PROXY, 1.1)) == [200], "it is over already"


def test_what_nobody_acknowledges_is_sent_again_but_not_for_ever() -> None:
    gateway = Gateway("g:5080")
    invite, _ = invited(gateway)
    assert gateway.next == T1
    assert codes(gateway.tick(T1)) == [200]
    assert codes(gateway.received(invite, PROXY, 1.0)) == [200], "an INVITE that comes again"
    assert gateway.tick(LONGEST + 1) == []
    assert gateway.next == float("inf")
