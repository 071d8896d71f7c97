"""A frame becomes a claim, a reply becomes a settlement. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from adapter import bodies, contract
from adapter.bodies import Habit
from adapter.errors import CodecError
from adapter.model.correlation import Ask, Ids, WrongTag, parts
from adapter.model.transaction import Outcome, Part, Settlement, State, Transaction, TransactionId
from adapter.ports.broker import DeadLetter, Reply
from adapter.wire import event as wire
from adapter.wire import netstring, to_kamailio

if TYPE_CHECKING:
    from adapter.relay.policy import LivePolicy


MAX_CALL_ID: Final = 255
"""Characters of a Call-ID that is kept; one that is longer is left out."""


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims, and for which incarnation of which node."""

    replica: str
    node: str
    incarnation: str


def id_of(found: wire.Suspended | wire.Malformed | wire.LazySuspended, node: str) -> TransactionId:
    """Whose answer a frame asks for. Its suspension is counted, or is the first one."""
    if isinstance(found, wire.Suspended):
        assert found.seq is not None, "the link counts what the frame does not"
        return TransactionId(node, found.index, found.label, found.seq)
    if isinstance(found, wire.LazySuspended):
        return TransactionId(node, *found[:3])
    assert found.ids is not None, "nobody waits behind it otherwise"
    index, label, seq = found.ids
    return TransactionId(node, index, label, seq or 1)


def claim(
    found: wire.Suspended | wire.Malformed | wire.LazySuspended,
    claimer: Claimer,
    policy: LivePolicy,
    arrived: float,
) -> tuple[Transaction, wire.Malformed | None]:
    """The claim for a frame that came at ``arrived`` (epoch seconds).

    One that cannot be published is settled as ``malformed``; given beside it where that was not
    known before.
    """
    if isinstance(found, wire.LazySuspended):
        found = wire.read_on(found)
        if isinstance(found, wire.Malformed):
            return _malformed(found, claimer, policy, arrived), found
    if isinstance(found, wire.Malformed):
        return _malformed(found, claimer, policy, arrived), None
    node, event, data = claimer.node, found.event, found.data
    plan = policy.plan_at(event, arrived)
    deadline = arrived + plan.deadline
    id_ = id_of(found, node)
    _, index, label, seq = id_
    try:
        request = contract.Request(event, node, data, index, label, seq, deadline)
        body = contract.encode_request(request, plan.as_json)
    except CodecError as exc:
        ids = index, label, seq
        malformed = wire.Malformed(exc.reason, exc.detail, repr(found).encode(), event, ids)
        return _malformed(malformed, claimer, policy, arrived), malformed
    owner, incarnation = claimer.replica, claimer.incarnation
    state, call_id = State.CLAIMED, call_id_of(data)
    return Transaction(
        id_, event, deadline, arrived, body, owner, state, None, None, incarnation, call_id
    ), None


def call_id_of(data: Any) -> str:
    """The SIP Call-ID, where the event's data tell it as ``call_id``; else empty."""
    found = data.get("call_id") if type(data) is dict else None
    return found if type(found) is str and len(found) <= MAX_CALL_ID else ""


def _malformed(found: wire.Malformed, claimer: Claimer, policy: LivePolicy, arrived: float) -> Transaction:
    return Transaction(
        id_of(found, claimer.node),
        found.event,
        arrived + policy.plan_at(found.event, arrived).deadline,
        arrived,
        b"",
        claimer.replica,
        State.SETTLED,
        Outcome.MALFORMED,
        incarnation=claimer.incarnation,
    )


_SHORT: Final = 512
"""Bytes of a reply that is worth knowing again."""
WRONG_TAG: Final = "wrong-tag"
"""Why a reply is kept whose sender was not given the request."""


_NO_DECISION: Final = frozenset({contract.STATUS_FAILED, contract.STATUS_NONE})
UNTAKEN: Final = "expired"
"""Why RabbitMQ gives up a request that nobody took from its queue in time."""


Reading = tuple[Settlement | None, DeadLetter | None, Habit | None]
"""What a reply asks for, what is kept of one that was not understood, what its service should change.
A plain tuple: a named one costs 0.3 us more for each reply."""


def settlement(reply: Reply, ids: Ids, untagged: bool = False) -> Reading:
    """Read a reply. Its settlement has a part if it is one of several, or asks for more time.

    ``untagged``: correlation ids without a tag are good, too. Those of an operator's answer always are.
    """
    try:
        if reply.by_operator:
            id_, _ = parts(reply.correlation_id)
        else:
            read = ids.read(reply.correlation_id, untagged)
            if isinstance(read, Ask):
                return _of_several(reply, read)
            id_ = read
    except WrongTag as exc:
        return None, letter(reply, WRONG_TAG, str(exc), ""), None
    except ValueError as exc:
        return None, letter(reply, "correlation-id", str(exc), ""), None
    if reply.status == contract.STATUS_EXTEND:
        return Settlement(id_, Outcome.FAILED, None, part(reply, sender(reply, ids))), None, None
    return _settlement(reply, id_)


def _of_several(reply: Reply, ask: Ask) -> Reading:
    beside = part(reply, ask.service)
    if reply.status == contract.STATUS_EXTEND:
        return Settlement(ask.id, Outcome.FAILED, None, beside), None, None
    found, dead, habit = _settlement(reply, ask.id)
    if found is not None:
        found = Settlement(found.id, found.outcome, found.decision, beside)
    return found, dead, habit


def sender(reply: Reply, ids: Ids) -> str:
    """Who gave a reply whose id names no service: where ids have tags, whoever is bound to the event."""
    return "" if ids.tagged else reply.service or ""


def part(reply: Reply, service: str) -> Part:
    """What a reply is beside its decision. ``service``: who was asked."""
    extend = reply.extend / 1000 if reply.status == contract.STATUS_EXTEND else 0.0
    return Part(service, extend, float(reply.cache), reply.rejected == UNTAKEN)


def _settlement(reply: Reply, id_: TransactionId) -> Reading:
    if reply.rejected is not None or reply.status in _NO_DECISION:
        return Settlement(id_, Outcome.FAILED), None, None
    if not reply.body:
        return None, None, Habit.EMPTY
    if max(len(reply.body), reply.size) > contract.MAX_REPLY:
        return Settlement(id_, Outcome.OVERSIZED), None, None
    try:
        decision, habit = _decision(reply.body)
    except CodecError as exc:
        came = f"{exc.detail} (content type: {reply.content_type or 'none'})"
        return Settlement(id_, Outcome.MALFORMED), letter(reply, exc.reason, came, id_.node), None
    if len(decision) > netstring.MAX_OUT:  # not worth keeping for the retention: it cannot be sent
        return Settlement(id_, Outcome.OVERSIZED), None, None
    return Settlement(id_, Outcome.OPERATOR if reply.by_operator else Outcome.DECIDED, decision), None, habit


def _decision(body: bytes) -> tuple[bytes, Habit | None]:
    """The decision of a reply as JSON text. Raises CodecError."""
    read = _frequent if len(body) <= _SHORT else _frequent.__wrapped__
    return read(body)


@lru_cache(maxsize=1024)
def _frequent(body: bytes) -> tuple[bytes, Habit | None]:
    """Services give the same short decisions again and again: one costs 12 us to translate, 0.3 to find."""
    decision, habit = bodies.read(body)
    return to_kamailio.decision_json(decision), habit


def letter(reply: Reply, reason: str, detail: str, node: str) -> DeadLetter:
    """A reply as a dead letter."""
    return DeadLetter(reason, detail, reply.body, node, reply.correlation_id, reply.content_type)
