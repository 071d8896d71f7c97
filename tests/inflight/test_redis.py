"""What only Redis can show: what it holds, and what it costs."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Outcome, Progress, State, Transaction, TransactionId
from adapter.ports.store import REPLICAS_KEPT, Claim
from tests.inflight.worlds import LIVE, RedisWorld, claimed, decided, line, step, suspension

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis as redis_py

    from tests.harness.redis import RedisServer


A, B, C = suspension(1), suspension(2), suspension(3)
FAR = suspension(1, node="sbc2")


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[RedisWorld]:
    found = RedisWorld(redis_server.url)
    yield found
    await found.close()


# What it holds


async def test_every_key_of_a_node_has_its_hash_tag(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    await one.claim([claimed(id_, one, world, left) for id_, left in ((A, -1), (B, 9), (C, 9), (FAR, 9))], 9)
    await one.expire("sbc1")
    await one.settle([decided(B)])
    await one.resumed([B])
    await one.beat(LIVE)
    keys = {key.decode() for key in probe.scan_iter(f"{world.prefix}:*")}
    parts = {"records", "deadlines", "unreceipted", "resumed"}
    assert keys == (
        {f"{world.prefix}:{{sbc1}}:{part}" for part in parts}
        | {f"{world.prefix}:{{sbc2}}:{part}" for part in ("records", "deadlines")}
        | {f"{world.prefix}:replicas", f"{world.prefix}:memory"}
    )


async def test_every_key_ends_by_itself(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    at = f"{world.prefix}:{{sbc1}}"

    def ttl(part: str) -> float:
        left: Any = probe.pttl(f"{at}:{part}")
        return float(left) / 1000

    await one.claim([claimed(A, one, world, 100), claimed(B, one, world, 20)], 9)
    await one.claim([claimed(C, one, world, 10)], 9)  # which does not shorten
    assert 150 < ttl("records") <= 160
    assert 150 < ttl("deadlines") <= 160
    await one.settle([decided(A)])
    assert 150 < ttl("unreceipted") <= 160
    await one.resumed([A])
    assert 50 < ttl("resumed") <= 60
    await one.claim([claimed(FAR, one, world, -1000)], 9)
    assert 50 < probe.pttl(f"{world.prefix}:{{sbc2}}:records") / 1000 <= 60
    await one.expire("sbc2")
    assert 50 < probe.pttl(f"{world.prefix}:{{sbc2}}:unreceipted") / 1000 <= 60
    await one.beat(LIVE)
    assert 0 < probe.pttl(f"{world.prefix}:replicas") / 1000 <= REPLICAS_KEPT
    # Nothing done, nothing prolonged.
    probe.pexpire(f"{at}:records", 30_000)
    probe.pexpire(f"{at}:resumed", 30_000)
    await one.claim([claimed(A, one, world, 100)], 9)
    await one.resumed([A])
    assert ttl("records") <= 30
    assert ttl("resumed") <= 30
    probe.persist(f"{at}:records")  # as an operator may, and a claim that is lost does no harm
    assert await one.claim([claimed(B, one, world)], 9) == [Claim.LOST]
    assert await one.get(B) is not None


async def test_with_every_replica_gone_redis_forgets(
    redis_server: RedisServer, probe: redis_py.Redis
) -> None:
    async with RedisWorld(redis_server.url, retention=0.05) as world:
        one = world.store("one")
        await one.claim([claimed(A, one, world, 0.05), claimed(B, one, world, -1)], 9)
        await one.settle([decided(A)])
        await one.resumed([A])
        await one.expire("sbc1")

    async def gone() -> bool:
        return not list(probe.scan_iter(f"{world.prefix}:*"))

    await world.until(gone, 0.1)


async def test_what_a_replica_resumed_is_remembered_for_its_own_retention(
    redis_server: RedisServer, world: RedisWorld, probe: redis_py.Redis
) -> None:
    async with RedisWorld(redis_server.url, retention=0.05) as other:
        other.prefix = world.prefix
        brief, long = other.store("brief"), world.store("long")
        for id_, store in ((A, long), (B, brief)):
            await long.claim([claimed(id_, long, world)], 9)
            await store.settle([decided(id_)])
            await store.resumed([id_])

        async def forgotten() -> bool:
            return await long.unclaimed([A, B]) == [B]

        await world.until(forgotten, 0.05)
        assert await long.claim([claimed(B, long, world)], 9) == [Claim.WON]
        assert await long.claim([claimed(A, long, world)], 9) == [Claim.LOST]
        await brief.expire("sbc1")
        assert probe.zrange(f"{world.prefix}:{{sbc1}}:resumed", 0, -1) == [A.member.encode()]


async def test_a_silent_replica_is_forgotten(world: RedisWorld, probe: redis_py.Redis) -> None:
    one, two = world.store("one"), world.store("two")
    await one.beat(LIVE)
    await two.beat(LIVE)
    _make_older(probe, f"{world.prefix}:replicas", "one", REPLICAS_KEPT - 60)
    found = (await two.beat(LIVE)).beats
    assert found.keys() == {"one", "two"}
    assert REPLICAS_KEPT - 60 <= found["one"].age < REPLICAS_KEPT
    _make_older(probe, f"{world.prefix}:replicas", "one", 60)
    assert (await two.beat(LIVE))[:3] == ({"two": LIVE}, True, frozenset())
    assert probe.hkeys(f"{world.prefix}:replicas") == [b"two"]


async def test_an_operator_can_read_who_lives(world: RedisWorld, probe: redis_py.Redis) -> None:
    await world.store("one").beat(LIVE)
    ms, _, said = probe.hget(f"{world.prefix}:replicas", "one").decode().partition(" ")  # type: ignore[union-attr]
    assert abs(int(ms) / 1000 - world.now()) < 60
    assert (
        json.loads(said).items()
        >= {
            "broker": True,
            "accepting": True,
            "nodes": ["sbc1"],
            "rank": 7,
            "stuck": [],
            "about": {},
            "deaf": [],
            "tags": True,
            "number": 0,
            "at": 0.0,
            "results": {},
            "identities": {},
        }.items()
    )


async def test_when_the_clock_of_redis_goes_back_the_dead_grow_older_all_the_same(
    world: RedisWorld, probe: redis_py.Redis
) -> None:
    one, two = world.store("one"), world.store("two")
    await one.beat(LIVE)
    _make_older(probe, f"{world.prefix}:replicas", "one", -3600)
    assert (await two.beat(LIVE)).beats == {"one": LIVE, "two": LIVE}

    async def older() -> bool:
        return (await two.beat(LIVE)).beats["one"].age > 0.01

    await world.until(older, 0.01)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"1790000000000",
        b"soon {}",
        b"-5 {}",
        b"NOW ",
        b"NOW nothing",
        b"NOW {}",
        b"NOW []",
        b"NOW " + b"[" * 100_000,
        b"NOW \xff\xfe",
        b'NOW {"broker":1,"accepting":true,"nodes":[],"rank":1,"stuck":[]}',
        b'NOW {"broker":true,"accepting":true,"nodes":[[]],"rank":1,"stuck":[]}',
        b'NOW {"broker":true,"accepting":true,"nodes":"sbc1","rank":1,"stuck":[]}',
        b'NOW {"broker":true,"accepting":true,"nodes":[],"rank":1e400,"stuck":[]}',
        b'NOW {"broker":true,"accepting":true,"nodes":[],"rank":1,"stuck":"sbc1"}',
        b'NOW {"broker":true,"accepting":true,"nodes":[]}',
    ],
)
async def test_an_entry_that_is_not_understood_is_left_out(
    world: RedisWorld, probe: redis_py.Redis, foreign: bytes
) -> None:
    one = world.store("one")
    value = foreign.replace(b"NOW", str(round(world.now() * 1000)).encode())
    probe.hset(f"{world.prefix}:replicas", mapping={"foreign": value, b"\xff": value})
    assert (await one.beat(LIVE))[:3] == ({"one": LIVE}, False, frozenset())


async def test_an_entry_of_a_later_version_is_read(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    said = b'{"rank":3,"zone":"b","stuck":["sbc2"],"nodes":["sbc1"],"accepting":true,"broker":false}'
    value = str(round(world.now() * 1000)).encode() + b" " + said
    probe.hset(f"{world.prefix}:replicas", "other", value)
    found = (await one.beat(LIVE)).beats["other"]
    assert replace(found, age=0.0) == Beat(
        broker=False, nodes=frozenset({"sbc1"}), priority=3, stuck=frozenset({"sbc2"}), tags=False
    )


def _make_older(probe: redis_py.Redis, key: str, replica: str, seconds: float) -> None:
    value: Any = probe.hget(key, replica)
    ms, _, said = value.decode().partition(" ")
    probe.hset(key, replica, f"{int(ms) - round(seconds * 1000)} {said}")


async def test_a_deadline_without_its_record_is_cleared_away(
    world: RedisWorld, probe: redis_py.Redis
) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world, -1), claimed(B, one, world, -1)], 9)
    probe.hdel(f"{world.prefix}:{{sbc1}}:records", A.member)
    assert [record.id for record in await one.expire("sbc1")] == [B]
    assert await one.count("sbc1") == 0


async def test_a_scan_of_many_finds_each_once(world: RedisWorld) -> None:
    one = world.store("one")
    ids = [suspension(number) for number in range(1200)]
    await one.claim([claimed(id_, one, world) for id_ in ids], 5000)
    assert sorted(record.id.index for record in await one.scan("sbc1")) == list(range(1200))


async def test_a_record_without_answers_is_as_replicas_of_the_build_before_write_it(
    world: RedisWorld, probe: redis_py.Redis
) -> None:
    one = world.store("one")
    given = replace(claimed(A, one, world, body=b"\x81"), call_id="a@host")
    before = [1, "one", given.event, round(given.deadline * 1000), round(given.claimed_at * 1000), "a1b2"]
    before += ["a@host", b"\x81", None, None]
    await one.claim([given], 9)
    key = f"{world.prefix}:{{sbc1}}:records"
    assert probe.hget(key, A.member) == msgpack.packb(before)
    await one.progress([step(A, "fraud")])
    course = line("fraud").decode()
    found: Any = probe.hget(key, A.member)
    assert msgpack.unpackb(found) == [*before[:7], course, *before[7:]]
    await one.settle([decided(A, b"{}")])
    found = probe.hget(key, A.member)
    assert msgpack.unpackb(found) == [2, *before[1:7], course, "", "decided", b"{}"]


@pytest.mark.parametrize("size", [10, 100, 1000, 100_000])
async def test_answers_of_any_size_are_added_to_requests_of_any_size(world: RedisWorld, size: int) -> None:
    one = world.store("one")
    body, answer = bytes(range(256)) * (size // 100), "é" * size
    given = claimed(A, one, world, body=body)
    await one.claim([given], 9)
    for number in range(3):
        added = Progress(A, f'["{number}","{answer}"]\n'.encode(), given.deadline + number)
        assert await one.progress([added]) != [None]
    found = await one.get(A)
    assert found is not None
    assert (found.request, found.deadline) == (body, given.deadline + 2)
    assert found.course == b"".join(f'["{number}","{answer}"]\n'.encode() for number in range(3))
    (record,) = await one.settle([decided(A)])
    assert record == replace(
        found, request=b"", state=State.SETTLED, outcome=Outcome.DECIDED, decision=decided(A).decision
    )


async def test_what_moves_a_deadline_prolongs_the_keys(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    given = claimed(A, one, world, 10)
    await one.claim([given], 9)
    await one.progress([step(A, "fraud", given.deadline + 90)])
    for part in ("records", "deadlines"):
        left: Any = probe.pttl(f"{world.prefix}:{{sbc1}}:{part}")
        assert 150 < left / 1000 <= 160
    await one.progress([step(A, "screening", given.deadline + 10)])
    score: Any = probe.zscore(f"{world.prefix}:{{sbc1}}:deadlines", A.member)
    assert score == round((given.deadline + 90) * 1000)


# What it costs


async def test_the_asks_of_one_tick_cost_one_read_of_the_server(
    world: RedisWorld, probe: redis_py.Redis
) -> None:
    one = world.store("one")

    def done() -> tuple[int, int]:
        stats: Any = probe.info("stats")
        commands: Any = probe.info("commandstats")
        return stats["total_reads_processed"], commands["cmdstat_evalsha"]["calls"]

    async def tick() -> list[Any]:
        return await asyncio.gather(
            *(one.claim([claimed(suspension(number), one, world)], 50) for number in range(10, 20)),
            *(one.settle([decided(id_)]) for id_ in (A, FAR)),
            one.resumed([A]),
            one.expire("sbc1"),
            one.expire("sbc2"),
            one.count("sbc1"),
            one.unclaimed([A, B]),
            one.unclaimed([C, FAR]),
        )

    await one.claim([claimed(A, one, world), claimed(FAR, one, world)], 50)
    await tick()  # the scripts are known now, the connection is open
    await one.claim([claimed(B, one, world)], 50)
    reads, scripts = done()
    await tick()
    reads_after, scripts_after = done()
    # Reading the two figures takes two reads: one between them, and the last one itself.
    assert reads_after - reads == 1 + 2
    # One for the claims, one to settle on each node, one for the receipts, one to expire on each node,
    # one to look for the unclaimed on each node.
    assert scripts_after - scripts == 8


async def test_verbs_of_one_tick_about_one_transaction_keep_their_order(world: RedisWorld) -> None:
    one = world.store("one")
    (won,), (record,), _, (lost,), (late,) = await asyncio.gather(
        one.claim([claimed(A, one, world)], 9),
        one.settle([decided(A)]),
        one.resumed([A]),
        one.claim([claimed(A, one, world)], 9),
        one.settle([decided(A)]),
    )
    assert (won, lost, late) == (Claim.WON, Claim.LOST, None)
    assert record is not None
    assert await one.get(A) is None


async def test_it_opens_one_connection(world: RedisWorld, probe: redis_py.Redis) -> None:
    def opened() -> int:
        stats: Any = probe.info("stats")
        return int(stats["total_connections_received"])

    one = world.store("one")
    before = opened()
    for number in range(20):
        running = [asyncio.ensure_future(one.claim([claimed(suspension(number), one, world)], 99))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running += [asyncio.ensure_future(one.claim([claimed(A, one, world)], 99)) for _ in range(20)]
        await asyncio.gather(*running)
    assert opened() - before == 1


# Whose clock


async def test_what_is_due_is_told_by_the_clock_of_the_replicas_alone(redis_server: RedisServer) -> None:
    """As where Redis' clock jumps: it says another time than all replicas, and they go by theirs."""
    now = time.time()
    store = RedisStore(
        redis_server.url, "one", prefix=f"test-{uuid.uuid4().hex[:8]}", timeout=10, clock=lambda: now
    )

    def call(id_: TransactionId, left: float) -> Transaction:
        return Transaction(id_, "e", now + left, now, b"", "one")

    await store.claim([call(A, 30.0), call(B, 0.001)], 9)
    await asyncio.sleep(0.002)
    assert await store.expire("sbc1") == [], "for the replicas no time has passed"
    now += 0.002
    assert [record.id for record in await store.expire("sbc1")] == [B]
    now += 30.0
    assert [record.id for record in await store.expire("sbc1")] == [A]
    await store.resumed([A])
    now += store.retention - 0.01
    assert await store.unclaimed([A]) == []
    now += 0.02
    assert await store.unclaimed([A]) == [A]
    await store.close()


async def test_a_beat_tells_the_servers_clock(world: RedisWorld, probe: redis_py.Redis) -> None:
    one, two = world.store("one"), world.store("two")
    await one.beat(replace(LIVE, at=world.now() + 30.0))
    snapshot = await two.beat(LIVE)
    assert snapshot.at is not None
    assert abs(snapshot.at - probe.time()[0]) < 5
    assert 25 < snapshot.beats["one"].off < 35, "its own is so far ahead of it"
    assert snapshot.beats["two"].off == 0.0, "it does not say"
