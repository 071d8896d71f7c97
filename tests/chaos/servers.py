"""The servers that the rows of one kind share: Kamailio with the witness, RabbitMQ, Redis."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.harness.kamailio import KamailioServer
from tests.harness.rabbitmq import RabbitCluster, RabbitServer
from tests.harness.redis import RedisSentinel, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

WITNESS: Final = Path(__file__).with_name("witness.cfg")
NODE: Final = "sbc1"


class Kind(Enum):
    """Which servers there are."""

    ALONE = "one RabbitMQ, one Redis"
    SENTINEL = "one RabbitMQ, Redis with Sentinel"
    CLUSTER = "three RabbitMQ nodes, one Redis"
    CLUSTERS = "three RabbitMQ nodes, Redis with Sentinel"


class Servers:
    """All started together, since RabbitMQ takes its time."""

    def __init__(self, folder: Path, kind: Kind = Kind.ALONE) -> None:
        self.kind = kind
        self.kamailio = KamailioServer(folder, WITNESS, workers=4)
        self.rabbitmq: RabbitServer | RabbitCluster
        self.redis: RedisServer | RedisSentinel
        self.rabbitmq = RabbitCluster(folder) if self.quorum else RabbitServer(folder)
        sentinel = kind in (Kind.SENTINEL, Kind.CLUSTERS)
        self.redis = RedisSentinel(folder) if sentinel else RedisServer(folder)
        self._kamailio_log = folder / "kamailio.log"
        self._started = contextlib.ExitStack()

    @property
    def quorum(self) -> bool:
        """Whether queues are quorum queues."""
        return self.kind in (Kind.CLUSTER, Kind.CLUSTERS)

    @property
    def amqp_url(self) -> str:
        """Where RabbitMQ is."""
        return self.rabbitmq.urls if isinstance(self.rabbitmq, RabbitCluster) else self.rabbitmq.url

    @property
    def redis_url(self) -> str:
        """Where Redis is."""
        return self.redis.url

    def leader(self, queue: str) -> int:
        """Which node of the cluster leads a queue."""
        assert isinstance(self.rabbitmq, RabbitCluster)
        name = self.rabbitmq.queues()[queue]["leader"]
        return next(number for number, node in enumerate(self.rabbitmq.nodes) if node.node == name)

    @property
    def logged(self) -> int:
        """Bytes that Kamailio has logged so far."""
        return self._kamailio_log.stat().st_size

    def log_since(self, offset: int) -> list[str]:
        """Kamailio's log from there on."""
        with self._kamailio_log.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace").splitlines()

    def put_right(self) -> None:
        """Start what a row has left dead, and forget what it has left in Redis."""
        for server in (self.kamailio, self.rabbitmq, self.redis):
            if isinstance(server, RabbitCluster):
                if not all(node.running for node in server.nodes):
                    server.start()
            elif isinstance(server, RedisSentinel):
                server.revive()
            elif not server.running:
                server.start()
        (self.redis.master if isinstance(self.redis, RedisSentinel) else self.redis).ask("FLUSHALL")

    def __enter__(self) -> Self:
        starts: list[Callable[[], Any]] = []
        for server in (self.rabbitmq, self.redis, self.kamailio):
            self._started.push(server)
            starts.append(server.start)
        try:
            with ThreadPoolExecutor() as pool:
                for start in [pool.submit(start) for start in starts]:
                    start.result()
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()
