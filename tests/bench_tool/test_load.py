"""What is asked, and what came of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.bench.load import LONGEST, Latency, Load, histogram
from tests.bench_tool.made import result
from tests.harness.examples import examples


class TestLatency:
    def test_percentiles(self) -> None:
        found = Latency.of(histogram(dict.fromkeys(range(1, 1001), 1)))
        assert found == Latency(500, 950, 990, 999, 1_000)

    def test_a_latency_counts_as_often_as_it_was_seen(self) -> None:
        assert Latency.of(histogram({10: 98, 700: 2})) == Latency(10, 10, 700, 700, 700)

    def test_of_nothing(self) -> None:
        assert Latency.of(histogram({})) == Latency(0, 0, 0, 0, 0)

    def test_what_is_off_the_scale_is_at_its_end(self) -> None:
        found = Latency.of(histogram({-5: 1, 2 * LONGEST: 1}))
        assert found.p50 == 1
        assert found.longest == pytest.approx(LONGEST, rel=0.001)

    @settings(max_examples=examples(15))
    @given(st.dictionaries(st.integers(1, LONGEST), st.integers(1, 100), min_size=1, max_size=20))
    def test_it_is_exact_to_three_digits_and_survives_the_way_from_the_source(
        self, seen: dict[int, int]
    ) -> None:
        made = histogram(seen)
        found = Latency.told(made.encode().decode())
        assert found == Latency.of(made)
        each = sorted(value for value, count in seen.items() for _ in range(count))
        for share, value in ((0.5, found.p50), (0.99, found.p99), (1.0, found.longest)):
            at = max(0, min(len(each) - 1, math.floor(share * len(each) + 0.5) - 1))
            near = each[max(0, at - 1) : at + 2]  # the library rounds the place to the nearest
            assert min(near) * 0.999 - 1 <= value <= max(near) * 1.002 + 1


class TestResult:
    def test_the_share_that_was_decided(self) -> None:
        assert result(outcomes={"decided": 3, "timeout": 1}, offered=4).decided == 0.75
        assert result(outcomes={}, offered=0).decided == 0.0

    def test_answers_a_second_are_those_within_the_seconds(self) -> None:
        assert result(answered=30_000).throughput == 3_000

    def test_where_nobody_counted_them_those_of_the_calls(self) -> None:
        outcomes = {"decided": 4_000, "timeout": 500, "unanswered": 500}
        assert result(answered=None, outcomes=outcomes).throughput == 450

    def test_cores(self) -> None:
        assert result().cores() == pytest.approx(350 * 5_000 / 10 / 1e6)
        assert result().cores("adapter 1", "source") == pytest.approx(0.125)

    def test_of_no_time(self) -> None:
        nothing = result(seconds=0.0)
        assert (nothing.throughput, nothing.cores()) == (0, 0)


def test_a_load_by_its_name() -> None:
    assert Load(2_000).name == "2,000 calls/s"
    assert Load(None, window=1_000).name == "saturation, 1,000 at a time"
