"""What a replica takes over from others, and what it gives up where others may have taken over from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapter.cluster.drain import Drain
from adapter.cluster.takeover import RESET_AFTER
from adapter.model.transaction import State
from tests.relay_bench import LEASE, id_of, reply, suspended
from tests.replicas_bench import Group, Replica

if TYPE_CHECKING:
    from adapter.model.beat import Beat

NODE = "sbc1"
MOMENT = 0.001


class TestAskAgain:
    """A replica that hangs or is cut off may sit on replies: everything claimed is asked again."""

    async def claimed(self) -> Group:
        group = Group("r1", "r2")
        await group.beat()
        await group["r2"].events(suspended(2))
        await group["r2"].tick(0.2)  # a standby's claim
        await group["r1"].events(suspended(1))
        assert (group["r1"].asked, group["r2"].asked) == ([1], [2])
        return group

    @pytest.mark.parametrize("how", ["died", "lost its broker"])
    async def test_what_the_one_before_had_asked_is_asked_once(self, how: str) -> None:
        """Consumers would work twice just when the bridge has the most to do."""
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1))
        if how == "died":
            group.move(LEASE + 0.1)
            await group.beat("r1")
        else:
            group["r1"].broker.ready = False
            await group.beat()
        assert group["r2"].asked == [1]

    async def test_when_the_active_one_died(self) -> None:
        group = await self.claimed()
        group.move(LEASE + 0.1)
        await group.beat("r1")
        assert set(group["r2"].asked) == {1, 2}
        assert group["r2"].asked.count(2) == 2, "its own as well"
        published = len(group["r2"].asked)
        await group.beat("r1")
        assert len(group["r2"].asked) == published, "once"

    async def test_when_it_lost_its_broker(self) -> None:
        group = await self.claimed()
        group["r1"].broker.ready = False
        await group.beat(rounds=1)
        assert set(group["r2"].asked) == {1, 2}
        assert group["r2"].asked.count(2) == 2

    @pytest.mark.parametrize("how", ["drains", "lost its link"])
    async def test_not_when_it_is_well_but_cannot(self, how: str) -> None:
        group = await self.claimed()
        if how == "drains":
            group["r1"].roles.drain = Drain.ENDED
        else:
            group["r1"].drop(NODE)
        await group.beat()
        assert group.active() == ["r2"]
        assert group["r2"].asked == [2]

    async def test_not_at_the_first_look_and_not_from_one_who_was_standby(self) -> None:
        group = await self.claimed()
        group["r2"].broker.ready = False
        await group.beat()
        assert group["r1"].asked == [1, 2], "adopted, since r2 cannot ask for it"
        late = Replica("r3", group["r1"])
        await late.beat()
        assert late.roles.of(NODE).is_active
        assert late.asked == []

    async def test_when_nobody_could_publish_for_a_while(self) -> None:
        group = await self.claimed()
        for ready in (False, True):
            for each in group.all:
                each.broker.ready = ready
            await group.beat()
        assert set(group["r1"].asked) == {1, 2}
        assert group["r2"].asked == [2]

    async def test_a_lone_replica_does_after_an_outage_of_its_broker(self) -> None:
        first = Replica()
        await first.beat()
        await first.events(suspended(1))
        first.broker.ready = False
        await first.beat()
        first.broker.ready = True
        await first.beat()
        await first.beat()
        assert first.asked == [1, 1]

    @pytest.mark.parametrize("crashed", [False, True])
    async def test_not_before_it_has_had_one(self, crashed: bool) -> None:
        """What it asks as soon as the broker is there, before it beats again, it does not ask twice;
        what its last life has left it asks once."""
        past = Replica("r0")
        if crashed:
            await past.beat()
            await past.events(suspended(1))
        late = Replica("r1", beside=past)
        late.now = past.now = past.now + 1.5 * LEASE
        late.broker.ready = False
        await late.beat()
        await late.beat()
        late.broker.ready = True
        await late.events(suspended(2))
        await late.beat()
        await late.beat()
        assert sorted(late.asked) == [1, 2][not crashed :]


class TestGone:
    """No server of the broker can be reached: nobody waits for answers that it had."""

    async def test_what_was_asked_is_answered_once_nobody_can_publish(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        await group["r1"].events(suspended(1))
        group["r1"].broker.ready = False
        group["r1"].broker.gone = True
        await group.beat(rounds=1)
        assert group["r1"].links.sent == [], "the other asks again"
        assert group["r2"].asked == [1]
        group["r2"].broker.ready = False
        await group.beat()
        assert group["r2"].links.sent == [], "its broker may be back in a moment"
        group["r2"].broker.gone = True
        await group.beat()
        assert group["r2"].outcomes == [(1, "unavailable")]
        assert group["r1"].links.sent == []

    async def test_once_for_each_time(self) -> None:
        first = Replica()
        await first.beat()
        for label in (1, 2):
            await first.events(suspended(label))
            first.broker.ready, first.broker.gone = False, True
            for _ in range(3):
                await first.beat()
            assert first.store.called("scan") == label
            first.broker.ready, first.broker.gone = True, False
            first.takeover._lost.clear()
            await first.beat()
        assert first.outcomes == [(1, "unavailable"), (2, "unavailable")]


class TestUnsoundLink:
    async def test_it_is_reset_where_another_can_write_to_the_node_and_not_otherwise(self) -> None:
        group = Group("r1", "r2", nodes=("sbc1", "sbc2"))
        for each in group.all:
            each.drop("sbc1")
        await group.beat()
        first, second = group.all
        first.nodes.late = ["sbc1"]
        await first.beat()
        group.move(RESET_AFTER)
        await group.beat()
        assert first.nodes.resets == []
        second.links.unsound.clear()
        await second.beat()
        await first.beat()  # in which it learns of it
        assert first.nodes.resets == []
        await first.beat()
        assert first.nodes.resets == ["sbc1"]

    async def test_not_before_others_have_had_the_time_to_find_that_theirs_is_not_read_either(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        first = group["r1"]
        first.nodes.late = [NODE]
        await first.beat()
        group.move(RESET_AFTER - MOMENT)
        await first.beat()
        first.nodes.late = []  # it has read after all
        await first.beat()
        first.nodes.late = [NODE]
        await first.beat()
        group.move(2 * MOMENT)
        await first.beat()
        assert first.nodes.resets == []
        group.move(RESET_AFTER)
        await first.beat()
        assert first.nodes.resets == [NODE]

    async def test_it_is_reset_before_anybody_is_told(self) -> None:
        """Else another replica might write what is still on its way here."""
        group = Group("r1", "r2")
        await group.beat()
        first = group["r1"]
        first.drop(NODE)
        first.nodes.late = [NODE]
        await first.beat()
        group.move(RESET_AFTER)
        order: list[str] = []
        first.nodes.reset = lambda node, reason: order.append("reset")  # type: ignore[method-assign]
        beat = first.store.inner.beat

        async def told(said: Beat) -> Any:
            order.append("told")
            return await beat(said)

        first.store.inner.beat = told  # type: ignore[assignment, method-assign]
        await first.beat()
        assert order == ["reset", "told"]


class TestLapsed:
    async def test_what_waits_to_be_written_is_given_up_and_what_is_still_its_own_written(self) -> None:
        group = Group("r1", "r2")
        await group.beat()
        first, second = group.all
        await first.events(suspended(1), suspended(2))
        await first.reply(reply(1), reply(2))
        first.links.sent.clear()
        group.move(LEASE + 0.1)
        await second.store.inner.adopt(NODE, ["r1"], State.SETTLED, 1)
        await second.store.inner.beat(second.beats.state)
        with capture_logs() as logs:
            await first.beat()
            await first.beat()
        assert first.nodes.forgotten == [NODE]
        assert first.outcomes == [(2, "decided")]
        assert first.links.again == [id_of(2)]
        warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
        assert "own lease was over: this process or the store stood still" in warnings

    async def test_the_first_beat_of_a_life_and_one_in_time_give_nothing_up(self) -> None:
        first = Replica()
        await first.beat()
        first.now += LEASE
        await first.beat()
        assert first.nodes.forgotten == []

    async def test_who_is_alone_gives_nothing_up_where_kamailio_drops_a_second_answer(self) -> None:
        first = Replica()
        await first.beat()
        await first.events(suspended(1))
        await first.reply(reply(1))
        first.now += LEASE + 0.1
        await first.beat()
        assert first.nodes.forgotten == []
        assert first.outcomes == [(1, "decided")]
        first.links.plain = True
        first.now += LEASE + 0.1
        await first.beat()
        assert first.nodes.forgotten == [NODE]
