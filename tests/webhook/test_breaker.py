from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.webhook.breaker import Breaker, State


def opened() -> Breaker:
    breaker = Breaker(2, 5.0)
    assert not breaker.failed(0.0)
    assert breaker.failed(0.0)
    return breaker


def test_failures_in_a_row_open_it_and_the_pause_ends_with_one_probe() -> None:
    breaker = opened()
    assert breaker.left(1.0) == 4.0
    assert [breaker.allows(4.9), breaker.allows(5.0), breaker.allows(5.0)] == [False, True, False]
    assert breaker.answered()
    assert breaker.allows(5.0)
    assert not breaker.answered(), "it was closed already"


def test_an_answer_between_begins_anew() -> None:
    breaker = Breaker(2, 5.0)
    for _ in range(3):
        breaker.failed(0.0)
        breaker.answered()
    assert breaker.allows(0.0)


def test_a_probe_that_fails_opens_it_again() -> None:
    breaker = opened()
    assert breaker.allows(5.0)
    assert breaker.failed(6.0)
    assert breaker.left(6.0) == 5.0


def test_a_probe_that_is_abandoned_is_free_for_the_next() -> None:
    breaker = opened()
    assert breaker.allows(5.0)
    breaker.abandoned()
    assert breaker.allows(5.0)


def test_the_server_may_ask_for_a_pause() -> None:
    breaker = Breaker(0, 5.0)
    assert not breaker.failed(0.0)
    assert breaker.failed(0.0, 2.0)
    assert not breaker.failed(0.5, 1.0), "open it is"
    assert breaker.left(0.5) == 1.5, "the longer pause counts"


def test_answers_to_what_was_under_way_do_not_close_it() -> None:
    breaker = opened()
    breaker.answered()
    assert not breaker.allows(1.0)
    assert "open" in repr(breaker)


@given(st.lists(st.sampled_from(["answered", "failed", "abandoned", "wait"]), max_size=40))
def test_it_never_stays_shut_for_longer_than_its_pause(steps: list[str]) -> None:
    breaker, now = Breaker(2, 5.0), 0.0
    for step in steps:
        if step == "wait":
            now += 2.0
        elif breaker.allows(now):
            if step == "failed":
                breaker.failed(now)
            elif step == "answered":
                breaker.answered()
            else:
                breaker.abandoned()
    assert breaker.allows(now + 5.0)
    assert breaker.state is not State.OPEN
