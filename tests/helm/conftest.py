"""What a running adapter exports."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapter.simulator import SimulatedKamailio
from consumers import Request, Service, allow
from tests.harness.helm_binary import WHEELS, Helm
from tests.helm.chart import Charts
from tests.system.conftest import bridged

service = Service("exported")


@service.on("invite_request")
async def _decide(request: Request) -> dict[str, Any]:
    return allow()


async def _scrape() -> str:
    options = {"consumer": "tests.helm.conftest:service"}
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", options) as bridge:
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
def exported(scraped: str) -> dict[str, frozenset[str]]:
    """The labels of each series, by its name."""
    found: dict[str, frozenset[str]] = {}
    for family in text_string_to_metric_families(scraped):
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
