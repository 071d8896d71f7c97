"""Several requests in one message: the adapter's side and the SDK's, over a real RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pika
import pytest

from adapter import batches, contract
from adapter.contract import Request, decode_reply, decode_request, encode_request, service_queue
from adapter.ports.broker import Publication, Published
from consumers import Result, Service, route
from consumers.amqp import Runner
from tests.broker.support import Recorder, attached, next_tag, unique, waiting
from tests.harness import node as packages
from tests.harness.process import Process
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from adapter.broker.rabbitmq import AmqpBroker
    from tests.harness.rabbitmq import RabbitServer

MANY = 10


@pytest.fixture
def name(client: BlockingChannel) -> Iterator[str]:
    """A service's, whose queue is there, and nobody consumes it."""
    name = unique("service")
    arguments = {"x-dead-letter-exchange": contract.DEAD_EXCHANGE, "x-max-length": 100_000}
    client.queue_declare(
        service_queue(name), durable=True, arguments={**arguments, "x-queue-type": "classic"}
    )
    yield name
    client.queue_delete(service_queue(name))


def asked(
    name: str, node: str, count: int = MANY, *, batch: int = 64, lasts: float = 20.0, event: str = "asked"
) -> list[Publication]:
    deadline = time.time() + lasts
    return [
        Publication(
            event,
            node,
            encode_request(Request(event, node, {"of": number}, number, 7, 1, deadline)),
            f"{node}:{number}:7:1",
            deadline,
            queue=service_queue(name),
            batch=batch,
        )
        for number in range(count)
    ]


@contextlib.asynccontextmanager
async def serving(url: str, name: str, service: Service | None = None) -> AsyncIterator[Service]:
    """An instance of the SDK."""
    if service is None:
        service = Service(name)
        service.on("asked")(lambda request: route("sip:1@gw", of=request.data["of"]))
    runner = Runner(service, [url], grace=0.1)
    task = asyncio.ensure_future(runner.run())
    await runner.consuming.wait()
    yield service
    runner.stop()
    await task


def taken(client: BlockingChannel, name: str) -> Any:
    """The next message on the service's queue, which is not acknowledged."""
    found: list[Any] = []

    def look() -> bool:
        method, properties, body = client.basic_get(service_queue(name))
        if method is not None:
            found.append((method, properties, body))
        return bool(found)

    return look, found


async def test_requests_of_one_gathering_are_one_message_and_so_are_their_replies(
    rabbitmq: RabbitServer, broker: AmqpBroker, receiver: Recorder, node: str, name: str
) -> None:
    await attached(broker, node)
    async with serving(rabbitmq.url, name) as service:
        assert await broker.publish(asked(name, node)) == [Published.CONFIRMED] * MANY
        await until(lambda: len(receiver.replies) == MANY)
    assert (broker.counts["batches"], broker.counts["batched"]) == (1, MANY)
    assert {each.correlation_id: decode_reply(each.body)["of"] for each in receiver.replies} == {
        f"{node}:{number}:7:1": number for number in range(MANY)
    }
    for each in receiver.replies:
        assert (each.service, each.status, each.rejected) == (name, None, None)
        assert each.received is not None
        assert each.replied is not None
        assert 0 <= each.replied - each.received < 20
    assert service.counts[Result.DECIDED] == MANY


async def test_the_sdk_for_node_answers_them_likewise(
    rabbitmq: RabbitServer, broker: AmqpBroker, receiver: Recorder, node: str, name: str, tmp_path: Path
) -> None:
    packages.provide(tmp_path)
    file = tmp_path / "service.mjs"
    file.write_text(f"""\
        import {{ Service, route, run }} from 'evapi-consumers';
        await run(new Service('{name}').on('asked', ({{ data }}) => route('sip:1@gw', {{ of: data.of }})));
    """)
    service = Process("service", ["node", str(file)], tmp_path, {"EVAPI_AMQP_URL": rabbitmq.url})
    await attached(broker, node)
    service.start()
    try:
        await until(lambda: "bound to" in service.log.read_text())
        assert await broker.publish(asked(name, node)) == [Published.CONFIRMED] * MANY
        await until(lambda: len(receiver.replies) == MANY)
    finally:
        assert service.stop() == 0
    assert {each.correlation_id: decode_reply(each.body)["of"] for each in receiver.replies} == {
        f"{node}:{number}:7:1": number for number in range(MANY)
    }
    for each in receiver.replies:
        assert (each.service, each.status) == (name, None)
        assert each.received is not None
        assert each.replied is not None
        assert 0 <= each.replied - each.received < 20


async def test_the_message_is_in_todays_form_or_a_batch_no_larger_than_the_policy_says(
    broker: AmqpBroker, client: BlockingChannel, node: str, name: str
) -> None:
    await attached(broker, node)
    assert await broker.publish(asked(name, node, 7, batch=3)) == [Published.CONFIRMED] * 7
    messages = []
    for _ in range(3):
        look, found = taken(client, name)
        await until(look)
        messages += found
    (_, first, body), (_, second, _), (_, alone, single) = messages
    assert [(each.headers or {}).get("x-batch") for each in (first, second, alone)] == [3, 3, None]
    assert (first.correlation_id, first.reply_to, first.type) == (None, f"evapi.results.{node}", "asked")
    assert 0 < int(first.expiration) <= 20_000
    assert first.headers["x-node"] == node
    assert 0 < first.headers["x-time-left"] <= 20_000
    found = msgpack.unpackb(body)
    assert [each["correlation_id"] for each in found] == [f"{node}:{number}:7:1" for number in range(3)]
    assert all(each["deadline"] == first.headers["x-deadline"] for each in found)
    assert all(0 < each["headers"]["x-time-left"] <= 20_000 for each in found)
    assert alone.correlation_id == f"{node}:6:7:1"
    assert decode_request(single).tm_index == 6
    assert waiting(client, service_queue(name)) == 0


async def test_a_batch_whose_consumer_died_comes_again_and_is_answered_once(
    rabbitmq: RabbitServer, broker: AmqpBroker, receiver: Recorder, node: str, name: str
) -> None:
    await attached(broker, node)
    first = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    dying = first.channel()
    await broker.publish(asked(name, node))
    await next_tag(dying, service_queue(name))
    async with serving(rabbitmq.url, name):
        await asyncio.sleep(0.05)
        assert receiver.replies == []
        first.close()
        await until(lambda: len(receiver.replies) == MANY)
    assert len({each.correlation_id for each in receiver.replies}) == MANY


async def test_a_rejected_batch_fails_each(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str, name: str
) -> None:
    await attached(broker, node)
    several = asked(name, node, 3)
    await broker.publish(several)
    client.basic_reject(await next_tag(client, service_queue(name)), requeue=False)
    await until(lambda: len(receiver.replies) == 3)
    assert {(each.correlation_id, each.rejected, each.service) for each in receiver.replies} == {
        (each.correlation_id, "rejected", name) for each in several
    }
    assert sorted(each.body for each in receiver.replies) == sorted(each.body for each in several)


async def test_each_request_has_a_dead_letter_of_its_own(
    rabbitmq: RabbitServer, broker: AmqpBroker, receiver: Recorder, node: str, name: str
) -> None:
    """The SDK rejects what is no request, and answers what came with it."""
    await attached(broker, node)
    several = asked(name, node, 3)
    wrong = msgpack.packb({**msgpack.unpackb(several[1].body), "event": 7})
    several[1] = Publication(**{**_fields(several[1]), "body": wrong})
    async with serving(rabbitmq.url, name):
        await broker.publish(several)
        await until(lambda: len(receiver.replies) == 3)
    told = {each.correlation_id: (each.rejected, each.service) for each in receiver.replies}
    assert told == {
        f"{node}:0:7:1": (None, name),
        f"{node}:1:7:1": ("rejected", name),
        f"{node}:2:7:1": (None, name),
    }


def _fields(publication: Publication) -> dict[str, Any]:
    return {each: getattr(publication, each) for each in publication.__slots__}  # type: ignore[attr-defined]


async def test_untaken_requests_of_a_batch_come_back_each(
    broker: AmqpBroker, receiver: Recorder, node: str, name: str
) -> None:
    await attached(broker, node)
    soon = time.time() + 0.2
    several = [Publication(**{**_fields(each), "expires": soon}) for each in asked(name, node, 3)]
    assert await broker.publish(several) == [Published.CONFIRMED] * 3
    await until(lambda: len(receiver.replies) == 3)
    assert {(each.correlation_id, each.rejected) for each in receiver.replies} == {
        (each.correlation_id, "expired") for each in several
    }


async def test_a_batch_to_a_queue_that_is_not_there_is_unroutable_each(broker: AmqpBroker, node: str) -> None:
    await attached(broker, node)
    assert await broker.publish(asked(unique("nobody"), node, 3)) == [Published.UNROUTABLE] * 3


async def test_what_is_odd_in_a_batch_of_replies_costs_the_others_nothing(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str
) -> None:
    """As another client may write it."""
    await attached(broker, node)
    several = [
        {"correlation_id": f"{node}:1:7:1", "body": {"action": "allow"}},
        {"body": b"{}"},
        {"correlation_id": f"{node}:2:7:1", "body": b'{"action":"allow"}', "headers": {"x-status": "failed"}},
    ]
    told = pika.BasicProperties(headers={"x-batch": 3, "x-service": "other"})
    for body in (msgpack.packb(several), b"\x93\xc1", batches.joined([])):
        client.basic_publish("", f"evapi.results.{node}", body, told)
    await until(lambda: len(receiver.replies) == 2 and broker.counts["dead_letters"] == 2)
    one, other = receiver.replies
    assert (one.correlation_id, decode_reply(one.body), one.service) == (
        f"{node}:1:7:1",
        {"action": "allow"},
        "other",
    )
    assert (other.correlation_id, other.status, other.service) == (f"{node}:2:7:1", "failed", "other")


async def test_what_somebody_else_put_in_a_dead_batch_stops_no_replies(
    broker: AmqpBroker, client: BlockingChannel, receiver: Recorder, node: str, name: str
) -> None:
    """A timestamp of msgpack, which no adapter writes."""
    await attached(broker, node)
    odd = msgpack.Timestamp(1_800_000_000)
    several = [
        {"correlation_id": f"{node}:{number}:7:1", "event": "asked", "node": node, "data": data}
        for number, data in enumerate((odd, {}))
    ]
    told = pika.BasicProperties(
        headers={"x-batch": 2, "x-version": 1, "x-node": node, "BCC": [f"asked.{node}"]}, reply_to="r"
    )
    client.basic_publish("", service_queue(name), msgpack.packb(several), told)
    client.basic_reject(await next_tag(client, service_queue(name)), requeue=False)
    await until(lambda: len(receiver.replies) == 2)
    assert [msgpack.unpackb(each.body)["data"] for each in receiver.replies] == [odd, {}]
