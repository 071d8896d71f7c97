"""The servers that the rows of one kind share: Kamailio with the witness, RabbitMQ, Redis."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.chaos.clocks import Clock
from tests.harness.kamailio import KamailioServer
from tests.harness.rabbitmq import RabbitCluster, RabbitServer
from tests.harness.redis import RedisSentinel, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WITNESS: Final = Path(__file__).with_name("witness.cfg")
PLAIN_WITNESS: Final = Path(__file__).with_name("plain_witness.cfg")
NODE: Final = "sbc1"


class Kind(Enum):
    """Which servers there are."""

    ALONE = "one RabbitMQ, one Redis"
    SENTINEL = "one RabbitMQ, Redis with Sentinel"
    CLUSTER = "three RabbitMQ nodes, one Redis"
    CLUSTERS = "three RabbitMQ nodes, Redis with Sentinel"
    CLOCKS = "one RabbitMQ, one Redis with a clock of its own"
    PLAIN = "one RabbitMQ, one Redis, Kamailio without the include"
    TWO = "one RabbitMQ, one Redis, two Kamailios"

    @property
    def alone(self) -> bool:
        """Whether there is one RabbitMQ and one Redis, so that proxies can stand in front of them."""
        return self not in (Kind.SENTINEL, Kind.CLUSTER, Kind.CLUSTERS)


class Servers:
    """All started together, since RabbitMQ takes its time."""

    def __init__(self, folder: Path, kind: Kind = Kind.ALONE) -> None:
        self.kind = kind
        cfg = PLAIN_WITNESS if kind is Kind.PLAIN else WITNESS
        names = ["kamailio", "kamailio-2"] if kind is Kind.TWO else ["kamailio"]
        self.kamailios = [KamailioServer(folder, cfg, workers=4, name=name) for name in names]
        self.clock = Clock(folder, "redis") if kind is Kind.CLOCKS else None
        self.rabbitmq: RabbitServer | RabbitCluster
        self.redis: RedisServer | RedisSentinel
        self.rabbitmq = RabbitCluster(folder) if self.quorum else RabbitServer(folder)
        sentinel = kind in (Kind.SENTINEL, Kind.CLUSTERS)
        env = self.clock.env if self.clock else None
        self.redis = RedisSentinel(folder) if sentinel else RedisServer(folder, env=env)
        self._logs = [folder / f"{name}.log" for name in names]
        self._started = contextlib.ExitStack()

    @property
    def kamailio(self) -> KamailioServer:
        """The first, or only, one."""
        return self.kamailios[0]

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
    def logged(self) -> list[int]:
        """Bytes that each Kamailio has logged so far."""
        return [log.stat().st_size for log in self._logs]

    def log_since(self, offsets: Sequence[int]) -> list[str]:
        """What each Kamailio has logged from there on, one after the other."""
        found: list[str] = []
        for log, offset in zip(self._logs, offsets, strict=True):
            with log.open("rb") as file:
                file.seek(offset)
                found += file.read().decode(errors="replace").splitlines()
        return found

    def put_right(self) -> None:
        """Start what a row has left dead, and forget what it has left in Redis."""
        if self.clock is not None:
            self.clock.put(0.0)
        for server in (*self.kamailios, self.rabbitmq, self.redis):
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
        for server in (self.rabbitmq, self.redis, *self.kamailios):
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
