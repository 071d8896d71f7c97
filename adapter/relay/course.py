"""What becomes of a call that several services decide: answers in, the next step out. Pure.

The record of a suspension keeps the answers that came, in their order, as lines of text
(``Transaction.course``)::

    <service> TAB <status> TAB <decision as JSON, or why there is none>

All else follows from the plan and these lines, so any replica goes on where another stopped: who is asked is
not kept, and whoever has not answered is asked again then. Only the first line of a service that ends it
counts.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter.errors import CodecError
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.relay.plan import Mode
from adapter.wire.to_kamailio import decision_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adapter.relay.plan import Plan, Retry, Service

REJECT: Final = "reject"
FINAL: Final = "final"
"""The key by which a service ends a chain."""


_OUTCOMES: Final = {
    Status.DECIDED: Outcome.FAILED,  # in mode quorum, where decisions differ
    Status.FAILED: Outcome.FAILED,
    Status.NONE: Outcome.FAILED,  # if nobody else decides
    Status.MALFORMED: Outcome.MALFORMED,
    Status.OVERSIZED: Outcome.OVERSIZED,
    Status.TIMEOUT: Outcome.TIMEOUT,
    Status.UNTAKEN: Outcome.TIMEOUT,
    Status.UNROUTABLE: Outcome.UNROUTABLE,
    Status.UNAVAILABLE: Outcome.UNAVAILABLE,
}
"""With which outcome a call ends that a service costs its decision."""
_FAILED: Final = frozenset({Status.FAILED, Status.MALFORMED, Status.OVERSIZED})
SILENT: Final = frozenset({Status.TIMEOUT, Status.UNTAKEN})
"""Statuses of a service that said nothing."""
SHORT: Final = 512
"""Bytes of a decision up to which what was made of it is remembered: services give the same ones again and
again, and a thousand long ones would take tens of megabytes."""


class Answer(NamedTuple):
    """A line of a course. ``text``: the decision as JSON, or why there is none."""

    service: str
    status: Status
    text: bytes = b""


class Done(NamedTuple):
    """How a call ends. ``decision``: JSON text; None: nobody decided. ``by``: the services whose it is."""

    outcome: Outcome
    decision: bytes | None = None
    rung: Rung = Rung.SERVICE
    by: tuple[str, ...] = ()


class Step(NamedTuple):
    """What is next: wait for these, who are to be asked if they are not yet, or end the call."""

    ask: tuple[Service, ...] = ()
    done: Done | None = None


def line(answer: Answer) -> bytes:
    """Write a line of a course. A decision as JSON holds no line break and no tab."""
    return b"%b\t%b\t%b\n" % (answer.service.encode(), answer.status.encode(), answer.text)


def why(text: str) -> bytes:
    """The text of an answer that is no decision, on one line."""
    return " ".join(text.split())[:200].encode(errors="replace")


def lines(course: bytes) -> list[Answer]:
    """Read a course. What a build after this one has written, and is no line here, is left out."""
    found = []
    for each in course.split(b"\n"):
        name, _, rest = each.partition(b"\t")
        word, _, text = rest.partition(b"\t")
        status = _STATUSES.get(word)
        if status is not None and name.isascii() and (status is not Status.DECIDED or is_decision(text)):
            found.append(Answer(name.decode(), status, text))
    return found


def is_decision(text: bytes) -> bool:
    """Whether it is a map in JSON that Kamailio takes."""
    return _is_decision(text) if len(text) <= SHORT else _is_decision.__wrapped__(text)


@lru_cache(maxsize=1024)
def _is_decision(text: bytes) -> bool:
    try:
        found = json.loads(text.decode())
        return isinstance(found, dict) and bool(decision_json(found))
    except (CodecError, ValueError, RecursionError):
        return False


_STATUSES: Final = {each.encode(): each for each in Status}


def next_step(plan: Plan, answers: Sequence[Answer]) -> Step:
    """What follows from the answers that came."""
    over = ends(answers, plan.retry)
    found = _MODES[plan.mode](plan, over)
    if found.done is None:
        return found
    if found.done.decision is not None:
        if plan.retry is None:
            return found
        rung = _rung(plan.retry, answers, found.done.by)
        return Step(done=found.done._replace(rung=rung))
    for service in plan.backup:
        answer = over.get(service.name)
        if answer is None:
            return Step((service,))
        if answer.status is Status.DECIDED:
            return Step(done=Done(Outcome.DECIDED, answer.text, Rung.BACKUP))
    return found


def statuses(plan: Plan, answers: Sequence[Answer], outcome: Outcome) -> dict[str, Status]:
    """By service, what it did, of a call that has ended: those that had nothing to say in it are left out."""
    over = ends(answers, plan.retry)
    found = {name: each.status for name, each in over.items()}
    for each in answers:
        if each.service not in over and each.status is not Status.EXTENDED:
            found[each.service] = each.status
    if outcome is Outcome.TIMEOUT:
        found.update((each.name, Status.TIMEOUT) for each in next_step(plan, answers).ask)
    order = [*plan.services, *plan.backup_names]
    return {name: found[name] for name in order if name in found}


def rung(plan: Plan, answers: Sequence[Answer], outcome: Outcome) -> Rung:
    """What gave a call its decision that ended with this outcome, but for what is kept of former calls."""
    if outcome is Outcome.OPERATOR:
        return Rung.OPERATOR
    if outcome not in BY_SOMEBODY:
        return Rung.FALLBACK_ON if outcome in plan.fallback_on else Rung.FALLBACK
    done = next_step(plan, answers).done
    return Rung.CACHE if done is None or done.decision is None else done.rung


def told(services: Mapping[str, Status], rung: Rung) -> bytes:
    """What a resume tells beside the decision, as members of its JSON object."""
    return _told(tuple(services.items()), rung)


@lru_cache(maxsize=1024)
def _told(services: tuple[tuple[str, Status], ...], rung: Rung) -> bytes:
    found = b',"services":%b' % json.dumps(dict(services)).encode() if services else b""
    return b'%b,"step":"%b"' % (found, rung.encode())


def decisions(plan: Plan, answers: Sequence[Answer]) -> dict[str, Any]:
    """What the services of a chain have decided so far, by their names."""
    over = ends(answers, plan.retry)
    return {
        each.name: dict(read(found.text))
        for each in plan.asked
        if (found := over.get(each.name)) is not None and found.status is Status.DECIDED
    }


def extended(answers: Iterable[Answer]) -> bool:
    """Whether a service has had more time already."""
    return any(each.status is Status.EXTENDED for each in answers)


def action(decision: bytes) -> Any:
    """The action of a decision in JSON."""
    return read(decision).get("action")


def cache_key(event: str, keys: Sequence[str], data: Any) -> str | None:
    """Under which key a decision is kept; None if the data lack one of them."""
    if not isinstance(data, dict) or any(key not in data for key in keys):
        return None
    found = [event, list(keys), [data[key] for key in keys]]
    text = json.dumps(found, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def ends(answers: Iterable[Answer], retry: Retry | None) -> dict[str, Answer]:
    """Return by service, in the order in which they came, the answer that ends it: it is not asked again."""
    found: dict[str, Answer] = {}
    tries: dict[str, int] = {}
    for each in answers:
        if each.service in found or each.status is Status.EXTENDED:
            continue
        if retry is not None and _is_tried_again(retry, each.status):
            number = tries.get(each.service, 0)
            if number < retry.times:
                tries[each.service] = number + 1
                continue
        found[each.service] = each
    return found


def _is_tried_again(retry: Retry, status: Status) -> bool:
    return (retry.failed and status in _FAILED) or (retry.untaken and status is Status.UNTAKEN)


def _rung(retry: Retry, answers: Sequence[Answer], by: Sequence[str]) -> Rung:
    """Whether one of those whose decision counts was asked twice."""
    over = ends(answers, retry)
    earlier = [each for each in answers if each.service in by and each is not over[each.service]]
    again = any(_is_tried_again(retry, each.status) for each in earlier)
    return Rung.RETRY if again else Rung.SERVICE


def _first(plan: Plan, over: Mapping[str, Answer]) -> Step:
    names = {each.name for each in plan.asked}
    for answer in over.values():
        if answer.status is Status.DECIDED and answer.service in names:
            return Step(done=Done(Outcome.DECIDED, answer.text, by=(answer.service,)))
    left = tuple(each for each in plan.asked if each.name not in over)
    return Step(left) if left else _lost(plan, over)


def _all(plan: Plan, over: Mapping[str, Answer]) -> Step:
    needed = {each.name for each in plan.asked if not each.optional}
    for answer in over.values():
        if answer.service in needed and answer.status is not Status.NONE:
            if answer.status is not Status.DECIDED:
                return Step(done=Done(_OUTCOMES[answer.status]))
            if action(answer.text) == REJECT:
                return Step(done=Done(Outcome.DECIDED, answer.text, by=(answer.service,)))
    left = tuple(each for each in plan.asked if each.name not in over)
    return Step(left) if left else _merged(plan, over)


def _chain(plan: Plan, over: Mapping[str, Answer]) -> Step:
    for service in plan.asked:
        answer = over.get(service.name)
        if answer is None:
            return Step((service,))
        if answer.status is Status.DECIDED:
            decision = read(answer.text)
            if decision.get("action") == REJECT:
                return Step(done=Done(Outcome.DECIDED, answer.text, by=(answer.service,)))
            if decision.get(FINAL) is True:
                break
        elif not (service.optional or answer.status is Status.NONE):
            return Step(done=Done(_OUTCOMES[answer.status]))
    return _merged(plan, over)


def _quorum(plan: Plan, over: Mapping[str, Answer]) -> Step:
    names = {each.name for each in plan.asked}
    agreed: dict[str, list[str]] = {}
    for answer in over.values():
        if answer.status is Status.DECIDED and answer.service in names:
            equal = agreed.setdefault(json.dumps(action(answer.text)), [])
            equal.append(answer.service)
            if len(equal) >= plan.quorum:
                return _merged(plan, {name: over[name] for name in equal})
    left = tuple(each for each in plan.asked if each.name not in over)
    most = max((len(each) for each in agreed.values()), default=0)
    return Step(left) if most + len(left) >= plan.quorum else _lost(plan, over)


_MODES: Final[Mapping[Mode, Callable[[Plan, Mapping[str, Answer]], Step]]] = {
    Mode.FIRST: _first,
    Mode.ALL: _all,
    Mode.CHAIN: _chain,
    Mode.QUORUM: _quorum,
}


def _merged(plan: Plan, over: Mapping[str, Answer]) -> Step:
    """The decisions as one, in the order of the services: a later key counts."""
    answers = [over[each.name] for each in plan.asked if each.name in over]
    decided = [each for each in answers if _is_decided(each)]
    if not decided:
        return _lost(plan, over)
    found = tuple(each.text for each in decided)
    whole = found[0] if len(found) == 1 else _as_one(found)
    return Step(done=Done(Outcome.DECIDED, whole, by=tuple(each.service for each in decided)))


def _as_one(decisions: tuple[bytes, ...]) -> bytes:
    return _merge(decisions) if sum(map(len, decisions)) <= SHORT else _merge.__wrapped__(decisions)


@lru_cache(maxsize=1024)
def _merge(decisions: tuple[bytes, ...]) -> bytes:
    merged: dict[str, Any] = {}
    for each in decisions:
        merged.update(read(each))
    return decision_json(merged)


def _lost(plan: Plan, over: Mapping[str, Answer]) -> Step:
    """Nobody decides: the outcome is that of the first that had to, if any, and tried."""
    failed = [each for each in plan.asked if each.name in over and not _is_decided(over[each.name])]
    failed.sort(key=lambda each: (over[each.name].status is Status.NONE, each.optional))
    return Step(done=Done(_OUTCOMES[over[failed[0].name].status] if failed else Outcome.FAILED))


def _is_decided(answer: Answer) -> bool:
    return answer.status is Status.DECIDED


def read(decision: bytes) -> Mapping[str, Any]:
    """A decision, JSON text, as a map that nobody may change; empty if it is none."""
    return _read(decision) if len(decision) <= SHORT else _read.__wrapped__(decision)


@lru_cache(maxsize=1024)
def _read(decision: bytes) -> Mapping[str, Any]:
    found = json.loads(decision)
    return found if isinstance(found, dict) else {}
