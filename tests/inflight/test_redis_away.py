"""Redis away, hanging, forgetful, refusing; and the URLs by which it is found."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from adapter.errors import SettingsError, StoreUnavailable
from adapter.inflight.pipeline import Command
from adapter.inflight.redis import RedisStore
from adapter.inflight.transport import Clustered, RedisTransport, Single, connect
from adapter.model.transaction import Outcome, State
from adapter.ports.store import Claim
from tests.inflight.worlds import LIVE, RedisWorld, claimed, decided, suspension

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

import redis as redis_py

from tests.harness.process import free_port, wait_until
from tests.harness.redis import RedisServer

A, B, C = suspension(1), suspension(2), suspension(3)
FAR = suspension(1, node="sbc2")


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[RedisWorld]:
    found = RedisWorld(redis_server.url)
    yield found
    await found.close()


async def test_another_life_of_redis_and_an_emptied_one_tell_of_another_memory(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        world = RedisWorld(server.url)
        one, two = world.store("one"), world.store("two")
        first = (await one.beat(LIVE)).memory
        assert first
        assert (await two.beat(LIVE)).memory == (await one.beat(LIVE)).memory == first
        server.pause()
        late = asyncio.create_task(one.beat(LIVE))
        await asyncio.sleep(0.1)
        server.resume()
        assert (await late).memory == first, "it hung, and has forgotten nothing"
        server.ask("FLUSHALL")
        emptied = (await two.beat(LIVE)).memory
        assert emptied != first
        assert (await one.beat(LIVE)).memory == emptied, "though it is known there again"
        await asyncio.to_thread(server.restart)
        assert (await one.beat(LIVE)).memory not in (first, emptied, "")
        await world.close()


async def test_who_may_not_ask_is_told_nothing_of_it_and_asks_no_more(
    redis_server: RedisServer, world: RedisWorld, probe: redis_py.Redis
) -> None:
    rules = ("+@connection", "+eval", "+evalsha", "+@hash", "+@sortedset", "+pexpire", "+pttl", "+time")
    probe.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">narrow", f"~{world.prefix}:*", *rules)
    url = redis_server.url.replace("redis://", "redis://narrow:narrow@")
    store = RedisStore(url, "one", prefix=world.prefix)
    try:
        probe.execute_command("ACL", "LOG", "RESET")
        assert (await store.beat(LIVE)).memory == (await store.beat(LIVE)).memory == ""
        assert len(probe.execute_command("ACL", "LOG")) <= 2
        assert all(entry["count"] == 1 for entry in probe.acl_log())
    finally:
        await store.close()
        probe.execute_command("ACL", "DELUSER", "narrow")


async def test_forgotten_scripts_are_sent_again(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    await one.claim([claimed(A, one, world)], 9)
    probe.script_flush()
    (won,), (record,), count = await asyncio.gather(
        one.claim([claimed(B, one, world)], 9), one.settle([decided(A)]), one.count("sbc1")
    )
    assert won is Claim.WON
    assert record is not None
    assert await one.count("sbc1") == 1
    assert count in (0, 1, 2)  # it needed no script, and came first
    probe.script_flush()
    await one.resumed([A])
    probe.script_flush()
    assert await one.expire("sbc1") == []
    probe.script_flush()
    assert await one.adopt("sbc1", ["two"], State.CLAIMED) == []
    probe.script_flush()
    assert await one.unclaimed([A, FAR]) == [FAR]
    probe.script_flush()
    assert (await one.beat(LIVE))[:3] == ({"one": LIVE}, False, frozenset())


async def test_a_refused_command_fails_its_own_askers(world: RedisWorld, probe: redis_py.Redis) -> None:
    one = world.store("one")
    probe.set(f"{world.prefix}:{{sbc1}}:records", "not a hash")
    results = await asyncio.gather(
        one.claim([claimed(A, one, world)], 9),
        one.claim([claimed(FAR, one, world)], 9),
        one.get(A),
        return_exceptions=True,
    )
    assert isinstance(results[0], StoreUnavailable)
    assert "WRONGTYPE" in str(results[0])
    assert results[1] == [Claim.WON]
    assert isinstance(results[2], StoreUnavailable)
    # A call is whole: where one of its nodes failed, so did the call.
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await one.claim([claimed(B, one, world), claimed(suspension(2, "sbc2"), one, world)], 9)


async def test_after_an_outage_it_works_again(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as world:
        one = world.store("one")
        assert await one.claim([claimed(A, one, world)], 9) == [Claim.WON]
        own_server.kill()
        for _ in range(3):
            results = await asyncio.gather(one.settle([decided(A)]), one.beat(LIVE), return_exceptions=True)
            assert [type(result) for result in results] == [StoreUnavailable] * 2
        own_server.start()
        # The server is empty, and knows no script.
        assert await one.settle([decided(A)]) == [None]
        assert await one.claim([claimed(A, one, world)], 9) == [Claim.WON]
        own_server.restart()
        # Between two asks: nobody notices.
        assert await one.claim([claimed(A, one, world)], 9) == [Claim.WON]


async def test_a_hanging_server_hangs_nobody(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url, timeout=0.2) as world:
        one, new = world.store("one"), world.store("new")

        async def up() -> bool:
            """Also on a machine that is slower, for once, than this test's timeout."""
            try:
                await asyncio.gather(one.claim([claimed(A, one, world)], 9), one.beat(LIVE))
                return await one.get(A) is not None
            except StoreUnavailable:
                return False

        await world.until(up, 0)
        own_server.pause()
        try:
            running: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(one.settle([decided(A)])),
                asyncio.ensure_future(one.beat(LIVE)),
                asyncio.ensure_future(new.beat(LIVE)),
            ]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            # Those wait for an answer by then, these for their turn.
            running += [asyncio.ensure_future(one.count("sbc1")), asyncio.ensure_future(one.get(A))]
            results = await asyncio.gather(*running, return_exceptions=True)
        finally:
            own_server.resume()
        assert [type(result) for result in results] == [StoreUnavailable] * 5
        assert "no answer within 0.2 s" in str(results[0])
        await world.until(up, 0)
        # The settle may have been carried out since, though nobody was told.
        await one.settle([decided(A)])
        found = await one.get(A)
        assert found is not None
        assert (found.state, found.outcome) == (State.SETTLED, Outcome.DECIDED)


async def test_a_master_that_became_a_replica_is_left(own_server: RedisServer) -> None:
    async with RedisWorld(own_server.url) as world:
        one = world.store("one")
        await one.claim([claimed(A, one, world)], 9)
        with redis_py.Redis.from_url(own_server.url) as client:
            client.replicaof("127.0.0.1", "1")
            before = client.info("stats")["total_connections_received"]
            with pytest.raises(StoreUnavailable, match="ReadOnlyError"):
                await one.settle([decided(A)])
            client.replicaof("NO", "ONE")
            assert await one.settle([decided(A)]) != [None]
            # Over a new connection: behind Sentinel, or a name that moves, to the new master.
            assert client.info("stats")["total_connections_received"] == before + 1


class HalfDead:
    """A connection that takes everything, answers once, and does not close itself."""

    is_connected = True
    replies = 1

    async def can_read(self) -> bool:
        return False

    async def send_packed_command(self, packed: bytes, check_health: bool) -> None: ...

    async def read_response(self, **_: object) -> bytes:
        self.replies -= 1
        if self.replies < 0:
            raise TimeoutError("a reset")
        return b"one"

    async def disconnect(self, nowait: bool = False) -> None:
        self.is_connected = False

    def make_connection(self) -> HalfDead:
        return self


async def test_a_connection_that_owes_an_answer_is_not_used_again() -> None:
    connection = HalfDead()
    transport = RedisTransport(Single(connection))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="a reset"):
        await transport.run([Command(None, ("GET", "a")), Command(None, ("GET", "b"))])
    assert not connection.is_connected


async def test_a_closed_store_says_so(world: RedisWorld) -> None:
    one = world.store("one")
    await one.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await one.beat(LIVE)


async def test_in_a_cluster(tmp_path: Path) -> None:
    """One server that has every slot: it refuses what names keys of several slots, as many would."""
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with RedisServer(tmp_path, options) as server, redis_py.Redis.from_url(server.url) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in _cluster_info(client), "the cluster")
        async with RedisWorld(f"redis+cluster://127.0.0.1:{server.port}") as world:
            one, two = world.store("one"), world.store("two")
            asked = [claimed(A, one, world), claimed(FAR, one, world), claimed(B, one, world, -1)]
            assert await one.claim(asked, 9) == [Claim.WON] * 3
            assert (await two.beat(LIVE)).beats.keys() == {"two"}
            assert [record.id for record in await two.expire("sbc1")] == [B]
            assert {record.id for record in await two.adopt("sbc1", ["one"], State.CLAIMED)} == {A}
            assert await two.unclaimed([A, C, FAR]) == [C]
            client.script_flush()
            assert None not in await two.settle([decided(A), decided(FAR)])
            await two.resumed([A])
            assert {record.id for record in await one.scan("sbc1")} == {B}
            server.kill()
            with pytest.raises(StoreUnavailable):
                await one.get(B)
            server.start()

            async def back() -> bool:
                try:
                    return await one.get(B) is None
                except StoreUnavailable:
                    return False

            await world.until(back, 0)


def _cluster_info(client: Any) -> bytes:
    client.set_response_callback("CLUSTER INFO", lambda reply, **_: reply)
    found: bytes = client.execute_command("CLUSTER INFO")
    return found


# The URL


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://127.0.0.1:1/3", Single),
        ("rediss://user:p%40ss@redis.example.net", Single),
        ("redis+sentinel://user:secret@h1:26379,h2/mymaster/2?sentinel_password=x", Single),
        ("rediss+sentinel://h1,[::1]:26380/mymaster", Single),
        ("redis+cluster://user:secret@h1:7000,h2", Clustered),
        ("rediss+cluster://h1:7000", Clustered),
    ],
)
async def test_urls_of_every_kind(url: str, kind: type) -> None:
    transport = connect(url, 1.0)
    assert isinstance(transport._round_trip, kind)
    await transport.close()
    store = RedisStore(url, "one")
    assert "secret" not in repr(store)
    assert "p%40ss" not in repr(store)
    await store.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "redis://127.0.0.1:secret",
        "redis://127.0.0.1/0?no_such_option=secret",
        "redis+sentinel://h1:26379",
        "redis+sentinel://h1:26379/mymaster/secret",
        "redis+cluster://h1:secret",
    ],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingsError, match="EVAPI_REDIS_URL") as caught:
        connect(url, 1.0)
    assert "secret" not in str(caught.value)
