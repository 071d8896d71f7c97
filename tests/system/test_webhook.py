"""A real call that an HTTP function decides, the one in the consumers' README."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from consumers.webhook.signing import parse_secret, signature
from tests.harness.bridge import PATIENT, Bridge, Consumer
from tests.harness.kamailio import KamailioServer
from tests.harness.process import Process, free_port, listening
from tests.harness.readme import CONSUMERS, block
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = """
name = "{name}"
events = ["invite_request"]
urls = ["http://127.0.0.1:1/away", "http://127.0.0.1:{port}/decide"]
secrets = [{{ file = "secret" }}]
allow_networks = ["127.0.0.1"]
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def receiver(tmp_path: Path, port: int) -> Iterator[Process]:
    path = tmp_path / "receiver.py"
    path.write_text(block("python", "ThreadingHTTPServer", CONSUMERS))
    env = {"WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    with Process("receiver", [sys.executable, str(path)], tmp_path, env) as process:
        process.wait_until(lambda: listening(port), "the receiver")
        yield process


async def test_a_call_is_decided_by_http(
    tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer, receiver: Process, port: int
) -> None:
    node, name = f"sbc-{uuid4().hex[:8]}", f"webhook-{uuid4().hex[:8]}"
    (tmp_path / "secret").write_text(SECRET)
    settings = tmp_path / "webhook.toml"
    settings.write_text(SETTINGS.format(name=name, port=port))
    options = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    with (
        Consumer("consumer", tmp_path, [str(settings)], rabbitmq.url) as consumer,
        KamailioServer(tmp_path) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options, PATIENT) as bridge,
    ):
        consumer.wait_until(lambda: "consuming" in consumer.tail(), "the service")
        bridge.wait_for_gate()
        async with (
            await Gateway.open(port=kamailio.gateway_port) as gateway,
            await Caller.open(kamailio.sip_port) as caller,
        ):
            call = caller.call("442079460000")
            assert (await call.final()).code == 200
            assert (await call.bye()).code == 200
            refused = await caller.call("999").final()
            assert (refused.code, refused.reason) == (403, "Forbidden")
            receiver.kill()
            fallback = await caller.call("442079460000").final()
            assert (fallback.code, fallback.reason) == (503, "No decision")
            assert len(gateway.of("INVITE")) == 1
        for outcome, calls in (("decided", 2), ("failed", 1)):
            assert bridge.metric("evapi_outcomes_total", outcome=outcome) == calls
        assert consumer.stop() == 0
        log = consumer.log.read_text()
    assert "invite_request failed: " in log
    assert f"urls[1] (127.0.0.1:{port}): " in log
    assert "/decide" not in log
    assert "Unclosed" not in log
    assert SECRET not in log


async def test_a_call_is_decided_by_http_with_nothing_but_kamailio(
    tmp_path: Path, receiver: Process, port: int
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    settings = tmp_path / "webhook.toml"
    settings.write_text(SETTINGS.format(name="webhook", port=port))
    with (
        KamailioServer(tmp_path) as kamailio,
        Bridge("adapter", tmp_path, {"sbc1": kamailio.evapi_port}, {"consumer": str(settings)}) as bridge,
    ):
        bridge.wait_for_gate()
        async with await Caller.open(kamailio.sip_port) as caller:
            assert (await caller.call("999").final()).code == 403
        assert bridge.metric("evapi_outcomes_total", outcome="decided") == 1
        assert bridge.stop() == 0
        assert "Unclosed" not in bridge.process.log.read_text()


def test_the_receiver_takes_no_word_of_others(receiver: Process, port: int) -> None:
    body, now = b'{"data":{"user":"1"}}', int(time.time())
    good = signature([parse_secret(SECRET)], "evapi_1", now, body)
    other = signature([b"x" * 32], "evapi_1", now, body)
    old = signature([parse_secret(SECRET)], "evapi_1", now - 301, body)
    assert _status(port, body, str(now), f"{other} {good}") == 200
    for at, signatures in ((now, other), (now, ""), (now, "v1,\u00e9"), (now - 301, old), (now + 1, good)):
        assert _status(port, body, str(at), signatures) == 401
    assert _status(port, body + b" ", str(now), good) == 401
    assert _status(port, body, "soon", good) == 401


def _status(port: int, body: bytes, timestamp: str, signatures: str) -> int:
    headers = {"webhook-id": "evapi_1", "webhook-timestamp": timestamp, "webhook-signature": signatures}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
