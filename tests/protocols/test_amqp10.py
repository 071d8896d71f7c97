"""AMQP 1.0, by rhea (Node.js): RabbitMQ 4 speaks it, earlier ones by a plugin, with other addresses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.ground import in_thread
from tests.harness import node
from tests.harness.process import Process
from tests.harness.until import until
from tests.protocols.conftest import Calls, decides

if TYPE_CHECKING:
    from tests.harness.rabbitmq import RabbitServer

PROGRAM = Path(__file__).with_name("rhea.mjs")


@pytest.fixture(scope="session")
def packages() -> None:
    node.install(node.CLIENTS)


@pytest.fixture
async def queue(rabbitmq: RabbitServer, calls: Calls) -> str:
    """A service's, which AMQP 1.0 alone cannot bind: made as the page says."""
    words = (
        "topology",
        "apply",
        "--nodes",
        f"{calls.node}=127.0.0.1:1",
        "--queue",
        f"screening-{calls.event}={calls.event}",
    )
    done = await in_thread(*words, EVAPI_AMQP_URL=rabbitmq.url)
    assert done.code == 0, done.err
    return f"evapi.decide.screening-{calls.event}"


@pytest.mark.usefixtures("packages")
async def test_it_decides(rabbitmq: RabbitServer, calls: Calls, queue: str, tmp_path: Path) -> None:
    """Before RabbitMQ 4 application properties become no headers, ``x-status`` among them."""
    is_4 = rabbitmq.version >= (4,)
    addresses = "v2" if is_4 else "v1"
    program = shutil.which("node") or "node"
    consumer = Process("rhea", [program, str(PROGRAM), str(rabbitmq.port), queue, addresses], tmp_path)
    with consumer:
        await until(lambda: "ready" in consumer.log.read_text())
        for _ in range(2):
            await decides(calls, "rhea", can_fail=is_4)
        assert consumer.running
