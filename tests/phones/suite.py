"""What becomes of the calls of a real phone, whoever is called: one suite over all of these.

The whole way: baresip, Kamailio with the shipped proxy, the adapter, RabbitMQ, a consumer.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from tests.harness.bridge import Bridge
from tests.harness.kamailio import KamailioServer
from tests.harness.pika_service import PikaService
from tests.harness.sip import Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.phone import Phone

LIFE = ["call_started", "call_answered", "call_ended"]


class Callee(Protocol):
    """Whoever takes the calls."""

    port: int

    def requests(self, method: str) -> list[str]:
        """The requests of a method that came, as text, in order."""
        ...


class Site:
    """A proxy whose calls are decided as ``decisions`` says by the number dialled; without one they wait.

    ``asked``: the data of the questions. ``told``: the notices.
    """

    def __init__(self, kamailio: KamailioServer) -> None:
        self.kamailio = kamailio
        self.decisions: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []

    def decide(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Note a request; the decision."""
        if request["event"] != "invite_request":
            self.told.append(request)
            return None
        self.asked.append(request["data"])
        return self.decisions.get(request["data"]["user"])

    def life(self, call_id: str) -> list[str]:
        """What was told of a call."""
        return [each["event"] for each in self.told if each["data"]["call_id"] == call_id]

    def end(self, call_id: str) -> dict[str, Any]:
        """What was told of the end of a call."""
        (found,) = (
            each["data"]
            for each in self.told
            if each["event"] == "call_ended" and each["data"]["call_id"] == call_id
        )
        return dict(found)


@contextmanager
def made_site(folder: Path, amqp_url: str, redis_url: str) -> Iterator[Site]:
    """A site with one replica of the adapter and one consumer, ready."""
    node = f"sbc-{uuid4().hex[:8]}"
    options = {"amqp_url": amqp_url, "redis_url": redis_url}
    with KamailioServer(folder, "kamailio.cfg", {"ADAPTER_CALLS": None}) as kamailio:
        site = Site(kamailio)
        events = ["invite_request", "call_cancelled", *LIFE]
        with (
            PikaService(amqp_url, f"phones-{node}", events, site.decide),
            Bridge("adapter", folder, {node: kamailio.evapi_port}, options) as bridge,
        ):
            bridge.wait_for_gate()
            yield site


class PhoneCalls:
    """The suite. A subclass has the fixtures ``site``, ``phone`` and ``callee``."""

    async def test_a_call_that_is_routed_held_and_ended(
        self, site: Site, phone: Phone, callee: Callee
    ) -> None:
        site.decisions["4420"] = {"action": "route", "uri": f"sip:4420@127.0.0.1:{callee.port}"}
        phone.dial("4420")
        call_id = (await phone.event("CALL_ESTABLISHED"))["id"]
        await until(lambda: len(callee.requests("ACK")) == 1)
        phone.hold()
        await until(lambda: len(callee.requests("ACK")) == 2)
        phone.resume()
        await until(lambda: len(callee.requests("ACK")) == 3)
        first, held, resumed = callee.requests("INVITE")
        assert not re.search(r"^route:", first, re.IGNORECASE | re.MULTILINE), "the phone's way to the proxy"
        assert "a=sendonly" in held
        assert "a=sendrecv" in resumed
        phone.hang_up()
        await until(lambda: len(callee.requests("BYE")) == 1)
        await until(lambda: site.life(call_id) == LIFE)
        assert [asked["call_id"] for asked in site.asked] == [call_id], "a hold is no new question here"
        end = site.end(call_id)
        assert (end["code"], end["ended_by"]) == (200, "caller")

    async def test_a_second_gateway_takes_it_after_the_first_answered_503(
        self, site: Site, phone: Phone, callee: Callee
    ) -> None:
        async with await Gateway.open(503) as first:
            routes = [{"uri": f"sip:4420@127.0.0.1:{port}"} for port in (first.port, callee.port)]
            site.decisions["4420"] = {"action": "route", "routes": routes}
            phone.dial("4420")
            call_id = (await phone.event("CALL_ESTABLISHED"))["id"]
            assert len(first.of("INVITE")) == 1
            assert len(callee.requests("INVITE")) == 1
        phone.hang_up()
        await until(lambda: len(callee.requests("BYE")) == 1)
        await until(lambda: site.life(call_id) == LIFE)
        assert len(site.asked) == 1

    async def test_a_redirect_is_followed_and_asked_about_as_the_same_call(
        self, site: Site, phone: Phone, callee: Callee
    ) -> None:
        site.decisions["4420"] = {
            "action": "redirect",
            "uris": [f"sip:4430@127.0.0.1:{site.kamailio.sip_port}"],
        }
        site.decisions["4430"] = {"action": "route", "uri": f"sip:4430@127.0.0.1:{callee.port}"}
        phone.dial("4420")
        call_id = (await phone.event("CALL_ESTABLISHED"))["id"]
        assert [(asked["user"], asked["call_id"]) for asked in site.asked] == [
            ("4420", call_id),
            ("4430", call_id),
        ]
        phone.hang_up()
        await until(lambda: site.life(call_id) == LIFE)

    async def test_a_rejection_reaches_the_phone_with_its_reason(
        self, site: Site, phone: Phone, callee: Callee
    ) -> None:
        site.decisions["4420"] = {"action": "reject", "code": 486, "reason": "Out To Lunch"}
        phone.dial("4420")
        assert (await phone.event("CALL_CLOSED"))["param"] == "486 Out To Lunch"
        assert not callee.requests("INVITE")
        assert not site.told

    async def test_a_phone_hangs_up_while_the_question_is_open(
        self, site: Site, phone: Phone, callee: Callee
    ) -> None:
        phone.dial("4420")
        await until(lambda: site.asked)
        phone.hang_up()
        await phone.event("CALL_CLOSED")
        await until(lambda: site.life(site.asked[0]["call_id"]) == ["call_cancelled"])
        assert not callee.requests("INVITE")
