"""Each fault that is planted in a consumer is told by exactly the check that is about it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from adapter.admin.checks_finding import Status
from adapter.admin.conformance.checks import CHECKS
from adapter.admin.conformance.player import Patience
from adapter.admin.conformance.questions import Call
from adapter.admin.conformance.relay import Relay
from adapter.admin.conformance.run import conform
from adapter.admin.rabbit import Rabbit
from tests.conformance.faulty import EVENT, Fault, consuming
from tests.harness.until import WITHIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.harness.rabbitmq import RabbitServer

PATIENCE = Patience(grace=2.0, comeback=0.0, quiet=0.3, settle=2.0)
TIMEOUT = 1.0
LATE = 1.3
AT_ONCE = 9
"""Kits that play side by side."""

TOLD: Mapping[Fault, str] = {
    Fault.SILENT: "answers",
    Fault.LATE: "in-time",
    Fault.FAILS: "answers",
    Fault.NO_ID: "correlation-id",
    Fault.OTHER_ID: "correlation-id",
    Fault.FIXED_QUEUE: "reply-to",
    Fault.QUEUE_BY_NODE: "reply-to",
    Fault.ELSEWHERE: "answers",
    Fault.EMPTY: "reply-body",
    Fault.TEXT: "reply-body",
    Fault.BYTE_ARRAY: "reply-body",
    Fault.HUGE: "reply-body",
    Fault.NO_ACTION: "reply-body",
    Fault.NAMELESS: "x-service",
    Fault.TWICE: "once",
    Fault.NO_ACK: "acknowledges",
    Fault.NO_ACK_PREFETCH: "acknowledges",
    Fault.ACK_FIRST: "acknowledges-last",
    Fault.AUTO_ACK: "acknowledges-last",
    Fault.DIES_ON_KEYS: "unknown-keys",
    Fault.DIES_ON_HEADERS: "unknown-headers",
    Fault.DIES_ON_DECISIONS: "decisions",
    Fault.KNOWS_ONE_NODE: "other-node",
    Fault.REJECTS_REDELIVERED: "redelivery",
    Fault.SMALL: "large-data",
    Fault.IGNORES_DEADLINE: "expired",
    Fault.HOLDS_EXPIRED: "expired",
    Fault.ANSWERS_NOTICES: "notices",
    Fault.DIES_ON_NOTICES: "notices",
    Fault.ANSWERS_OBSERVED: "observes",
    Fault.DIES_ON_OBSERVED: "observes",
    Fault.DIES_ON_BYTES: "bytes",
    Fault.DECIDES_BATCH: "batch",
    Fault.DIES_ON_BATCH: "batch",
    Fault.DIES_ON_UNREADABLE: "unreadable",
    Fault.SWALLOWS_UNREADABLE: "unreadable",
    Fault.REQUEUES_UNREADABLE: "unreadable",
    Fault.HOLDS_UNREADABLE: "unreadable",
    Fault.DECIDES_UNREADABLE: "unreadable",
}
"""Each fault, and the check that tells of it."""
PREFETCH = {Fault.NO_ACK_PREFETCH: 5, Fault.HOLDS_EXPIRED: 1, Fault.HOLDS_UNREADABLE: 1}
SLOW = (
    *(Fault.SILENT, Fault.ELSEWHERE, Fault.HOLDS_UNREADABLE, Fault.SWALLOWS_UNREADABLE),
    *(Fault.REQUEUES_UNREADABLE, Fault.HOLDS_EXPIRED, Fault.NO_ACK_PREFETCH, Fault.LATE),
)
"""What takes the kit longest begins first."""
THROUGH_THE_KIT = (Fault.NO_ACK, Fault.ACK_FIRST, Fault.AUTO_ACK)
"""Faults that are seen nowhere else."""


async def told_of(url: str, fault: Fault | None, name: str) -> dict[str, Status]:
    """Each check's verdict on a consumer with a fault."""
    prefetch = PREFETCH.get(fault, 0) if fault else 0
    async with AsyncExitStack() as stack:
        rabbit = await stack.enter_async_context(Rabbit(url))
        relay = None
        if fault in THROUGH_THE_KIT:
            relay = await stack.enter_async_context(Relay(rabbit.server, "127.0.0.1", 0))
        consumer = consuming(
            url, name, fault, prefetch=prefetch, late=LATE, through=relay.url if relay else ""
        )
        await stack.enter_async_context(consumer)
        call = Call(EVENT, "", timeout=TIMEOUT)
        found = await conform(rabbit, name, call, relay=relay, wait=WITHIN, patience=PATIENCE)
    return {check.name: verdict.status for check, verdict in found}


@pytest.fixture(scope="module")
def verdicts(rabbitmq: RabbitServer) -> dict[Fault | None, dict[str, Status]]:
    """All faults, played side by side: most of the time is waiting."""

    async def all_of_them() -> dict[Fault | None, dict[str, Status]]:
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(fault: Fault | None) -> dict[str, Status]:
            async with slots:
                return await told_of(rabbitmq.url, fault, f"kit-{fault}")

        faults = [*SLOW, None, *(fault for fault in Fault if fault not in SLOW)]
        found = await asyncio.gather(*map(one, faults))
        return dict(zip(faults, found, strict=True))

    return asyncio.run(all_of_them())


def wrong(found: Mapping[str, Status]) -> list[str]:
    """The checks that tell of something."""
    return [name for name, status in found.items() if status in (Status.ERROR, Status.WARNING)]


def test_every_check_but_none_is_about_a_fault() -> None:
    assert {check.name for check in CHECKS} == set(TOLD.values())


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_is_told_by_its_check_alone(
    verdicts: dict[Fault | None, dict[str, Status]], fault: Fault
) -> None:
    assert wrong(verdicts[fault]) == [TOLD[fault]]


def test_one_without_a_fault(verdicts: dict[Fault | None, dict[str, Status]]) -> None:
    left = {name for name, status in verdicts[None].items() if status is not Status.OK}
    assert left == {"acknowledges", "acknowledges-last"}
