"""How long a request may take where the clocks of adapter and consumer differ."""

from __future__ import annotations

import asyncio

import pytest

from adapter.contract import Request, encode_request
from consumers import Service, route
from consumers.deadline import DRIFT, TimeLeft
from consumers.messages import Message, Result

NOW = 1_790_000_000.0


class Worlds:
    """The adapter's clock, so far ahead of this process's monotonic one."""

    def __init__(self) -> None:
        self.ahead = NOW
        self.passed = 100.0
        self.unread = 0.0
        self.left = TimeLeft(lambda: self.passed, lambda: self.unread)

    def of(self, waited: float, left: float = 2.0) -> float:
        """A request has waited for so long since it was published with so much time left."""
        deadline = self.ahead + self.passed - waited + left
        return self.left.of(deadline, left)


def test_what_waits_has_less_time_whatever_the_clocks_differ_by() -> None:
    worlds = Worlds()
    assert worlds.of(0.001) == pytest.approx(2.0)
    assert worlds.of(0.501) == pytest.approx(1.5)
    worlds.passed += 1.0
    assert worlds.of(1.901) == pytest.approx(0.1 + DRIFT)


def test_what_has_waited_longer_than_all_others_counts_as_quick_until_one_is_quicker() -> None:
    worlds = Worlds()
    assert worlds.of(1.0) == pytest.approx(2.0)
    assert worlds.of(0.0) == pytest.approx(2.0)
    assert worlds.of(1.0) == pytest.approx(1.0)


def test_one_of_several_in_a_message_may_have_expired_before_it() -> None:
    worlds = Worlds()
    worlds.of(0.0)
    deadline = worlds.ahead + worlds.passed - 3.0 + 1.0
    assert worlds.left.of(deadline, 1.0, 10.0) == pytest.approx(-2.0)
    # Where its message had expired, too, a clock was set.
    assert worlds.left.of(deadline - 8.0, 1.0, 10.0) == pytest.approx(1.0)


def test_the_quickest_is_forgotten_no_faster_than_clocks_drift() -> None:
    worlds = Worlds()
    worlds.of(0.0)
    worlds.passed += 10.0
    assert worlds.of(0.5) == pytest.approx(1.5 + 10.0 * DRIFT)
    worlds.passed += 1.0 / DRIFT
    assert worlds.of(0.5) == pytest.approx(2.0)


def test_who_cannot_keep_up_takes_its_own_backlog_for_late_as_long_as_it_lasts() -> None:
    worlds = Worlds()
    worlds.of(0.0)
    worlds.unread = 5.0
    for _ in range(30):
        worlds.passed += 1.0
        assert worlds.of(4.0) < 0
    worlds.unread = 0.05
    assert worlds.of(0.1) == pytest.approx(1.9)


def test_a_clock_that_was_set_is_known_once_nothing_can_have_lain_unread() -> None:
    worlds = Worlds()
    worlds.of(0.0)
    worlds.ahead -= 4.0
    worlds.unread = float("inf")
    assert worlds.of(0.0) < 0
    worlds.unread = 0.05
    assert [worlds.of(0.0) for _ in range(2)] == pytest.approx([2.0] * 2)


@pytest.mark.parametrize("jump", [30.0, -30.0, 3.0])
def test_an_adapter_whose_clock_is_set_costs_no_request(jump: float) -> None:
    worlds = Worlds()
    worlds.of(0.0)
    worlds.ahead += jump
    assert [worlds.of(0.0) for _ in range(3)] == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("off", [3.0, -3.0, 30.0])
async def test_a_consumer_whose_clock_is_wrong_decides(off: float) -> None:
    service = Service("routes", clock=lambda: NOW + off)
    seen: list[Request] = []

    @service.on("invite_request")
    async def decide(request: Request) -> dict[str, object]:
        seen.append(request)
        await asyncio.sleep(0)
        return route("sip:gw1.example.net")

    body = encode_request(Request("invite_request", "sbc1", {}, 1, 2, 1, NOW + 2.0))
    headers = {"x-version": 1, "x-time-left": 2000}
    for _ in range(3):
        answer = await service.answer(Message(body, "sbc1:1:2:1", headers=headers))
        assert answer.result is Result.DECIDED
    assert seen[0].deadline == pytest.approx(NOW + off + 2.0), "by the consumer's own clock"
