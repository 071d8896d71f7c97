"""The rights that README gives to adapter, service and operator: enough for what each does, and no more."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack
import pika
import pytest
import redis
from pika.exceptions import ChannelClosedByBroker

from adapter.admin.checks_rights import Refusal, Rights
from adapter.observe.command_metrics import FRAME
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, route
from consumers.amqp import presence
from consumers.messages import Result
from tests.cli.command import evapi_adapter
from tests.consumers.asker import running
from tests.harness.process import free_port
from tests.harness.rabbitmq import version
from tests.harness.readme import block
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from adapter.app import Bridge
    from tests.cli.command import Done
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

pytestmark = pytest.mark.usefixtures("patient_doctor")

ADAPTER, SERVICE, OPERATOR = "evapi-adapter", "least-cost", "operator"
NODE = "sbc1"
LOOKS_NEED_A_RIGHT = (4, 2, 6)
"""The RabbitMQ from which on nobody may look at a queue without any right to it."""
REPLY = msgpack.packb({"action": "route", "uri": "sip:forged.example.net"})


class Users:
    """The users of README's lines, on one vhost and one Redis."""

    def __init__(self, rabbitmq: RabbitServer, vhost: str, redis_server: RedisServer) -> None:
        self._rabbitmq = rabbitmq
        self._at = vhost.partition("@")[2]
        self.vhost = vhost.rpartition("/")[2]
        self._redis = redis_server
        self.names: list[str] = []
        self.passwords: dict[str, str] = {}

    def follow(self, line: str) -> None:
        """Do what a line of README's says, by the management API: rabbitmqctl takes a second for each."""
        match shlex.split(line, comments=True):
            case ["rabbitmqctl", "add_user", name, password]:
                self._rabbitmq.call("PUT", f"users/{name}", {"password": password, "tags": ""})
                self.names.append(name)
                self.passwords[name] = password
            case ["rabbitmqctl", "set_permissions", "-p", "/", name, configure, write, read]:
                given = {"configure": configure, "write": write, "read": read}
                self._rabbitmq.call("PUT", f"permissions/{self.vhost}/{name}", given)
            case ["rabbitmqctl", "set_topic_permissions", "-p", "/", name, exchange, write, read]:
                given = {"exchange": exchange, "write": write, "read": read}
                self._rabbitmq.call("PUT", f"topic-permissions/{self.vhost}/{name}", given)
            case ["ACL", "SETUSER", name, *rules]:
                self._redis.ask("ACL", "SETUSER", name, *rules)
            case []:
                pass
            case words:
                raise AssertionError(f"{words}: what is it?")

    def forget(self) -> None:
        for name in self.names:
            self._rabbitmq.call("DELETE", f"users/{name}")
        for name in (ADAPTER, OPERATOR):
            self._redis.ask("ACL", "DELUSER", name)
        for key in self._redis.ask("KEYS", "evapi:*"):
            self._redis.ask("DEL", key.decode())

    def amqp(self, name: str) -> str:
        return f"amqp://{name}:{self.passwords[name]}@{self._at}"

    def redis(self, name: str) -> str:
        return f"redis://{name}:{self.passwords[name]}@127.0.0.1:{self._redis.port}/0"

    def urls(self, name: str) -> dict[str, str]:
        return {"amqp_url": self.amqp(name), "redis_url": self.redis(name)}

    def client(self, name: str) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.amqp(name)))

    async def answering(self) -> dict[str, Any]:
        """What the operator sees of the only service, once its instance has answered: it has 1 s for that."""
        found: list[dict[str, Any]] = []

        async def answered() -> bool:
            found[:] = rows(await self.operate("services", "-o", "jsonl"))
            return [len(each["instances"]) for each in found] == [1]

        await until(answered)
        return found[0]

    async def operate(self, *words: str, api: str = "") -> Done:
        """Run a command as the operator. ``api``: the management API; by default there is none."""
        variables = {f"EVAPI_{key.upper()}": url for key, url in self.urls(OPERATOR).items()}
        away = f"http://127.0.0.1:{free_port()}"
        return await asyncio.to_thread(evapi_adapter, *words, EVAPI_AMQP_API=api or away, **variables)


@pytest.fixture
def users(managed_rabbitmq: RabbitServer, vhost: str, redis_server: RedisServer) -> Iterator[Users]:
    found = Users(managed_rabbitmq, vhost, redis_server)
    with pika.BlockingConnection(pika.URLParameters(vhost)) as client:  # as README says for 4.3
        for name in ("evapi.events", "evapi.services"):
            client.channel().exchange_declare(name, "topic", durable=True)
    lines = block("sh", "set_permissions") + block("", "ACL SETUSER")
    assert len(re.findall("^rabbitmqctl|^ACL", lines, re.MULTILINE)) == 10
    try:
        for line in lines.splitlines():
            found.follow(line)
            if SERVICE in line:  # another service's are alike
                found.follow(
                    line.replace(SERVICE, "screening")
                    .replace("least_cost", "screening")
                    .replace("invite", "screening")
                )
        yield found
    finally:
        found.forget()


def rows(done: Done) -> list[dict[str, Any]]:
    lines = done.out.splitlines()  # the bridge logs to the same place
    return [json.loads(line) for line in lines if line.startswith("{")]


class HeldService:
    """A service whose handler waits until it is let go."""

    def __init__(self, name: str = "least_cost", event: str = "invite_request") -> None:
        self.service = Service(name)
        self.go = asyncio.Event()
        self.asked: list[Request] = []
        self.service.on(event)(self._decide)

    async def _decide(self, request: Request) -> Any:
        self.asked.append(request)
        await self.go.wait()
        if request.data.get("fail"):
            raise RuntimeError("as told")
        return route("sip:gw1.example.net")


@pytest.fixture
async def bridge(users: Users) -> AsyncIterator[tuple[Bridge, SimulatedKamailio]]:
    """With the adapter's rights, in the installation that the lines are for."""
    options = {**users.urls(ADAPTER), "redis_prefix": "evapi", "journal_payloads": "true"}
    rules = {"default": {"deadline": 8.0}}
    async with SimulatedKamailio() as sim, bridged(sim, NODE, options, rules) as made:
        yield made, sim


def problems(made: Bridge) -> Any:
    return made.broker.problems


def refusals(made: Bridge) -> tuple[float, int]:
    return made.metrics.trip.replies_refused._value.get(), made.broker.counts["refused"]


def pushed(made: Bridge) -> float:
    return float(made.metrics.commands.commands.labels(NODE, FRAME, "done")._value.get())


async def test_calls_are_decided_with_exactly_these_rights(
    users: Users, bridge: tuple[Bridge, SimulatedKamailio]
) -> None:
    made, sim = bridge
    held = HeldService()
    held.go.set()
    async with running(held.service, users.amqp(SERVICE), requests_from=[ADAPTER, OPERATOR]):
        for _ in range(3):
            call = await sim.suspend("invite_request", {})
            assert (await call.resumed())["outcome"] == "decided"
        call = await sim.suspend("invite_request", {"fail": True})
        assert (await call.resumed())["outcome"] == "failed"
        with users.client(SERVICE) as client:  # one that rejects what it is given
            channel = client.channel()
            channel.basic_publish(
                "", "evapi.decide.least_cost", b"\xc1", pika.BasicProperties(user_id=SERVICE)
            )
            await until(lambda: held.service.counts[Result.REFUSED])
        for hop in ("consumer", "queue", "work"):
            assert made.metrics.registry.get_sample_value("evapi_hop_seconds_count", {"hop": hop}) == 4
        listed = await users.answering()
        (instance,) = listed["instances"]
        assert (listed["name"], listed["events"], listed["remark"]) == ("least_cost", ["invite_request"], "")
        assert (instance["decided"], instance["failed"]) == (3, 1)
        assert instance["error"].startswith("invite_request: RuntimeError at test_rights.py, line ")
        call = await sim.suspend("nobody_decides_this", {})
        assert (await call.resumed())["outcome"] == "unroutable"
    assert problems(made) == {}
    assert made.replicas.store_ready
    assert refusals(made) == (0, 0)
    async with Rights(users.amqp(ADAPTER)) as rabbit:
        assert await rabbit.refused([NODE]) == [], "doctor asks for no more than README gives"


async def test_a_service_without_the_right_to_say_hello_serves_all_the_same(
    users: Users,
    bridge: tuple[Bridge, SimulatedKamailio],
    managed_rabbitmq: RabbitServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the rights that a service had before there were hellos."""
    monkeypatch.setattr(presence, "FIRST_RETRY", 0.05)
    given = {
        "configure": r"^evapi\.(decide\.least_cost|handles\.least_cost\..*)$",
        "write": r"^(evapi\.decide\.least_cost|evapi\.dead|amq\.default)$",
        "read": r"^evapi\.(decide\.least_cost|handles\.least_cost\..*|events)$",
    }
    managed_rabbitmq.call("PUT", f"permissions/{users.vhost}/{SERVICE}", given)
    _, sim = bridge
    held = HeldService()
    held.go.set()
    async with running(held.service, users.amqp(SERVICE)):
        await until(lambda: "cannot say hello" in caplog.text)
        for _ in range(3):
            call = await sim.suspend("invite_request", {})
            assert (await call.resumed())["outcome"] == "decided"
        words = ("services", "--also", "least_cost", "-o", "jsonl")
        (listed,) = rows(await users.operate(*words))
        assert listed["instances"] == []
        if version() < LOOKS_NEED_A_RIGHT:
            assert (listed["consumers"], listed["hidden"], listed["remark"]) == (1, False, "")
        else:
            assert (listed["consumers"], listed["hidden"]) == (None, True)
            assert listed["remark"].startswith("RabbitMQ does not let this user look at its queue")

        async def is_seen() -> bool:
            """Once the API knows the queue, whose figures are some seconds old."""
            (told,) = rows(await users.operate(*words, api=managed_rabbitmq.api))
            if told["consumers"] != 1:
                assert told["hidden"] or told["consumers"] == 0, told
                return False
            assert (told["hidden"], told["remark"]) == (False, "")
            return True

        await until(is_seen, pause=0.1)
    assert caplog.text.count("cannot say hello") == 1


class TestForgery:
    """What a service with its own rights may send, for a call that another has."""

    async def test_it_decides_nothing(self, users: Users, bridge: tuple[Bridge, SimulatedKamailio]) -> None:
        made, sim = bridge
        held = HeldService()
        async with running(held.service, users.amqp(SERVICE), requests_from=[ADAPTER]):
            call = await sim.suspend("invite_request", {})
            await until(lambda: held.asked)
            plain = f"{NODE}:{call.index}:{call.label}:{call.seq}"
            sent = sim.counters.resumed
            with users.client("screening") as client:
                channel = client.channel()
                self.forge(channel, plain)
                await until(lambda: refusals(made) == (4, 2))
            await until(lambda: made.broker.counts["dead_letters"] == 6)
            assert sim.counters.resumed == sent, "the call goes on"
            held.go.set()
            answer = await call.resumed()
            assert (answer["outcome"], answer["decision"]["uri"]) == ("decided", "sip:gw1.example.net")
            assert answer["correlation_id"].startswith(f"{plain}:")
        assert pushed(made) == 0

        async def kept() -> bool:
            done = await users.operate("dead-letters", "list", "-o", "jsonl")
            reasons = [letter["reason"] for letter in rows(done)]
            return sorted(reasons) == ["rejected", *["wrong-exchange"] * 2, *["wrong-tag"] * 4]

        await until(kept)

    @staticmethod
    def forge(channel: Any, plain: str) -> None:
        results, wrong = f"evapi.results.{NODE}", f"{plain}:AAAAAAAAAAAA"
        for id_ in (plain, wrong):
            reply = pika.BasicProperties(content_type="application/msgpack", correlation_id=id_)
            channel.basic_publish("", results, REPLY, reply)
        failed = pika.BasicProperties(headers={"x-status": "failed"}, correlation_id=plain)
        channel.basic_publish("", results, b"", failed)
        by_hand = {"content_type": "application/json", "headers": {"x-status": "operator"}}
        channel.basic_publish("", results, b"{}", pika.BasicProperties(correlation_id=plain, **by_hand))
        death = {"reason": "rejected", "queue": "evapi.decide.least_cost"}
        headers = {"x-death": [death], "x-first-death-reason": "rejected", "x-node": NODE}
        dead = pika.BasicProperties(correlation_id=plain, headers=headers)
        channel.basic_publish("evapi.dead", f"invite_request.{NODE}", b"", dead)
        channel.basic_publish("", f"evapi.commands.{NODE}", b'{"hang":"up"}')

    async def test_nor_does_it_ask_another_service(
        self, users: Users, bridge: tuple[Bridge, SimulatedKamailio]
    ) -> None:
        _, sim = bridge
        held = HeldService()
        held.go.set()
        body = msgpack.packb({"event": "invite_request", "node": NODE, "data": {}})
        async with running(held.service, users.amqp(SERVICE), requests_from=[ADAPTER]):
            with users.client("screening") as client:
                channel = client.channel()
                for user in (None, "screening"):
                    channel.basic_publish(
                        "", "evapi.decide.least_cost", body, pika.BasicProperties(user_id=user)
                    )
                forged = pika.BasicProperties(user_id=ADAPTER)
                send = partial(_publish, "evapi.decide.least_cost", body, forged)
                assert answer(channel, send) == 406, "user_id is verified"
            await until(lambda: held.service.counts[Result.REFUSED] == 2)
            assert held.asked == []
            call = await sim.suspend("invite_request", {})
            assert (await call.resumed())["outcome"] == "decided"


FORBIDDEN: dict[str, Callable[[Any], object]] = {
    "command": lambda channel: channel.basic_publish("evapi.commands", NODE, b"{}"),
    "answer by hand": lambda channel: channel.basic_publish("evapi.operator", NODE, b"{}"),
    "event": lambda channel: channel.basic_publish("evapi.events", f"invite_request.{NODE}", b""),
    "take replies": lambda channel: channel.basic_get(f"evapi.results.{NODE}"),
    "take dead letters": lambda channel: channel.basic_get("evapi.dead-letters"),
    "take another's requests": lambda channel: channel.basic_get("evapi.decide.screening"),
    "get another's events": lambda channel: channel.queue_bind(
        "evapi.decide.least_cost", "evapi.events", "screening_request.*"
    ),
    "get every event": lambda channel: channel.queue_bind("evapi.decide.least_cost", "evapi.events", "#"),
    "get what died": lambda channel: channel.queue_bind("evapi.decide.least_cost", "evapi.dead", ""),
    "declare what is not its own": lambda channel: channel.queue_declare("evapi.results.sbc9"),
    "say hello in another's name": lambda channel: channel.basic_publish(
        "evapi.services", "hello.screening.x", b"{}"
    ),
    "ask who is there": lambda channel: channel.basic_publish("evapi.services", "ask", b""),
    "hear who is there": lambda channel: channel.queue_bind(
        "evapi.decide.least_cost", "evapi.services", "hello.#"
    ),
    "take another's questions": lambda channel: channel.queue_declare("evapi.asked.screening.x"),
    "delete where they say hello": lambda channel: channel.exchange_delete("evapi.services"),
    "an alternate exchange": lambda channel: channel.exchange_declare(
        "evapi.decide.least_cost", arguments={"alternate-exchange": "evapi.operator"}
    ),
    "bind an exchange of its own to another": lambda channel: (
        channel.exchange_declare("evapi.decide.least_cost"),
        channel.exchange_bind("evapi.commands", "evapi.decide.least_cost", "x"),
    ),
    "a way for its dead letters": lambda channel: (
        channel.queue_delete("evapi.decide.least_cost"),
        channel.queue_declare(
            "evapi.decide.least_cost", arguments={"x-dead-letter-exchange": "evapi.operator"}
        ),
    ),
}


def answer(channel: Any, attempt: Callable[[Any], object]) -> int:
    """With which code RabbitMQ refuses it."""
    try:
        attempt(channel)
        channel.basic_qos(prefetch_count=1)  # a publication has no answer of its own
    except ChannelClosedByBroker as exc:
        return int(exc.reply_code)
    return 200


def _publish(queue: str, body: bytes, properties: pika.BasicProperties, channel: Any) -> None:
    channel.basic_publish("", queue, body, properties)


def _command(node: str, channel: Any) -> None:
    channel.basic_publish("evapi.commands", node, b"{}")


async def test_what_rabbitmq_forbids_a_service(
    users: Users, bridge: tuple[Bridge, SimulatedKamailio]
) -> None:
    async with (
        running(HeldService().service, users.amqp(SERVICE)),
        running(HeldService("screening", "screening_request").service, users.amqp("screening")),
    ):
        with users.client(SERVICE) as client:
            for what, attempt in FORBIDDEN.items():
                channel = client.channel()
                assert answer(channel, attempt) == 403, what


async def test_what_rabbitmq_forbids_an_adapter_and_an_operator(
    users: Users, bridge: tuple[Bridge, SimulatedKamailio]
) -> None:
    service: dict[str, Callable[[Any], object]] = {
        "take its requests": lambda channel: channel.basic_get("evapi.decide.least_cost"),
        "bind it": lambda channel: channel.queue_bind("evapi.decide.least_cost", "evapi.events", "x.*"),
    }
    command, by_hand, event = (FORBIDDEN[each] for each in ("command", "answer by hand", "event"))
    more = {
        ADAPTER: {"command": command, "by hand": by_hand},
        OPERATOR: {"replies": FORBIDDEN["take replies"]},
    }
    async with running(HeldService().service, users.amqp(SERVICE)):
        for user, others in more.items():
            with users.client(user) as client:
                for what, attempt in (service | others).items():
                    channel = client.channel()
                    assert answer(channel, attempt) == 403, (user, what)
    with users.client(OPERATOR) as client:
        channel = client.channel()
        event(channel)
        channel.basic_qos(prefetch_count=1)


async def test_who_may_ask_kamailio(users: Users, bridge: tuple[Bridge, SimulatedKamailio]) -> None:
    """An operator; and a service only with the two lines more that README has for it, of that node alone."""
    told = rows(await users.operate("kamailio", "rpc", NODE, "core.version", "-o", "jsonl"))
    assert [row["outcome"] for row in told] == ["done"]
    lines = block("sh", "set_permissions").splitlines()
    (line,) = (each for each in lines if f"set_permissions -p / {SERVICE} " in each)
    users.follow(line.replace("(evapi\\.(decide", "(evapi\\.(commands|decide"))
    users.follow(f"rabbitmqctl set_topic_permissions -p / {SERVICE} evapi.commands '^{NODE}$' '^$'")
    held = HeldService()
    async with running(held.service, users.amqp(SERVICE)):
        reply = await held.service.ask_kamailio(NODE, "rpc", method="core.version")
        assert reply.done, reply
    with users.client(SERVICE) as client:
        assert answer(client.channel(), partial(_command, "sbc2")) == 403


async def test_an_operator_operates(users: Users, bridge: tuple[Bridge, SimulatedKamailio]) -> None:
    made, sim = bridge
    held = HeldService()
    async with running(held.service, users.amqp(SERVICE), requests_from=[ADAPTER, OPERATOR]):
        call = await sim.suspend("invite_request", {"call_id": "a@h"})
        await until(lambda: held.asked)
        id_ = f"{NODE}:{call.index}:{call.label}:{call.seq}"

        async def listed() -> bool:  # Redis is told some milliseconds after the call is claimed
            found = rows(await users.operate("inflight", "list", "-o", "jsonl"))
            return [row["id"] for row in found] == [id_]

        await until(listed)
        words = ("--decision", '{"action":"allow"}', "--reason", "test", "--yes")
        done = await users.operate("inflight", "settle", f"{id_}:AAAAAAAAAAAA", *words)
        assert (done.code, done.err) == (0, "")
        answer = await call.resumed()
        assert (answer["outcome"], answer["decision"]) == ("operator", {"action": "allow"})
        held.go.set()

        async def traced() -> bool:  # the journal is written twice a second
            found = await users.operate("trace", answer["correlation_id"])
            return (found.code, "operator" in found.out) == (0, True)

        await until(traced)
        assert (await users.operate("send", "--event", "invite_request")).code == 0
        assert (await users.operate("send", NODE, '{"reload":"gateways"}')).code == 0
        await until(lambda: pushed(made) == 1)
        done = await users.operate("kamailio", "hangup", NODE, "a@b", "-o", "json")
        assert (done.code, '"done"' in done.out) == (0, True), done
        await replays(users, held)
        await asks_again(users, sim, held)
        checked = await users.operate("check")
        assert checked.code in (0, 1), checked
        doctor = rows(await users.operate("doctor", "-o", "jsonl"))
        found = {(each["group"], each["check"]): each["status"] for each in doctor}
        assert found["rabbitmq", "rights"] == found["redis", "rights"] == "ok"
        assert found["rabbitmq", "reachable"] == found["redis", "reachable"] == "ok"
        replica = made.membership.replica.partition("~")[0]
        assert (await users.operate("drain", replica, "--reason", "test", "--yes")).code == 0
        await until(lambda: made.membership.drain_ordered)
        assert (await users.operate("resume", replica)).code == 0
        await until(lambda: not made.membership.drain_ordered)
    assert problems(made) == {}


async def replays(users: Users, held: HeldService) -> None:
    """A request that was rejected is found, seen, and asked again, in the operator's name."""
    body = msgpack.packb({"event": "invite_request", "node": NODE, "data": {"again": True}})
    death = {"reason": "rejected", "queue": "evapi.decide.least_cost"}
    dead = {"x-death": [death], "x-first-death-reason": "rejected", "x-node": NODE}
    with users.client(SERVICE) as client:
        channel = client.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(headers=dead)
        channel.basic_publish("evapi.dead", f"invite_request.{NODE}", body, properties)
    assert rows(await users.operate("dead-letters", "list", "-o", "jsonl"))
    assert (await users.operate("dead-letters", "show", "1")).code == 0
    replayed = await users.operate("dead-letters", "replay", "--even-late")
    assert replayed.code == 0, replayed
    await until(lambda: any(request.data.get("again") for request in held.asked))
    assert (await users.operate("dead-letters", "purge", "--yes")).code == 0


NOT_TOLD_YET = ("no replica has a journal", "none of which a service decided", "still wait")
"""What `replay` says of a call of this moment, which the journal, written a batch at a time, has not yet."""


async def asks_again(users: Users, sim: SimulatedKamailio, held: HeldService) -> None:
    """A call that is over is asked about once more, in the operator's name, at the queue of a service."""
    call = await sim.suspend("invite_request", {"call_id": "b@h"})
    assert (await call.resumed())["outcome"] == "decided"
    words = ("--event", "invite_request", "--service", "least_cost", "--timeout", "10s", "-o", "jsonl")

    async def asked() -> bool:
        """Once the journal has the call's end."""
        done = await users.operate("replay", *words)
        if not rows(done):
            assert any(reason in done.err for reason in NOT_TOLD_YET), done
            return False
        (row,) = rows(done)
        assert (done.code, row["counts"]["same"], row["counts"]["asked"]) == (0, 1, 1), row
        return True

    await until(asked, pause=0.1)
    assert [request.data["call_id"] for request in held.asked if request.call_id == "b@h"] == ["b@h"] * 2


REDIS_FORBIDDEN = {
    ADAPTER: (
        *(("SET", "other", 1), ("GET", "other"), ("DEL", "evapi:x"), ("APPEND", "evapi:x", "y")),
        *(("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*")),
    ),
    OPERATOR: (
        *(("SET", "evapi:cache:x", 1), ("GET", "evapi:cache:x")),
        *(("HSET", "evapi:{sbc1}:records", "x", "y"), ("DEL", "evapi:orders"), ("FLUSHALL",)),
        *(("XADD", "evapi:journal:r", "*", "a", "b"), ("EVAL", "return 1", 0), ("HGET", "other", "x")),
    ),
}


@pytest.mark.parametrize("user", REDIS_FORBIDDEN)
def test_what_redis_forbids(users: Users, user: str) -> None:
    with redis.Redis.from_url(users.redis(user)) as client:
        for command in REDIS_FORBIDDEN[user]:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


@pytest.mark.parametrize("right", ["configure", "write", "read"])
async def test_doctor_misses_each_right_that_is_not_given(
    users: Users, managed_rabbitmq: RabbitServer, bridge: tuple[Bridge, SimulatedKamailio], right: str
) -> None:
    """README gives no right that nothing needs: without each of them, doctor names what is refused."""
    (line,) = [each for each in block("sh", "set_permissions").splitlines() if f"/ {ADAPTER} '" in each]
    words = shlex.split(line)
    given = dict(zip(("configure", "write", "read"), words[-3:], strict=True))
    ours, _, others = given[right].partition("$|^")
    names = re.findall(r"[a-z][a-z\\.-]*", ours.partition("(")[2])
    missing = {each: f"evapi.{each}" for each in names if each not in ("results", "commands")}
    missing |= {each: each for each in [others.removesuffix("$")] if each}
    for pattern, name in missing.items():
        left = re.sub(rf"([(|^]){re.escape(pattern)}(?=[|)$])", r"\1nothing", given[right], count=1)
        assert left != given[right]
        managed_rabbitmq.call("PUT", f"permissions/{users.vhost}/{ADAPTER}", {**given, right: left})
        async with Rights(users.amqp(ADAPTER)) as rabbit:
            found = await rabbit.refused([NODE])
        assert Refusal(right, name.replace("\\", "")) in found, name
