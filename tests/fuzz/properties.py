"""What must hold for whatever comes from a socket. The tests and the fuzzers ask the same questions."""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Any

from adapter import contract
from adapter.broker.rabbitmq import replies
from adapter.broker.rabbitmq.delivery import Delivery, Properties
from adapter.errors import CodecError
from adapter.model.transaction import Outcome, TransactionId
from adapter.ports.broker import DeadLetter
from adapter.wire import command, event, netstring, to_kamailio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamqp.commands import Basic

    from adapter.ports.broker import Reply

NODE = "sbc1"
MAX_DETAIL = 1_000
"""Characters of an explanation: it goes to a log line and to a dead letter."""
_STATES = ("Suspended", "Notice", "Hello", "Synced", "Malformed", "NoneType")


def cut(data: bytes, splits: Sequence[int], limit: int) -> tuple[list[netstring.Payload], bool]:
    """The payloads of a stream that arrives in pieces of these sizes, and whether it stayed in step."""
    decoder, found, at = netstring.Decoder(limit), [], 0
    try:
        for size in splits:
            found += decoder.feed(data[at : at + size])
            at += size
        found += decoder.feed(data[at:])
    except netstring.OutOfStep as exc:
        return found + exc.payloads, False
    return found, True


def check_stream(data: bytes, splits: Sequence[int], limit: int) -> None:
    """However a stream is split it holds the same payloads, and each is parsed.

    Behind a payload that was cut short the stream goes on where it certainly does, by what has come until
    then: there a split may matter.
    """
    whole, pieces = cut(data, (), limit), cut(data, splits, limit)
    if damaged := [at for found, _ in (whole, pieces) if (at := _first_cut_short(found)) is not None]:
        assert pieces[0][: min(damaged)] == whole[0][: min(damaged)]
    else:
        assert pieces == whole
    for payload in whole[0]:
        assert not isinstance(payload, bytes) or len(payload) <= limit
        check_payload(payload)


def _first_cut_short(payloads: Sequence[netstring.Payload]) -> int | None:
    return next((at for at, each in enumerate(payloads) if isinstance(each, netstring.CutShort)), None)


def check_payload(payload: netstring.Payload) -> None:
    """Nothing is raised; what is found is within its bounds, and can be published or is refused."""
    found = event.parse(payload)
    assert type(found).__name__ in _STATES
    if isinstance(found, event.Malformed):
        assert found.frame == (payload if isinstance(payload, bytes) else payload.head)
        assert len(found.detail) <= MAX_DETAIL
        assert len(found.reason) <= 30
    if isinstance(found, event.Suspended | event.Notice | event.Malformed):
        assert len(found.event.encode()) <= event.MAX_EVENT_NAME
        assert len(contract.routing_key(found.event, "n" * 100)) <= 255
    if not isinstance(found, event.Suspended | event.Malformed):
        return
    ids: Any = found.ids if isinstance(found, event.Malformed) else (found.index, found.label, found.seq)
    if isinstance(found, event.Suspended):
        check_request(found.event, ids, found.data)
    if ids is not None:
        index, label, seq = ids
        assert 0 <= index <= event.MAX_TM_ID
        assert 0 <= label <= event.MAX_TM_ID
        assert seq is None or 1 <= seq <= event.MAX_TM_ID
        check_resume(TransactionId(NODE, index, label, seq or 1), found.event, b"{}")


def check_error(exc: CodecError) -> None:
    """What is said of a fault fits a log line and a header."""
    assert len(exc.detail) <= MAX_DETAIL
    assert len(exc.reason) <= 30


def check_request(name: str, ids: tuple[int, int, int | None], data: Any) -> None:
    """What is packed can be read again as it was; the rest is refused by a CodecError."""
    index, label, seq = ids
    request = contract.Request(name, NODE, data, index, label, seq or 1, 1_700_000_000.0)
    try:
        body = contract.encode_request(request)
    except CodecError as exc:
        check_error(exc)
        repr(request).encode()  # as it is kept
        return
    assert len(body) <= contract.MAX_BODY
    found = contract.decode_request(body)
    assert found == request or "nan" in repr(data)


def check_resume(id_: TransactionId, name: str, decision: bytes) -> None:
    """The frame says what it is to say, and no more."""
    frame = json.loads(to_kamailio.resume(id_, name, Outcome.DECIDED, decision))
    assert frame == {
        "tm_trans": {"tm_index": id_.index, "tm_label": id_.label, "seq": id_.seq},
        "event": name,
        "outcome": "decided",
        "correlation_id": str(id_),
        "decision": json.loads(decision),
    }


def check_body_of_request(body: bytes, version: int) -> None:
    """A consumer gets a request of the right types or a CodecError."""
    try:
        found = contract.decode_request(body, version)
    except CodecError as exc:
        check_error(exc)
        return
    assert version <= contract.VERSION
    assert type(found.event) is type(found.node) is str
    whole = {type(found.tm_index), type(found.tm_label), type(found.seq)}
    assert whole == ({type(None)} if found.is_notice else {int})
    assert found.deadline is None or math.isfinite(found.deadline)


def check_reply(reply: Reply) -> None:
    """A reply is a decision that Kamailio's parser takes, or a CodecError."""
    try:
        id_ = TransactionId.parse(reply.correlation_id)
    except ValueError:
        id_ = TransactionId(NODE, 1, 2, 3)
    else:
        assert str(id_) == reply.correlation_id
    try:
        decision = to_kamailio.decision_json(contract.decode_reply(reply.body))
    except CodecError as exc:
        check_error(exc)
        return
    assert isinstance(json.loads(decision, parse_constant=_refused), dict)
    assert b"\0" not in decision
    check_resume(id_, "e", decision)


def _refused(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def check_command(body: bytes) -> None:
    """A command resumes nothing and feeds no gate."""
    with contextlib.suppress(CodecError):
        command.check_command(body)
        frame = json.loads(body)
        assert isinstance(frame, dict)
        assert not {"tm_trans", "adapter", "tm_index", "tm_label"} & set(frame)


def deliver(exchange: str, properties: Basic.Properties, body: bytes) -> Reply | None:
    """What an inbox makes of a message."""
    return _read(Delivery(1, False, exchange, Properties.of(properties), body))


def _read(delivery: Delivery) -> Reply | None:
    found = replies.read_reply(delivery, NODE)
    if delivery.exchange != contract.DEAD_EXCHANGE:
        assert found is not None
    if isinstance(found, DeadLetter):
        assert found.body == delivery.body
        return None
    return found


def check_delivery(delivery: Delivery) -> None:
    """Whatever a message's headers hold: a reply of the right types, a dead letter, or nothing."""
    reply = _read(delivery)
    if reply is not None:
        assert reply.correlation_id
        for text in (reply.status, reply.service, reply.rejected):
            assert text is None or isinstance(text, str)
        check_reply(reply)
