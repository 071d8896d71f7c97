"""A consumer that is right has no finding."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import aiormq
import pytest

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.player import NobodyThere, Patience
from adapter.admin.conformance.questions import Call
from adapter.admin.conformance.relay import Relay
from adapter.admin.conformance.run import conform
from adapter.admin.rabbit import Rabbit
from tests.conformance.faulty import EVENT
from tests.conformance.right import CONSUMERS
from tests.harness.until import WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.admin.conformance.checks import Check
    from adapter.admin.conformance.judgements import Verdict
    from tests.harness.rabbitmq import RabbitServer

PATIENCE = Patience(quiet=0.2)
CALL = Call(EVENT, "")
UNSEEN = {"acknowledges", "acknowledges-last"}
"""What is seen through the kit alone."""


@pytest.fixture
def name() -> str:
    return f"right-{uuid4().hex[:8]}"


def findings(found: list[tuple[Check, Verdict]]) -> list[tuple[str, str]]:
    return [(check.name, verdict.seen) for check, verdict in found if verdict.status is not Status.OK]


@pytest.fixture
def tidy(rabbitmq: RabbitServer, name: str) -> Iterator[None]:
    """Nothing of the kit's, nor of the consumer's, is left."""
    yield

    async def gone() -> None:
        async with aiormq.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(f"evapi.decide.{name}")

    asyncio.run(gone())


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("consumer", CONSUMERS)
class TestConsumers:
    async def test_on_its_queue(self, rabbitmq: RabbitServer, name: str, consumer: str) -> None:
        async with CONSUMERS[consumer](rabbitmq.url, name), Rabbit(rabbitmq.url) as rabbit:
            found = await conform(rabbit, name, CALL, patience=PATIENCE)
        assert {check for check, _ in findings(found)} == UNSEEN

    async def test_through_the_kit(self, rabbitmq: RabbitServer, name: str, consumer: str) -> None:
        async with (
            Rabbit(rabbitmq.url) as rabbit,
            Relay(rabbit.server, "127.0.0.1", 0) as relay,
            CONSUMERS[consumer](relay.url, name),
        ):
            found = await conform(rabbit, name, CALL, relay=relay, wait=WITHIN, patience=PATIENCE)
        assert findings(found) == []


async def test_by_the_exchange(rabbitmq: RabbitServer, name: str) -> None:
    async with CONSUMERS["sdk"](rabbitmq.url, name), Rabbit(rabbitmq.url) as rabbit:
        found = await conform(rabbit, name, CALL, patience=PATIENCE, by_exchange=True)
    assert {check for check, _ in findings(found)} == UNSEEN


async def test_nobody_is_there(rabbitmq: RabbitServer, name: str) -> None:
    async with Rabbit(rabbitmq.url) as rabbit:
        with pytest.raises(NobodyThere, match="nobody consumes the queue"):
            await conform(rabbit, name, CALL, patience=PATIENCE)
