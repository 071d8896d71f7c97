"""What became of each suspension, as a timeline: made of journals' steps and of what is in flight. Pure."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from adapter import contract
from adapter.admin.overview import short
from adapter.errors import CodecError
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import BY_SOMEBODY, State, TransactionId
from adapter.observe.journal_entry import Kind, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.model.transaction import Transaction

OPERATOR: Final = "operator:"
"""What the service of a reply begins with that somebody gave by hand."""

_AFTER: Final = {
    "claimed": ("event",),
    "published": ("answer", "claimed", "adopted", "event"),
    "received": ("published", "claimed", "event"),
    "replied": ("received",),
    "reply": ("replied", "published", "claimed", "event"),
    "late": ("replied", "published", "claimed", "event"),
    "answer": (),
    "ladder": ("answer", "reply", "published", "claimed", "adopted", "event"),
    "resume": ("ladder", "answer", "reply", "published", "claimed", "adopted", "event"),
    "read": ("resume",),
}
"""After which steps the time of a step is counted: the last of these, of any where it is not here."""
_ORDER: Final = tuple(_AFTER)

_ANSWERS: Final[Mapping[str, tuple[str, str]]] = {
    Status.DECIDED: ("consumer", "{} decided"),
    Status.FAILED: ("consumer", "{} failed"),
    Status.NONE: ("consumer", "{} has no say in it"),
    Status.TIMEOUT: ("consumer", "{} did not answer in time"),
    Status.UNTAKEN: ("rabbitmq", "nobody took the request of {} from its queue"),
    Status.UNROUTABLE: ("rabbitmq", "{} has no queue"),
    Status.UNAVAILABLE: ("adapter", "{} was not waited for: its breaker is open, or RabbitMQ is away"),
    Status.EXTENDED: ("consumer", "{} was given more time"),
    Status.MALFORMED: ("consumer", "the reply of {} was not understood"),
    Status.OVERSIZED: ("consumer", "the reply of {} was too long"),
}
"""Where each status of a service shows, and how it is said."""
LADDER: Final[Mapping[str, str]] = {
    Rung.SERVICE: "decided by the services",
    Rung.RETRY: "decided by a service that was asked again",
    Rung.BACKUP: "decided by backup",
    Rung.CACHE: "answered from the cache",
    Rung.STALE: "answered from the cache (stale)",
    Rung.FALLBACK_ON: "answered by the fallback for this outcome",
    Rung.FALLBACK: "answered by the fallback",
    Rung.OPERATOR: "answered by an operator",
}
"""How each step of the ladder is said."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A step, and the replica in whose journal it is."""

    replica: str
    step: Step


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline. ``at``: epoch seconds; ``where`` it happened: kamailio, adapter,
    rabbitmq, consumer or operator; ``took``: seconds since the step it came after.
    """

    at: float
    step: str
    where: str
    text: str
    took: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Timeline:
    """One suspension. ``seconds`` from event to resume. ``state``: claimed or settled where it is in
    flight, else resumed or, where nothing tells, unknown. ``data``, ``decision``: payloads that were kept.
    ``rung``: what decided, where several services do. ``services``: what became of each, the latest status.
    """

    id: TransactionId
    event: str
    call_id: str
    state: str
    outcome: str | None
    seconds: float | None
    moments: tuple[Moment, ...]
    data: Any = None
    decision: Any = None
    rung: str | None = None
    services: Mapping[str, str] = field(default_factory=dict)

    @property
    def unfinished(self) -> bool:
        """Whether it is over, and not all of its end is known: it may be in the next entry of a journal."""
        return self.state == "unknown" or (
            self.state == "resumed" and not any(moment.step == "read" for moment in self.moments)
        )


def timelines(steps: Iterable[Noted], records: Iterable[Transaction], now: float) -> list[Timeline]:
    """What was noted of suspensions, and what of them is in flight ``now``, the earliest first. Pure."""
    by_id: dict[TransactionId, list[Noted]] = {}
    for each in steps:
        by_id.setdefault(each.step.id, []).append(each)
    in_flight = {record.id: record for record in records}
    for id_ in in_flight:
        by_id.setdefault(id_, [])
    names = short({each.replica for found in by_id.values() for each in found})
    found = [_timeline(id_, each, in_flight.get(id_), names, now) for id_, each in by_id.items()]
    return sorted(found, key=lambda each: (each.moments[0].at, each.id))


def _timeline(
    id_: TransactionId,
    mine: list[Noted],
    record: Transaction | None,
    names: Mapping[str, str],
    now: float,
) -> Timeline:
    mine = sorted(mine, key=lambda each: (each.step.at, each.step.kind))
    steps = [each.step for each in mine]
    told = next((step for step in steps if step.event), None)
    end = next((step for step in steps if step.kind is Kind.RESUME), None)
    event = record.event if record is not None else told.event if told is not None else ""
    call_id = next((step.call_id for step in steps if step.call_id), "")
    moments = _begin(event, steps, record)
    begun = moments[0].at if moments else steps[0].at
    rung = next((step.more["status"] for step in reversed(steps) if is_rung(step)), None)
    for each in mine:
        moments += _moments(each, names[each.replica], begun, end, rung)
    moments.sort(key=lambda moment: (moment.at, _ORDER.index(moment.step) if moment.step in _ORDER else -1))
    outcome = None if end is None else end.more["outcome"]
    state = "unknown" if end is None else "resumed"
    if record is not None:
        state = record.state.name.lower()
        outcome = outcome if record.outcome is None else record.outcome.value
        call_id = record.call_id or call_id
        moments += _open(record, moments, now)
    return Timeline(
        id_,
        event,
        call_id,
        state,
        outcome,
        None if end is None else end.more["seconds"],
        _timed(moments),
        _data(steps, record),
        next((step.more["decision"] for step in steps if "decision" in step.more), None),
        rung,
        {
            step.more["service"]: step.more["status"]
            for step in steps
            if step.kind is Kind.STEP and not is_rung(step)
        },
    )


def is_rung(step: Step) -> bool:
    """Whether a step tells what decided a call, not what became of one service."""
    return step.kind is Kind.STEP and not step.more["service"] and step.more["status"] in LADDER


def _begin(event: str, steps: Sequence[Step], record: Transaction | None) -> list[Moment]:
    """The event's arrival, as whoever knows of it tells; what was answered at once has no step of its own."""
    arrived = [step.more["arrived"] for step in steps if step.kind is Kind.EVENT]
    arrived += [step.at - step.more["seconds"] for step in steps if step.kind is Kind.RESUME][:1]
    if record is not None:
        arrived.append(record.claimed_at)
    return [Moment(arrived[0], "event", "kamailio", f"event arrived: {event}")] if arrived else []


def _moments(each: Noted, replica: str, begun: float, end: Step | None, rung: str | None) -> Iterable[Moment]:
    step, who = each.step, {"replica": each.replica}
    match step.kind:
        case Kind.EVENT:
            yield Moment(step.at, "claimed", "adapter", f"claimed by {replica}", more=who)
        case Kind.PUBLISHED:
            yield Moment(step.at, "published", "rabbitmq", "published, confirmed", more=who)
        case Kind.REPLY:
            yield from _reply(step, who, begun, late=end is not None and step.at > end.at)
        case Kind.RESUME:
            yield _resume(step, who, rung)
        case Kind.READ:
            yield Moment(step.at, "read", "kamailio", "read by Kamailio", more=who)
        case Kind.STEP:
            yield _step(step, who, end)
        case Kind.ADOPTED:
            yield Moment(step.at, "adopted", "adapter", f"adopted by {replica}", more=who)


def _resume(step: Step, who: Mapping[str, str], rung: str | None) -> Moment:
    """Which policy gave the fallback is told, too. A former decision (``rung``) is none."""
    outcome, policy = step.more["outcome"], step.more.get("policy")
    text, more = f"resume written: {outcome}", {**who, "outcome": outcome}
    if policy is not None:
        more["policy"] = policy
        text += "" if outcome in BY_SOMEBODY or rung == Rung.STALE else f", fallback of policy {policy}"
    return Moment(step.at, "resume", "adapter", text, more=more)


def _step(step: Step, who: Mapping[str, str], end: Step | None) -> Moment:
    """One service's part, with its time since it was asked; or what decided, which may be noted only after
    the resume that it led to."""
    service, status = step.more["service"], step.more["status"]
    if is_rung(step):
        at = step.at if end is None else min(step.at, end.at)
        return Moment(at, "ladder", "adapter", LADDER[status], more={**who, "status": status})
    name, more = service or "a consumer", {**who, "service": service, "status": status}
    where, said = _ANSWERS.get(status, ("adapter", ""))
    text = said.format(name) if said else f"{name}: {status}"
    return Moment(step.at, "answer", where, text, step.more["seconds"], more)


def _reply(step: Step, who: Mapping[str, str], begun: float, *, late: bool) -> Iterable[Moment]:
    service = step.more.get("service") or ""
    kind, end = ("late", ", too late: nobody waited") if late else ("reply", "")
    if service.startswith(OPERATOR):
        text = f"answered by {service.removeprefix(OPERATOR)}{end}"
        yield Moment(step.at, kind, "operator", text, more={**who, "service": service})
        return
    said, fault = service or "a consumer", step.more.get("fault")
    received, replied = step.more.get("received"), step.more.get("replied")
    came = f"reply came from {said}"
    if received is None or replied is None:
        pass
    elif (shift := _shift(received, replied, begun, step.at)) is None:
        came += ", whose clock is of no use"
    else:
        off = f"; its clock is about {_signed(-shift)} off" if shift else ""
        more = {"service": service, "clock_off": -shift or None}
        more = {key: value for key, value in more.items() if value}
        yield Moment(received + shift, "received", "consumer", f"received by {said}", more=more)
        yield Moment(replied + shift, "replied", "consumer", f"{said} replied{off}", more=more)
    if fault is not None:
        came += f", no decision: {fault}"
    about = {"service": service or None, "fault": fault}
    about = {key: value for key, value in about.items() if value}
    yield Moment(step.at, kind, "adapter", came + end, more={**who, **about})


def _shift(received: float, replied: float, begun: float, ended: float) -> float | None:
    """The least number of seconds to add to a consumer's clock so that what it did was done between two
    times; ``None`` where no number is right."""
    if not 0 <= replied - received <= ended - begun:
        return None
    if received < begun:
        return begun - received
    return min(ended - replied, 0.0)


def _signed(seconds: float) -> str:
    return f"{seconds:+.3g} s" if abs(seconds) >= 1 else f"{seconds * 1000:+.3g} ms"


def _open(record: Transaction, moments: Sequence[Moment], now: float) -> Iterable[Moment]:
    """What it waits for now."""
    done = {moment.step for moment in moments}
    owner, more = record.owner.partition("~")[0], {"replica": record.owner}
    if record.state is State.CLAIMED:
        left = record.deadline - now
        until = f"{left:.1f} s until the deadline" if left >= 0 else f"past its deadline by {-left:.1f} s"
        what = "waits for a decision" if "published" in done else "waits to be published"
        where = "consumer" if "published" in done else "rabbitmq"
        text = f"in flight: {what}; {until}; with {owner}"
        yield Moment(max(now, moments[-1].at), "open", where, text, more=more)
    elif "read" not in done:
        text = f"in flight: settled, not known to be read by Kamailio yet; with {owner}"
        yield Moment(max(now, moments[-1].at), "open", "kamailio", text, more=more)


def _timed(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """Each with what it took: since the last of those it comes after, of the same service where it is one's;
    a service's answer knows it."""
    found: list[Moment] = []
    for moment in moments:
        after = _AFTER.get(moment.step)
        whose = {None, moment.more.get("service")}
        mine = [each for each in found if len(whose) == 1 or each.more.get("service") in whose]
        begun = [each.at for each in mine if after is None or each.step in after]
        took = moment.took
        if took is None and begun and moment.step != "event":
            took = moment.at - begun[-1]
        found.append(Moment(moment.at, moment.step, moment.where, moment.text, took, moment.more))
    return tuple(found)


def _data(steps: Iterable[Step], record: Transaction | None) -> Any:
    """The event's data: in flight they are there, in a journal where payloads are kept."""
    bodies = [step.more["request"] for step in steps if "request" in step.more]
    if record is not None:
        bodies.append(record.request)
    return request_data(next(filter(None, bodies), None))


def request_data(body: bytes | None) -> Any:
    """The data of a request's body; ``None`` where there is none, or one that nobody understands."""
    if body:
        with contextlib.suppress(CodecError):
            return contract.decode_request(body).data
    return None
