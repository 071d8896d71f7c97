"""Names that clash, with real Kamailios, RabbitMQ and Redis: every call is decided, and asked about once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from adapter.cluster.identities import TWO_KAMAILIOS, TWO_NAMES
from tests.harness.bridge import PATIENT, Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.process import wait_until
from tests.harness.rabbitmq import RabbitServer
from tests.harness.redis import RedisServer
from tests.harness.sipp import SippCaller, SippGateway

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

CALLS = 40


@pytest.fixture
def node() -> str:
    """A node of this test alone, since it shares RabbitMQ and Redis with others."""
    return f"sbc-{uuid4().hex[:8]}"


class Site:
    """Some Kamailios, and adapters that are told of them by names of their own."""

    def __init__(
        self, folder: Path, rabbitmq: RabbitServer, redis: RedisServer, node: str, cfgs: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self._options = {"amqp_url": rabbitmq.url, "redis_url": redis.url}
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self.service = PikaService(rabbitmq.url, node, ["invite_request"], lambda _: {"action": "allow"})
        enter(self.service)
        gateway = enter(SippGateway(folder))
        self.kamailios = [
            enter(KamailioServer(folder, cfg, gateway_port=gateway.port, name=f"kamailio-{number}"))
            for number, cfg in enumerate(cfgs)
        ]

    def bridges(self, **nodes: tuple[str, int]) -> list[Bridge]:
        """Adapters, by name: what each calls its Kamailio, and the number of that. Started side by side."""
        made = [
            Bridge(name, self.folder, {node: self.kamailios[number].evapi_port}, self._options, PATIENT)
            for name, (node, number) in nodes.items()
        ]
        for bridge in made:
            self._stack.callback(bridge.stop)
            bridge.process.start()
        for bridge in made:
            bridge.process.wait_until(lambda: bridge.readiness().get("status") == "ready", "to be ready")
        return made

    def call(self) -> list[Mapping[int, int]]:
        """Calls to each Kamailio at the same time, and how they ended."""
        callers = [
            SippCaller(self.folder, each.sip_port, calls=CALLS, rate=40, name=f"caller-{number}")
            for number, each in enumerate(self.kamailios)
        ]
        with ExitStack() as calling:
            for caller in callers:
                calling.enter_context(caller)
            return [caller.wait().codes for caller in callers]

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitServer, redis_server: RedisServer, node: str) -> Any:
    def made(*cfgs: str) -> Site:
        return Site(tmp_path, rabbitmq, redis_server, node, cfgs)

    return made


def told(bridge: Bridge, kind: str) -> None:
    """Log, metric and /readyz tell of it."""
    wait_until(lambda: bridge.logged(kind), f"{bridge.process.name} to tell: {kind}")
    assert [entry["level"] for entry in bridge.logged(kind)] == ["error"], "once"
    assert bridge.metric("evapi_name_clashes") == 1
    (detail,) = (text for about, text in bridge.readiness()["details"].items() if about.startswith("names "))
    assert detail.startswith(kind)


def test_two_kamailios_under_one_name(site: Callable[..., Site], node: str) -> None:
    with site("kamailio.cfg", "kamailio.cfg") as here:
        one, two = here.bridges(one=(node, 0), two=(node, 1))
        for bridge in (one, two):
            bridge.wait_for_gate()
        assert here.call() == [{200: CALLS}, {200: CALLS}]
        for bridge in (one, two):
            told(bridge, TWO_KAMAILIOS)
        assert here.service.counts == {"invite_request": 2 * CALLS}
        assert one.metric("evapi_bygone_total") + two.metric("evapi_bygone_total") == 0


def test_one_kamailio_under_two_names(site: Callable[..., Site], node: str) -> None:
    """Of a plain configuration, where nothing drops a second answer."""
    with site("plain.cfg") as here:
        one, two = here.bridges(one=(f"{node}-a", 0), two=(f"{node}-b", 0))
        for bridge in (one, two):
            told(bridge, TWO_NAMES)
        assert here.call() == [{200: CALLS}]
        assert here.service.counts == {"invite_request": CALLS}, "each is asked about once"
        assert one.metric("evapi_outcomes_total", outcome="decided") == CALLS
        assert two.metric("evapi_outcomes_total") == 0
