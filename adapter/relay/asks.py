"""What each of several services is asked: its request as it is published. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from adapter import contract
from adapter.ports.broker import Publication
from adapter.relay import course
from adapter.relay.plan import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.model.correlation import Ids
    from adapter.model.transaction import Transaction
    from adapter.relay.course import Answer
    from adapter.relay.plan import Plan, Service

SPARED: Final = 0.1
"""The share of the time left that a silent service which is optional leaves to what comes after it."""
TAKEN_WITHIN: Final = 0.3
"""The share of its time within which a service is to take a request from its queue, if the policy has those
tried again that it does not take."""


def request(
    transaction: Transaction,
    plan: Plan,
    service: Service,
    answers: Sequence[Answer],
    ids: Ids,
    traceparent: str,
    taken_by: float | None = None,
) -> Publication:
    """Return a request for one service.

    Args:
        transaction: the call, whose request is the whole one.
        plan: by which it was claimed.
        service: who is asked.
        answers: those that came so far: a chain tells what was decided.
        ids: writes correlation ids.
        traceparent: names the call's trace; "" if it is not traced.
        taken_by: when the request is given up that nobody has taken, in epoch seconds; None: at the deadline.

    Raises:
        CodecError: what the former services decided makes it too large.
    """
    decisions = course.decisions(plan, answers) if plan.mode is Mode.CHAIN else {}
    moved = transaction.deadline if course.extended(answers) else None
    id_ = transaction.id
    return Publication(
        transaction.event,
        id_.node,
        _body(transaction.request, plan, service, decisions, moved),
        ids.text_for(id_, service.name),
        transaction.deadline,
        traceparent,
        service.queue,
        taken_by,
        service.batch,
    )


def copy(transaction: Transaction, plan: Plan, service: Service, traceparent: str) -> Publication:
    """Return what an observer gets: the event, without anything that it could answer. Raises CodecError."""
    whole = contract.decode_request(transaction.request)
    bare = contract.Request(whole.event, whole.node, service.cut(whole.data))
    body = contract.encode_request(bare, plan.in_json(service))
    return Publication(transaction.event, whole.node, body, traceparent=traceparent, queue=service.queue)


def due(plan: Plan, service: Service, now: float, deadline: float) -> float | None:
    """Return until when a service is waited for, in epoch seconds; None: until the deadline.

    For one that is optional that is a moment less: the others' decision must not be lost over its silence.
    """
    own = None if service.within is None else now + service.within
    if not service.optional or plan.mode is Mode.FIRST or service not in plan.asked:
        return own
    last = deadline - SPARED * (deadline - now)
    return last if own is None else min(own, last)


def taken_by(plan: Plan, now: float, due: float) -> float | None:
    """Return when a request that nobody has taken is given up, in epoch seconds; None: at its deadline."""
    if plan.retry is None or not plan.retry.untaken:
        return None
    return now + TAKEN_WITHIN * (due - now)


def _body(
    whole: bytes, plan: Plan, service: Service, decisions: dict[str, Any], moved: float | None
) -> bytes:
    """The request as the service gets it. ``moved``: the deadline, if it is later than the request says, by
    which consumers would drop it."""
    as_json = plan.in_json(service)
    if as_json == plan.as_json and service.fields is None and not decisions and moved is None:
        return whole
    found = contract.decode_request(whole)
    deadline = found.deadline if moved is None else moved
    cut = replace(found, data=service.cut(found.data), decisions=decisions, deadline=deadline)
    return contract.encode_request(cut, as_json)
