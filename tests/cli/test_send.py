"""``evapi-adapter send`` as an operator meets it: commands, and questions to real consumers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pika
import pytest
from structlog.testing import capture_logs

from adapter.broker.rabbitmq import AmqpBroker
from adapter.cli import send as command
from consumers import Service, route
from consumers.amqp import Runner
from tests.broker.support import Recorder
from tests.cli.command import Done, evapi_adapter
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from adapter.contract import Decision, Request

KEYS = [
    *("event", "node", "correlation_id", "outcome", "decision", "service", "seconds", "detail", "advice"),
]


@pytest.fixture
def send(vhost: str) -> Callable[..., Any]:
    async def run(*words: str, stdin: str = "") -> Done:
        return await asyncio.to_thread(evapi_adapter, "send", *words, stdin=stdin, EVAPI_AMQP_URL=vhost)

    return run


@contextlib.asynccontextmanager
async def consuming(service: Service, url: str) -> AsyncIterator[None]:
    runner = Runner(service, [url])
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(runner.consuming.wait(), 15)
    yield
    runner.stop()
    await running


class TestCommands:
    async def test_to_one_node_and_to_all(self, send: Callable[..., Any], vhost: str) -> None:
        broker, receiver = AmqpBroker(vhost), Recorder()
        with capture_logs():  # else it may speak where the command is listened to
            await self.to_one_node_and_to_all(send, broker, receiver)

    async def to_one_node_and_to_all(
        self, send: Callable[..., Any], broker: AmqpBroker, receiver: Recorder
    ) -> None:
        await broker.start(receiver)
        broker.attach("sbc1")
        await until(lambda: broker.ready and "consuming ['sbc1']" in repr(broker))
        first = await send("sbc1", '{"event":"reload"}')
        assert (first.code, first.err) == (0, "")
        assert first.out.split() == ["OUTCOME", "sent", "NODE", "sbc1", "BYTES", "18"]
        second = await send("all", "-", "-o", "json", stdin=' {"event":"reload"}\n')
        assert json.loads(second.out)["outcome"] == "sent"
        await until(lambda: len(receiver.commands) == 2)
        assert receiver.commands == [("sbc1", b'{"event":"reload"}')] * 2
        nobody = await send("sbc2", "{}")
        assert nobody.code == 1
        assert nobody.out.split()[:2] == ["OUTCOME", "unroutable"]
        assert nobody.err == "no queue is bound for the node sbc2: no adapter has had a link to it lately\n"
        await broker.close()

    async def test_before_any_adapter_was_there(self, send: Callable[..., Any]) -> None:
        done = await send("all", "{}")
        assert (done.code, done.out) == (1, "")
        assert "exchange evapi.commands does not exist; evapi-adapter topology diff" in done.err

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "takes NODE and JSON, or --event NAME"),
            (("sbc1",), "takes NODE and JSON, or --event NAME"),
            (("sbc1", "{}", "--event", "e"), "takes NODE and JSON, or --event NAME"),
            (("sbc1", '{"tm_trans":{}}'), "JSON: Kamailio could not be sent this: not-a-command"),
            (("sbc1", "{"), "JSON: Kamailio could not be sent this: not-json"),
            (("x" * 101, "{}"), "NODE: is a name of 1 to 100 bytes"),
            (("--event", ""), "--event: is a name of 1 to 100 bytes"),
            (("--event", "e", "--data", "{"), "--data: is no JSON"),
            (("--event", "e", "--data", "[]"), "--data: is no JSON object"),
            (("--event", "e", "--data", '{"a":1' + "0" * 30 + "}"), "--data: cannot be sent"),
        ],
    )
    async def test_wrong_usage(self, send: Callable[..., Any], words: tuple[str, ...], told: str) -> None:
        done = await send(*words)
        assert (done.code, done.out) == (2, "")
        assert told in done.err


class TestQuestions:
    @pytest.fixture
    async def service(self, vhost: str) -> AsyncIterator[Service]:
        made = Service("picky")

        @made.on("invite_request")
        def decide(request: Request) -> Decision:
            if request.data.get("boom"):
                raise ValueError("boom")
            assert request.deadline is not None
            return {
                **route("sip:gw1.example.net"),
                "node": request.node,
                "left": request.deadline > time.time(),
            }

        @made.on("slow_request")
        async def wait(request: Request) -> Decision:
            await asyncio.Event().wait()
            return {}

        async with consuming(made, vhost):
            yield made

    @pytest.mark.usefixtures("service")
    async def test_a_decision(self, send: Callable[..., Any]) -> None:
        done = await send("--event", "invite_request", "--node", "sbc1", "-o", "json")
        assert (done.code, done.err) == (0, "")
        row = json.loads(done.out)
        assert list(row) == KEYS
        assert row["decision"] == {
            "action": "route",
            "uri": "sip:gw1.example.net",
            "node": "sbc1",
            "left": True,
        }
        assert (row["outcome"], row["service"], row["node"]) == ("decided", "picky", "sbc1")
        assert row["seconds"] > 0
        shown = await send("--event", "invite_request")
        assert '{"action": "route", "uri": "sip:gw1.example.net"' in shown.out

    @pytest.mark.usefixtures("service")
    async def test_a_service_that_fails(self, send: Callable[..., Any]) -> None:
        done = await send("--event", "invite_request", "--data", "-", stdin='{"boom":true}')
        assert done.code == 1
        assert done.out.split()[:2] == ["OUTCOME", "failed"]
        assert "ValueError" in done.out
        assert done.err == "the service failed or rejected it; see its log\n"

    @pytest.mark.usefixtures("service")
    async def test_no_reply_in_time(self, send: Callable[..., Any]) -> None:
        done = await send("--event", "slow_request", "--timeout", "2")  # in which it comes to the service
        assert done.code == 1
        assert "no reply within 2 s: a service has the question, or had it; see its log" in done.err

    @pytest.mark.usefixtures("service")
    async def test_nobody_is_bound(self, send: Callable[..., Any]) -> None:
        done = await send("--event", "other_request", "-o", "jsonl")
        assert done.code == 1
        assert json.loads(done.out)["outcome"] == "unroutable"
        assert "no queue is bound for other_request" in done.err

    async def test_nobody_consumes(
        self, send: Callable[..., Any], vhost: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(command, "MORE_TIME", 20.0)  # RabbitMQ tells of it, in its own time
        channel = pika.BlockingConnection(pika.URLParameters(vhost)).channel()
        self.declare(channel)
        done = await send("--event", "invite_request", "--timeout", "0.05")
        assert done.code == 1
        assert "no service took it off its queue within 0.05 s" in done.err
        channel.connection.close()

    async def test_a_consumer_that_rejects(self, send: Callable[..., Any], vhost: str) -> None:
        channel = pika.BlockingConnection(pika.URLParameters(vhost)).channel()
        self.declare(channel)
        asking = asyncio.create_task(send("--event", "invite_request", "--timeout", "20", "-o", "json"))
        channel.basic_reject(await self.question(channel), requeue=False)
        row = json.loads((await asking).out)
        assert (row["outcome"], row["service"], row["detail"]) == ("failed", "x", "rejected")
        channel.connection.close()

    async def test_a_reply_that_is_none(self, send: Callable[..., Any], vhost: str) -> None:
        channel = pika.BlockingConnection(pika.URLParameters(vhost)).channel()
        self.declare(channel)
        asking = asyncio.create_task(send("--event", "invite_request", "--timeout", "20", "-o", "json"))
        await self.question(channel)
        stray = pika.BasicProperties(correlation_id="another")
        channel.basic_publish("", self.reply_to, b"", stray)
        answer = pika.BasicProperties(correlation_id=self.correlation_id, content_type="text/plain")
        channel.basic_publish("", self.reply_to, b"route", answer)
        done = await asking
        row = json.loads(done.out)
        assert (done.code, row["outcome"]) == (1, "malformed")
        assert row["detail"].startswith("format")
        channel.connection.close()

    reply_to = correlation_id = ""

    def declare(self, channel: Any) -> None:
        """Queue and ways of a service that nobody runs."""
        channel.exchange_declare("evapi.events", "topic", durable=True)
        channel.exchange_declare("evapi.dead", "fanout", durable=True)
        channel.exchange_declare("evapi.dead.by-node", "topic", durable=True, internal=True)
        channel.exchange_bind("evapi.dead.by-node", "evapi.dead")
        dead = {"x-dead-letter-exchange": "evapi.dead"}
        channel.queue_declare("evapi.decide.x", durable=True, arguments=dead)
        channel.queue_bind("evapi.decide.x", "evapi.events", "invite_request.*")

    async def question(self, channel: Any) -> int:
        """Its delivery tag, once it is there; remembers whom to answer."""
        async with asyncio.timeout(15):
            while True:
                method, properties, _ = channel.basic_get("evapi.decide.x")
                if method is not None:
                    self.reply_to, self.correlation_id = properties.reply_to, properties.correlation_id
                    return int(method.delivery_tag)
                await asyncio.sleep(0.02)
