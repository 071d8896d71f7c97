"""What the management API tells of a consumer that goes to RabbitMQ directly."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.player import Patience
from adapter.admin.conformance.questions import Call
from adapter.admin.conformance.run import conform
from adapter.admin.management import Management, ManagementUnavailable
from adapter.admin.rabbit import Rabbit
from tests.conformance.faulty import EVENT, Fault, consuming
from tests.harness.process import free_port

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer

PATIENCE = Patience(quiet=0.0, looks=1)
SURE = 20.0
"""Seconds for an answer of RabbitMQ, which three kits ask at once. An operator waits less long."""


async def test_what_stays_unacknowledged(managed_rabbitmq: RabbitServer, vhost: str) -> None:
    async def told(fault: Fault | None) -> tuple[Status, Status]:
        name = f"kit-{fault}"
        api = Management([URL(managed_rabbitmq.api)], URL(vhost).path.removeprefix("/"))
        async with consuming(vhost, name, fault), Rabbit(vhost, SURE) as rabbit, api as management:
            found = await conform(rabbit, name, Call(EVENT, ""), management=management, patience=PATIENCE)
        statuses = {check.name: verdict.status for check, verdict in found}
        return statuses["acknowledges"], statuses["acknowledges-last"]

    right, never, automatically = await asyncio.gather(told(None), told(Fault.NO_ACK), told(Fault.AUTO_ACK))
    assert right == (Status.OK, Status.UNKNOWN)
    assert never == (Status.ERROR, Status.UNKNOWN)
    assert automatically == (Status.OK, Status.ERROR)


async def test_without_the_api(rabbitmq: RabbitServer) -> None:
    async with (
        consuming(rabbitmq.url, "kit-no-api"),
        Rabbit(rabbitmq.url) as rabbit,
        Management([URL(f"http://127.0.0.1:{free_port()}")]) as management,
    ):
        with pytest.raises(ManagementUnavailable, match="connection refused"):
            await conform(rabbit, "kit-no-api", Call(EVENT, ""), management=management)
