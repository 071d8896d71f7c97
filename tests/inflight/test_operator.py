"""What only an operator asks of Redis."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from adapter.errors import StoreUnavailable
from adapter.inflight.operator import OperatorStore
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat, Snapshot, node_order, replica_order
from adapter.model.transaction import Outcome, Settlement, Transaction, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.journal_entry import unpack
from adapter.ports.store import NOTE_INTERVAL, REPLICAS_KEPT
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis as redis_py

    from tests.harness.redis import RedisServer

NODE = "sbc1"


class World:
    """A replica and an operator, on keys of their own."""

    def __init__(self, url: str) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:8]}"
        self.now = time.time()
        options: dict[str, Any] = {"prefix": self.prefix, "timeout": 10.0}
        self.replica = RedisStore(url, "r1~ab", **options, clock=lambda: self.now)
        self.operator = OperatorStore(url, "eve@host~cli", **options, clock=lambda: self.now)

    async def claim(self, label: int, ago: float = 0.0) -> TransactionId:
        id_ = TransactionId(NODE, 1, label, 1)
        begun = self.now - ago
        await self.replica.claim(
            [Transaction(id_, "invite_request", begun + 30.0, begun, b"", "r1~ab", call_id="abc@host")], 100
        )
        return id_

    async def close(self) -> None:
        await self.replica.close()
        await self.operator.close()


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[World]:
    found = World(redis_server.url)
    yield found
    await found.close()


class TestRoll:
    async def test_every_beat_as_it_was_told_with_its_age(self, world: World) -> None:
        told = {"version": "1", "links": {NODE: "receipts"}, "active": [NODE]}
        beat = Beat(False, False, frozenset([NODE]), 7, stuck=frozenset(["sbc2"]), about=told)
        await world.replica.beat(beat)
        found = await world.operator.snapshot()
        assert list(found) == ["r1~ab"]
        seen = found["r1~ab"]
        assert (seen.broker, seen.accepting, seen.nodes, seen.priority) == (
            False,
            False,
            frozenset([NODE]),
            7,
        )
        assert (seen.stuck, seen.about) == (frozenset(["sbc2"]), told)
        assert 0 <= seen.age < REPLICAS_KEPT

    async def test_it_changes_nothing_and_is_none_of_them(self, world: World) -> None:
        assert await world.operator.snapshot() == {}
        await world.replica.beat(Beat())
        await world.operator.snapshot()
        assert (await world.replica.beat(Beat()))[:3] == Snapshot({"r1~ab": Beat()}, True)[:3]

    async def test_silent_ones_with_their_age(self, world: World, probe: redis_py.Redis) -> None:
        await world.replica.beat(Beat())
        key = f"{world.prefix}:replicas"
        told: Any = probe.hget(key, "r1~ab")
        at, _, said = told.partition(b" ")
        probe.hset(key, "old~1", b"%d %b" % (int(at) - 100_000, said))
        found = await world.operator.snapshot()
        assert found["old~1"].age - found["r1~ab"].age == pytest.approx(100.0)

    async def test_what_is_no_beat_is_passed_over(self, world: World, probe: redis_py.Redis) -> None:
        probe.hset(f"{world.prefix}:replicas", "x", "by hand")
        assert await world.operator.snapshot() == {}


class TestOrders:
    async def test_an_order_is_seen_by_replicas_until_it_is_taken_back(
        self, world: World, probe: redis_py.Redis
    ) -> None:
        drain, pause = replica_order("r1~ab"), node_order(NODE)
        told = {"order": "drain", "by": "eve@host", "at": 1.5, "reason": "a ü"}
        await world.operator.order(drain, told)
        await world.operator.order(pause, {"order": "pause"})
        assert await world.operator.orders() == {drain: told, pause: {"order": "pause"}}
        assert (await world.replica.beat(Beat())).orders == {drain, pause}
        found: Any = probe.hget(f"{world.prefix}:orders", pause)
        assert json.loads(found) == {"order": "pause"}
        assert await world.operator.countermand(drain)
        assert not await world.operator.countermand(drain)
        assert (await world.replica.beat(Beat())).orders == {pause}

    @pytest.mark.parametrize("value", ["pause, please", "[1]", b"\xff"])
    async def test_one_that_was_written_by_hand_is_one_without_a_reason(
        self, world: World, probe: redis_py.Redis, value: str | bytes
    ) -> None:
        probe.hset(f"{world.prefix}:orders", b"node:\xff", value)
        assert await world.operator.orders() == {"node:\ufffd": {}}


class TestJournal:
    async def test_entries_come_in_their_order_and_from_where_one_stopped(self, world: World) -> None:
        for label in range(5):
            journal = Journal()
            journal.read(world.now, [TransactionId(NODE, 1, label, 1)])
            entry = journal.take()
            assert entry is not None
            await world.replica.note(entry, 60.0)
        everything = await world.operator.journal("r1~ab")
        assert [unpack(entry)[0].id.label for _, entry in everything] == [0, 1, 2, 3, 4]
        first = await world.operator.journal("r1~ab", most=2)
        assert first == everything[:2]
        assert await world.operator.journal("r1~ab", first[-1][0]) == everything[2:]
        assert await world.operator.journal("r1~ab", everything[-1][0]) == []
        assert await world.operator.journal("r1~ab", "1") == everything
        assert await world.operator.journal("r1~ab", "$") == [(everything[-1][0], b"")]

    async def test_of_a_replica_without_one(self, world: World) -> None:
        assert await world.operator.journal("nobody") == []
        assert await world.operator.journal("nobody", "$") == []

    async def test_it_is_bounded_in_number_and_time(self, world: World, probe: redis_py.Redis) -> None:
        for _ in range(6):
            await world.replica.note(b"", 2 * NOTE_INTERVAL)
        assert len(await world.operator.journal("r1~ab")) == 2
        left = probe.pttl(f"{world.prefix}:journal:r1~ab")
        assert 0 < left <= 2 * NOTE_INTERVAL * 1000


async def test_the_server_tells_what_doctor_asks(world: World, probe: redis_py.Redis) -> None:
    found = await world.operator.server()
    told = probe.info("server")
    assert found["version"] == told.get("valkey_version", told["redis_version"])
    assert found["name"] == ("Valkey" if "valkey_version" in told else "Redis")
    assert found["memory"] > 0
    assert (found["max_memory"], found["memory_policy"]) == (0, "noeviction")
    assert abs(found["time"] - time.time()) < 60
    assert abs(found["skew"]) < 60, "the same machine"


async def test_it_sees_the_records_and_leaves_them(world: World) -> None:
    id_ = await world.claim(1)
    record = await world.operator.get(id_)
    assert record is not None
    assert (record.owner, record.call_id) == ("r1~ab", "abc@host")
    assert [each.id for each in await world.operator.scan(NODE)] == [id_]
    settled = (await world.replica.settle([Settlement(id_, Outcome.DECIDED, b"{}")]))[0]
    assert settled is not None
    assert settled.call_id == "abc@host", "it stays after settling"


async def test_redis_away_is_one_kind_of_error_within_the_timeout() -> None:
    operator = OperatorStore(f"redis://127.0.0.1:{free_port()}", "eve~cli", timeout=2.0)
    asked = (
        operator.snapshot(),
        operator.orders(),
        operator.order("node:x", {}),
        operator.countermand("node:x"),
        operator.journal("r1"),
        operator.journal("r1", "$"),
        operator.time(),
        operator.server(),
    )
    for each in asked:
        with pytest.raises(StoreUnavailable):
            await each
    await operator.close()
