"""An asker and a service of its own for each test that wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq
import pytest

from adapter.contract import (
    DEAD_EXCHANGE,
    EVENTS_EXCHANGE,
    service_queue,
)
from consumers import Service, route
from consumers.amqp import runner
from tests.consumers.asker import URI, Asker, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def asker(rabbitmq: RabbitServer) -> AsyncIterator[Asker]:
    async with aiormq.connect(rabbitmq.url) as connected:
        channel = await connected.channel(on_return_raises=False)
        await channel.exchange_declare(EVENTS_EXCHANGE, exchange_type="topic", durable=True)
        await channel.exchange_declare(DEAD_EXCHANGE, exchange_type="fanout", durable=True)
        queues = [str((await channel.queue_declare(exclusive=True)).queue) for _ in range(2)]
        found = Asker(channel, queues[0])
        await channel.queue_bind(queues[1], DEAD_EXCHANGE)
        await channel.basic_consume(queues[0], found.on_reply, no_ack=True)
        await channel.basic_consume(queues[1], found.on_dead, no_ack=True)
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "FIRST_PAUSE", 0.01)


@pytest.fixture
async def service(asker: Asker) -> AsyncIterator[Service]:
    number = next(numbers)
    made = Service(f"s{number}")
    made.on(f"e{number}")(lambda request: route(URI, seq=request.seq))
    yield made
    await asker.channel.queue_delete(service_queue(made.name))
