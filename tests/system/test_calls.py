"""Thousands of real calls: SIPp, Kamailio, the adapter, RabbitMQ, Redis, a foreign consumer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.wire import event, to_kamailio
from tests.harness.bridge import Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.process import wait_until
from tests.harness.rabbitmq import RabbitServer
from tests.harness.sipp import SippCaller, SippGateway, run_sipp
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

COUNTING = Path(__file__).parents[1] / "kamailio" / "counting.cfg"
LONG_WAIT = {"ADAPTER_FR_TIMER": 30_000}
LONG_POLICY = "[default]\ndeadline = 25.0\n"


@pytest.fixture
def node() -> str:
    """A node of this test alone, since it shares RabbitMQ and Redis with others."""
    return f"sbc-{uuid4().hex[:8]}"


@pytest.fixture
def scaled(rabbitmq: RabbitServer, redis_server: RedisServer) -> dict[str, str]:
    """The options of an adapter that uses both servers."""
    return {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}


def test_plain_configuration_and_a_foreign_consumer_decide_all_of_2000_calls(
    tmp_path: Path, rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    service = PikaService(rabbitmq.url, f"plain-{node}", ["invite_request"], lambda _: {"action": "allow"})
    with (
        service,
        SippGateway(tmp_path) as gateway,
        KamailioServer(tmp_path, "plain.cfg", gateway_port=gateway.port) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, scaled) as bridge,
    ):
        result = run_sipp(tmp_path, kamailio.sip_port, calls=2000, rate=200)
        assert (result.successful, result.codes) == (2000, {200: 2000})
        assert bridge.metric("evapi_outcomes_total", outcome="decided") == 2000
        assert bridge.metric("evapi_outcomes_total") == 2000
        assert bridge.metric("evapi_link_receipts") == 0, "the plain configuration gives none"
        assert service.counts == {"invite_request": 2000}


@pytest.mark.timeout(180)
def test_bursts_of_5000_answers_in_one_instant_are_all_resumed(
    tmp_path: Path, rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    (tmp_path / "policy.toml").write_text(LONG_POLICY)
    options = {**scaled, "policy": str(tmp_path / "policy.toml")}
    service = PikaService(rabbitmq.url, f"burst-{node}", ["invite_request"], lambda _: None)
    with (
        service,
        KamailioServer(tmp_path, "kamailio.cfg", LONG_WAIT) as kamailio,
        Bridge("adapter", tmp_path, {node: kamailio.evapi_port}, options) as bridge,
    ):
        bridge.wait_for_gate()
        for burst in (1, 2):
            with SippCaller(
                tmp_path, kamailio.sip_port, calls=5000, rate=1000, name=f"burst{burst}"
            ) as caller:
                wait_until(lambda: service.kept == 5000, "5,000 suspended calls")
                service.release(lambda _: {"action": "reject", "code": 486, "reason": "Busy"})
                result = caller.wait()
            assert result.codes == {486: 5000}
            assert bridge.metric("evapi_outcomes_total", outcome="decided") == 5000 * burst
        assert bridge.metric("evapi_outcomes_total") == 10_000
        wait_until(lambda: bridge.metric("evapi_frames_unread") == 0, "the last receipt")
        assert bridge.metric("evapi_frames_resent_total") == 0
        assert bridge.metric("evapi_receipts_missed_total") == 0


class Counter:
    """The owner of a link which only counts."""

    def __init__(self) -> None:
        self.read: list[TransactionId] = []
        self.counted: list[int] = []

    def may_write(self, node: str) -> bool:
        return True

    def on_events(self, link: Link, events: Sequence[object]) -> None:
        self.counted += [found.data["frames"] for found in events if isinstance(found, event.Notice)]

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        self.read += ids

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        pass


async def test_the_writer_brings_20000_frames_flat_out_to_the_real_kamailio(tmp_path: Path) -> None:
    """That the same frames in one write do not arrive is shown in tests/kamailio/test_counting.py."""
    loop = asyncio.get_running_loop()
    with KamailioServer(tmp_path, COUNTING) as kamailio:
        owner = Counter()
        link = Link("sbc1", Address("127.0.0.1", kamailio.evapi_port), owner, "r1", LinkSettings())
        task = asyncio.create_task(link.run())
        try:
            await until(lambda: link.writer.receipts)
            ids = [TransactionId("sbc1", number, number, 1) for number in range(20_000)]
            for id_ in ids:
                decision = b'{"pad":"%b"}' % (b"x" * (id_.index * 7 % 600))
                link.send(to_kamailio.resume(id_, "e", Outcome.DECIDED, decision), loop.time() + 60, id_)
            await until(lambda: len(owner.read) >= 20_000, 30)
            link.send(b'{"count":"now"}', loop.time() + 60)
            await until(lambda: owner.counted)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert owner.counted == [20_000]
    assert owner.read == ids
    assert link.writer.resent == 0


def test_sigterm_drains_and_the_other_replica_goes_on(
    tmp_path: Path, rabbitmq: RabbitServer, scaled: dict[str, str], node: str
) -> None:
    service = PikaService(rabbitmq.url, f"drain-{node}", ["invite_request"], lambda _: {"action": "allow"})
    with (
        service,
        SippGateway(tmp_path) as gateway,
        KamailioServer(tmp_path, "kamailio.cfg", gateway_port=gateway.port) as kamailio,
        Bridge("one", tmp_path, {node: kamailio.evapi_port}, scaled) as one,
        Bridge("two", tmp_path, {node: kamailio.evapi_port}, scaled) as two,
    ):
        for bridge in (one, two):
            bridge.wait_for_gate()
        wait_until(lambda: one.metric("evapi_active") + two.metric("evapi_active") == 1, "one active")
        active, standby = (one, two) if one.metric("evapi_active") else (two, one)
        with SippCaller(tmp_path, kamailio.sip_port, calls=1000, rate=200) as caller:
            wait_until(lambda: active.metric("evapi_outcomes_total") > 50, "some calls")
            decided = active.metric("evapi_outcomes_total", outcome="decided")
            assert active.stop() == 0
            result = caller.wait()
        assert result.codes == {200: 1000}
        on_standby = standby.metric("evapi_outcomes_total")
        assert standby.metric("evapi_outcomes_total", outcome="decided") == on_standby
        assert on_standby >= 1000 - decided - 200
