"""What is asked, and what came of it."""

from __future__ import annotations

import math
from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.bench.load import SHARES, Latency, Load
from tests.bench_tool.made import result
from tests.harness.examples import examples


class TestLatency:
    def test_percentiles(self) -> None:
        found = Latency.of(dict.fromkeys(range(1, 1001), 1))
        assert found == Latency(500, 950, 990, 999, 1_000)

    def test_a_latency_counts_as_often_as_it_was_seen(self) -> None:
        assert Latency.of({700: 2, 10: 98}) == Latency(10, 10, 700, 700, 700)

    def test_of_nothing(self) -> None:
        assert Latency.of({}) == Latency(0, 0, 0, 0, 0)

    def test_a_clock_that_was_set_back_makes_no_call_shorter_than_nothing(self) -> None:
        assert Latency.of({-5: 1}) == Latency(0, 0, 0, 0, 0)

    @settings(max_examples=examples(15))
    @given(st.dictionaries(st.integers(0, 180_000_000), st.integers(1, 100), min_size=1, max_size=20))
    def test_it_is_what_a_sorted_list_of_all_calls_has_there(self, counts: dict[int, int]) -> None:
        each = sorted(value for value, count in counts.items() for _ in range(count))
        wanted = [each[math.ceil(share * len(each)) - 1] for share in SHARES]
        assert list(astuple(Latency.of(counts))) == wanted


class TestResult:
    def test_the_share_that_was_decided(self) -> None:
        assert result(outcomes={"decided": 3, "timeout": 1}, offered=4).decided == 0.75
        assert result(outcomes={}, offered=0).decided == 0.0

    def test_answers_a_second_are_those_within_the_seconds(self) -> None:
        assert result(answered=30_000).throughput == 3_000

    def test_where_nobody_counted_them_those_of_the_calls(self) -> None:
        outcomes = {"decided": 4_000, "timeout": 500, "unanswered": 500}
        assert result(answered=None, outcomes=outcomes).throughput == 450

    def test_the_machine_is_all_that_it_did_but_for_the_source(self) -> None:
        assert result(busy=0.5).machine == pytest.approx(0.5 * 10 / 5_000 * 1e6 - 50)
        assert result(busy=0.0).machine == 0
        assert result(offered=0).machine == 0

    def test_cores(self) -> None:
        assert result().cores() == pytest.approx(350 * 5_000 / 10 / 1e6)
        assert result().cores("adapter 1", "source") == pytest.approx(0.125)

    def test_of_no_time(self) -> None:
        nothing = result(seconds=0.0)
        assert (nothing.throughput, nothing.cores()) == (0, 0)


def test_a_load_by_its_name() -> None:
    assert Load(2_000).name == "2,000 calls/s"
    assert Load(None, window=1_000).name == "saturation, 1,000 at a time"
