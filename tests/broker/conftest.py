"""A broker, and beside it a client written with another library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
import pytest

from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from tests.broker.buses import AmqpBus, Bus, EmbeddedBus
from tests.broker.support import Recorder, patient, unique
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
def receiver() -> Recorder:
    return Recorder()


@pytest.fixture
async def broker(rabbitmq: RabbitServer, receiver: Recorder) -> AsyncIterator[AmqpBroker]:
    made = AmqpBroker(rabbitmq.url, limits=patient())
    await made.start(receiver)
    await until(lambda: made.ready)
    yield made
    await made.close()


@pytest.fixture
async def hasty(rabbitmq: RabbitServer, receiver: Recorder) -> AsyncIterator[AmqpBroker]:
    """A broker that tries again soon. How long it waits for answers: see ``hurried``."""
    made = AmqpBroker(rabbitmq.url, limits=Limits(confirm_timeout=5.0))
    made.limits.backoff_longest = 0.3
    await made.start(receiver)
    await until(lambda: made.ready)
    yield made
    await made.close()


@pytest.fixture
def client(rabbitmq: RabbitServer) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    yield connection.channel()
    if connection.is_open:
        connection.close()


@pytest.fixture
def node() -> str:
    return unique("sbc")


@pytest.fixture
def event() -> str:
    return unique("event")


_SERVER = pytest.mark.server


@pytest.fixture(
    params=["embedded", pytest.param("classic", marks=_SERVER), pytest.param("quorum", marks=_SERVER)]
)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    made: Bus
    if request.param == "embedded":
        made = EmbeddedBus()
    else:
        server: RabbitServer = request.getfixturevalue("rabbitmq")
        made = AmqpBus(server.url, request.param == "quorum")
    yield made
    await made.end()
