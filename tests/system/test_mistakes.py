"""The mistakes of a first evening: log, `/readyz`, `doctor` and `check` name the cause and the remedy.

A Redis that refuses the login is in `test_store_never_there`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pika
import pytest
from structlog.testing import capture_logs

from consumers import Service, route
from tests.cli.ground import on_ground
from tests.consumers.asker import running
from tests.harness.pika_service import PikaService
from tests.harness.process import free_port
from tests.harness.silent import silent_server
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers import Request
    from tests.cli.ground import Ground
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

pytestmark = pytest.mark.usefixtures("patient_doctor")

PASTED = b'{"user":"44"20"}'
"""A quote in what Kamailio's configuration has pasted together: no JSON, so that a handler gets bytes."""
CALLS = 3
"""That a newcomer makes before he asks what is the matter."""


@pytest.fixture
async def ground(
    redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
) -> AsyncIterator[Ground]:
    async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as made:
        yield made


class Bare(PikaService):
    """Replies with bytes as they are, and without a content type."""

    def _reply(self, asked: pika.BasicProperties, decision: Any) -> None:
        properties = pika.BasicProperties(correlation_id=asked.correlation_id)
        self._channel.basic_publish("", asked.reply_to, decision, properties)


async def wrong(ground: Ground, **variables: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What doctor finds wrong, by check and of what."""
    rows = (await ground.run("doctor", "-o", "json", **variables)).rows
    return {(row["check"], row["of"]): row for row in rows if row["status"] in ("error", "warning")}


async def checks(ground: Ground, code: int, last: str) -> str:
    """What check says once it ends with this code and has said this."""
    said: list[str] = []

    async def so() -> bool:
        done = await ground.run("check")
        said[:] = [done.out]
        return done.code == code and last in done.out

    await until(so)
    return said[0]


def handlers() -> tuple[Service, int]:
    """A service two of whose handlers raise, and the line of the first."""
    service = Service("lcr")

    @service.on("raises")
    async def raises(request: Request) -> dict[str, Any]:
        return route(request.data["not there"])

    @service.on("pasted")
    async def pasted(request: Request) -> dict[str, Any]:
        return route(request.data["user"])

    return service, raises.__code__.co_firstlineno + 2


async def test_of_the_calls(ground: Ground) -> None:
    """A wrong event name, a handler that raises, broken JSON of Kamailio, a reply without content type."""
    await ground.replica("one")
    service, line = handlers()
    bare = Bare(ground.amqp_url, "bare", ["bare", "text"], lambda asked: REPLIES[asked["event"]])
    ground.stack.enter_context(bare)
    async with running(service, ground.amqp_url):
        ended = {event: await ground.calls(CALLS, event) for event in ("raise", "raises", "bare", "text")}
        broken = [await ground.sim.suspend("pasted", PASTED, form="colon") for _ in range(CALLS)]
        ended["pasted"] = [await call.resumed() for call in broken]
        outcomes = {event: {call["outcome"] for call in calls} for event, calls in ended.items()}
        assert outcomes == {
            "raise": {"unroutable"},
            "raises": {"failed"},
            "pasted": {"failed"},
            "bare": {"decided"},
            "text": {"malformed"},
        }
        found: dict[tuple[str, str], dict[str, Any]] = {}

        async def told() -> bool:  # the journal is written twice a second
            found.update(await wrong(ground))
            return {event for check, event in found if check == "calls"} == outcomes.keys() - {"bare"}

        await until(told)
        checked = await checks(ground, 1, "send a JSON object or a msgpack map")
        traced = await ground.run("trace", f"0@{ground.node}")
    where = f"lcr: failed: KeyError at test_mistakes.py, line {line}"
    seen = {event: found["calls", event]["seen"] for event in outcomes if ("calls", event) in found}
    assert "3 of its last 3 calls came back unroutable: no queue gets them" in seen["raise"]
    assert "lcr handles pasted, raises" in seen["raise"]
    assert '$var(event) = "raises";' in found["calls", "raise"]["todo"]
    assert where in seen["raises"]
    assert "its data are no JSON object, but 16 bytes" in seen["pasted"]
    assert "send a JSON object or a msgpack map (content type: none)" in seen["text"]
    assert "no queue gets raise" in checked
    for words in (where, "its data are no JSON object", "send a JSON object or a msgpack map"):
        assert words in checked
    assert f"no decision: failed: KeyError at test_mistakes.py, line {line}" in traced.out


REPLIES = {"bare": b'{"action":"allow"}', "text": b"allow"}


async def test_of_the_links(ground: Ground) -> None:
    """A port that nobody listens on, and one that takes connections and is not EVAPI's."""
    async with AsyncExitStack() as stack:
        foreign = await stack.enter_async_context(silent_server())
        address = foreign.url.removeprefix("amqp://").rstrip("/")
        nodes = f"{ground.node}={ground.sim.address},closed=127.0.0.1:{free_port()},foreign={address}"
        with capture_logs() as logs:
            bridge = await ground.replica("one", nodes=nodes)
            await until(lambda: "link foreign" in bridge.readiness.details())
        details = bridge.readiness.details()
        assert f"{address} takes connections, and nothing ever came from it" in details["link foreign"]
        events = {each["event"]: each for each in logs if each.get("node") in ("closed", "foreign")}
        assert "connection refused: nobody listens there" in events["evapi link: cannot connect"]["error"]
        assert "is this Kamailio's EVAPI port" in " ".join(str(each.get("do")) for each in logs)

        async def told() -> bool:
            found.update(await wrong(ground))
            if not {("node", "closed"), ("node", "foreign")} <= found.keys():
                return False
            # The reason is told a beat later than the fault.
            return "nothing ever came from it" in found["node", "foreign"]["seen"]

        found: dict[tuple[str, str], dict[str, Any]] = {}
        await until(told)
        checked = await checks(ground, 2, "nothing ever came from it")
    assert "one: no link" in found["node", "closed"]["seen"]
    assert "does it listen there" in found["node", "closed"]["todo"]
    assert "nothing ever came from it: no hello, and no event" in found["node", "foreign"]["seen"]
    assert "bind_addr" in found["node", "foreign"]["todo"]
    assert "no active replica; the link is down at one: does Kamailio run, and read?" in checked
    assert "nothing ever came from it (no hello, no event): is it EVAPI's port?" in checked
