"""Who gets the calls of an event by its plan, in which order, and what may decide them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from adapter import contract
from adapter.errors import CodecError
from adapter.model.ladder import Rung
from adapter.relay.asks import TAKEN_WITHIN
from adapter.relay.plan import Mode, in_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from adapter.contract import Request
    from adapter.relay.plan import Plan, Service, Shadow

SERVICE: Final = "service"
BACKUP: Final = "backup"
OBSERVER: Final = "observer"
SHADOW: Final = "shadow"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who gets a call.

    ``role``: service, backup, observer or shadow. ``turn``: from 1; those of one turn get it together, those
    of the next if the call goes on. ``share``: of the calls, that a shadow gets; ``is_in``: whether it gets
    this call, None if that goes by the correlation id. ``data``: what it gets of the data that were given,
    in a request of ``size`` bytes; None without data.
    """

    role: str
    turn: int
    service: Service
    as_json: bool
    share: float = 1.0
    is_in: bool | None = True
    data: Any = None
    size: int | None = None


def recipients(plan: Plan, request: Request | None) -> list[Recipient]:
    """Who gets a call, in their order.

    Args:
        plan: of the event.
        request: with all of the data; None if none were given.
    """
    chain = plan.mode is Mode.CHAIN
    found = [_one(plan, SERVICE, 1 + chain * at, each) for at, each in enumerate(plan.asked)]
    after = found[-1].turn + 1
    found += [_one(plan, BACKUP, after + at, each) for at, each in enumerate(plan.backup)]
    found += [_one(plan, OBSERVER, 1, each) for each in plan.observers]
    for each in plan.shadows:
        shadow = _one(plan, SHADOW, 1, each.service)
        found.append(replace(shadow, share=each.share, is_in=_is_in(each, request)))
    return found if request is None else [_asked(each, request) for each in found]


def _one(plan: Plan, role: str, turn: int, service: Service) -> Recipient:
    return Recipient(role, turn, service, plan.in_json(service))


def _is_in(shadow: Shadow, request: Request | None) -> bool | None:
    if shadow.share >= 1:
        return True
    call_id = None if request is None else request.call_id
    return in_share(shadow, call_id) if call_id else None


def _asked(recipient: Recipient, request: Request) -> Recipient:
    given = replace(request, data=recipient.service.cut(request.data))
    if recipient.role == OBSERVER:  # as of a notice: it has nothing to answer
        given = contract.Request(request.event, request.node, given.data)
    try:
        size = len(contract.encode_request(given, recipient.as_json))
    except CodecError:  # the whole one could be written in another format
        return replace(recipient, data=given.data)
    return replace(recipient, data=given.data, size=size)


def ladder(plan: Plan) -> list[tuple[Rung, str]]:
    """What may give a call its decision, in the order in which it is tried, each with how."""
    return list(_rungs(plan))


def _rungs(plan: Plan) -> Iterator[tuple[Rung, str]]:
    if plan.cache is not None:
        keys = ", ".join(plan.cache.key)
        yield Rung.CACHE, f"what was decided of an equal call (by {keys}), while that holds: nobody is asked"
    yield Rung.SERVICE, _services(plan)
    if plan.retry is not None:
        on = (
            ("a service that failed", plan.retry.failed),
            (f"one whose request nobody took within {TAKEN_WITHIN:.0%} of its time", plan.retry.untaken),
        )
        times = "once" if plan.retry.times == 1 else f"up to {plan.retry.times} times"
        yield Rung.RETRY, f"{' or '.join(who for who, counts in on if counts)} is asked again, {times}"
    if plan.backup:
        yield Rung.BACKUP, f"{_then(plan.backup)}, in the time left: the first decision counts"
    if plan.cache is not None and plan.cache.stale:
        yield Rung.STALE, f"what was decided of an equal call, for {plan.cache.stale:g} s more than it holds"
    if plan.fallback_on:
        yield Rung.FALLBACK_ON, f"by outcome: {', '.join(plan.fallback_on)}"
    yield Rung.FALLBACK, "of the other outcomes" if plan.fallback_on else "of each outcome"


def _services(plan: Plan) -> str:
    if not plan.services:
        return "whoever is bound to it: the first decision counts"
    if len(plan.asked) == 1:
        return f"{plan.asked[0].name} decides"
    names, needed = _names(plan.asked), [each for each in plan.asked if not each.optional]
    merged = "the decisions are merged, a later one's keys count"
    match plan.mode:
        case Mode.FIRST:
            return f"{names}, all at once: the first decision counts"
        case Mode.QUORUM:
            many = f"{plan.quorum} decisions with one action count, merged"
            return f"{names}, all at once: {'the first decision counts' if plan.quorum == 1 else many}"
        case Mode.CHAIN:
            return f'{_then(plan.asked)}: a reject or "final": true ends it; {merged}'
        case Mode.ALL:
            vetoes = f"a reject by {_names(needed, 'or')} ends it; " if needed else ""
            return f"{names}, all at once: {vetoes}{merged}"


def _names(services: Sequence[Service], word: str = "and") -> str:
    *first, last = [each.name for each in services]
    return f"{', '.join(first)} {word} {last}" if first else last


def _then(services: Iterable[Service]) -> str:
    return ", then ".join(each.name for each in services)
