"""The plain bridge is a bridge: calls through real RabbitMQ and Redis, short and few."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from adapter.bench.load import Load
from tests.bench.stage import PLAIN, Stage
from tests.harness.process import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer


def test_it_decides_every_call_of_a_gentle_load(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    said: list[str] = []
    with contextlib.ExitStack() as started:
        stage = Stage(tmp_path, started, said.append)
        stage.servers._rabbitmq, stage.servers._redis = rabbitmq, redis_server
        with stage.ground(PLAIN) as ground:
            redis_server.ask(
                "FLUSHALL"
            )  # of questions whether it is there, asked before the service was bound
            result = stage.measure(ground, Load(50, 0.4, warm_up=0.1), "plain")
            wait_until(lambda: redis_server.ask("KEYS", "plain:*") == [], "the last calls' records to go")
    assert result.outcomes == {"decided": result.offered}
    assert result.offered >= 20
    assert {"consumer 1", "source", "RabbitMQ", "Redis"} <= set(result.cpu)
    assert result.cpu["adapter 1"] > 0
    assert "100.0% decided" in said[0]
