"""A clock that no other clock moves, and what Redis' clock may do to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cluster.clock import LONGEST, SLEW, WRONG, Clock, Timekeeping

TRUE = 1_790_000_000.0
WAY = 0.001
"""Seconds that Redis' answer takes."""


class Machine:
    """A machine whose wall clock may be wrong, and a replica on it."""

    def __init__(self, off: float = 0.0) -> None:
        self.passed = 5_000.0  # of the monotonic clock
        self.off = off
        self.clock = Clock(lambda: self.passed, lambda: TRUE + self.passed + self.off)
        self.keeping = Timekeeping(self.clock)

    @property
    def true(self) -> float:
        return TRUE + self.passed

    @property
    def ahead(self) -> float:
        return self.clock() - self.true

    def beat(self, redis: float = 0.0, others: tuple[float, ...] = (), fresh: bool = False) -> float:
        """Redis' clock is so far ahead of the true time; ``fresh``: nothing goes by the clock yet."""
        asked = self.clock()
        self.passed += WAY
        theirs = self.true + redis
        self.passed += WAY
        return self.keeping.learn(theirs, asked, self.clock(), others, fresh)


@pytest.mark.parametrize("step", [30.0, -30.0])
def test_a_step_of_the_machines_clock_moves_nothing(step: float) -> None:
    machine = Machine()
    before = machine.clock()
    machine.off += step
    machine.passed += 1.0
    assert machine.clock() - before == pytest.approx(1.0)


@pytest.mark.parametrize("off", [30.0, -30.0, 0.0])
def test_it_is_set_by_redis_before_anything_goes_by_it(off: float) -> None:
    machine = Machine(off)
    assert machine.beat(fresh=True) == pytest.approx(-off)
    assert machine.ahead == pytest.approx(0.0, abs=1e-6)
    assert machine.keeping.corrected == pytest.approx(off)
    machine.passed += 0.25
    assert machine.beat(fresh=True) == 0.0, "once"


@pytest.mark.parametrize("jump", [30.0, -30.0, 0.5])
def test_a_jump_of_redis_alone_moves_a_deadline_by_a_hundredth_at_most(jump: float) -> None:
    machine = Machine()
    machine.beat(fresh=True)
    for _ in range(12):  # 3 s, as long as a call may wait
        machine.passed += 0.25
        assert machine.beat(redis=jump) == 0.0
    assert 0.0 < abs(machine.ahead) <= 3.1 * SLEW
    assert abs(machine.keeping.off) > 0.4


def test_a_clock_that_drifts_is_followed() -> None:
    machine = Machine()
    machine.beat(fresh=True)
    for second in range(200):
        machine.passed += 1.0
        machine.beat(redis=second * 0.0001)
    assert machine.ahead == pytest.approx(0.0199, abs=0.005)


@given(st.floats(-0.9, 0.9))
def test_what_the_way_may_account_for_corrects_nothing(share: float) -> None:
    machine = Machine()
    machine.beat(fresh=True)
    asked = machine.clock()
    machine.passed += 4.0
    machine.keeping.learn(machine.true - 2.0 + 2.0 * share, asked, machine.clock(), (), False)
    assert machine.ahead == pytest.approx(0.0, abs=1e-6)


def test_who_stood_still_moves_nothing_at_once() -> None:
    machine = Machine()
    machine.beat(fresh=True)
    machine.passed += 3600.0
    machine.beat(redis=30.0)
    assert 0.0 < machine.ahead <= SLEW * LONGEST + 1e-6


class TestOthers:
    def test_one_that_starts_takes_the_time_that_the_others_have_kept(self) -> None:
        """Redis' clock has jumped, and they follow it slowly: all have to agree."""
        machine = Machine()
        machine.beat(redis=30.0, others=(-30.0, -29.9), fresh=True)
        assert machine.ahead == pytest.approx(0.1, abs=0.01)
        assert machine.keeping.off == pytest.approx(-29.9)

    def test_not_that_of_one_which_is_wrong(self) -> None:
        machine = Machine(-30.0)
        machine.beat(others=(30.0, 0.02), fresh=True)
        assert machine.ahead == pytest.approx(0.0, abs=0.01)

    def test_who_is_wrong_leaves_its_nodes_to_one_that_is_not(self) -> None:
        """It served before Redis was there, so that it could not be set."""
        machine = Machine(30.0)
        machine.beat()
        assert machine.ahead == pytest.approx(30.0, abs=0.02)
        assert machine.keeping.is_wrong([0.01])
        assert not machine.keeping.is_wrong([]), "nobody else can serve"
        assert not machine.keeping.is_wrong([30.0 - WRONG / 2]), "the other is no better"
        assert not machine.keeping.is_wrong([-29.5])

    def test_where_redis_jumps_nobody_leaves_anything(self) -> None:
        machine = Machine()
        machine.beat(fresh=True)
        machine.passed += 0.25
        machine.beat(redis=30.0)
        assert not machine.keeping.is_wrong([-30.0])
