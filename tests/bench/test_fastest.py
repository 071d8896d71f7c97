"""The search for the most calls a second: where it ends, and what it takes for carried."""

from __future__ import annotations

from adapter.bench.load import Latency, Load, Result, Usage
from tests.bench.fastest import BOUND, FIRST, LAST, STEP, carried, fastest

SOON = Latency(*[1_000] * 5)


def result(load: Load, p99: int = 1_000, answered: float = 1.0, decided: int = 1_000) -> Result:
    assert load.rate is not None
    outcomes = {"decided": decided, "unanswered": 1_000 - decided}
    made = int(load.rate * load.seconds * answered)
    added = Latency(1_000, p99, p99, p99, p99)
    return Result(load, 1_000, outcomes, load.seconds, SOON, added, {}, Usage(0, 0, 0), Usage(0, 0, 0), made)


def test_it_ends_at_the_first_rate_that_is_not_carried() -> None:
    asked: list[float] = []

    def measure(load: Load) -> Result:
        assert load.rate is not None
        asked.append(load.rate)
        return result(load, p99=BOUND if load.rate > 2 * FIRST else 1_000)

    found = fastest(measure, 2.0)
    assert found == asked[-2] == asked[-1] / STEP
    assert asked[0] == FIRST


def test_it_ends_if_nothing_is_too_much_and_if_all_is() -> None:
    assert LAST / STEP <= fastest(result, 2.0) < LAST
    assert fastest(lambda load: result(load, decided=990), 2.0) == 0.0


def test_what_is_late_slow_or_not_decided_is_not_carried() -> None:
    load = Load(1_000.0, 2.0)
    assert carried(result(load))
    assert not carried(result(load, p99=BOUND))
    assert not carried(result(load, answered=0.9))
    assert not carried(result(load, decided=990))
