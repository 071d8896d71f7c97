"""Calls through an adapter that has consumers of every protocol reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import pytest

from adapter.simulator import SimulatedKamailio
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.rabbitmq import RabbitServer

RULES = {"default": {"deadline": 4.0, "format": "json"}}  # as long as the usual queues keep replies


class Calls(NamedTuple):
    """A node, and the event by which its calls ask this test's consumer."""

    sim: SimulatedKamailio
    node: str
    event: str

    async def ask(self, **data: Any) -> dict[str, Any]:
        """What Kamailio is told of a new call."""
        call = await self.sim.suspend(self.event, data)
        return await call.resumed()


@pytest.fixture
async def calls(rabbitmq: RabbitServer) -> AsyncIterator[Calls]:
    """Through an adapter with ``EVAPI_MQTT``."""
    mark = uuid4().hex[:8]
    options = {"amqp_url": rabbitmq.url, "mqtt": "true"}
    async with SimulatedKamailio() as sim, bridged(sim, f"sbc-{mark}", options, RULES):
        yield Calls(sim, f"sbc-{mark}", f"event-{mark}")


async def decides(calls: Calls, by: str, can_fail: bool = True) -> None:
    """Two calls of the consumer's: it decides the one, and says of the other that it failed.

    ``can_fail``: whether the server hands on what says so.
    """
    decided = await calls.ask(user="alice")
    assert (decided["outcome"], decided["decision"]) == ("decided", {"action": "allow", "by": by})
    failed = await calls.ask(user="fails")
    assert failed["outcome"] == ("failed" if can_fail else "decided")
