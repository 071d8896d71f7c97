"""What is said of what was seen, where no consumer of the other tests does such things."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.checks import CHECKS, judge
from adapter.admin.conformance.observations import Observed, Played, Reply
from adapter.admin.conformance.questions import Question
from adapter.admin.conformance.sight import Seen

TO = "evapi.answers.n1"


def played(question: Question, *replies: Reply, **more: Any) -> Played:
    id_ = f"n1:0:0:{question}"
    found = Played(question, id_, TO, 2.0, replies=list(replies))
    for name, value in more.items():
        setattr(found, name, value)
    return found


def reply(question: Question = Question.PLAIN, body: bytes = b'{"action":"allow"}', **headers: Any) -> Reply:
    return Reply(f"n1:0:0:{question}", TO, 0.01, body, headers={"x-service": "lcr", **headers})


def told(observed: Observed, name: str) -> tuple[Status, str]:
    (verdict,) = [verdict for check, verdict in judge(observed) if check.name == name]
    return verdict.status, verdict.seen


def of(question: Question, *replies: Reply, **more: Any) -> Observed:
    """A run in which a plain call was decided before it."""
    return Observed([played(Question.PLAIN, reply()), played(question, *replies, **more)])


def test_names_are_their_own_and_each_has_a_remedy() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.right.endswith(".") and check.remedy for check in CHECKS)


def test_a_consumer_that_went_is_told_though_another_answers() -> None:
    observed = of(Question.UNREADABLE, letters=["rejected"], lost_consumer=True, alive=True)
    assert told(observed, "unreadable") == (
        Status.ERROR,
        "the consumer went away over a body that is no request",
    )


@pytest.mark.parametrize("letters,status", [(["rejected"], Status.OK), ([], Status.UNKNOWN)])
def test_without_dead_letters_a_rejection_cannot_be_told(letters: list[str], status: Status) -> None:
    observed = of(Question.UNREADABLE, letters=letters, alive=True)
    observed.letters_seen = False
    assert told(observed, "unreadable")[0] is status


def test_an_array_is_an_answer_to_a_batch() -> None:
    assert told(of(Question.BATCH, reply(Question.BATCH, b"[{}]")), "batch")[0] is Status.OK
    assert told(of(Question.BATCH, reply(Question.BATCH, b"\x92\x80\x80")), "batch")[0] is Status.OK


def test_delivered_too_often() -> None:
    status, seen = told(of(Question.UNREADABLE, letters=["delivery_limit"], alive=True), "unreadable")
    assert (status, "again and again" in seen) == (Status.ERROR, True)


def test_what_is_left_out_says_why() -> None:
    observed = Observed([played(Question.PLAIN, reply())])
    observed.left_out[Question.REDELIVERED] = "not checked: no rights"
    assert told(observed, "redelivery") == (Status.UNKNOWN, "not checked: no rights")


def test_a_plain_call_that_is_rejected() -> None:
    observed = Observed([played(Question.PLAIN, letters=["rejected"])])
    assert told(observed, "answers") == (Status.ERROR, "a plain call is rejected")


def test_the_relay_tells_where_a_reply_went() -> None:
    observed = Observed([played(Question.PLAIN)])
    sent_to = [("evapi.events", "x\x1b[0m")]
    observed.seen = {"n1:0:0:plain": Seen(1, settled=3, replied=2, sent_to=sent_to)}
    status, seen = told(observed, "answers")
    assert status is Status.ERROR
    assert "the exchange 'evapi.events' with the key" in seen
    assert "\x1b" not in seen
    assert told(observed, "reply-to")[0] is Status.ERROR


def test_the_relay_tells_that_a_silent_one_acknowledged() -> None:
    observed = Observed([played(Question.PLAIN)])
    observed.seen = {"n1:0:0:plain": Seen(1, settled=2)}
    assert told(observed, "answers")[1].endswith("no reply came and it was acknowledged")


def test_nothing_came_by_the_relay() -> None:
    observed = Observed([played(Question.PLAIN, reply())])
    observed.seen = {}
    assert told(observed, "acknowledges") == (Status.UNKNOWN, "not checked: no request came by the relay")
    assert told(observed, "acknowledges-last")[0] is Status.UNKNOWN


def test_what_a_reply_says_cannot_move_the_cursor() -> None:
    wrong = Reply("\x1b[2J", TO, 0.01, b'{"action":"allow"}')
    status, seen = told(Observed([played(Question.PLAIN, wrong)]), "correlation-id")
    assert status is Status.ERROR
    assert "\x1b" not in seen


@pytest.mark.parametrize("status", ["failed", "none"])
def test_who_has_no_say_in_a_plain_call_does_not_decide_it(status: str) -> None:
    headers: dict[str, Any] = {"x-status": status}
    observed = Observed([played(Question.PLAIN, reply(body=b"", **headers))])
    assert told(observed, "answers") == (Status.ERROR, f"a plain call is answered with x-status {status}")
    assert told(observed, "reply-body")[0] is Status.UNKNOWN
