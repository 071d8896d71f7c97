"""What an operator has set up otherwise, or wrongly: servers, certificates, users, queues."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pika
import pytest
from structlog.testing import capture_logs

from adapter import contract
from adapter.broker.rabbitmq import AmqpBroker, Limits
from adapter.broker.rabbitmq.reply_readiness import PREPARED
from adapter.broker.rabbitmq.topology import Kind
from adapter.contract import results_queue
from adapter.errors import SettingsError
from adapter.ports.broker import Published
from tests.broker.support import (
    Recorder,
    attached,
    bind,
    patient,
    reply,
    request_of,
    trip,
    unique,
    waiting,
)
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


async def test_a_results_queue_of_other_settings_gets_another_beside_it(
    hasty: AmqpBroker, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    usual = results_queue(node)
    client.queue_declare(usual, durable=True, arguments={"x-expires": 60_000})
    client.queue_declare(contract.commands_queue(node), durable=True, arguments={"x-expires": 60_000})
    service = bind(client, event, x_dead_letter_exchange=contract.DEAD_EXCHANGE)
    with capture_logs() as logs:
        await attached(hasty, node)
        await until(lambda: len(hasty.intakes[node].inboxes) == 2)
    assert hasty.takes_replies(node)
    await until(lambda: not hasty.unheard and not hasty.problems)
    (beside,) = hasty.beside.values()
    assert beside.startswith(f"{usual}.")
    assert [entry["beside"] for entry in logs if entry.get("queue") == usual] == [beside]
    assert await hasty.publish([request_of(event, node)]) == [Published.CONFIRMED]
    method, asked, _ = client.basic_get(service)
    assert asked.reply_to == beside
    client.basic_reject(method.delivery_tag, requeue=False)
    for queue in (beside, usual):
        properties = pika.BasicProperties(correlation_id=f"{node}:1:1:1", content_type=contract.JSON)
        client.basic_publish("", queue, queue.encode(), properties)
    await until(lambda: len(receiver.replies) == 3)
    assert {each.rejected or each.body for each in receiver.replies} == {
        "rejected", beside.encode(), usual.encode()
    }  # fmt: skip
    client.basic_publish(contract.COMMANDS_EXCHANGE, contract.word(node), b"once")
    client.basic_publish(contract.COMMANDS_EXCHANGE, contract.word(node), b"twice")
    await until(lambda: receiver.commands == [(node, b"once"), (node, b"twice")])


async def test_each_of_two_settings_consumes_what_the_other_has(
    rabbitmq: RabbitServer, client: BlockingChannel, node: str
) -> None:
    """Until nobody names a queue any more and its last deadline is over: then it is left, to expire."""
    usual = results_queue(node)
    before, after = Recorder(), Recorder()
    old = AmqpBroker(rabbitmq.url, kind=Kind(60.0))
    new = AmqpBroker(rabbitmq.url, kind=Kind(61.0))
    await old.start(before)
    await attached(old, node)
    await new.start(after)
    await attached(new, node)
    (beside,) = new.beside.values()
    assert old.beside == {}
    old.hear({node: {beside}})
    new.hear({node: {usual}})
    for each in (old, new):
        await until(lambda: each.intakes[node].inboxes.keys() == {usual, beside})
    await old.close()
    reply(client, node, f"{node}:1:1:1", b"{}")
    await until(lambda: len(after.replies) == 1)
    third = AmqpBroker(rabbitmq.url, kind=Kind(61.0))
    await third.start(Recorder())
    await attached(third, node)
    assert third.beside == {node: beside}
    new.intakes[node].linger = 0.0
    new.hear({})
    new.hear({})
    await until(lambda: new.intakes[node].inboxes.keys() == {beside})
    for each in (new, third):
        await each.close()


async def test_a_user_that_may_not_read_the_replies(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    user = unique("user")
    url = rabbitmq.add_user(user, "secret", ".*", ".*", r"^(?!evapi\.results).*")
    bind(client, event)
    broker = AmqpBroker(url, limits=patient())
    await broker.start(receiver)
    broker.attach(node)
    await until(lambda: broker.ready and broker.unheard.get(node, PREPARED) != PREPARED)
    assert not broker.takes_replies(node)
    assert f"queue evapi.results.{node}" in broker.unheard[node]
    assert "permission" in broker.unheard[node]
    assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
    rabbitmq.permit(user, ".*", ".*", ".*")
    await until(lambda: broker.hears(node))
    assert broker.unheard == {}
    assert await broker.publish([request_of(event, node)]) == [Published.CONFIRMED]
    await broker.close()


async def test_an_exchange_that_was_declared_otherwise(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    client.exchange_delete(contract.COMMANDS_EXCHANGE)
    client.exchange_declare(contract.COMMANDS_EXCHANGE, "direct", durable=True)
    broker = AmqpBroker(rabbitmq.url)
    try:
        await broker.start(receiver)
        await until(lambda: "evapi.commands" in broker.problems.get("publishing", ""))
        assert not broker.ready
    finally:
        client.exchange_delete(contract.COMMANDS_EXCHANGE)
    await until(lambda: broker.ready)
    await broker.close()


async def test_a_dead_letter_queue_with_bounds_of_its_own(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    client.queue_delete(contract.DEAD_QUEUE)
    client.queue_declare(contract.DEAD_QUEUE, durable=True, arguments={"x-max-length": 7})
    broker = AmqpBroker(rabbitmq.url)
    try:
        await broker.start(receiver)
        await until(lambda: broker.ready)
    finally:
        client.queue_delete(contract.DEAD_QUEUE)
    await broker.close()


async def test_services_that_nobody_runs_are_named(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder
) -> None:
    there, missing = unique("there"), unique("missing")
    client.queue_declare(contract.service_queue(there), exclusive=True)
    with capture_logs() as logs:
        broker = AmqpBroker(rabbitmq.url, services=lambda: {there, missing})
        await broker.start(receiver)
        await until(lambda: [entry for entry in logs if "services" in entry])
    assert [entry["services"] for entry in logs if "services" in entry] == [[missing]]
    await broker.close()


async def test_a_service_whose_queue_is_not_there_is_named(
    broker: AmqpBroker, client: BlockingChannel, event: str, node: str
) -> None:
    """Though the policy does not name it among those that decide, once a request went to it in vain."""
    there, missing = unique("there"), unique("missing")
    client.queue_declare(contract.service_queue(there), exclusive=True)
    broker.limits.services_interval = 0.0
    with capture_logs() as logs:
        asked = [
            replace(request_of(event, node), queue=contract.service_queue(each)) for each in (there, missing)
        ]
        assert await broker.publish(asked) == [Published.CONFIRMED, Published.UNROUTABLE]
        await until(lambda: [entry for entry in logs if "services" in entry])
        assert [entry["services"] for entry in logs if "services" in entry] == [[missing]]
        client.queue_declare(contract.service_queue(missing), exclusive=True)
        assert await broker.publish([request_of(event, node)]) == [Published.UNROUTABLE]
        await until(lambda: not broker._shared.without_queue)
    assert await broker.publish(asked[1:]) == [Published.CONFIRMED]


async def test_who_may_not_send_to_queues_serves_all_other_events(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    """RabbitMQ would close the channel, with all that is under way on it. The right may come later."""
    user = unique("user")
    url = rabbitmq.add_user(user, "secret", ".*", r"^evapi\..*", ".*")
    queue = bind(client, event)
    named = replace(request_of(event, node, b"named"), queue=queue)
    with capture_logs() as logs:
        broker = AmqpBroker(url, limits=patient(), services=lambda: {"least_cost"})
        broker.limits.services_interval = 0.0
        await broker.start(receiver)
        await until(lambda: broker.ready)
        await until(lambda: [entry for entry in logs if "right to write amq.default" in entry.get("do", "")])
        results = await broker.publish([named, request_of(event, node, b"1"), named])
        assert results == [Published.REFUSED, Published.CONFIRMED, Published.REFUSED]
        (told,) = [entry for entry in logs if "right to write amq.default" in entry.get("do", "")]
        assert "ACCESS_REFUSED" in told["reason"]
        rabbitmq.permit(user, ".*", ".*", ".*")
        async with asyncio.timeout(20):
            while await broker.publish([named]) != [Published.CONFIRMED]:
                await asyncio.sleep(0.05)
        assert waiting(client, queue) == 2
        assert broker.counters.connects == 1
    await broker.close()


async def test_a_server_that_lets_nobody_in_is_told_once_and_in_words(
    rabbitmq: RabbitServer, receiver: Recorder
) -> None:
    """As doctor says it: no addresses of a library's objects, which differ each time that it is tried."""
    for url, words in (
        (f"{rabbitmq.url.rstrip('/')}/nosuch", "is there a vhost 'nosuch', and may the user use it?"),
        (rabbitmq.url.replace("guest:guest", "guest:wrong"), "check user and password in EVAPI_AMQP_URL"),
    ):
        broker = AmqpBroker(url, limits=Limits(backoff_first=0.01, backoff_longest=0.02))
        with capture_logs() as logs:
            await broker.start(receiver)
            connecting = broker._requests
            await until(lambda: connecting.gone and broker.problems)
            for _ in range(3):  # it is tried again
                connecting.gone = False
                await until(lambda: connecting.gone)
            problem = broker.problems["connection"]
            await broker.close()
        assert words in problem
        assert "object at" not in problem
        told = [each["reason"] for each in logs if each["event"] == "broker down"]
        assert 1 <= len(told) <= 3, "once for each connection"
        assert set(told) == {problem}


async def test_the_next_server_is_tried_and_no_password_shown(
    rabbitmq: RabbitServer, receiver: Recorder
) -> None:
    refused = f"amqp://guest:s3cret@127.0.0.1:{rabbitmq.port}/?name=s3cret"
    broker = AmqpBroker(f"amqp://u:s3cret@127.0.0.1:{free_port()}/vhost, {refused}")
    with capture_logs() as logs:
        await broker.start(receiver)
        await until(lambda: "login was refused" in broker.problems.get("connection", ""))
        assert "connection refused: nothing listens there" in broker.problems["connection"]
        assert not broker.ready
        assert broker.gone
        await broker.close()
        broker = AmqpBroker(f"{refused},{rabbitmq.url}")
        await broker.start(receiver)
        await until(lambda: broker.ready)
        assert not broker.gone
    assert "s3cret" not in repr((logs, broker, broker.problems))
    await broker.close()


async def test_over_tls_with_the_certificate_checked(
    rabbitmq: RabbitServer, client: BlockingChannel, receiver: Recorder, event: str, node: str
) -> None:
    broker = AmqpBroker(rabbitmq.tls_url, limits=patient())
    await broker.start(receiver)
    await attached(broker, node)
    await trip(broker, client, receiver, event, node)
    await broker.close()
    for option, refused in (("", True), ("?no_verify_ssl=0", True), ("?no_verify_ssl=1", False)):
        broker = AmqpBroker(rabbitmq.tls_url.partition("?")[0] + option)
        await broker.start(receiver)
        await until(lambda: broker.ready or "connection" in broker.problems)
        assert broker.ready is not refused
        told = "/: certificate refused: unable to get local issuer certificate"
        assert broker.problems.get("connection", "").endswith(told) is refused
        await broker.close()


async def test_a_user_without_permissions(rabbitmq: RabbitServer, receiver: Recorder) -> None:
    broker = AmqpBroker(rabbitmq.add_user(unique("user"), "pw", "^$", ".*", ".*"))
    await broker.start(receiver)
    await until(lambda: "permission" in broker.problems.get("publishing", ""))
    assert "exchange evapi.events" in broker.problems["publishing"]
    assert not broker.ready
    await broker.close()


@pytest.mark.parametrize(
    "urls",
    [
        "",
        "http://u:s3cret@host/",
        "amqp://",
        "amqp:///vhost",
        "amqp://u:s3cret@host:99999/",
        "amqp://u:s3cret@host:port/",
        "amqp://localhost,",
        "amqp://localhost,,amqp://other",
    ],
)
def test_what_is_no_url(urls: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AmqpBroker(urls)
    assert caught.value.variable == "EVAPI_AMQP_URL"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("no_verify_ssl=yes", "no_verify_ssl is 1, to trust any certificate, or 0"),
        ("no_verify_ssl=", "no_verify_ssl is 1, to trust any certificate, or 0"),
        ("no_verify_ssl=false&no_verify_ssl=0", "no_verify_ssl is 1, to trust any certificate, or 0"),
        ("cafile=/absent/ca.pem", "cafile: there is no file /absent/ca.pem"),
        ("certfile=/absent/me.pem", "certfile: there is no file /absent/me.pem"),
        ("keyfile=/", "keyfile: there is no file /"),
    ],
)
def test_options_that_would_not_do_what_they_say(options: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        AmqpBroker(f"amqp://localhost, amqps://u:s3cret@host/?{options}")
    assert str(caught.value) == f"EVAPI_AMQP_URL: {told}"


async def test_nothing_is_taken_before_the_start(node: str, event: str) -> None:
    broker = AmqpBroker(f"amqp://127.0.0.1:{free_port()}")
    broker.attach(node)
    broker.detach(node)
    assert not broker.ready
    assert not broker.gone
    assert await broker.publish([request_of(event, node)]) == [Published.UNAVAILABLE]
    await broker.close()
