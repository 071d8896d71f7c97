"""Doctor with the real Redis and RabbitMQ: faults that are planted there are found, and nothing else."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pika
import pytest

from adapter.admin import checks_redis, checks_replicas, checks_services, doctor
from adapter.admin.checks_finding import Finding, Status
from adapter.admin.checks_rights import Refusal, Rights
from adapter.admin.checks_settings import read
from adapter.admin.doctor import examine
from adapter.admin.rabbit import NoRights, QueueState, Rabbit
from adapter.inflight.redis import RedisStore
from adapter.model.beat import Beat
from adapter.model.transaction import Transaction, TransactionId
from adapter.observe.journal import Journal
from tests.cli.ground import Ground, on_ground
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}


class Report(NamedTuple):
    """What doctor found."""

    found: list[Finding]
    replicas: int

    @property
    def bad(self) -> list[tuple[str, str, str]]:
        """Group, check and how bad, of all that is wrong."""
        wrong = [each for each in self.found if each.status in (Status.WARNING, Status.ERROR)]
        assert all(each.why and each.todo for each in wrong)
        return [(each.group, each.check, str(each.status)) for each in wrong]

    @property
    def unknown(self) -> set[tuple[str, str]]:
        """Group and check of all that could not be looked at."""
        return {(each.group, each.check) for each in self.found if each.status is Status.UNKNOWN}

    def of(self, group: str, check: str) -> Finding:
        """The one finding of a check."""
        (found,) = (each for each in self.found if (each.group, each.check) == (group, check))
        return found


async def report(*services: str, **flags: Any) -> Report:
    """Look at the site that these flags tell of."""
    site, before = read(services, **flags)
    found, replicas = await examine(site)
    return Report([*before, *found], replicas)


async def redis_alone(url: str, **flags: Any) -> list[tuple[str, str, str]]:
    """What is wrong with Redis, apart from the adapters that are not there."""
    found = await report(redis_url=url, **flags)
    return [each for each in found.bad if each[0] == "redis"]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, patient_doctor: None) -> None:
    for name in ("EVAPI_NODES", "EVAPI_AMQP_URL", "EVAPI_AMQP_API", "EVAPI_REDIS_URL", "EVAPI_POLICY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as found:
        yield found


def flags(ground: Ground, **more: str) -> dict[str, str]:
    """The site of a ground."""
    given = {name.removeprefix("EVAPI_").lower(): value for name, value in ground.env.items()}
    return {**given, **more}


@pytest.fixture
async def pair(ground: Ground) -> Ground:
    """Two replicas and a service: nothing is wrong."""
    ground.service()
    for name in ("r1", "r2"):
        bridge = await ground.replica(name)
        await bridge.replicas.beat()
    await bound(ground)
    return ground


async def bound(ground: Ground) -> None:
    """Wait until RabbitMQ has all that there should be: an adapter is ready before its bindings are there."""

    async def all_there() -> bool:
        return (await ground.run("topology", "diff", "--also", "lcr")).code == 0

    await until(all_there)


class TestRedis:
    @pytest.fixture
    def limited(self, tmp_path: Path) -> Iterator[RedisServer]:
        options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
        with RedisServer(tmp_path, options) as server:
            yield server

    async def test_one_as_it_should_be(self, redis_server: RedisServer) -> None:
        found = await report(redis_url=redis_server.url)
        assert [each for each in found.bad if each[0] == "redis"] == []
        checks = [each.check for each in found.found if each.group == "redis"]
        assert checks == ["reachable", "version", "memory-policy", "memory", "clock", "rights"]
        assert "tried" in found.of("redis", "version").seen

    async def test_one_that_may_forget_calls(self, limited: RedisServer) -> None:
        assert await redis_alone(limited.url) == [("redis", "memory-policy", "error")]
        limited.ask("CONFIG", "SET", "maxmemory", "0")
        assert await redis_alone(limited.url) == [("redis", "memory-policy", "warning")]
        limited.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert await redis_alone(limited.url) == []

    async def test_one_that_is_nearly_full(self, limited: RedisServer) -> None:
        limited.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        limited.ask("SET", "ballast", "x" * 40_000_000)
        used = int(limited.ask("INFO", "memory").split(b"used_memory:")[1].split()[0])
        for share, status in ((0.88, "warning"), (0.97, "error")):
            limited.ask("CONFIG", "SET", "maxmemory", str(int(used / share)))
            assert ("redis", "memory", status) in await redis_alone(limited.url)
        limited.ask("CONFIG", "SET", "maxmemory", "1mb")
        found = await report(redis_url=limited.url)
        assert found.of("redis", "rights").seen.startswith("it is out of memory")

    async def test_one_that_takes_no_writes(self, redis_server: RedisServer, tmp_path: Path) -> None:
        with RedisServer(tmp_path) as replica:
            replica.ask("REPLICAOF", "127.0.0.1", redis_server.port)
            found = await report(redis_url=replica.url)
        assert found.of("redis", "rights").seen.startswith("this server is a replica")

    @pytest.mark.parametrize(
        "rules",
        [
            ["~evapi:*", "+@read", "+@connection", "+info", "+time"],
            ["~evapi:*", "+@all", "-zadd"],
            ["~evapi:*", "+@all", "-@scripting"],
            ["~other:*", "+@all"],
            ["+@connection"],
        ],
    )
    async def test_a_user_without_rights(self, limited: RedisServer, rules: list[str]) -> None:
        limited.ask("ACL", "SETUSER", "weak", "on", ">secret", *rules)
        url = limited.url.replace("redis://", "redis://weak:secret@")
        found = await report(redis_url=url)
        assert ("redis", "rights", "error") in found.bad
        rights = found.of("redis", "rights")
        assert "the user may not do what the adapter does" in rights.seen
        assert "secret" not in str(found.found)
        words = rights.todo.split()
        assert words[:3] == ["redis-cli", "ACL", "SETUSER"]
        limited.ask("ACL", "SETUSER", *(word.strip("'") for word in words[3:]))
        assert (await report(redis_url=url)).of("redis", "rights").status is Status.OK

    async def test_what_is_tried_leaves_nothing(self, limited: RedisServer) -> None:
        limited.ask("ACL", "SETUSER", "half", "on", ">x", "~evapi:*", "+@all", "-zadd")
        limited.ask("SET", "evapi:other", "kept")
        for login in ("", "half:x@"):
            await redis_alone(limited.url.replace("redis://", f"redis://{login}"))
            async with asyncio.timeout(10):
                while limited.ask("KEYS", "*") != [b"evapi:other"]:
                    await asyncio.sleep(0.01)
        assert limited.ask("PTTL", "evapi:other") == -1

    async def test_a_wrong_password(self, limited: RedisServer) -> None:
        found = await report(redis_url=limited.url.replace("redis://", "redis://who:hidden@"))
        assert ("redis", "reachable", "error") in found.bad
        assert "the login was refused" in found.of("redis", "reachable").seen
        assert "hidden" not in str(found.found)
        left = {("redis", part) for part in checks_redis.PARTS}
        assert left < found.unknown

    async def test_one_that_may_not_be_asked_about(self, limited: RedisServer) -> None:
        limited.ask("ACL", "SETUSER", "shy", "on", ">x", "~evapi:*", "+@all", "-info")
        found = await report(redis_url=limited.url.replace("redis://", "redis://shy:x@"))
        assert {("redis", part) for part in checks_redis.PARTS[:-1]} < found.unknown
        assert found.of("redis", "rights").status is Status.OK

    async def test_an_old_one_and_one_that_does_not_tell(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: dict[str, Any] = {
            "skew": 0.0,
            "memory": 0,
            "max_memory": 0,
            "memory_policy": "",
            "name": "Redis",
        }

        async def server(_: object) -> dict[str, Any]:
            return told

        monkeypatch.setattr("adapter.inflight.operator.OperatorStore.server", server)
        told["version"] = "6.2.14"
        assert ("redis", "version", "error") in await redis_alone(redis_server.url)
        told["version"] = ""
        found = await report(redis_url=redis_server.url)
        assert {("redis", part) for part in ("version", "memory-policy", "memory")} < found.unknown
        assert found.of("redis", "clock").status is Status.OK

    async def test_one_that_hangs(self, limited: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks_redis, "TIMEOUT", 0.2)
        limited.pause()
        found = await report(redis_url=limited.url)
        assert "does it hang" in found.of("redis", "reachable").seen

    async def test_a_url_that_is_none(self) -> None:
        found = await report(redis_url="redis://127.0.0.1:port/")
        assert ("redis", "reachable", "error") in found.bad


class TestRabbit:
    async def one(self, url: str, **more: Any) -> Report:
        return await report(amqp_url=url, **more)

    @pytest.mark.parametrize(
        ("change", "seen"),
        [
            (lambda url: url.replace("guest:guest", "guest:wrong-one"), "the login was refused"),
            (lambda url: f"{url}-not", "is there a vhost"),
            (lambda _: f"amqp://127.0.0.1:{free_port()}/", "connection refused"),
            (lambda _: "amqp://no-such-host.invalid/", "no such host"),
        ],
    )
    async def test_one_that_lets_nobody_in(self, vhost: str, change: Callable[[str], str], seen: str) -> None:
        found = await self.one(change(vhost))
        assert ("rabbitmq", "reachable", "error") in found.bad
        assert seen in found.of("rabbitmq", "reachable").seen
        assert "wrong-one" not in str(found.found)
        assert {("rabbitmq", "topology"), ("rabbitmq", "rights"), ("services", "service")} < found.unknown

    async def test_one_of_two(self, vhost: str, managed_rabbitmq: RabbitServer) -> None:
        urls = f"amqp://127.0.0.1:{free_port()}/,{vhost}"
        found = await self.one(urls, amqp_api=managed_rabbitmq.api)
        assert found.bad[0] == ("rabbitmq", "reachable", "warning")
        assert [each.check for each in found.found if each.group == "rabbitmq"][:3] == [
            *("reachable", "reachable", "version")
        ]

    async def test_an_empty_one(self, vhost: str, managed_rabbitmq: RabbitServer) -> None:
        found = await self.one(vhost, amqp_api=managed_rabbitmq.api, nodes="sbc1=127.0.0.1:8448")
        missing = [each.of for each in found.found if each.check == "topology"]
        assert {"evapi.events", "evapi.dead", "evapi.commands.sbc1"} < set(missing)
        assert ("services", "service", "error") in found.bad  # nobody decides
        assert ("services", "replies", "error") in found.bad
        assert {each.todo for each in found.found if each.check == "topology"} == {
            "evapi-adapter topology apply"
        }

    async def test_without_the_management_api(self, vhost: str) -> None:
        found = await self.one(vhost, amqp_api=f"http://127.0.0.1:{free_port()}")
        assert {("rabbitmq", "management"), ("rabbitmq", "queue-types")} < found.unknown
        assert ("services", "service") in found.unknown

    async def test_an_alarm(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        managed_rabbitmq.memory_alarm(True)
        try:
            found = await self.one(vhost, amqp_api=managed_rabbitmq.api)
        finally:
            managed_rabbitmq.memory_alarm(False)
        assert ("rabbitmq", "messages", "error") in found.bad
        found = await self.one(vhost, amqp_api=managed_rabbitmq.api)
        assert found.of("rabbitmq", "messages").status is Status.OK

    @pytest.mark.parametrize(
        ("without", "refused"),
        [
            ("configure", {"evapi.dead-letters", "evapi.results.sbc1", "evapi.commands.sbc1"}),
            ("write", {"amq.default", "evapi.events", "evapi.dead", "evapi.results.sbc1"}),
            ("read", {"evapi.commands", "evapi.results.sbc1", "evapi.commands.sbc1"}),
        ],
    )
    @pytest.mark.parametrize("declared", [False, True])
    async def test_a_user_without_rights(
        self, managed_rabbitmq: RabbitServer, vhost: str, without: str, refused: set[str], declared: bool
    ) -> None:
        name, user = vhost.rpartition("/")[2], f"weak-{secrets.token_hex(4)}"
        managed_rabbitmq.call("PUT", f"users/{user}", {"password": "x", "tags": ""})
        managed_rabbitmq.call("PUT", f"permissions/{name}/{user}", {**EVERYTHING, without: ""})
        try:
            if declared:
                await declare(vhost)
            async with Rights(vhost.replace("guest:guest", f"{user}:x")) as rabbit:
                found = await rabbit.refused(["sbc1"])
        finally:
            managed_rabbitmq.call("DELETE", f"users/{user}")
        assert {Refusal(without, each) for each in refused} <= set(found)
        assert {each.right for each in found} == {without}

    async def test_rights_are_told(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        name, user = vhost.rpartition("/")[2], f"weak-{secrets.token_hex(4)}"
        managed_rabbitmq.call("PUT", f"users/{user}", {"password": "x", "tags": "monitoring"})
        managed_rabbitmq.call("PUT", f"permissions/{name}/{user}", {**EVERYTHING, "write": "^evapi.results"})
        url = vhost.replace("guest:guest", f"{user}:x")
        try:
            found = await self.one(url, amqp_api=managed_rabbitmq.api, nodes="sbc1=127.0.0.1:8448")
        finally:
            managed_rabbitmq.call("DELETE", f"users/{user}")
        assert ("rabbitmq", "rights", "error") in found.bad
        rights = found.of("rabbitmq", "rights")
        assert rights.seen.startswith(f"{user} may not write amq.default, evapi.commands.sbc1, evapi.dead,")
        assert rights.todo.startswith(f"rabbitmqctl set_permissions -p {name} {user} ")
        assert found.of("rabbitmq", "messages").status is Status.OK

    async def test_to_try_rights_changes_nothing(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        await declare(vhost)
        with pika.BlockingConnection(pika.URLParameters(vhost)) as client:
            channel = client.channel()
            channel.basic_publish("", "evapi.results.sbc1", b"reply")
            async with Rights(vhost) as rabbit:
                assert await rabbit.refused(["sbc1"]) == []
                assert await rabbit.takes_messages()
            method, _, body = channel.basic_get("evapi.results.sbc1")
            assert (body, method.redelivered) == (b"reply", False)
            assert channel.basic_get("evapi.dead-letters") == (None, None, None)
        found = await self.one(vhost, amqp_api=managed_rabbitmq.api, nodes="sbc1=127.0.0.1:8448")
        assert found.of("rabbitmq", "topology").status is Status.OK


async def declare(vhost: str) -> None:
    """What an adapter of sbc1 declares."""
    from adapter.admin import topology
    from adapter.admin.rabbit import Rabbit
    from adapter.settings import load

    settings = load(bridge=False, amqp_url=vhost, nodes="sbc1=127.0.0.1:8448")
    async with Rabbit(vhost) as rabbit:
        await topology.apply(rabbit, await topology.compare(settings, rabbit, None))


LETTER = pika.BasicProperties(headers={"x-reason": "not-json"})


def on(ground: Ground, work: Callable[[Any], object]) -> None:
    """Do something to its RabbitMQ."""
    with pika.BlockingConnection(pika.URLParameters(ground.amqp_url)) as client:
        work(client.channel())


class TestSite:
    async def test_where_nothing_is_wrong_nothing_is_found(self, pair: Ground) -> None:
        found = await report(**flags(pair))
        assert found.bad == []
        assert found.unknown <= {("replicas", "clock")}
        assert found.replicas == 2
        groups = list(dict.fromkeys(each.group for each in found.found))
        assert groups == ["settings", "redis", "rabbitmq", "replicas", "nodes", "services"]
        assert found.of("nodes", "node").of == pair.node

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            (lambda c: c.queue_delete("evapi.dead-letters"), ("rabbitmq", "topology", "error")),
            (
                lambda c: c.exchange_unbind("evapi.dead.by-node", "evapi.dead"),
                ("rabbitmq", "topology", "error"),
            ),
            (
                lambda c: c.queue_unbind("evapi.decide.lcr", "evapi.events", "invite.*"),
                ("services", "event", "warning"),
            ),
            (
                lambda c: c.queue_declare("evapi.results.gone", durable=True),
                ("rabbitmq", "topology", "warning"),
            ),
            (
                lambda c: c.basic_publish("evapi.dead", "", b"a letter", LETTER),
                ("rabbitmq", "dead-letters", "warning"),
            ),
        ],
    )
    async def test_a_fault_on_rabbitmq(
        self, pair: Ground, tmp_path: Path, fault: Callable[..., Any], expected: tuple[str, str, str]
    ) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite]\nservices = ["lcr"]\n')
        on(pair, fault)
        found = await report(**flags(pair, policy=str(policy)))
        assert set(found.bad) == {expected}

    async def test_queues_that_were_made_otherwise(self, pair: Ground) -> None:
        found = await report(**flags(pair, results_expires="5"))
        assert found.bad == [("rabbitmq", "topology", "error")] * 2
        assert all("x-expires" in each.seen for each in found.found if each.check == "topology")

    async def test_queues_of_two_types(self, pair: Ground) -> None:
        arguments = {"x-queue-type": "quorum"}
        on(pair, lambda c: c.queue_declare("evapi.results.other", durable=True, arguments=arguments))
        found = await report(**flags(pair))
        assert ("rabbitmq", "queue-types", "warning") in found.bad

    async def test_services_that_do_not_decide(self, ground: Ground, tmp_path: Path) -> None:
        await ground.replica("r1")
        ground.abandoned("lcr")
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite]\nservices = ["lcr"]\n[events.other]\nservices = ["fraud"]\n')
        found = await report("third", **flags(ground, policy=str(policy)))
        told = {each.of: each for each in found.found if each.check in ("service", "event")}
        assert {name for name, each in told.items() if each.status is Status.ERROR} == {
            *("lcr", "fraud", "third", "invite", "other")
        }
        assert told["lcr"].seen == "nobody consumes evapi.decide.lcr; 0 requests wait"
        assert told["fraud"].todo == "python -m consumers MODULE:fraud"

    async def test_whoever_the_policy_names_must_be_there(self, pair: Ground, tmp_path: Path) -> None:
        pair.service("screening")
        pair.abandoned("cdr")
        policy = tmp_path / "policy.toml"
        policy.write_text(
            '[events.invite]\nmode = "all"\nservices = ["lcr", "screening", "fraud"]\nbackup = ["lcr_b"]\n'
            'observers = ["cdr"]\nshadows = ["next"]\n[services.fraud]\noptional = true\n'
        )
        found = await report(**flags(pair, policy=str(policy)))
        told = {each.of: each for each in found.found if each.check in ("service", "event")}
        assert {name: each.status.value for name, each in told.items()} == {
            "lcr": "ok",
            "screening": "ok",
            "fraud": "warning",
            "lcr_b": "error",
            "cdr": "warning",
            "next": "warning",
            "invite": "warning",
        }
        assert told["lcr_b"].seen == "it has no queue: it has never run here; it is a backup"
        assert told["cdr"].seen == "nobody consumes evapi.decide.cdr; 0 requests wait; it observes"
        assert told["invite"].seen.endswith("; fraud is not there")

    async def test_queues_that_may_not_be_looked_at(
        self, pair: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """By a user without any right to them, on RabbitMQ 4.3."""
        look = Rabbit.queue

        async def refuse(rabbit: Rabbit, name: str) -> QueueState | None:
            if name.startswith(("evapi.decide.", "evapi.results.")):
                raise NoRights(f"queue {name}: the user has no rights to it")
            return await look(rabbit, name)

        monkeypatch.setattr(Rabbit, "queue", refuse)
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite]\nservices = ["lcr"]\n')
        away = f"http://127.0.0.1:{free_port()}"
        found = await report(**flags(pair, policy=str(policy), amqp_api=away))
        assert found.bad == []
        assert found.unknown >= {("services", each) for each in ("service", "event", "replies")}

    async def test_a_service_that_nobody_names(self, pair: Ground, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.other]\nservices = ["fraud"]\n')
        pair.abandoned("old")
        pair.service("fraud", events=["other"])
        found = await report(**flags(pair, policy=str(policy)))
        assert found.bad == [("services", "service", "warning")]

    async def test_a_service_that_is_too_slow(self, pair: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks_services, "WAITING", -1)
        assert (await report(**flags(pair))).bad == [("services", "service", "warning")]

    async def test_nobody_takes_the_replies(self, pair: Ground) -> None:
        store = RedisStore(pair.redis_url, "r3~x", prefix=pair.node)
        about = {"links": {"sbc9": "receipts"}, "active": ["sbc9"], "http": ""}
        await store.beat(Beat(nodes=frozenset(["sbc9"]), about=about))
        await store.close()
        found = await report(**flags(pair))
        assert ("services", "replies", "error") in found.bad
        replies = {each.of: each for each in found.found if each.check == "replies"}
        assert ("rabbitmq", "topology", "error") in found.bad  # nor of commands
        assert replies["sbc9"].seen == "there is no queue evapi.results.sbc9"
        assert replies[pair.node].status is Status.OK

    async def test_orders_and_one_replica(self, ground: Ground) -> None:
        ground.service()
        bridge = await ground.replica("r1")
        await bridge.replicas.beat()
        await bound(ground)
        assert (await report(**flags(ground))).bad == [("replicas", "replicas", "warning")]
        assert (await ground.run("pause", ground.node, "--yes")).code == 0
        assert ("nodes", "node", "warning") in (await report(**flags(ground))).bad
        assert (await ground.run("resume", ground.node)).code == 0
        assert (await ground.run("drain", "r1", "--yes")).code == 0
        await bridge.replicas.beat()
        await bridge.replicas.beat()
        found = await report(**flags(ground))
        assert ("nodes", "node", "error") in found.bad
        assert ("replicas", "order", "warning") in found.bad
        assert found.of("nodes", "node").todo == "evapi-adapter resume r1"

    async def test_a_replica_whose_clock_is_ahead(self, pair: Ground) -> None:
        store, journal = RedisStore(pair.redis_url, "r3~x", prefix=pair.node), Journal()
        at = time.time() + 30.0
        call = Transaction(TransactionId(pair.node, 1, 1, 1), "invite", at + 2, at, b"", "r3~x")
        journal.claimed(at, [call])
        entry = journal.take()
        assert entry is not None
        await store.note(entry, 60.0)
        await store.beat(Beat(nodes=frozenset([pair.node]), about={"links": {pair.node: "receipts"}}))
        await store.close()
        found = await report(**flags(pair))
        assert ("replicas", "clock", "error") in found.bad
        clock = found.of("replicas", "clock")
        assert clock.of == "r3"
        assert "ahead of" in clock.seen


class TestOrganisation:
    async def test_embedded_settings_say_what_is_left_out(self) -> None:
        found = await report(http=f"127.0.0.1:{free_port()}")
        assert found.bad == [("replicas", "http", "warning")]
        assert {("redis", "reachable"), ("rabbitmq", "reachable"), ("replicas", "replicas")} == found.unknown
        assert all("left out" in found.of(each, "reachable").seen for each in ("redis", "rabbitmq"))

    async def test_settings_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_REDIS_URL_FILE", "/nowhere")
        found = await report()
        assert found.bad == [("settings", "settings", "error")]
        assert found.unknown == {("redis", "reachable"), ("rabbitmq", "reachable")}

    async def test_wrong_urls_are_not_taken_for_none(self) -> None:
        found = await report(redis_url="http://x", amqp_url="http://x")
        assert [each[0] for each in found.bad] == ["settings", "settings"]
        assert "is wrong, see above" in found.of("redis", "reachable").seen
        assert "is wrong, see above" in found.of("rabbitmq", "reachable").seen

    async def test_both_away(self) -> None:
        urls = {
            "redis_url": f"redis://127.0.0.1:{free_port()}",
            "amqp_url": f"amqp://127.0.0.1:{free_port()}/",
        }
        found = await report(**urls)
        assert found.bad == [("redis", "reachable", "error"), ("rabbitmq", "reachable", "error")]
        assert found.replicas == 0

    async def test_rabbitmq_is_looked_at_without_redis(self, pair: Ground) -> None:
        found = await report(**flags(pair, redis_url=f"redis://127.0.0.1:{free_port()}"))
        assert found.bad == [("redis", "reachable", "error")]
        assert ("services", "replies") in found.unknown  # of which nodes?
        named = flags(pair, redis_url="", nodes=f"{pair.node}=127.0.0.1:1", http=f"127.0.0.1:{free_port()}")
        found = await report(**named)
        assert found.of("services", "replies").status is Status.OK

    @pytest.mark.parametrize("broken", [checks_replicas, checks_redis])
    async def test_a_check_that_fails_hides_no_other(
        self, pair: Ground, monkeypatch: pytest.MonkeyPatch, broken: Any
    ) -> None:
        def fails(*_: object) -> Awaitable[object]:
            raise LookupError("no such thing")

        monkeypatch.setattr(broken, "nodes" if broken is checks_replicas else "_version", fails)
        found = await report(**flags(pair))
        group, check = ("nodes", "node") if broken is checks_replicas else ("redis", "version")
        assert found.of(group, check).status is Status.UNKNOWN
        assert "LookupError: no such thing" in found.of(group, check).seen
        assert found.of("services", "service").status is Status.OK

    async def test_a_check_that_takes_too_long_hides_no_other(
        self, pair: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hangs(*_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(doctor, "WHOLE", 5.0)  # the others need far less, on a busy machine, too
        monkeypatch.setattr(checks_redis, "rights", hangs)
        found = await report(**flags(pair))
        assert found.unknown - {("replicas", "clock")} == {("redis", "rights")}
        assert found.of("services", "service").status is Status.OK
