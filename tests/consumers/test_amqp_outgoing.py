"""Replies and acknowledgements under way, against a server as strict as RabbitMQ."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic

from consumers import Answer, Result
from consumers.amqp.incoming import Confirm, Delivery
from consumers.amqp.outgoing import Acknowledgements, Replies, Reply


class Server:
    """Closes the channel over an answer to a request that does not wait for one, as RabbitMQ does."""

    def __init__(self, requests: int) -> None:
        self.waiting = set(range(1, requests + 1))
        self.acknowledged: set[int] = set()
        self.rejected: set[int] = set()

    def read(self, written: list[bytes]) -> None:
        for one in written:
            _, _, found = frame.unmarshal(one)
            assert isinstance(found, Basic.Ack | Basic.Reject)
            tag: Any = found.delivery_tag
            assert tag in self.waiting, f"unknown delivery tag {tag}"
            if isinstance(found, Basic.Reject):
                self.rejected.add(tag)
                self.waiting.remove(tag)
                continue
            these = {other for other in self.waiting if other <= tag} if found.multiple else {tag}
            self.acknowledged |= these
            self.waiting -= these


@given(st.permutations(range(1, 13)), st.sets(st.integers(1, 12)), st.sets(st.integers(0, 11)))
def test_each_request_is_answered_once_in_whatever_order(
    order: list[int], rejected: set[int], pauses: set[int]
) -> None:
    server, acknowledgements, answered = Server(12), Acknowledgements(3), 0
    for at, tag in enumerate(order):
        (acknowledgements.reject if tag in rejected else acknowledgements.done)(tag)
        if at in pauses or at == 11:
            expected = acknowledgements.waiting
            count, written = acknowledgements.take()
            assert count == expected
            answered += count
            server.read(written)
            settled = set(order[: at + 1])
            assert server.acknowledged == settled - rejected
            assert server.rejected == settled & rejected
    assert answered == 12
    assert acknowledgements.take() == (0, [])


def test_one_frame_for_many() -> None:
    acknowledgements = Acknowledgements(3)
    for tag in (2, 1, 3, 5):
        acknowledgements.done(tag)
    _, written = acknowledgements.take()
    assert [frame.unmarshal(one)[2].multiple for one in written] == [True, False]  # type: ignore[union-attr]


def a_reply(number: int) -> Reply:
    return Reply(Delivery(number, b"", b""), Answer(Result.DECIDED), b"", "r", f"x:{number}")


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.booleans()), max_size=14))
def test_each_reply_is_settled_once_in_whatever_order(steps: list[tuple[int, bool, bool]]) -> None:
    replies, pending = Replies(3, 1000), dict[int, Reply]()
    for number in range(1, 13):
        replies.add(pending.setdefault(number, a_reply(number)))
    assert len(replies.take()) == 12
    for number, multiple, is_taken in steps:
        these = [each for each in pending if each == number or (multiple and each < number)]
        expected = [pending.pop(each) for each in sorted(these)]
        taken, refused = replies.settle([Confirm(number, multiple, is_taken)])
        assert (taken, refused) == ((expected, []) if is_taken else ([], expected))
    assert replies.busy == bool(pending)
    assert replies.give_up() == list(pending.values())
    assert not replies.busy


def test_what_was_answered_one_by_one_is_not_looked_for_again() -> None:
    replies = Replies(3, 1000)
    for number in range(1, 101):
        replies.add(a_reply(number))
        replies.settle([Confirm(number, False, True)])
    assert replies._oldest == 101
