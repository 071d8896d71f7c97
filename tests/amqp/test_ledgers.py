"""What is under way on a channel, against a server as strict as RabbitMQ."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic

from adapter.amqp.ledgers import Acknowledgements, Unconfirmed
from adapter.amqp.scanner import Confirm


class Server:
    """Closes the channel over an answer to a request that does not wait for one, as RabbitMQ does."""

    def __init__(self, requests: int) -> None:
        self.waiting = set(range(1, requests + 1))
        self.acknowledged: set[int] = set()
        self.rejected: set[int] = set()
        self.given_back: set[int] = set()

    def read(self, written: list[bytes]) -> None:
        for one in written:
            _, _, found = frame.unmarshal(one)
            assert isinstance(found, Basic.Ack | Basic.Reject | Basic.Nack)
            tag: Any = found.delivery_tag
            assert tag in self.waiting, f"unknown delivery tag {tag}"
            if isinstance(found, Basic.Reject):
                self.rejected.add(tag)
                self.waiting.remove(tag)
                continue
            these = {other for other in self.waiting if other <= tag} if found.multiple else {tag}
            if isinstance(found, Basic.Nack):
                assert found.requeue
                self.given_back |= these
            else:
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


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=8))
def test_what_is_dealt_with_in_order(steps: list[tuple[int, bool, bool]]) -> None:
    """Each step deals with so many more, or gives them back after what was done before."""
    server, acknowledgements, tag, taken = Server(40), Acknowledgements(3), 0, set[int]()
    for more, gives_back, writes in steps:
        these = set(range(tag + 1, tag + more + 1))
        tag += more
        if gives_back:
            server.read(acknowledgements.take()[1])
            server.read([acknowledgements.give_back_up_to(tag)])
            assert server.given_back >= these
        else:
            acknowledgements.done_up_to(tag)
            taken |= these
        if writes:
            _, written = acknowledgements.take()
            assert len(written) <= 1
            server.read(written)
    server.read(acknowledgements.take()[1])
    assert server.acknowledged == taken


@given(st.lists(st.tuples(st.integers(1, 14), st.booleans(), st.booleans()), max_size=14))
def test_each_publication_is_answered_once_in_whatever_order(steps: list[tuple[int, bool, bool]]) -> None:
    """Some of what the server says is of publications that nobody made: 13 and 14."""
    unconfirmed, pending = Unconfirmed[str](), dict[int, str]()
    for number in range(1, 13):
        assert unconfirmed.add(pending.setdefault(number, f"x:{number}")) == number
    for number, multiple, is_taken in steps:
        these = [each for each in sorted(pending) if each == number or (multiple and each < number)]
        assert unconfirmed.answered(Confirm(number, multiple, is_taken)) == [
            (each, pending.pop(each)) for each in these
        ]
        assert unconfirmed.get(number) == pending.get(number)
        assert len(unconfirmed) == len(pending)
    assert unconfirmed.give_up() == list(pending.values())
    assert not unconfirmed


def test_what_was_answered_one_by_one_is_not_looked_for_again() -> None:
    unconfirmed = Unconfirmed[str]()
    for number in range(1, 101):
        unconfirmed.answered(Confirm(unconfirmed.add("x"), False, True))
        assert unconfirmed._oldest == number + 1


def test_a_number_that_nobody_has_costs_nothing() -> None:
    """A server that is no RabbitMQ may say anything: the service's copy of this went through all of them."""
    unconfirmed = Unconfirmed[str]()
    unconfirmed.add("x")
    assert unconfirmed.answered(Confirm(1 << 62, False, True)) == []
    assert unconfirmed.answered(Confirm(1 << 62, True, True)) == [(1, "x")]
