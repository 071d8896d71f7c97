"""A consumer meets the very bytes that an adapter writes, but for what a question asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from pamqp.frame import unmarshal

from adapter import contract
from adapter.admin.conformance.messages import Addressed, Way, written
from adapter.admin.conformance.questions import UNKNOWN_HEADERS, Call, Question, content
from adapter.broker.rabbitmq import frames
from adapter.errors import CodecError
from adapter.ports.broker import Publication

if TYPE_CHECKING:
    from pamqp.commands import Basic

NOW, LINE = 1_000_000.25, (3, 4096)
ID, TO = "n1:0:0:7", "evapi.answers.n1"
DIRECT = Way("", "evapi.decide.lcr", "guest")
BY_EXCHANGE = Way(contract.EVENTS_EXCHANGE, "invite.n1", "guest")
CALL = Call("invite", "n1")


def message(question: Question, way: Way = DIRECT, call: Call = CALL) -> bytes:
    to = Addressed("invite", "n1", ID, question.unaddressed, TO)
    return written(LINE, way, to, content(question, call, 7, NOW), NOW, call.timeout)


def read(raw: bytes) -> tuple[Any, Basic.Properties, bytes]:
    """Method, properties and body."""
    found: list[Any] = []
    while raw:
        size, channel, frame = unmarshal(raw)
        assert channel == LINE[0]
        raw = raw[size:]
        found.append(frame)
    method, header, *bodies = found
    return method, header.properties, b"".join(each.value for each in bodies)


def adapters(question: Question) -> bytes:
    """What an adapter writes."""
    body = content(question, CALL, 7, NOW).body
    request = Publication("invite", "n1", body, ID, NOW + CALL.timeout)
    return frames.encode(*LINE, request, ID, int(NOW), 2000, TO, "guest")


@pytest.mark.parametrize("question", [Question.PLAIN, Question.LARGE, Question.UNKNOWN_KEYS])
def test_by_the_exchange_it_is_the_adapters(question: Question) -> None:
    assert message(question, BY_EXCHANGE) == adapters(question)


def test_directly_another_method_alone() -> None:
    method, properties, body = read(message(Question.PLAIN))
    assert (method.exchange, method.routing_key, method.mandatory) == ("", "evapi.decide.lcr", True)
    _, as_adapter, body_as_adapter = read(adapters(Question.PLAIN))
    assert (dict(properties), body) == (dict(as_adapter), body_as_adapter)


def test_more_headers_leave_the_others() -> None:
    _, properties, _ = read(message(Question.UNKNOWN_HEADERS))
    _, as_adapter, _ = read(adapters(Question.PLAIN))
    assert properties.headers == {**(as_adapter.headers or {}), **UNKNOWN_HEADERS}
    assert {**dict(properties), "headers": None} == {**dict(as_adapter), "headers": None}


def test_a_deadline_that_is_over_is_so_by_each_clock() -> None:
    _, properties, body = read(message(Question.EXPIRED))
    assert properties.headers is not None
    deadline = round((NOW - 5) * 1000)
    assert (properties.headers["x-deadline"], properties.headers["x-time-left"]) == (deadline, -5000)
    assert contract.decode_request(body).deadline == pytest.approx(NOW - 5)
    assert properties.expiration == "2000"  # it is to reach the consumer


def test_a_notice_has_what_a_notice_has_and_expires() -> None:
    _, properties, body = read(message(Question.NOTICE))
    assert (properties.correlation_id, properties.reply_to) == (None, None)
    assert (properties.expiration, properties.message_id, properties.user_id) == ("2000", ID, "guest")
    assert properties.headers == {"x-node": "n1", "x-version": 1}
    assert contract.decode_request(body).is_notice


def test_a_request_that_is_observed_is_whole_but_for_who_waits() -> None:
    _, properties, body = read(message(Question.OBSERVED))
    assert (properties.correlation_id, properties.reply_to) == (None, None)
    assert (properties.expiration, properties.message_id) == ("2000", ID)
    assert not contract.decode_request(body).is_notice


def test_what_others_decided_is_there_once() -> None:
    with_decisions = contract.decode_request(read(message(Question.DECISIONS))[2]).decisions
    assert [decision["action"] for decision in with_decisions.values()] == ["allow", "allow"]
    assert contract.decode_request(read(message(Question.PLAIN))[2]).decisions == {}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("question", Question)
def test_bodies_in_either_format(question: Question, as_json: bool) -> None:
    _, properties, body = read(message(question, call=Call("invite", "n1", as_json=as_json)))
    assert len(body) <= contract.MAX_BODY
    if question in (Question.BATCH, Question.UNREADABLE):
        with pytest.raises(CodecError):
            contract.decode_request(body)
        return
    assert properties.content_type == (contract.JSON if as_json else contract.MSGPACK)
    request = contract.decode_request(body)
    assert (request.event, request.node) == ("invite", "n1")
    assert isinstance(request.data, bytes if question is Question.BYTES else dict)


def test_the_largest_is_as_large_as_may_be() -> None:
    _, _, body = read(message(Question.LARGE))
    assert contract.MAX_BODY - 200 < len(body) <= contract.MAX_BODY


def test_a_batch_is_an_array_of_requests() -> None:
    _, properties, body = read(message(Question.BATCH))
    assert properties.headers is not None
    assert properties.headers["x-batch"] == len(msgpack.unpackb(body)) == 2
