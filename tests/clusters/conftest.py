"""Servers in numbers, started when first asked for. A test that breaks one puts it right again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.certificates import Authority
from tests.harness.rabbitmq import RabbitCluster
from tests.harness.redis import RedisCluster, RedisSentinel

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the servers' certificates are from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, of the same name."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinel]:
    with RedisSentinel(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("redis-cluster")) as servers:
        yield servers


@pytest.fixture(scope="session")
def tls_sentinel(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RedisSentinel]:
    with RedisSentinel(tmp_path_factory.mktemp("tls-sentinel"), authority) as servers:
        yield servers


@pytest.fixture(scope="session")
def tls_redis_cluster(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("tls-redis-cluster"), authority) as servers:
        yield servers


@pytest.fixture(scope="session")
def rabbit_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    with RabbitCluster(tmp_path_factory.mktemp("rabbit-cluster")) as servers:
        yield servers


@pytest.fixture
def whole(rabbit_cluster: RabbitCluster) -> RabbitCluster:
    """The cluster with all of its nodes."""
    rabbit_cluster.start()
    return rabbit_cluster
