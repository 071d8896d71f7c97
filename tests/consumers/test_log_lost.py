"""A consumer whose output nobody takes decides all the same; real processes, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from adapter.contract import service_queue
from tests.consumers.asker import Asker, numbers
from tests.harness.output import Output
from tests.harness.process import Process
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

SERVICE = """
import logging
from consumers import Service, allow

service = Service("{name}")

@service.on("{name}_request")
def decide(request):
    print("x" * 20_000)
    logging.getLogger("mine").warning("y" * 20_000)
    return allow()
"""


@pytest.mark.parametrize("broken", ["full", "gone", "unread"])
async def test_calls_are_decided(rabbitmq: RabbitServer, asker: Asker, tmp_path: Path, broken: str) -> None:
    name = f"chatty{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(SERVICE.format(name=name))
    output = Output(broken)
    env = {"EVAPI_AMQP_URL": rabbitmq.url, "PYTHONPATH": str(tmp_path)}
    process = Process("consumer", [sys.executable, "-m", "consumers", f"{name}:service"], tmp_path, env)
    process.output = output.writes
    with process:

        async def consumes() -> bool:
            found = await asker.channel.queue_declare(service_queue(name), durable=True, passive=False)
            return bool(found.consumer_count)

        await until(consumes)
        for _ in range(200):  # 8 MB of output
            assert await asker.reply(await asker.ask(f"{name}_request")) == {"action": "allow"}
        assert await asyncio.to_thread(process.stop, signal.SIGTERM) == 0
    output.close()
    await asker.channel.queue_delete(service_queue(name))
