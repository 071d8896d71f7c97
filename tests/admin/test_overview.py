"""How the whole is, made into rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from adapter import settings
from adapter.admin.away import redis_away
from adapter.admin.overview import (
    Bus,
    Load,
    Overview,
    Store,
    active,
    calls,
    live,
    load,
    node_names,
    node_rows,
    replica_rows,
    service_rows,
    short,
    state,
    whole,
)
from adapter.admin.recent import Recent
from adapter.admin.services import Service
from adapter.admin.watch import Watch
from adapter.errors import StoreUnavailable
from adapter.inflight.operator import OperatorStore
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import State
from tests.admin.site import LEASE, NOW, answers, beat, overview, record
from tests.harness.process import free_port
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from pathlib import Path


class TestLoad:
    def test_what_is_claimed_counts(self) -> None:
        records = [
            record(1, claimed=NOW - 3, deadline=NOW - 1),
            record(2, claimed=NOW - 1, deadline=NOW + 1),
            record(3, claimed=NOW - 0.3, deadline=NOW - 0.2),
            record(4, claimed=NOW - 9, deadline=NOW - 7, state=State.SETTLED),
        ]
        assert load(records, NOW) == Load(3, 3.0, 1)
        assert load(records[3:], NOW) == Load(0, None, 0)

    def test_a_clock_that_is_behind_makes_no_negative_age(self) -> None:
        assert load([record(1, claimed=NOW + 1, deadline=NOW + 3)], NOW).oldest == 0.0


class TestReplicas:
    def test_names_are_short_where_they_tell_apart(self) -> None:
        names = ["r1~ab", "r1~cd", "r2~ef", "plain"]
        assert short(names) == {"r1~ab": "r1~ab", "r1~cd": "r1~cd", "r2~ef": "r2", "plain": "plain"}

    @pytest.mark.parametrize(
        ("given", "ordered", "word"),
        [
            (beat(), False, "live"),
            (beat(age=2 * LEASE), False, "live"),
            (beat(age=2.1 * LEASE), False, "silent"),
            (beat(age=2.1 * LEASE, accepting=False), True, "silent"),
            (beat(accepting=False), False, "draining"),
            (beat(accepting=False), True, "drained"),
            (beat(), True, "draining"),
        ],
    )
    def test_states(self, given: Any, ordered: Any, word: Any) -> None:
        assert state(given, LEASE, ordered) == word

    def test_rows(self) -> None:
        orders = {"replica:r2~b": {"order": "drain", "by": "op@h", "at": NOW - 5, "reason": "why"}}
        beats = {
            "r3~c": beat("sbc2", age=60.0),
            "r2~b": beat(accepting=False),
            "r1~a": beat("sbc2", "sbc1"),
        }
        first, second, third = replica_rows(overview(beats, orders))
        assert first == {
            "replica": "r1~a",
            "name": "r1",
            "state": "live",
            "active_for": ["sbc1", "sbc2"],
            "links": {"sbc1": "receipts", "sbc2": "receipts"},
            "broker": True,
            "beat_age": 0.1,
            "version": "1.2",
            "since": NOW - 90,
            "up": 90.0,
            "http": "h:1",
            "policy": "",
            "order": None,
        }
        assert second["state"] == "drained"
        assert second["order"] == {"by": "op@h", "at": NOW - 5, "reason": "why"}
        assert (third["replica"], third["state"], third["active_for"]) == ("r3~c", "silent", [])

    def test_what_an_older_version_does_not_say(self) -> None:
        (row,) = replica_rows(overview({"r1": Beat(nodes=frozenset(["sbc1"]))}, {"replica:r1": {}}))
        assert (row["version"], row["since"], row["up"], row["links"]) == ("", None, None, {})
        assert row["order"] == {"by": "", "at": None, "reason": ""}
        strange = Beat(about={"links": ["x"], "active": "sbc1", "since": "x"})
        (row,) = replica_rows(overview({"r1": strange}))
        assert (row["links"], row["active_for"], row["since"]) == ({}, [], None)


class TestNodes:
    def test_names_of_those_that_live_that_are_paused_and_that_must_be_there(self) -> None:
        live_and_dead = {"r1": beat(links={"sbc1": "down"}), "r2": beat(links={"gone": "down"}, age=9.0)}
        found = overview(live_and_dead, {"node:held": {}, "replica:r1": {}}, nodes=("sbc9",))
        assert node_names(found) == ["held", "sbc1", "sbc9"]
        assert node_names(overview({"r2": live_and_dead["r2"]})) == ["gone"], "where none lives"
        assert node_names(Overview(LEASE, nodes=("sbc9",))) == ["sbc9"]

    def test_the_active_one_is_who_says_so_and_beat_last(self) -> None:
        beats = {"r1": beat("sbc1", age=0.9), "r2": beat("sbc1"), "r3": beat("sbc2", age=5.0)}
        assert active(overview(beats), "sbc1") == "r2"
        assert active(overview(beats), "sbc2") is None, "who is silent is none"

    def test_rows(self) -> None:
        beats = {
            "r2~b": beat("sbc1"),
            "r1~a": beat(links={"sbc1": "down", "sbc2": "unread"}),
            "r3~c": beat(age=9.0),
        }
        orders = {"node:sbc3": {"by": "op@h", "at": NOW, "reason": "test"}}
        found = overview(beats, orders, {"sbc1": Load(5, 1.5, 2)})
        first, second, third = node_rows(found)
        assert first == {
            "node": "sbc1",
            "active": "r2~b",
            "active_name": "r2",
            "in_flight": 5,
            "oldest": 1.5,
            "overdue": 2,
            "links": {"r1~a": "down", "r2~b": "receipts"},
            "gate": "open",
            "paused": None,
        }
        assert (second["active"], second["active_name"], second["gate"]) == (None, None, "open")
        assert third["gate"] == "paused"
        assert third["paused"] == {"by": "op@h", "at": NOW, "reason": "test"}
        assert third["links"] == {"r1~a": "none", "r2~b": "none"}

    def test_each_replica_has_its_share_of_the_links(self) -> None:
        """Who has none is none of those that are missing, where there are as many as there should be."""

        def of(**links: str) -> Beat:
            return beat("sbc1", links=links, known=["sbc1", "sbc2"], links_per_node=2)

        beats = {"r1": of(sbc1="receipts"), "r2": of(), "r3": of(sbc1="down")}
        first, second = node_rows(overview(beats))
        assert first["links"] == {"r1": "receipts", "r3": "down"}
        assert second["node"] == "sbc2", "known, though nobody connects to it"
        assert list(second["links"].values()) == ["none", "none"]
        before = set(second["links"])
        one = overview({**beats, "r2": of(sbc2="receipts")})
        links = node_rows(one)[1]["links"]
        assert (links["r2"], sorted(links.values())) == ("receipts", ["none", "receipts"])
        assert set(links) - {"r2"} <= before, "the same as will connect"

    def test_where_a_replica_connects_to_all_each_has_to(self) -> None:
        beats = {
            "r1": beat(links={"sbc1": "receipts"}, links_per_node=1),
            "r2": beat(links={}, links_per_node=0),
            "r3": beat(links={}),
        }
        (row,) = node_rows(overview(beats))
        assert row["links"] == {"r1": "receipts", "r2": "none", "r3": "none"}

    def test_the_gate_is_closed_where_nobody_takes_calls(self) -> None:
        beats = {"r1": beat(broker=False), "r2": beat(accepting=False), "r3": beat(links={"sbc1": "down"})}
        assert [row["gate"] for row in node_rows(overview(beats))] == ["closed", "closed"]


class TestWhole:
    def test_of_nothing(self) -> None:
        nothing = Overview(LEASE, store_problem="away", bus_problem="away, too")
        found = whole(nothing)
        assert (found["redis"]["ok"], found["rabbitmq"]["ok"], found["at"]) == (False, False, None)
        for key in ("nodes", "replicas", "services"):
            assert found[key] == []
        assert (found["calls"], found["dead_letters"], found["services_complete"]) == (None, None, None)
        assert whole(Overview(LEASE))["redis"] == {"ok": None, "problem": ""}
        assert live(nothing) == {}

    def test_of_all(self) -> None:
        service = Service("lcr", "evapi.decide.lcr", 3, 2, None)
        recent = Recent()
        recent.add(NOW - 2, answers(4))
        found = Overview(
            LEASE,
            Store(NOW, {"r1": beat("sbc1")}),
            bus=Bus("4.1", False, 7, (service,), True),
            recent=recent,
        )
        told = whole(found)
        assert told["redis"]["ok"] is told["rabbitmq"]["ok"] is told["services_complete"] is True
        assert told["dead_letters"] == 7
        assert service_rows(found) == [
            {
                "name": "lcr",
                "queue": "evapi.decide.lcr",
                "messages": 3,
                "consumers": 2,
                "hidden": False,
                "remark": "",
            }
        ]
        known = calls(found)
        assert known is not None
        assert (known["calls"], known["outcomes"], known["fallback_share"]) == (4, {"decided": 4}, 0.0)
        assert known["latency"]["max"] == 0.02
        json.dumps(told)


async def recent(watch: Watch) -> Recent:
    """What a look finds of the last minute."""
    found = (await watch.look()).recent
    assert found is not None
    return found


class World:
    """Redis as replicas leave it, and who watches it."""

    def __init__(self, url: str, journals: bool = True, nodes: str | None = None, **limits: Any) -> None:
        self.prefix = f"t{uuid4().hex[:8]}"
        self.settings = settings.load(bridge=False, redis_url=url, redis_prefix=self.prefix, nodes=nodes)
        self.replica = RedisStore(url, "r1~a", prefix=self.prefix)
        store = OperatorStore(url, "op", prefix=self.prefix, timeout=1.0)
        self.watch = Watch(self.settings, store, None, journals=journals, **limits)

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.watch.close()
        await self.replica.close()


class TestWatch:
    async def test_it_follows_the_journals_of_all_replicas(self, redis_server: RedisServer) -> None:
        async with World(redis_server.url) as world:
            await world.replica.beat(beat("sbc1"))
            await world.replica.note(answers(3), 120)
            found = await world.watch.look()
            assert found.store is not None
            assert found.recent is not None
            assert found.recent.calls == 3
            assert found.recent.covered == pytest.approx(60)
            late = RedisStore(redis_server.url, "r2~b", prefix=world.prefix)
            await late.beat(beat())
            await late.note(answers(2), 120)
            await world.replica.note(answers(4), 120)
            await world.watch.look()
            assert (await recent(world.watch)).calls == 9, "each once"
            await late.close()

    async def test_of_very_many_calls_it_reads_the_latest(self, redis_server: RedisServer) -> None:
        async with World(redis_server.url, budget=5_000) as world:
            await world.replica.beat(beat("sbc1"))
            at = int(redis_server.ask("TIME")[0]) * 1000
            for seconds_ago in range(50, -1, -1):
                entry = answers(50)
                key = world.replica._journal("r1~a")
                redis_server.ask("XADD", key, f"{at - seconds_ago * 1000}-0", "steps", entry)
            found = await recent(world.watch)
            assert 2 <= found.covered < 30
            assert found.calls <= found.covered * 50 + 50
            assert found.calls >= found.covered * 50 - 100
            covered = found.covered
            assert (await recent(world.watch)).covered >= covered

    async def test_an_entry_that_nobody_understands_is_left_out(self, redis_server: RedisServer) -> None:
        async with World(redis_server.url) as world:
            await world.replica.beat(beat("sbc1"))
            await world.replica.note(b"\xc1", 120)
            await world.replica.note(answers(3), 120)
            assert (await recent(world.watch)).calls == 3

    async def test_without_journals_and_with_nodes_that_must_be_there(
        self, redis_server: RedisServer
    ) -> None:
        async with World(redis_server.url, journals=False, nodes="sbc7=h:1") as world:
            found = await world.watch.look()
            assert found.recent is None
            assert [row["node"] for row in node_rows(found)] == ["sbc7"]
            assert (found.bus, found.bus_problem) == (None, "")

    async def test_redis_that_hangs_or_is_away_is_a_problem_and_then_none(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path) as server:
            async with World(server.url) as world:
                server.pause()
                found = await world.watch.look()
                assert found.store is None
                assert f"Redis at {server.url}: no answer" in found.store_problem
                server.resume()
                assert (await world.watch.look()).store is not None
                server.kill()
                problem = (await world.watch.look()).store_problem
                assert problem.startswith(f"Redis at {server.url}: ")
                assert "connection refused" in (await world.watch.look()).store_problem
                server.start()
                assert (await world.watch.look()).store is not None

    async def test_a_server_that_answers_bit_by_bit_is_not_waited_for(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path) as server:
            async with World(server.url, patience=0.05) as world:
                server.pause()
                assert "answers too slowly" in (await world.watch.look()).store_problem
                server.resume()

    async def test_nothing_is_asked_where_there_is_nobody_to_ask(self) -> None:
        watch = Watch(settings.load(bridge=False), None, None)
        assert await watch.look() == Overview(LEASE)
        await watch.close()

    async def test_rabbitmq_that_comes_back_is_asked_again(self, vhost: str) -> None:
        found = settings.load(bridge=False, amqp_url=vhost, amqp_api=f"http://127.0.0.1:{free_port()}")
        watch = Watch(found, None, vhost, ["nosuch"])
        bus = (await watch.look()).bus
        assert bus is not None
        assert (bus.complete, bus.dead_letters, bus.services[0].messages) == (False, None, None)
        assert watch._rabbit is not None
        await watch._rabbit._connection.close(0.3)
        assert (await watch.look()).bus is not None
        await watch.close()

    async def test_rabbitmq_that_is_away(self) -> None:
        url = f"amqp://127.0.0.1:{free_port()}"
        watch = Watch(settings.load(bridge=False, amqp_url=url), None, url)
        for _ in range(2):
            found = await watch.look()
            assert found.bus is None
            assert "RabbitMQ" in found.bus_problem
        await watch.close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ConnectionError: Error 111 connecting to h:1. Connect call failed ('h', 1).", "connection refused"),
        ("ConnectionError: Error -2 connecting to h:6379. Name or service not known.", "no such host"),
        ("AuthenticationError: Authentication required.", "the login was refused"),
        ("no answer within 2 s", "does it hang"),
        ("ResponseError: something else", "ResponseError: something else"),
    ],
)
def test_what_is_the_matter_with_redis_in_an_operators_words(said: str, words: str) -> None:
    chosen = settings.load(bridge=False, redis_url="redis://:hunter2@h")
    told = str(redis_away(chosen, StoreUnavailable(said)))
    assert told.startswith("Redis at redis://:***@h: ")
    assert words in told
