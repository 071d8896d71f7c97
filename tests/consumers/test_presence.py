"""Instances of services say hello on the real RabbitMQ: by themselves, when asked, and at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from adapter import hello
from adapter.admin.presence import WAIT
from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.amqp.servers import parse_urls
from adapter.contract import ASK, SERVICES_EXCHANGE, ask_key, service_queue
from consumers import Service, route
from consumers.amqp import presence
from tests.consumers.asker import URI, Asker, event_of, running
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter.hello import Hello
    from tests.harness.rabbitmq import RabbitServer

SELDOM = 3600.0


class Hearer:
    """Hears what the instances of one service say, and asks."""

    def __init__(self, channel: Any, service: str) -> None:
        self.channel = channel
        self.service = service
        self.heard: list[Hello] = []
        self.messages: list[Any] = []

    async def on_message(self, message: Any) -> None:
        self.messages.append(message)
        self.heard.append(hello.decode(message.delivery.routing_key, message.body))

    async def ask(self, key: str = ASK) -> None:
        """Ask, without a confirm: the queue of another test's instance that leaves refuses it."""
        await self.channel.basic_publish(b"", exchange=SERVICES_EXCHANGE, routing_key=key)

    async def hears(self, number: int) -> Hello:
        await until(lambda: len(self.heard) >= number)
        return self.heard[number - 1]


@asynccontextmanager
async def hearer(server: RabbitServer, service: str) -> AsyncIterator[Hearer]:
    async with aiormq.connect(server.url) as connected:
        channel = await connected.channel(publisher_confirms=False)
        await channel.exchange_declare(SERVICES_EXCHANGE, exchange_type="topic", durable=True)
        made = Hearer(channel, service)
        queue = str((await channel.queue_declare(exclusive=True)).queue)
        await channel.queue_bind(queue, SERVICES_EXCHANGE, f"hello.{service}.*")
        await channel.basic_consume(queue, made.on_message, no_ack=True)
        yield made


@pytest.fixture
async def heard(rabbitmq: RabbitServer, service: Service) -> AsyncIterator[Hearer]:
    async with hearer(rabbitmq, service.name) as made:
        yield made


async def test_at_the_start_and_at_the_end(rabbitmq: RabbitServer, service: Service, heard: Hearer) -> None:
    async with running(service, rabbitmq.url, hello=SELDOM, prefetch=7):
        first = await heard.hears(1)
    last = await heard.hears(2)
    assert (first.service, first.events, first.prefetch) == (service.name, service.events, 7)
    assert (first.leaves, last.leaves) == (False, True)
    assert first.instance == last.instance
    assert last.uptime >= first.uptime >= 0
    assert len(heard.heard) == 2
    properties = heard.messages[0].header.properties
    assert (properties.expiration, properties.delivery_mode) == ("30000", 1)


async def test_each_few_seconds(rabbitmq: RabbitServer, service: Service, heard: Hearer) -> None:
    async with running(service, rabbitmq.url, hello=0.05):
        await heard.hears(4)
    assert not any(told.leaves for told in heard.heard[:4])


async def test_never(rabbitmq: RabbitServer, service: Service, heard: Hearer, asker: Asker) -> None:
    async with running(service, rabbitmq.url, hello=0):
        await asker.reply(await asker.ask(event_of(service)))
        await heard.ask()
    assert heard.heard == []


@pytest.mark.parametrize("all_services", [True, False])
async def test_when_somebody_asks(
    rabbitmq: RabbitServer, service: Service, heard: Hearer, all_services: bool
) -> None:
    async with running(service, rabbitmq.url, hello=SELDOM), running(service, rabbitmq.url, hello=SELDOM):
        await heard.hears(2)
        await heard.ask(ASK if all_services else ask_key(service.name))
        await heard.hears(4)
        assert presence.LEAST_PAUSE < WAIT, "who asks waits no longer"
        await heard.ask(ask_key("another"))
    await heard.hears(6)
    assert [told.leaves for told in heard.heard] == [False] * 4 + [True] * 2, "none answered for another"
    assert len({told.instance for told in heard.heard}) == 2


async def test_a_flood_of_questions_is_answered_seldom(
    rabbitmq: RabbitServer, service: Service, heard: Hearer
) -> None:
    async with running(service, rabbitmq.url, hello=SELDOM):
        await heard.hears(1)
        began = time.monotonic()
        for _ in range(500):
            await heard.ask()
        await heard.hears(3)
        answers, took = len(heard.heard) - 1, time.monotonic() - began
        assert answers <= took / presence.LEAST_PAUSE + 2


async def test_what_it_has_done(rabbitmq: RabbitServer, asker: Asker) -> None:
    service = Service("hello_done", version="2.1", concurrency=5)

    @service.on("hello_done")
    async def decide(request: Any) -> Any:
        if asker.replies:
            raise LookupError("of another caller's data")
        await asyncio.sleep(0.3)
        return route(URI)

    async with hearer(rabbitmq, service.name) as heard, running(service, rabbitmq.url, hello=SELDOM):
        told = await heard.hears(1)
        assert (told.requests, told.per_decision, told.error) == (0, None, None)
        assert (told.version, told.concurrency) == ("2.1", 5)
        assert told.sdk.startswith("python ")
        began = time.monotonic()
        await asker.reply(await asker.ask("hello_done"))
        took = time.monotonic() - began
        await heard.ask()
        told = await heard.hears(2)
        assert (told.requests, told.decided, told.failed) == (1, 1, 0)
        assert 0.3 <= (told.per_decision or 0) < took
        await asker.reply(await asker.ask("hello_done"))
        await heard.ask()
        told = await heard.hears(3)
        assert (told.requests, told.decided, told.failed) == (2, 1, 1)
        line = decide.__code__.co_firstlineno + 3
        where = f"at test_presence.py, line {line}"
        assert told.error == f"hello_done: LookupError {where}", "its text may be about other people's calls"
        assert 0 <= (told.error_age or 0) < 10
        assert 0 < (told.per_decision or 0) < 0.3, "of the last ones"
    await asker.channel.queue_delete(service_queue(service.name))


async def test_one_that_is_told_to_end_does_whatever_it_is_at(
    rabbitmq: RabbitServer, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library may finish a request that was given up, and swallow the cancellation."""
    real, published = aiormq.Channel.basic_publish, asyncio.Event()

    async def swallowing(channel: Any, *args: Any, **kwargs: Any) -> Any:
        published.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
        return await real(channel, *args, **kwargs)

    monkeypatch.setattr(aiormq.Channel, "basic_publish", swallowing)
    task = asyncio.ensure_future(presence_alone(rabbitmq.url, service))
    await published.wait()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done
    assert task.cancelled()


async def presence_alone(url: str, service: Service) -> None:
    connection = await Connection.open_any(parse_urls(url), ConnectionLimits(1))
    try:
        await presence.Presence(service, 1, SELDOM).keep(connection)
    finally:
        await connection.close()


async def test_its_queue_is_deleted(
    rabbitmq: RabbitServer, service: Service, heard: Hearer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "FIRST_RETRY", 0.01)
    async with running(service, rabbitmq.url, hello=SELDOM):
        told = await heard.hears(1)
        queue = f"evapi.asked.{service.name}.{told.instance}"
        assert (await heard.channel.queue_declare(queue, passive=True)).consumer_count == 1
        await heard.channel.queue_delete(queue)
        number = len(heard.heard)
        await until(lambda: len(heard.heard) > number)
        await heard.ask()
        await heard.hears(number + 2)


async def test_a_vhost_without_the_exchange(vhost: str, asker: Asker) -> None:
    """The first instance makes it: no adapter need be there before it."""
    service = Service("hello_first")
    service.on("hello_first")(lambda request: route(URI))
    async with running(service, vhost, hello=SELDOM), aiormq.connect(vhost) as connected:

        async def made() -> bool:
            channel = await connected.channel()
            try:
                await channel.exchange_declare(SERVICES_EXCHANGE, passive=True)
            except aiormq.ChannelNotFoundEntity:
                return False
            return True

        while not await made():
            await asyncio.sleep(0.01)
