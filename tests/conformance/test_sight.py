"""What the relay sees, however the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader, ProtocolHeader

from adapter.admin.conformance.sight import Seen, Sight

ID, TO = "n1:0:0:7", "evapi.answers.n1"


def marshalled(*frames: Any, channel: int = 1) -> bytes:
    return b"".join(frame.marshal(each, channel) for each in frames)


def consume(no_ack: bool = False, tag: str = "c") -> bytes:
    return marshalled(Basic.Consume(queue="evapi.decide.lcr", consumer_tag=tag, no_ack=no_ack))


def delivery(tag: int = 1, message_id: str | None = ID, channel: int = 1) -> bytes:
    header = ContentHeader(body_size=4, properties=Basic.Properties(message_id=message_id))
    deliver = Basic.Deliver(consumer_tag="c", delivery_tag=tag, exchange="", routing_key="q")
    return marshalled(deliver, header, ContentBody(b"body"), channel=channel)


def reply(id_: str | None = ID, headers: dict[str, Any] | None = None) -> bytes:
    header = ContentHeader(body_size=2, properties=Basic.Properties(correlation_id=id_, headers=headers))
    return marshalled(Basic.Publish(exchange="", routing_key=TO), header, ContentBody(b"{}"))


def ack(tag: int = 1, multiple: bool = False) -> bytes:
    return marshalled(Basic.Ack(delivery_tag=tag, multiple=multiple))


class Wire:
    """One connection."""

    def __init__(self, *ids: str) -> None:
        self.sight = Sight()
        for id_ in ids or (ID,):
            self.sight.of(id_)
        self.consumer, self.server = self.sight.connection()

    def seen(self, id_: str = ID) -> Seen:
        return self.sight.requests[id_]


@given(st.integers(1, 60), st.integers(0, 60))
def test_in_its_order_however_it_is_cut(size: int, first: int) -> None:
    wire = Wire()
    steps = [
        (wire.consumer, frame.marshal(ProtocolHeader(), 0) + consume()),
        (wire.server, delivery()),
        (wire.consumer, reply() + ack()),
    ]
    for feed, raw in steps:
        feed(raw[:first])
        for at in range(first, len(raw), size):
            feed(raw[at : at + size])
    seen = wire.seen()
    assert 0 < seen.delivered < seen.replied < seen.settled
    assert seen.sent_to == [("", TO)]
    assert not seen.automatic
    assert wire.sight.consumes("evapi.decide.lcr")


def test_acknowledged_before_the_reply() -> None:
    wire = Wire()
    wire.server(delivery())
    wire.consumer(ack() + reply())
    assert 0 < wire.seen().settled < wire.seen().replied


def test_several_at_once() -> None:
    wire = Wire("a", "b", "c")
    for tag, id_ in enumerate("abc", 1):
        wire.server(delivery(tag, id_))
    wire.consumer(ack(2, multiple=True))
    assert [bool(wire.seen(id_).settled) for id_ in "abc"] == [True, True, False]
    wire.consumer(ack(0, multiple=True))
    assert wire.seen("c").settled


def test_of_another_channel() -> None:
    wire = Wire()
    wire.server(delivery(channel=2))
    wire.consumer(ack())
    assert not wire.seen().settled


@pytest.mark.parametrize("named", [True, False])
def test_automatically(named: bool) -> None:
    """Also under a tag that RabbitMQ gives."""
    wire = Wire()
    wire.consumer(consume(no_ack=True, tag="c" if named else ""))
    wire.server(marshalled(Basic.ConsumeOk(consumer_tag="c")) + delivery())
    assert wire.seen().automatic
    assert wire.seen().settled


def test_rejected_and_given_back() -> None:
    wire = Wire()
    wire.server(delivery(1) + delivery(2))
    wire.consumer(marshalled(Basic.Nack(delivery_tag=1, requeue=True)))
    assert (wire.seen().requeued, wire.seen().settled) == (1, 0)
    wire.consumer(marshalled(Basic.Reject(delivery_tag=2, requeue=False)))
    assert wire.seen().rejected


def test_got_one_by_one() -> None:
    wire = Wire()
    wire.consumer(marshalled(Basic.Get(queue="evapi.decide.lcr")))
    header = ContentHeader(body_size=0, properties=Basic.Properties(message_id=ID))
    got = Basic.GetOk(delivery_tag=1, exchange="", routing_key="q", message_count=0)
    wire.server(marshalled(got, header))
    wire.consumer(ack())
    assert wire.seen().settled
    assert wire.sight.consumes("evapi.decide.lcr")


def test_an_id_in_a_header() -> None:
    wire = Wire()
    wire.consumer(reply(None, {"x-correlation-id": ID}))
    assert wire.seen().replied


def test_what_is_not_the_kits_is_left_alone() -> None:
    wire = Wire()
    wire.server(delivery(1, "another") + delivery(2, None))
    wire.consumer(reply("yet another") + reply(None))
    assert not wire.seen().delivered
    assert not wire.seen().replied


@pytest.mark.parametrize(
    "raw", [b"AMQP\x00\x01\x00\x00" + bytes(40), b"\x09" * 40, b"\x01\x00\x01\xff\xff\xff\xff"]
)
def test_another_protocol_is_not_looked_at(raw: bytes) -> None:
    wire = Wire()
    for _ in range(3):
        wire.consumer(raw)
    wire.consumer(bytes(1 << 23))
    wire.consumer(reply())
    assert not wire.seen().replied
