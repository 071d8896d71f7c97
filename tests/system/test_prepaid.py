"""The prepaid example with real calls: the credit ends them, whoever has died; nothing is charged twice.

Kamailio counts how long a dialog lasts in whole seconds, so it may end a call one second early, two after a
command ``limit``. A second that has begun is charged whole, so up to one second of the credit goes back.
"""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest

from consumers.credit import Credit
from tests.harness.bridge import PATIENT, Bridge, Consumer
from tests.harness.kamailio import KamailioServer
from tests.harness.sip import Caller, Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer
    from tests.harness.sip import Call

CALLS = 20
DEFINES = {"ADAPTER_CALLS": None, "ADAPTER_COMMANDS": None}


class Site(NamedTuple):
    """One Kamailio, two replicas of the adapter, one instance of the service."""

    node: str
    kamailio: KamailioServer
    replicas: tuple[Bridge, Bridge]
    credit: Credit
    file: Path

    def top_up(self, account: str, seconds: int) -> str:
        """Give credit as an operator does; what the command says is left."""
        command = [sys.executable, "-m", "consumers.prepaid", account, "--", str(seconds)]
        done = subprocess.run(
            command, env={"EVAPI_PREPAID": str(self.file)}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitServer, redis_server: RedisServer
) -> Iterator[Site]:
    folder, node = tmp_path_factory.mktemp("prepaid"), f"sbc-{uuid4().hex[:8]}"
    with rabbitmq.vhost() as url, KamailioServer(folder, "kamailio.cfg", DEFINES) as kamailio:
        options = {"amqp_url": url, "redis_url": redis_server.url}
        env = {
            "EVAPI_PREPAID": str(folder / "credit"),
            "EVAPI_PREPAID_GATEWAY": f"sip:127.0.0.1:{kamailio.gateway_port}",
            "EVAPI_PREPAID_RECONCILE": "2",
        }
        replicas = tuple(
            Bridge(
                name, folder, {node: kamailio.evapi_port}, options, {**PATIENT, "EVAPI_REDIS_PREFIX": node}
            )
            for name in ("one", "two")
        )
        credit = Credit(folder / "credit")
        service = Consumer("prepaid", folder, ["consumers.prepaid:service"], url, env)
        with replicas[0], replicas[1], service:
            replicas[0].wait_for_gate()
            service.wait_until(lambda: ": consuming " in service.log.read_text(), "the service")
            yield Site(node, kamailio, (replicas[0], replicas[1]), credit, folder / "credit")


@pytest.fixture
async def caller(site: Site) -> AsyncIterator[Caller]:
    async with (
        await Gateway.open(port=site.kamailio.gateway_port),
        await Caller.open(site.kamailio.sip_port) as made,
    ):
        yield made


async def answered(site: Site, caller: Caller, account: str) -> Call:
    """A call of an account which is answered."""
    call = caller.call(name=account)
    assert (await call.final()).code == 200
    return call


async def settled(site: Site) -> None:
    """Wait until no call holds credit."""
    await until(lambda: not site.credit.calls())


async def test_without_credit_there_is_no_call(site: Site, caller: Caller) -> None:
    final = await caller.call(name="beggar").final()
    assert (final.code, final.reason) == (402, "No Credit")


async def test_a_call_is_charged_for_what_it_lasted(site: Site, caller: Caller) -> None:
    assert site.top_up("payer", 100) == "100"
    began = time.monotonic()
    call = await answered(site, caller, "payer")
    second = await caller.call(name="payer").final()
    assert second.code == 402, "the first call holds all of it"
    await call.bye()
    longest = math.ceil(time.monotonic() - began)
    await settled(site)
    assert 100 - longest <= site.credit.left("payer") <= 99


async def test_the_credit_ends_each_call_though_a_replica_is_killed(site: Site, caller: Caller) -> None:
    accounts = [f"account{number}" for number in range(CALLS)]
    for account in accounts:
        site.credit.top_up(account, 4)
    calls = [await answered(site, caller, account) for account in accounts]
    began = time.monotonic()
    (active,) = (each for each in site.replicas if each.metric("evapi_active", node=site.node))
    active.process.kill()
    await asyncio.gather(*(call.ended() for call in calls))
    assert time.monotonic() - began > 2
    await settled(site)
    assert {site.credit.left(account) for account in accounts} <= {0, 1}


async def test_a_top_up_prolongs_a_running_call(site: Site, caller: Caller) -> None:
    site.top_up("talker", 4)
    call = await answered(site, caller, "talker")
    assert site.top_up("talker", 2) == "2"
    await call.ended()
    await settled(site)
    assert site.credit.left("talker") <= 1, "2 are left of a call that ends by its first credit"


async def test_what_is_taken_away_ends_a_running_call(site: Site, caller: Caller) -> None:
    site.top_up("debtor", 100)
    call = await answered(site, caller, "debtor")
    site.top_up("debtor", -100)
    await call.ended()
    await settled(site)
    assert site.credit.left("debtor") == 0


async def test_an_end_that_nobody_heard_of_is_found(site: Site, caller: Caller) -> None:
    site.top_up("unheard", 100)
    call = await answered(site, caller, "unheard")
    running = [each for each in site.replicas if each.process.running]
    for replica in running:
        replica.process.kill()
    await call.bye()
    assert [each.account for each in site.credit.calls()] == ["unheard"]
    running[0].start()
    await settled(site)
    assert site.credit.left("unheard") > 90
