"""Names that stand for two, and two names that stand for one: no call twice, none not at all. No server."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from adapter.cluster.identities import LASTS, TWO_KAMAILIOS, TWO_NAMES, TWO_REPLICAS
from adapter.cluster.role import HANDOVER_WAIT, STANDBY_DELAY
from adapter.model.transaction import State, TransactionId
from tests.relay_bench import LEASE, reply, suspended
from tests.replicas_bench import Group, Replica

if TYPE_CHECKING:
    from adapter.wire.event import Suspended

NODE = "sbc1"


async def read(replica: Replica, *events: Suspended, node: str = NODE) -> None:
    """One read of a link."""
    replica.trip.on_events(node, events)
    await replica.trip.idle()


async def pass_by(group: Group, seconds: float) -> None:
    """Time passes, in which everybody beats and looks."""
    while seconds > 0:
        group.move(min(seconds, LEASE / 4))
        seconds -= LEASE / 4
        await group.beat(rounds=1)
        for each in group.all:
            each.trip.tick()
            await each.trip.idle()


class TestTwoKamailios:
    async def group(self) -> Group:
        group = Group("r1", "r2")
        for each, incarnation in zip(group.all, ("x", "y"), strict=True):
            each.links.incarnations[NODE] = incarnation
        await group.beat()
        return group

    async def test_both_are_served(self) -> None:
        group = await self.group()
        first, second = group.all
        assert group.active() == ["r1", "r2"]
        await read(first, suspended(1))
        await read(second, suspended(2))
        await pass_by(group, HANDOVER_WAIT)
        assert (first.asked, second.asked) == ([1], [2])
        # Replies come to the one that consumes before the other.
        await second.reply(reply(1), reply(2))
        assert (first.outcomes, second.outcomes) == ([], [(2, "decided")])
        await second.read(TransactionId(NODE, 37, 2, 1))
        await pass_by(group, LEASE / 4)
        assert first.outcomes == [(1, "decided")]
        assert second.outcomes == [(2, "decided")]

    async def test_a_timeout_is_written_by_whoever_can(self) -> None:
        group = await self.group()
        first, second = group.all
        await read(second, suspended(2))
        await pass_by(group, HANDOVER_WAIT)
        group.move(first.policy.plan("invite_request").deadline)
        await group.beat()
        await first.trip.expire(NODE)
        assert first.links.frames == []
        await pass_by(group, LEASE / 4)
        assert second.outcomes == [(2, "timeout")]

    async def test_what_was_left_to_a_life_that_has_ended_is_cleaned_up(self) -> None:
        """A restart: for a moment another replica's link seems to be to the old life still."""
        group = Group("r1", "r2")
        for each in group.all:
            each.links.incarnations[NODE] = "old"
        await group.beat()
        first, second = group.all
        await read(first, suspended(1))
        await pass_by(group, LEASE)
        first.links.incarnations[NODE] = "new"
        await first.reply(reply(1))
        assert first.counted("bygone_total", node=NODE) == 0
        second.links.incarnations[NODE] = "new"
        await pass_by(group, LEASE)
        assert first.counted("bygone_total", node=NODE) == 1
        assert await first.state(TransactionId(NODE, 37, 1, 1)) is None
        assert group.active() == ["r1"]

    async def test_it_is_told_once_it_lasts_and_when_it_is_over(self) -> None:
        with capture_logs() as logs:
            group = await self.group()
            assert TWO_KAMAILIOS not in [entry["event"] for entry in logs]
            await pass_by(group, LASTS + 2 * LEASE)
            told = [entry for entry in logs if entry["event"] == TWO_KAMAILIOS]
            assert [entry["log_level"] for entry in told] == ["error", "error"], "each replica, once"
            assert group["r1"].counted("name_clashes") == 1
            group["r2"].links.incarnations[NODE] = "x"
            await group.beat()
        assert sum(entry["event"] == "names are right again" for entry in logs) == 2
        assert group["r1"].counted("name_clashes") == 0

    async def test_a_restart_while_the_store_is_away_is_no_clash(self) -> None:
        """Each replica knows of the other's old link alone: the standby keeps still."""
        group = Group("r1", "r2")
        for each in group.all:
            each.links.incarnations[NODE] = "old"
        await group.beat()
        with capture_logs() as logs:
            for each in group.all:
                each.store.away = True
                each.links.incarnations[NODE] = "new"
            await pass_by(group, LASTS + LEASE)
        assert group.active() == ["r1"]
        assert TWO_KAMAILIOS not in [entry["event"] for entry in logs]

    async def test_they_stay_two_while_the_store_is_away(self) -> None:
        group = await self.group()
        await pass_by(group, LASTS + 2 * LEASE)
        with capture_logs() as logs:
            for each in group.all:
                each.store.away = True
            await pass_by(group, LASTS + LEASE)
            assert group.active() == ["r1", "r2"]
            for each in group.all:
                each.store.away = False
            await pass_by(group, LASTS + LEASE)
        names = {TWO_KAMAILIOS, "names are right again"}
        assert names.isdisjoint(entry["event"] for entry in logs), "told before, and not over"


class TestTwoNames:
    @pytest.mark.parametrize("plain", [False, True])
    async def test_one_replica(self, plain: bool) -> None:
        group = Group("r1", nodes=("sbc1", "sbc2"))
        (only,) = group.all
        self.call_it_one(only, plain)
        with capture_logs() as logs:
            await group.beat()
        assert [entry["names"] for entry in logs if entry["event"] == TWO_NAMES] == [("sbc1", "sbc2")]
        for node in ("sbc2", "sbc1"):
            await read(only, suspended(1), node=node)
        await pass_by(group, 2 * LEASE)
        assert only.broker.asked == ["sbc1:37:1:1"]

    @pytest.mark.parametrize("plain", [False, True])
    @pytest.mark.parametrize("first", ["r1", "r2"])
    async def test_two_replicas(self, plain: bool, first: str) -> None:
        group = Group("r1", "r2", nodes=("sbc1", "sbc2"))
        for each, node in zip(group.all, ("sbc1", "sbc2"), strict=True):
            self.call_it_one(each, plain)
            each.nodes.names = [node]
        await group.beat()
        await pass_by(group, 2 * LEASE)
        nodes = {"r1": "sbc1", "r2": "sbc2"}
        for name in (first, "r1" if first == "r2" else "r2"):
            await read(group[name], suspended(1), suspended(2), node=nodes[name])
        await pass_by(group, 2 * LEASE)
        asked = Counter(label for each in group.all for label in each.asked)
        assert asked == {1: 1, 2: 1}
        assert group["r2"].broker.asked == []

    async def test_where_the_first_name_is_not_served_the_second_is(self) -> None:
        group = Group("r1", nodes=("sbc1", "sbc2"))
        (only,) = group.all
        self.call_it_one(only, plain=False)
        await group.beat()
        await read(only, suspended(1), node="sbc2")
        await pass_by(group, STANDBY_DELAY)
        assert only.broker.asked == ["sbc2:37:1:1"], "not read by the other link"
        await only.reply(reply(1, correlation_id="sbc2:37:1:1"))
        assert only.outcomes == [(1, "decided")]

    def call_it_one(self, replica: Replica, plain: bool) -> None:
        replica.links.plain = plain
        for node in ("sbc1", "sbc2"):
            replica.links.incarnations[node] = "" if plain else "x"
            replica.nodes.addresses[node] = "10.0.0.1:8448" if plain else f"10.0.0.1:{node}"


class TestTwoReplicas:
    async def test_they_work_as_any_two_and_tell(self) -> None:
        group = Group("r1~a", "r1~b")
        with capture_logs() as logs:
            await group.beat()
            await pass_by(group, LASTS + 2 * LEASE)
        told = [entry for entry in logs if entry["event"] == TWO_REPLICAS]
        assert [entry["names"] for entry in told] == [("r1",), ("r1",)]
        for each in group.all:
            await read(each, suspended(1), suspended(2))
        await pass_by(group, LEASE)
        assert sorted(label for each in group.all for label in each.asked) == [1, 2]
        assert len(group.active()) == 1

    async def test_one_that_is_started_anew_is_no_clash(self) -> None:
        group = Group("r1~a", "r1~b")
        with capture_logs() as logs:
            await group["r1~a"].beat()  # and is killed
            while group["r1~b"].now < group["r1~a"].now + LASTS + LEASE:
                group["r1~b"].now += LEASE / 4
                await group["r1~b"].beat()
        assert TWO_REPLICAS not in [entry["event"] for entry in logs]


async def test_states_are_what_they_should_be_after_it_all() -> None:
    """Nothing is left in the store under the name that did not count."""
    group = Group("r1", nodes=("sbc1", "sbc2"))
    (only,) = group.all
    for node in ("sbc1", "sbc2"):
        only.links.incarnations[node] = "x"
    await group.beat()
    for node in ("sbc1", "sbc2"):
        await read(only, suspended(1), node=node)
    await pass_by(group, LEASE)
    assert await only.state(TransactionId("sbc1", 37, 1, 1)) is State.CLAIMED
    assert await only.state(TransactionId("sbc2", 37, 1, 1)) is None
