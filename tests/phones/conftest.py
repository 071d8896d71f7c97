"""The proxy and the phone of each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.phone import Phone
from tests.phones.suite import Site, made_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitServer, redis_server: RedisServer
) -> Iterator[Site]:
    """One proxy for each file."""
    with made_site(tmp_path_factory.mktemp("site"), rabbitmq.url, redis_server.url) as site:
        yield site


@pytest.fixture
def site(proxy: Site) -> Site:
    """The proxy, where nothing has happened yet."""
    proxy.decisions.clear()
    proxy.asked.clear()
    proxy.told.clear()
    return proxy


@pytest.fixture
async def phone(site: Site, tmp_path: Path) -> AsyncIterator[Phone]:
    """A phone whose calls go by the proxy."""
    async with Phone(tmp_path, site.kamailio.sip_port) as made:
        yield made
