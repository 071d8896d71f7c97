"""Which requests go in one message."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapter import batches
from adapter.broker.rabbitmq import gathering
from adapter.contract import Request, encode_request
from adapter.ports.broker import Publication, Published

NOW = 1_000.0
BODY = encode_request(Request("e", "n", {"user": "1"}, 1, 1, 1, NOW + 2))


def asked(number: int = 1, of: str = "a", node: str = "n", batch: int = 3, **more: Any) -> Publication:
    given: dict[str, Any] = {"body": BODY, "deadline": NOW + 2, "queue": of, "batch": batch, **more}
    return Publication("e", node, correlation_id=f"{node}:{number}:1:1", **given)


def test_each_goes_alone_where_no_policy_says_otherwise() -> None:
    assert gathering.groups([asked(batch=1), asked(batch=1)], NOW) is None


def test_together_go_those_of_one_service_and_node() -> None:
    several = [asked(1), asked(2, "b"), asked(3), asked(4, node="m"), asked(5, "b"), asked(6), asked(7)]
    assert gathering.groups(several, NOW) == [[0, 2, 5], [1, 4], [3], [6]]


def test_alone_go_notices_what_is_not_in_msgpack_and_what_has_no_time_left() -> None:
    in_json = encode_request(Request("e", "n", {}, 1, 1, 1, NOW + 2), as_json=True)
    large = encode_request(Request("e", "n", {"x": "y" * batches.MAX_BYTES}, 1, 1, 1, NOW + 2))
    alone = [asked(body=in_json), asked(body=large), asked(deadline=NOW), asked(deadline=None), asked(of="")]
    assert gathering.groups([asked(), *alone, asked()], NOW) == [[0, 6], [1], [2], [3], [4], [5]]


def test_one_that_is_told_of_before_its_deadline_goes_with_its_like() -> None:
    several = [asked(1), asked(2, expires=NOW + 0.5), asked(3, expires=NOW + 9), asked(4, expires=NOW + 0.49)]
    assert gathering.groups(several, NOW) == [[0, 2], [1, 3]]
    assert gathering.batch([several[1], several[3]], NOW).expires == 490
    assert gathering.batch([several[0], several[2]], NOW).expires is None


def test_none_is_given_up_for_one_whose_time_to_be_taken_is_over_long_before() -> None:
    """An event of a deadline of 2 s and one of 10 s, each tried again if nobody takes it in 0.3 of that."""
    several = [
        asked(number, deadline=NOW + 10, expires=NOW + wait)
        for number, wait in enumerate((0.6, 3.0, 0.61, 2.999))
    ]
    assert gathering.groups(several, NOW) == [[0, 2], [1, 3]]
    assert gathering.batch([several[1], several[3]], NOW).expires == 2_999


def test_the_message_lasts_as_long_as_the_last_of_its_requests() -> None:
    found = gathering.batch([asked(1), asked(2, deadline=NOW + 3), asked(3, deadline=NOW + 1)], NOW)
    assert (found.deadline, found.left) == (NOW + 3, 3_000)
    assert [each.headers["x-time-left"] for each in batches.asked(found.body)] == [2_000, 3_000, 1_000]


@given(st.lists(st.builds(asked, of=st.sampled_from("ab"), batch=st.integers(1, 4)), max_size=40))
def test_none_is_lost_and_no_message_holds_more_than_any_of_it_lets(several: list[Publication]) -> None:
    groups = gathering.groups(several, NOW)
    if groups is None:
        assert all(each.batch == 1 for each in several)
        return
    assert sorted(place for group in groups for place in group) == list(range(len(several)))
    for group in groups:
        assert len({several[place].queue for place in group}) == 1
        assert len(group) <= min(several[place].batch for place in group)
        assert group == sorted(group)
    results = [Published(1 + number % 4) for number in range(len(groups))]
    spread = gathering.spread(groups, results)
    assert all(
        spread[place] is result for group, result in zip(groups, results, strict=True) for place in group
    )


def test_no_message_is_longer_than_what_is_read_of_a_dead_one() -> None:
    body = encode_request(Request("e", "n", {"x": "y" * 20_000}, 1, 1, 1, NOW + 2))
    several = [asked(number, body=body, batch=1_000, traceparent="t" * 55) for number in range(20)]
    groups = gathering.groups(several, NOW)
    assert groups is not None
    assert len(groups) > 1
    for group in groups:
        assert len(gathering.batch([several[place] for place in group], NOW).body) <= batches.MAX_BYTES


@given(st.integers(700, 2_500), st.sampled_from("nö"), st.sampled_from(("", "t" * 55)))
def test_a_message_is_as_long_as_it_may_be(size: int, node: str, trace: str) -> None:
    """None is left to the next message that had room in this one."""
    body = encode_request(Request("e", "n", {"x": "y" * size}, 1, 1, 1, NOW + 2))
    several = [
        asked(number, node=node * 60, body=body, batch=1_000, traceparent=trace) for number in range(200)
    ]
    groups = gathering.groups(several, NOW)
    assert groups is not None
    for group in groups:
        assert len(gathering.batch([several[place] for place in group], NOW).body) <= batches.MAX_BYTES
    first = gathering.batch([several[place] for place in groups[0]], NOW).body
    assert len(first) * (1 + 2 / len(groups[0])) > batches.MAX_BYTES
