"""``evapi-adapter replicas`` and ``evapi-adapter nodes`` as an operator meets them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from adapter.cli.overview import age, gate, link_states, replica_state, style, up
from tests.cli.command import on_terminal
from tests.cli.ground import Ground, in_thread, on_ground
from tests.harness.process import free_port
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REPLICA = [
    *("replica", "name", "state", "active_for", "links", "broker", "beat_age", "version", "since", "up"),
    *("http", "policy", "order"),
]
NODE = ["node", "active", "active_name", "in_flight", "oldest", "overdue", "links", "gate", "paused"]


@pytest.fixture
async def ground(redis_server: RedisServer) -> AsyncIterator[Ground]:
    """Without RabbitMQ."""
    async with on_ground(redis_server.url, "", "") as found:
        yield found


async def embedded(ground: Ground, name: str) -> str:
    """A replica with the embedded broker; its full name."""
    bridge = await ground.replica(name, amqp_url="", consumer="tests.system.test_bridge:service")
    await bridge.replicas.beat()  # which tells what it is active for
    return bridge.inflight.replica


class TestListing:
    async def test_json_with_stable_keys(self, ground: Ground) -> None:
        one = await embedded(ground, "one")
        (row,) = (await ground.run("replicas", "-o", "json")).rows
        assert list(row) == REPLICA
        assert row["policy"] == "built-in"
        assert (row["replica"], row["name"], row["state"]) == (one, "one", "live")
        assert row["active_for"] == [ground.node]
        assert row["links"] == {ground.node: "receipts"}
        (row,) = (await ground.run("nodes", "-o", "json")).rows
        assert list(row) == NODE
        assert (row["node"], row["active"], row["gate"]) == (ground.node, one, "open")
        (row,) = map(json.loads, (await ground.run("nodes", "-o", "jsonl")).out.splitlines())
        assert row["links"] == {one: "receipts"}

    async def test_a_table_and_what_is_ordered(self, ground: Ground) -> None:
        for name in ("one", "two"):
            await embedded(ground, name)
        assert (await ground.run("drain", "one", "--reason", "new \x1b[31mkernel")).code == 0
        assert (await ground.run("pause", ground.node, "--yes")).code == 0
        done = await ground.run("replicas")
        head, one, two = done.out.splitlines()
        assert head.split() == [
            *("REPLICA", "STATE", "ACTIVE", "FOR", "BROKER", "BEAT", "UP", "VERSION", "HTTP")
        ]
        assert "drained by " in one
        assert r"new \x1b[31mkernel" in one, "what others wrote does not steer the terminal"
        assert two.split()[:3] == ["two", "live", "-"]
        done = await ground.run("nodes")
        _, row = done.out.splitlines()
        assert row.split()[:2] == [ground.node, "nobody"]
        assert "receipts (2)" in row
        assert "paused by " in row

    async def test_on_a_terminal_of_80_columns(self, ground: Ground) -> None:
        await embedded(ground, "a-replica-with-a-rather-long-name-0")
        for words in ("replicas", "nodes"):
            code, shown, _ = await asyncio.to_thread(on_terminal, words, **ground.env)
            assert code == 0
            assert max(map(len, shown.splitlines())) <= 80
            assert ground.node[:8] in shown

    async def test_what_is_in_flight(self, ground: Ground) -> None:
        await embedded(ground, "one")
        for _ in range(3):
            await ground.sim.suspend("held", {"hold": True})
        found = 0
        while found < 3:
            (row,) = (await ground.run("nodes", "-o", "json")).rows
            found = row["in_flight"]
        assert 0 <= row["oldest"] < 60
        assert row["overdue"] == 0

    async def test_nobody_is_there(self, ground: Ground) -> None:
        for words in ("replicas", "nodes"):
            done = await ground.run(words)
            assert (done.code, done.out) == (0, "")
            assert "does `evapi-adapter run` run?" in done.err
            assert (await ground.run(words, "-o", "json")).rows == []
        (row,) = (await ground.run("nodes", "--nodes", "sbc1=h:1", "-o", "json")).rows
        assert (row["node"], row["active"], row["gate"]) == ("sbc1", None, "closed")


class TestAway:
    @pytest.mark.parametrize("command", ["replicas", "nodes"])
    async def test_redis(self, command: str) -> None:
        url = f"redis://:hunter2@127.0.0.1:{free_port()}"
        done = await in_thread(command, EVAPI_REDIS_URL=url)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(
            f"evapi-adapter: Redis at {url.replace('hunter2', '***')}: connection refused"
        )
        assert done.err.count("\n") == 1

    async def test_redis_that_hangs(self, tmp_path: Path) -> None:
        with RedisServer(tmp_path) as server:
            server.pause()
            done = await in_thread("nodes", EVAPI_REDIS_URL=server.url)
            server.resume()
        assert (done.code, done.out) == (1, "")
        assert "no answer: does it hang" in done.err

    async def test_no_redis_is_set(self) -> None:
        done = await in_thread("replicas")
        assert (done.code, done.out) == (2, "")
        assert "EVAPI_REDIS_URL: is not set" in done.err


def test_ages_and_uptimes() -> None:
    assert [up(each) for each in (None, 0, 90, 150, 7200, 90_000, 200_000)] == [
        *("", "0 s", "90 s", "2 min", "2 h", "25 h", "2 d")
    ]
    assert [age(each) for each in (0.04, 12.34, 240.0)] == ["0.0 s", "12.3 s", "4 min"]


def test_states_with_what_is_to_be_known() -> None:
    nobody = {"by": "", "reason": ""}
    assert replica_state({"state": "drained", "order": nobody}) == "drained by somebody"
    assert replica_state({"state": "silent", "order": nobody}) == "silent"
    assert replica_state({"state": "draining", "order": None}) == "draining"
    assert gate({"gate": "paused", "paused": {"by": "op", "reason": "x"}}) == "paused by op: x"
    assert gate({"gate": "closed", "paused": None}) == "closed"
    assert style("drained by op") == style("paused by op") == "yellow"
    assert style("x") == ""


def test_links_of_a_node() -> None:
    names = {"r1~a": "r1", "r2~b": "r2"}
    assert link_states(names, {"r1~a": "receipts", "r2~b": "receipts"}) == "receipts (2)"
    assert link_states(names, {"r1~a": "receipts"}) == "receipts"
    assert link_states(names, {"r1~a": "receipts", "r2~b": "down"}) == "r1 receipts, r2 down"
    assert link_states(names, {}) == "none"
