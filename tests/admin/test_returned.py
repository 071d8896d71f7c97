"""Whether quorum queues give back in time what clients of a dead RabbitMQ server had in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from adapter.admin import checks_rabbit
from adapter.admin.checks_finding import Status
from adapter.admin.management import ManagedQueue, Management

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "amqp://rabbit/calls"
SOON = {"consumer-disconnected-timeout": 1000}


class Told:
    """What the management API of a cluster tells."""

    def __init__(self, version: str, servers: int, *queues: ManagedQueue) -> None:
        self._version, self._servers, self._queues = version, servers, queues

    async def overview(self) -> Mapping[str, Any]:
        listeners = [{"node": f"rabbit@{number}"} for number in range(self._servers)] * 2
        return {"rabbitmq_version": self._version, "listeners": listeners}

    async def queues(self) -> dict[str, ManagedQueue]:
        return {queue.name: queue for queue in self._queues}


def queue(kind: str = "quorum", **more: Any) -> ManagedQueue:
    return ManagedQueue("evapi.decide.lcr", kind, **more)


async def test_a_cluster_that_waits() -> None:
    told = cast("Management", Told("4.3.6", 3, queue()))
    (found,) = await checks_rabbit.returned(told, URL)
    assert (found.check, found.status) == ("returned", Status.WARNING)
    assert "1 quorum queue may wait 60 s" in found.seen
    assert found.todo == (
        "rabbitmqctl set_policy -p calls evapi '^evapi\\.' "
        "'{\"consumer-disconnected-timeout\":1000}' --apply-to quorum_queues"
    )


@pytest.mark.parametrize(
    "told",
    [
        Told("4.3.6", 3, queue("classic")),
        Told("4.3.6", 3, queue(policy=SOON)),
        Told("4.3.6", 3, queue(arguments={"x-consumer-disconnected-timeout": 5000})),
        Told("4.3.6", 1, queue()),
        Told("4.2.9", 3, queue()),
        Told("3.10.8", 3, queue()),
        Told("4.3.6", 3),
    ],
)
async def test_nothing_to_be_said(told: Told) -> None:
    assert await checks_rabbit.returned(cast("Management", told), URL) == []
