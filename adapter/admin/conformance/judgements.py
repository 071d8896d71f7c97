"""What is seen of a consumer, judged: one function for each check. Pure.

A judgement says one thing alone. A fault that makes others undecidable is told by its own; the others are
unknown then, and say for which reason.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from adapter import bodies, contract
from adapter.admin.checks_finding import Status
from adapter.admin.conformance.questions import Question
from adapter.errors import CodecError
from adapter.terminal import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adapter.admin.conformance.observations import Observed, Played, Reply

NEEDS_SIGHT: Final = "not checked: seen only with --listen (start the consumer through the kit)"
_SHOWN: Final = 60
"""Characters of an id or a text that a finding quotes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says; ``seen`` is for people."""

    status: Status
    seen: str
    remedy: str = ""


def _ok(seen: str) -> Verdict:
    return Verdict(Status.OK, seen)


def _error(seen: str, remedy: str = "") -> Verdict:
    return Verdict(Status.ERROR, seen, remedy)


def _warning(seen: str) -> Verdict:
    return Verdict(Status.WARNING, seen)


def _unknown(seen: str) -> Verdict:
    return Verdict(Status.UNKNOWN, seen)


def _replies(observed: Observed) -> Iterator[tuple[Played, Reply]]:
    return ((each, reply) for each in observed.played for reply in each.replies)


def _plain(observed: Observed) -> list[Played]:
    return [each for each in observed.played if each.question is Question.PLAIN]


def _unanswered(observed: Observed) -> str:
    """Why nothing else can be judged; empty if a plain call was decided."""
    return "" if any(each.decided for each in _plain(observed)) else "left out: no plain call is decided"


def _without_answer(observed: Observed, played: Played) -> str:
    """What became of a request that got no reply, in words; empty if it got one."""
    if played.replies:
        return ""
    if played.rejected:
        return "it was rejected"
    if played.untaken:
        return "it was never taken off the queue"
    if played.lost_consumer:
        return "the consumer went away over it"
    if played.expired:
        return "it was given back to the queue until it expired"
    seen = (observed.seen or {}).get(played.id)
    if seen and seen.sent_to:
        return f"its reply went to {_places(seen.sent_to)}"
    held = " and it was acknowledged" if seen and seen.settled and not seen.rejected else ""
    return f"no reply came{held}"


def _places(sent_to: list[tuple[str, str]]) -> str:
    exchange, key = sent_to[-1]
    return escaped(f"the exchange {exchange!r} with the key {key!r}" if exchange else f"the queue {key!r}")


def answers(observed: Observed) -> Verdict:
    """Judge whether a plain call is decided."""
    plain = _plain(observed)
    if any(each.decided for each in plain):
        return _ok("plain calls are decided")
    if failed := next((reply for each in plain for reply in each.replies if reply.failed), None):
        remedy = "give it what it decides (--event, --data), or see its log for the failure"
        return _error(f"a plain call is answered with x-status {failed.status}", remedy)
    last = plain[-1]
    if last.rejected:
        return _error("a plain call is rejected", "give it what it decides (--event, --data); see its log")
    return _error(f"a plain call is not answered: {_without_answer(observed, last)}")


def in_time(observed: Observed) -> Verdict:
    """Judge whether one of the first calls is decided before its deadline."""
    first = itertools.takewhile(lambda each: each.question is Question.PLAIN, observed.played)
    found = [(reply.after, each.timeout) for each in first for reply in each.replies[:1]]
    if not found:
        return _unknown("left out: no plain call is answered")
    fastest, timeout = min(found)
    if fastest > timeout:
        return _error(f"the reply came {fastest:.2f} s after the request, which had {timeout:g} s")
    return _ok(f"the fastest reply came after {fastest * 1000:.0f} ms")


def correlation_id(observed: Observed) -> Verdict:
    """Judge whether replies carry the id of their request."""
    replies = list(_replies(observed))
    for played, reply in replies:
        if played.question.answerable and reply.correlation_id != played.id:
            if not reply.correlation_id:
                return _error("a reply has no correlation id")
            told = escaped(f"{reply.correlation_id!r:.{_SHOWN}}")
            return _error(f"a reply carries {told}, its request {played.id!r}")
    return _ok("replies carry it as it came") if replies else _unknown("left out: no reply came")


def reply_to(observed: Observed) -> Verdict:
    """Judge whether replies come to the queue that their request names."""
    for played, reply in _replies(observed):
        if played.question.answerable and reply.queue != played.reply_to:
            return _error(f"a reply came to {reply.queue}, though reply_to says {played.reply_to}")
    for played in observed.played:
        seen = (observed.seen or {}).get(played.id)
        wrong = [to for to in (seen.sent_to if seen else []) if to != ("", played.reply_to)]
        if wrong and played.question.answerable:
            return _error(f"a reply went to {_places(wrong)}, though reply_to says {played.reply_to}")
    return _ok("replies come to it") if any(_replies(observed)) else _unknown("left out: no reply came")


def reply_body(observed: Observed) -> Verdict:
    """Judge whether the adapter can read the decisions, as it does."""
    found = [reply for played, reply in _replies(observed) if not reply.failed and _asks_one(played)]
    habits = []
    for reply in found:
        size = len(reply.body)
        if not reply.body:
            return _error("a reply is empty, which is no answer")
        if size > contract.MAX_REPLY:
            return _error(f"a reply has {size:,} bytes, at most {contract.MAX_REPLY:,} are read")
        try:
            habits.append(bodies.read(reply.body)[1])
        except CodecError as exc:
            return _error(f"a reply cannot be read: {escaped(str(exc))}")
    if not found:
        return _unknown("left out: no decision came")
    habit = next((each for each in habits if each is not None), None)
    return _warning(habit.value) if habit else _ok("decisions are readable")


def _asks_one(played: Played) -> bool:
    return played.question not in (Question.BATCH, Question.UNREADABLE)


def service_name(observed: Observed) -> Verdict:
    """Judge whether replies say who decided."""
    names = {str(reply.headers.get(contract.HEADER_SERVICE) or "") for _, reply in _replies(observed)}
    if not names:
        return _unknown("left out: no reply came")
    if "" in names:
        return _warning("a reply does not say who decided")
    return _ok(f"replies name {escaped(', '.join(sorted(names))[:_SHOWN])}")


def once(observed: Observed) -> Verdict:
    """Judge whether a request gets one reply."""
    for played in observed.played:
        if played.question.answerable and len(played.replies) > 1:
            return _error(f"{len(played.replies)} replies came to one request ({played.question})")
    return (
        _ok("each request gets one reply") if any(_replies(observed)) else _unknown("left out: no reply came")
    )


def acknowledged(observed: Observed) -> Verdict:
    """Judge whether requests are acknowledged or rejected at all."""
    stopped = _stopped(observed)
    if stopped:
        return _error(f"after {stopped} answered requests it takes no more: those are not acknowledged")
    if observed.seen is not None:
        return _settled(observed)
    if observed.unsettled is not None:
        if 0 < observed.answered <= observed.unsettled:
            return _error(f"{observed.unsettled} requests stay unacknowledged, by the management API")
        return _ok("no request stays unacknowledged, by the management API")
    return _unknown(f"{NEEDS_SIGHT}, or with the management API (--amqp-api)")


def _stopped(observed: Observed) -> int:
    """After how many requests, all of them answered, nothing was taken any more; 0 if that was never so."""
    for number, each in enumerate(observed.played):
        if each.untaken:
            before = observed.played[:number]
            return number if before and all(played.over for played in before) else 0
    return 0


def _settled(observed: Observed) -> Verdict:
    taken = [(each, seen) for each in observed.played if (seen := (observed.seen or {}).get(each.id))]
    # What a consumer held when it went is the check's that tells over what it went.
    open_ = [
        each.question
        for each, seen in taken
        if seen.delivered and not seen.settled and not each.lost_consumer
    ]
    if open_:
        names = ", ".join(sorted(set(open_)))
        return _error(
            f"{len(open_)} of {len(taken)} requests were neither acknowledged nor rejected: {names}"
        )
    return _ok(f"all {len(taken)} are") if taken else _unknown("not checked: no request came by the relay")


def acknowledged_last(observed: Observed) -> Verdict:
    """Judge whether a request is acknowledged only once its reply is on its way."""
    if observed.automatic:
        return _error("it consumes with automatic acknowledgement, by the management API")
    if observed.seen is None:
        return _unknown(NEEDS_SIGHT)
    replied = [seen for seen in observed.seen.values() if seen.replied and not seen.rejected]
    if any(seen.automatic for seen in observed.seen.values()):
        return _error("it consumes with automatic acknowledgement (no_ack)")
    if any(0 < seen.settled < seen.replied for seen in replied):
        return _error("a request was acknowledged before its reply was sent")
    return _ok("each reply comes first") if replied else _unknown("not checked: no reply went by the relay")


def decides(question: Question, what: str) -> Callable[[Observed], Verdict]:
    """Judge whether a call with something unusual is decided as any other."""

    def judge(observed: Observed) -> Verdict:
        played = observed.of(question)
        if _unanswered(observed) or played is None:
            return _not_asked(observed, question)
        if played.decided:
            return _ok(f"{what} is decided")
        if played.untaken and _stopped(observed):
            return _unknown("left out: it takes no more requests, see acknowledges")
        told = "it was answered with x-status failed" if played.failed else _without_answer(observed, played)
        return _error(f"{what} is not decided: {told}")

    return judge


def _not_asked(observed: Observed, question: Question) -> Verdict:
    return _unknown(observed.left_out.get(question) or _unanswered(observed) or "not asked")


def silent(question: Question, what: str) -> Callable[[Observed], Verdict]:
    """Judge whether something that nobody waits for is passed over, and nothing breaks."""

    def judge(observed: Observed) -> Verdict:
        played = observed.of(question)
        if played is None:
            return _not_asked(observed, question)
        if played.replies:
            return _error(f"{what} is answered")
        return _survived(played, what) or _ok(f"{what} is passed over")

    return judge


def _survived(played: Played, what: str) -> Verdict | None:
    """What broke over a request; ``None`` if the next call was decided."""
    if played.lost_consumer:
        return _error(f"the consumer went away over {what}", "catch what reading or deciding raises")
    if played.alive is False:
        remedy = "acknowledge or reject every message, whatever becomes of it"
        return _error(f"nothing is answered any more after {what}", remedy)
    return None


def refuses(question: Question, what: str) -> Callable[[Observed], Verdict]:
    """Judge whether what cannot be decided is refused cleanly: failed, or rejected to the dead letters."""

    def judge(observed: Observed) -> Verdict:
        played = observed.of(question)
        if played is None:
            return _not_asked(observed, question)
        broken = _survived(played, what)
        if broken:
            return broken
        good = played.failed or (question is Question.BYTES and played.decided)
        good |= question is Question.BATCH and any(_is_array(reply.body) for reply in played.replies)
        if good or played.rejected:
            return _ok(f"{what} is {'rejected' if played.rejected else 'answered'}")
        if played.decided:
            return _error(f"{what} is answered with a decision")
        if played.expired:
            return _error(f"{what} is given back to the queue again and again")
        if not observed.letters_seen:
            return _unknown("not checked: dead letters cannot be seen (no exchange evapi.dead, or no rights)")
        return _error(f"{what} vanishes: no reply and no dead letter")

    return judge


def _is_array(body: bytes) -> bool:
    """Whether a body is an array, of msgpack or JSON."""
    first = body[:1]
    return bool(first) and (0x90 <= first[0] <= 0x9F or first[0] in (0xDC, 0xDD) or first == b"[")
