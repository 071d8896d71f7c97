"""What a replica adopts, of whom, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from adapter.model.transaction import NOBODY, State
from tests.relay_bench import LEASE, id_of, reply, suspended
from tests.replicas_bench import Group, Replica

if TYPE_CHECKING:
    from adapter.model.transaction import Transaction

NODE = "sbc1"


class TestAdoption:
    async def test_the_dead_are_adopted_once(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2))
        await group["r1"].reply(reply(2))
        group.move(LEASE + 0.01)
        for _ in range(5):
            await group["r2"].beat()
        second = group["r2"]
        assert set(second.asked) == {1}
        assert second.outcomes == [(2, "decided")]
        record = await second.record(id_of(1))
        assert record is not None
        assert (record.owner, record.state) == ("r2", State.CLAIMED)
        calls = [call for call in second.store.calls if call[0] == "adopt" and call[2] != [NOBODY]]
        assert sorted(calls) == [("adopt", NODE, ["r1"], state) for state in State for _ in range(2)]

    async def test_the_living_that_can_are_left_alone(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended())
        for _ in range(10):
            group.move(LEASE)  # not a moment longer
            await group.beat(rounds=1)
        assert [each.store.called("adopt") for each in group.all] == [0, 0]

    async def test_who_lost_its_broker_keeps_what_is_settled(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2))
        await group["r1"].reply(reply(2))
        group["r1"].broker.ready = False
        await group.beat()
        assert set(group["r2"].asked) == {1}
        assert group["r2"].links.sent == []
        owners = {each.id.label: each.owner for each in await group["r2"].store.inner.scan(NODE)}
        assert owners == {1: "r2", 2: "r1"}

    async def test_who_lost_its_link_keeps_what_is_claimed(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2))
        await group["r1"].reply(reply(2))
        group["r1"].drop(NODE)
        await group.beat()
        assert group["r2"].asked == []
        assert group["r2"].outcomes == [(2, "decided")]
        owners = {each.id.label: each.owner for each in await group["r2"].store.inner.scan(NODE)}
        assert owners == {1: "r1", 2: "r2"}

    async def test_what_a_replica_has_no_link_for_another_writes_though_nothing_drops_a_second_answer(
        self,
    ) -> None:
        group = Group("r1", "r2")
        for each in group.all:
            each.links.plain = True
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2), suspended(3))
        await group["r1"].reply(reply(1))
        group["r1"].links.down.add(NODE)
        await group["r1"].reply(reply(2), reply(3))
        await group.beat()
        assert group["r1"].outcomes == [(1, "decided")]
        assert group["r2"].outcomes == [(2, "decided"), (3, "decided")]
        first = await group["r1"].record(id_of(1))
        assert first is not None
        assert first.owner == "r1", "it may be about to release it"
        group["r1"].links.down.clear()
        await group["r1"].read(id_of(1))
        await group["r1"].recover()
        assert len(group["r1"].links.sent) == 1

    async def test_or_the_same_once_it_has_one(self) -> None:
        group = Group("r1")
        group["r1"].links.plain = True
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2))
        group["r1"].links.down.add(NODE)
        await group["r1"].reply(reply(1), reply(2))
        group["r1"].links.down.clear()
        await group["r1"].recover()
        await group["r1"].read(id_of(1), id_of(2))
        await group["r1"].recover()
        assert group["r1"].outcomes == [(1, "decided"), (2, "decided")]

    async def test_who_cannot_publish_adopts_nothing_claimed_but_may_write(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1), suspended(2))
        await group["r1"].reply(reply(2))
        group["r2"].broker.ready = False
        group.move(LEASE + 0.1)
        await group["r2"].beat()
        assert group["r2"].asked == []
        assert group["r2"].outcomes == [(2, "decided")]

    async def test_one_of_several_does(self) -> None:
        group = Group("r1", "r2", "r3")
        await group.beat()
        await group["r3"].events(suspended(1), suspended(2))
        await group["r3"].reply(reply(2))
        group.move(LEASE + 0.1)
        await group.beat("r3")
        assert set(group["r1"].asked) == {1}
        assert group["r1"].outcomes == [(2, "decided")]
        assert (group["r2"].asked, group["r2"].links.sent) == ([], [])

    async def test_who_has_left_is_not_waited_for(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].store.leave()
        group.move(LEASE * 1.5)
        await group["r2"].beat()
        assert group["r2"].store.called("adopt") == 0

    async def test_an_earlier_life_of_this_process_is_one_of_the_dead(self) -> None:
        before = Replica("host-1~aaaa")
        await before.beat()
        await before.events(suspended())
        after = Replica("host-1~bbbb", beside=before)
        before.now += LEASE * 1.5
        after.now = before.now
        await after.beat()
        assert after.asked == [1]

    async def test_on_a_node_that_comes_up_later_then(self) -> None:
        group = Group("r1", "r2", nodes=("sbc1", "sbc2"))
        await group.beat()
        await group["r1"].events(suspended(), node="sbc2")
        second = group["r2"]
        second.drop("sbc2")
        group.move(LEASE * 1.5)
        await second.beat()
        await second.beat()
        assert second.asked == []
        second.links.unsound.clear()
        for _ in range(3):
            await second.beat()
        assert set(second.asked) == {1}

    async def test_who_came_back_and_died_again_is_adopted_again(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        group.move(LEASE * 1.5)
        for _ in range(3):
            await group["r2"].beat()
        await group.beat()
        await group["r1"].events(suspended())
        group.move(LEASE * 1.5)
        await group["r2"].beat()
        record = await group["r2"].record(id_of())
        assert record is not None
        assert record.owner == "r2"

    @pytest.mark.parametrize("noticed", [True, False])
    async def test_a_store_that_is_away_does_not_say_that_nothing_is_left(self, noticed: bool) -> None:
        """It gives nothing to adopt, whatever there is."""
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended())
        group.move(LEASE + 0.1)
        second = group["r2"]
        adopt = second.store.inner.adopt

        async def away(*args: Any) -> list[Transaction]:  # it goes between the beat and the adoption
            return []

        second.store.inner.adopt = away  # type: ignore[assignment, method-assign]
        await second.beat()
        second.store.inner.adopt = adopt  # type: ignore[method-assign]
        second.store.away = noticed
        await second.beat()
        second.store.away = False
        for _ in range(3):
            group.move(LEASE / 2)
            await second.beat()
        record = await second.record(id_of())
        assert record is not None
        assert record.owner == "r2"

    async def test_what_is_written_to_a_link_that_hangs_is_left_until_its_reset(self) -> None:
        """It may come through yet, and the other's resume be taken for the answer to the next question."""
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1))
        await group["r1"].reply(reply(1))
        group["r1"].drop(NODE)
        group["r1"].nodes.late = [NODE]
        await group.beat()
        assert group["r2"].links.sent == []
        group["r1"].nodes.late = []  # reset: down
        await group.beat()
        assert group["r2"].outcomes == [(1, "decided")]

    async def test_several_dead_at_a_time_and_more_than_one_call_takes(self) -> None:
        group = Group("r1", "r2", "r3")
        await group.beat()
        for name, labels in (("r1", range(600)), ("r3", range(600, 1200))):
            await group[name].events(*(suspended(label) for label in labels))
            await group[name].tick(1.0)
        group.move(LEASE + 0.5)
        for _ in range(5):
            await group["r2"].beat()
        second = group["r2"]
        assert {each.owner for each in await second.store.inner.scan(NODE)} == {"r2"}
        calls = [call for call in second.store.calls if call[0] == "adopt" and call[3] is State.CLAIMED]
        assert [call[2] for call in calls] == [["r1", "r3"]] * 4
