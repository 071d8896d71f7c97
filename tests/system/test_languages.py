"""Consumers that are no Python services, as consumers/README.md shows them, decide real calls."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pika
import pytest

from tests.harness import node as nodejs
from tests.harness.bridge import PATIENT, Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.process import Process
from tests.harness.readme import CONSUMERS, block
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

NODE, PIKA = "js", "python"
QUEUE = "evapi.decide.my_service"


def written(language: str, folder: Path, gateway: int) -> list[str]:
    """Write the page's text to a file; gives the command that runs it."""
    text = block(language, {NODE: "evapi-consumers", PIKA: "basic_consume"}[language], CONSUMERS)
    text = text.replace("gw1.example.net", f"127.0.0.1:{gateway}")
    path = folder / {NODE: "my_service.mjs", PIKA: "my_service.py"}[language]
    path.write_text(text)
    if language == PIKA:
        return [sys.executable, str(path)]
    nodejs.provide(folder)
    return [shutil.which("node") or "node", str(path)]


@contextmanager
def deciding(command: list[str], folder: Path, rabbitmq: RabbitServer) -> Iterator[Process]:
    """Run a consumer, from when it is bound. Its queue goes with it."""
    process = Process("consumer", command, folder, {"EVAPI_AMQP_URL": rabbitmq.url})
    process.start()
    bound = f"length(rabbit_binding:list_for_destination({{resource,<<47>>,queue,<<{QUEUE!r}>>}}))"
    try:
        # One is the queue's to the default exchange.
        process.wait_until(lambda: rabbitmq.eval(bound.replace("'", '"')) == "2", "the consumer to be bound")
        yield process
    finally:
        process.stop()
        with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
            connection.channel().queue_delete(QUEUE)


@pytest.fixture
def kamailio(tmp_path: Path) -> Iterator[KamailioServer]:
    with KamailioServer(tmp_path) as server:
        yield server


async def test_what_the_page_shows_decides_calls(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer, kamailio: KamailioServer
) -> None:
    options = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    async with await Gateway.open() as gateway, await Caller.open(kamailio.sip_port) as caller:
        with ExitStack() as stack:
            bridge = Bridge("adapter", tmp_path, {"languages": kamailio.evapi_port}, options, PATIENT)
            stack.enter_context(bridge)
            bridge.wait_for_gate()
            for number, language in enumerate((NODE, PIKA), 1):
                with deciding(written(language, tmp_path, gateway.port), tmp_path, rabbitmq):
                    assert (await caller.call("442079460000").final()).code == 200
                    refused = await caller.call("999").final()
                assert (refused.code, refused.reason) == (403, "Forbidden")
                assert len(gateway.of("INVITE")) == number
                assert bridge.metric("evapi_outcomes_total", outcome="decided") == 2 * number
