"""Real servers for the tests: one of each kind for a session, started when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


# How long an example takes is a matter of what else the machine does, not of the code.
settings.register_profile("evapi-adapter", deadline=None)
settings.load_profile("evapi-adapter")


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One RabbitMQ for the session. A test that breaks it puts it right again, or takes its own."""
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def managed_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One with the management plugin, for what operators' tools ask; each test takes a vhost of its own."""
    with RabbitServer(tmp_path_factory.mktemp("managed"), "managed", management=True) as server:
        yield server


@pytest.fixture
def vhost(managed_rabbitmq: RabbitServer) -> Iterator[str]:
    """The URL of an empty vhost."""
    with managed_rabbitmq.vhost() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the session, each test under a prefix of its own. A test that breaks it takes its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
