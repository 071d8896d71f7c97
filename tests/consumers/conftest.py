"""An asker and a service of its own for each test that wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter.contract import service_queue
from consumers import Service, route
from consumers.amqp import runner
from tests.consumers.asker import URI, Asker, asking, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def asker(rabbitmq: RabbitServer) -> AsyncIterator[Asker]:
    async with asking(rabbitmq.url) as found:
        yield found


@pytest.fixture
async def apart(rabbitmq: RabbitServer) -> AsyncIterator[tuple[str, Asker]]:
    """The URL of a vhost, and who asks there: for events whose names other tests use, too.

    A queue that one of them has left would take a request before the service under test is bound.
    """
    with rabbitmq.vhost() as url:
        async with asking(url) as found:
            yield url, found


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
