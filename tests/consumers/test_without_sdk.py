"""The consumer of consumers/README.md, "Without an SDK", as it stands there; real calls: tests/system."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from adapter.contract import Request, encode_request
from tests.harness.process import Process
from tests.harness.readme import CONSUMERS, block
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.consumers.asker import Asker
    from tests.harness.rabbitmq import RabbitServer

NAME = "pika-page"
TEXT = block("python", "basic_consume", CONSUMERS).replace("my_service", NAME).replace("invite_request", NAME)


@pytest.fixture
def consumer(tmp_path: Path, rabbitmq: RabbitServer) -> Iterator[Process]:
    (tmp_path / "service.py").write_text(TEXT)
    command = [sys.executable, str(tmp_path / "service.py")]
    process = Process("pika", command, tmp_path, {"EVAPI_AMQP_URL": rabbitmq.url})
    process.start()
    try:
        yield process
    finally:
        process.stop()


async def test_it_decides_fails_and_keeps_to_deadlines(asker: Asker, consumer: Process) -> None:
    """One after the other: when the last is answered, all before it were dealt with."""
    late = await asker.ask(NAME, left=-5)
    await asker.tell(NAME)
    no_user = encode_request(Request(NAME, "n", {}, 1, 1, 1, time.time() + 20))
    failed = await asker.ask(NAME, body=no_user)
    good = await asker.ask(NAME)
    assert await asker.reply(good) == {"action": "route", "uri": "sip:gw1.example.net"}
    assert late not in asker.replies
    assert await asker.reply(failed) == {"error": "KeyError"}
    headers = asker.replies[failed].header.properties.headers
    assert headers == {"x-service": NAME, "x-status": "failed"}
    assert consumer.running


def test_it_is_as_short_as_it_says() -> None:
    assert len([line for line in TEXT.splitlines() if line]) <= 30


async def test_what_it_has_not_replied_to_is_not_acknowledged(
    asker: Asker, consumer: Process, tmp_path: Path
) -> None:
    consumer.stop()
    dying = TEXT.replace("def decide(data):\n", "def decide(data):\n    os.kill(os.getpid(), 9)\n", 1)
    assert dying != TEXT
    (tmp_path / "service.py").write_text(dying)
    consumer.start()
    id_ = await asker.ask(NAME)
    await until(lambda: not consumer.running)
    assert id_ not in asker.replies
    (tmp_path / "service.py").write_text(TEXT)
    consumer.start()
    assert await asker.reply(id_) == {"action": "route", "uri": "sip:gw1.example.net"}
