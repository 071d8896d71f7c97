"""When a link lets events gather."""

from __future__ import annotations

import pytest

from adapter.evapi.socket import (
    ENOUGH,
    FAST,
    FAST_IN_BATCHES,
    GATHER,
    GATHER_SEVERAL,
    LONGEST,
    MANY,
    TOGETHER,
    WINDOW,
    ReadCoalescing,
)


def paused(rate: float, frames: int = 1, seconds: float = 1.0) -> list[float]:
    """The pauses after each read, of so many frames each, at so many frames a second."""
    gather = ReadCoalescing()
    step = frames / rate
    return [gather.pause(frames, 1000.0 + number * step) for number in range(int(seconds / step))]


def test_a_slow_load_is_read_at_once() -> None:
    assert set(paused(FAST * 0.9)) == {0.0}


def test_a_fast_one_gathers_once_it_was_seen_to_be_fast() -> None:
    found = paused(FAST * 2)
    before = int(FAST * 2 * WINDOW)
    assert set(found[:before]) == {0.0}
    assert set(found[before + 2 :]) == {GATHER}


@pytest.mark.parametrize(("frames", "pause"), [(ENOUGH - 1, GATHER), (ENOUGH, 0.0)])
def test_what_comes_many_at_a_time_needs_no_pause(frames: int, pause: float) -> None:
    assert paused(FAST * 20, frames)[-1] == pause


def test_after_a_silence_nothing_waits() -> None:
    gather = ReadCoalescing()
    found = [gather.pause(1, number / (FAST * 2)) for number in range(500)]
    assert found[-1] == GATHER
    assert gather.pause(1, 10.0) == 0.0


def test_the_first_burst_of_a_link_is_no_load_yet() -> None:
    gather = ReadCoalescing()
    assert gather.pause(ENOUGH - 1, 5.0) == 0.0
    assert gather.pause(ENOUGH - 1, 5.001) == 0.0


def test_it_gathers_at_lower_rates_where_requests_go_in_batches() -> None:
    batches = [0]
    gather = ReadCoalescing(lambda: batches[0])
    between = (FAST_IN_BATCHES + FAST) / 2

    def paused_now(begin: float) -> float:
        return [gather.pause(1, begin + number / between) for number in range(500)][-1]

    assert paused_now(0.0) == 0.0
    batches[0] = 1
    assert paused_now(1.0) == GATHER
    batches[0] = 3
    assert paused_now(2.0) == GATHER_SEVERAL


@pytest.mark.parametrize(("rate", "pause"), [(MANY * 1.01, LONGEST), (2 * MANY, TOGETHER / MANY / 2)])
def test_at_high_rates_about_a_batch_gathers_where_requests_go_in_batches(rate: float, pause: float) -> None:
    gather = ReadCoalescing(lambda: 1)
    found = [gather.pause(1, number / rate) for number in range(2_000)]
    assert found[-1] == pytest.approx(pause, rel=0.05)
    assert gather.pause(TOGETHER, 1_999 / rate) == found[-1]
    assert gather.pause(2 * TOGETHER, 1_999 / rate) == 0.0


def test_at_high_rates_it_gathers_no_longer_where_they_do_not() -> None:
    assert paused(2 * MANY)[-1] == GATHER
