"""Every test that asks for ``world`` runs on every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis as redis_py

from tests.harness.redis import RedisServer
from tests.inflight.worlds import FailoverWorld, LocalWorld, RedisWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.inflight.worlds import World


@pytest.fixture(params=["local", "redis", "failover"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A store of 60 s retention."""
    found = _world(request, 60.0)
    yield found
    await found.close()


@pytest.fixture(params=["local", "redis", "failover"])
async def forgetful(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A store whose retention a test can wait for."""
    found = _world(request, 0.2)
    yield found
    await found.close()


def _world(request: pytest.FixtureRequest, retention: float) -> World:
    if request.param == "local":
        return LocalWorld(retention)
    server: RedisServer = request.getfixturevalue("redis_server")
    kind = RedisWorld if request.param == "redis" else FailoverWorld
    return kind(server.url, retention)


@pytest.fixture
def probe(redis_server: RedisServer) -> Iterator[redis_py.Redis]:
    """Another client, to look at what is there."""
    with redis_py.Redis.from_url(redis_server.url) as client:
        yield client


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server to be broken."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server
