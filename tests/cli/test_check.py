"""``evapi-adapter check`` in each degraded state, with the real servers; its formats and exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.command import Done, evapi_adapter, in_pipes, on_terminal
from tests.cli.ground import LEASE, PATIENCE, Ground, in_thread, on_ground
from tests.harness.bridge import Bridge as BridgeProcess
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer

OK, WARNING, CRITICAL, UNKNOWN = range(4)
LEVELS = ("ok", "warning", "critical", "unknown")


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as found:
        yield found


def wrong(done: Done) -> dict[tuple[str, str], str]:
    """What is not well, of ``--format json``; and the exit code says the same."""
    told = json.loads(done.out)
    assert (told["code"], told["level"]) == (done.code, LEVELS[done.code])
    assert done.err == ""
    return {(each["check"], each["of"]): each["level"] for each in told["findings"] if each["level"] != "ok"}


async def check(ground: Ground, *words: str, **variables: str) -> dict[tuple[str, str], str]:
    return wrong(await ground.run("check", "--format", "json", *words, **variables))


async def check_until(ground: Ground, expected: dict[tuple[str, str], str], *words: str, **env: str) -> None:
    """Beats and RabbitMQ's counts tell of a change a moment later."""
    found: Any = None
    try:
        async with asyncio.timeout(PATIENCE):
            while found != expected:
                found = await check(ground, *words, **env)
    except TimeoutError:
        raise AssertionError(f"{found} is not {expected}") from None


async def says(ground: Ground, text: str) -> None:
    """Wait until it says so: what is wrong is known before the reason is."""

    async def said() -> bool:
        return text in (await ground.run("check")).out

    await until(said, PATIENCE)


class TestWell:
    async def test_in_each_format(self, ground: Ground) -> None:
        ground.service()
        await ground.replica("one")
        await ground.calls(3)
        await check_until(ground, {})
        done = await asyncio.to_thread(in_pipes, "check", **ground.env)
        assert (done.code, done.err) == (OK, "")
        assert {line.split()[0] for line in done.out.splitlines()[1:]} == {"ok"}
        assert "1 replica live" in done.out
        assert wrong(await ground.run("check", "--format", "json")) == {}
        nagios = await ground.run("check", "--format", "nagios")
        assert nagios.out.count("\n") == nagios.out.count("|") == 1
        assert nagios.out.startswith("EVAPI OK - 1 replica live; ")
        perfdata = nagios.out.partition("|")[2].split()
        assert f"'inflight_{ground.node}'=0;5000;9000;0" in perfdata
        assert "'replicas'=1;;1:;0" in perfdata
        assert all(re.fullmatch(r"'[^']+'=[\d.]+(s|%)?;[\d.:]*;[\d.:]*;0", each) for each in perfdata)
        prometheus = await ground.run("check", "--format", "prometheus")
        lines = prometheus.out.splitlines()
        assert "evapi_check_level 0" in lines
        assert 'evapi_check_finding{check="replicas",of=""} 0' in lines
        assert 'evapi_check_value{check="replicas",of=""} 1' in lines
        for line in lines:
            assert re.fullmatch(
                r'# (HELP|TYPE) .+|evapi_check_\w+(\{check="\w+",of="[^"]*"\})? [\d.e+-]+', line
            )
        quiet = await ground.run("check", "--quiet")
        assert (quiet.code, quiet.out, quiet.err) == (OK, "", "")
        code, shown, _ = await asyncio.to_thread(on_terminal, "check", **ground.env)
        assert code == OK
        assert max(map(len, shown.splitlines())) <= 80


class TestReplicas:
    async def test_none_lives(self, ground: Ground) -> None:
        await check_until(ground, {("replicas", ""): "critical"})
        assert (await ground.run("check", "--quiet")).code == CRITICAL

    async def test_one_of_two_is_gone(self, ground: Ground, tmp_path: Any) -> None:
        """A process that was killed; one that leaves in order is not missed."""
        await ground.replica("one")
        options = {"redis_url": ground.redis_url, "amqp_url": ground.amqp_url}
        settings = {"EVAPI_REDIS_PREFIX": ground.node, "EVAPI_LEASE": LEASE}
        two = BridgeProcess("two", tmp_path, {ground.node: ground.sim.port}, options, settings)
        await asyncio.to_thread(two.start)
        try:
            await check_until(ground, {}, "--replicas", "2")
        finally:
            two.stop(signal.SIGKILL)
        gone = {("replica", "two"): "warning"}
        await check_until(ground, gone)
        await check_until(ground, {**gone, ("replicas", ""): "critical"}, "--replicas", "2")
        await check_until(ground, {**gone, ("replicas", ""): "warning"}, "--replicas", "2:1")

    async def test_drained_and_paused(self, ground: Ground) -> None:
        await ground.pair("one", "two")
        assert (await ground.run("drain", "one", "--reason", "kernel")).code == OK
        await check_until(ground, {("replica", "one"): "warning"})
        done = await ground.run("check", "--format", "nagios")
        assert done.code == WARNING
        assert re.match(r"EVAPI WARNING - one: drained by \S+: kernel \|", done.out)
        assert (await ground.run("resume", "one")).code == OK
        assert (await ground.run("pause", ground.node, "--yes")).code == OK
        await check_until(ground, {("node", ground.node): "warning"})
        assert (await ground.run("resume", ground.node)).code == OK
        await check_until(ground, {})


class TestKamailio:
    async def test_its_link_is_down(self, ground: Ground) -> None:
        await ground.replica("one")
        ground.sim.refuse()
        ground.sim.disconnect()
        await check_until(ground, {("node", ground.node): "critical"})
        await says(ground, "no active replica; the link is down at one: does Kamailio run, and read?")

    async def test_it_does_not_read(self, ground: Ground) -> None:
        ground.service()
        await ground.replica("one", receipt_timeout="0.2")
        ground.sim.stop_reading()
        await ground.sim.suspend("invite", {})
        await check_until(ground, {("node", ground.node): "critical"}, "--fallback-rate", "100%")
        await says(ground, "the link is unread at one")

    async def test_one_that_no_replica_knows(self, ground: Ground) -> None:
        await ground.replica("one")
        nodes = f"{ground.node}=127.0.0.1:1,sbc9=127.0.0.1:2"
        await check_until(ground, {("node", "sbc9"): "critical"}, "--nodes", nodes)


class TestServers:
    async def test_each_that_is_away(self, ground: Ground) -> None:
        ground.service()
        await ground.replica("one")
        nobody = free_port()
        redis = {"EVAPI_REDIS_URL": f"redis://:hunter2@127.0.0.1:{nobody}"}
        rabbit = {"EVAPI_AMQP_URL": f"amqp://u:hunter2@127.0.0.1:{nobody}"}
        await check_until(ground, {("redis", ""): "critical"}, **redis)
        await check_until(ground, {("rabbitmq", ""): "critical"}, **rabbit)
        both = await ground.run("check", "--format", "json", **redis, **rabbit)
        assert wrong(both) == {("redis", ""): "critical", ("rabbitmq", ""): "critical"}
        assert "hunter2" not in both.out
        assert f"redis://:***@127.0.0.1:{nobody}" in both.out

    async def test_redis_that_hangs(self, ground: Ground, tmp_path: Any) -> None:
        with RedisServer(tmp_path) as server:
            server.pause()
            found = await check(ground, EVAPI_REDIS_URL=server.url)
            assert found == {("redis", ""): "critical"}
            server.resume()

    async def test_a_replica_that_cannot_publish(self, ground: Ground) -> None:
        """Its own RabbitMQ is not the operator's."""
        await ground.replica("one", ready=False, amqp_url=f"amqp://127.0.0.1:{free_port()}")
        await check_until(ground, {("replica", "one"): "critical", ("node", ground.node): "critical"})


class TestServices:
    async def test_nobody_consumes(self, ground: Ground) -> None:
        await ground.replica("one")
        ground.service("screening", events=["register"])
        await check_until(ground, {})
        await check_until(ground, {("consumers", "screening"): "warning"}, "--consumers", "2:1")
        ground.abandoned()
        await check_until(ground, {("consumers", "lcr"): "critical"})
        ground.service("fraud")
        await check_until(ground, {("consumers", "lcr"): "warning"})  # its events have somebody else
        assert await check(ground, "--also", "nosuch", "--consumers", "0") == {
            ("consumers", "nosuch"): "critical"
        }

    async def test_without_the_management_plugin_those_that_replied_are_known(self, ground: Ground) -> None:
        nothing = {"EVAPI_AMQP_API": f"http://127.0.0.1:{free_port()}"}
        ground.service()
        await ground.replica("one")
        await check_until(ground, {("consumers", ""): "unknown"}, "--consumers", "5", **nothing)
        assert await check(ground, "--consumers", "5", "--also", "lcr", **nothing) == {
            ("consumers", "lcr"): "critical"
        }

    async def test_requests_wait(self, ground: Ground) -> None:
        await ground.replica("one")
        ground.abandoned()
        for _ in range(3):
            await ground.sim.suspend("invite", {})
        nobody = {("consumers", "lcr"): "critical"}
        await check_until(ground, {**nobody, ("queue_depth", "lcr"): "warning"}, "--queue-depth", "2:100")

    async def test_dead_letters(self, ground: Ground) -> None:
        await ground.replica("one")
        await check_until(ground, {})
        ground.sim.emit_payload(b"not:understood")
        await check_until(ground, {("dead_letters", ""): "warning"})
        await check_until(ground, {}, "--dead-letters", "1")
        await check_until(ground, {("dead_letters", ""): "critical"}, "--dead-letters", "0")


class TestCalls:
    async def test_fallbacks(self, ground: Ground) -> None:
        await ground.replica("one")
        few = await ground.calls(5, "nobody_decides")
        assert {call["outcome"] for call in few} == {"unroutable"}
        # Nobody decided any: of so few that is a warning.
        await check_until(ground, {("fallback_rate", ""): "warning"})
        why = "100.0% of 5 calls in 60 s got the fallback (5 unroutable); no queue gets nobody_decides"
        await says(ground, why)
        await ground.calls(20, "nobody_decides")
        await check_until(ground, {("fallback_rate", ""): "critical"})
        await check_until(ground, {("fallback_rate", ""): "warning"}, "--fallback-rate", "50%:100%")
        await check_until(ground, {}, "--fallback-rate", "100%")

    async def test_latency(self, ground: Ground) -> None:
        ground.service()
        await ground.replica("one")
        await ground.calls(25)
        await check_until(ground, {("p99", ""): "critical"}, "--p99", "0ms")
        await check_until(ground, {}, "--p99", "20s")

    async def test_in_flight_and_the_oldest(self, ground: Ground) -> None:
        service = ground.service(decide=lambda _: None)
        await ground.replica("one", rules={"default": {"deadline": 60.0}})
        for _ in range(3):
            await ground.sim.suspend("invite", {})
        await until(lambda: service.kept >= 3)  # asked again what came while it became ready
        # Redis is told of the last ones some milliseconds after they are published.
        found = {("inflight", ground.node): "warning", ("oldest", ground.node): "warning"}
        await check_until(ground, found, "--inflight", "2:50", "--oldest", "0ms:60s")
        await check_until(ground, {("inflight", ground.node): "critical"}, "--inflight", "2")


class TestUnknown:
    @pytest.mark.parametrize(
        "words",
        [
            ("--bogus",),
            ("--format", "xml"),
            ("extra",),
        ],
    )
    async def test_wrong_usage(self, words: tuple[str, ...]) -> None:
        for run in (evapi_adapter, in_pipes):
            done = await asyncio.to_thread(run, "check", *words)
            assert (done.code, done.out) == (UNKNOWN, "")
            assert "Error" in done.err

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "EVAPI_REDIS_URL: is not set"),
            (("--redis-url", "http://x"), "EVAPI_REDIS_URL: does not begin with redis://"),
            (("--redis-url", "redis://x", "--p99", "5"), "--p99: '5' is no limit; write 2s or 1s:2s"),
            (("--redis-url", "redis://x", "--inflight", "9:1"), "--inflight: '9:1'"),
            (("--redis-url", "redis://x", "--policy", "/no/such.toml"), "/no/such.toml cannot be read"),
        ],
    )
    async def test_wrong_settings(self, words: tuple[str, ...], told: str) -> None:
        done = await in_thread("check", *words, "--format", "nagios")
        assert (done.code, done.err) == (UNKNOWN, "")
        assert done.out.startswith(f"EVAPI UNKNOWN - {told}")
        done = await in_thread("check", *words, "--format", "json")
        assert json.loads(done.out)["level"] == "unknown"

    async def test_what_was_asked_for_cannot_be_measured(self, ground: Ground) -> None:
        await ground.replica("one")
        await check_until(ground, {})
        env = {name: value for name, value in ground.env.items() if "AMQP" not in name}
        assert wrong(await in_thread("check", "--format", "json", **env)) == {}
        for flag in ("--dead-letters", "--queue-depth", "--consumers"):
            done = await in_thread("check", flag, "5", "--format", "json", **env)
            assert set(wrong(done).values()) == {"unknown"}
            assert "EVAPI_AMQP_URL is not set" in done.out
