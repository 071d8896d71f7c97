"""The harness itself: a Kamailio that is stopped, paused, killed and started again; SIPp's figures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.harness.evapi_client import EvapiClient
from tests.harness.kamailio import KamailioServer, answers_options
from tests.harness.process import HarnessError, listening
from tests.harness.sipp import Progress, SippGateway, run_sipp

if TYPE_CHECKING:
    from pathlib import Path


def test_it_starts_again_on_the_same_ports(tmp_path: Path) -> None:
    with KamailioServer(tmp_path, workers=1, shared_memory=32) as server:
        ports = server.sip_port, server.evapi_port
        server.restart()
        assert answers_options(ports[0])
        server.kill()
        assert not server.running
        assert not listening(ports[1])  # its children are gone too
        server.start()
        assert listening(ports[1])
        assert server.stop() == 0
        assert not answers_options(ports[0])


def test_a_paused_one_stands_still(tmp_path: Path) -> None:
    with KamailioServer(tmp_path, workers=1, shared_memory=32) as server:
        server.pause()
        assert not answers_options(server.sip_port)
        server.resume()
        assert answers_options(server.sip_port, timeout=5)
        server.pause()  # it can be ended all the same


def test_a_configuration_that_does_not_load_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cfg"
    broken.write_text("request_route { no_such_function(); }\n")
    with pytest.raises(HarnessError, match="no_such_function"):
        KamailioServer(tmp_path, broken).start()


async def _answer(link: EvapiClient, gateway_port: int) -> None:
    """An adapter with both services, until cancelled; premium numbers are screened out."""
    while True:
        event = await link.json(60)
        if event.get("event") == "screening_request":
            premium = event["data"]["user"].startswith("44900")
            refused = {"action": "reject", "code": 403, "reason": "Premium"}
            link.answer(event, refused if premium else {"action": "allow"})
        elif event.get("event") == "invite_request":
            uri = f"sip:{event['data']['user']}@127.0.0.1:{gateway_port}"
            link.answer(event, {"action": "route", "uri": uri})


async def test_sipp_counts_what_became_of_its_calls(tmp_path: Path) -> None:
    numbers = [("442079460000", "alice"), ("449001234567", "bob"), ("442079460001", "carol")]
    seen: list[Progress] = []
    with (
        SippGateway(tmp_path) as gateway,
        KamailioServer(tmp_path, defines={"WITH_SCREENING": None}) as server,
    ):
        async with await EvapiClient.connect(server.evapi_port) as link:
            await link.status("ready")
            answering = asyncio.create_task(_answer(link, gateway.port))
            result = await asyncio.to_thread(
                run_sipp,
                tmp_path,
                server.sip_port,
                calls=300,
                rate=200,
                numbers=numbers,
                on_progress=seen.append,
            )
            answering.cancel()
    assert (result.calls, result.successful, result.failed) == (300, 300, 0)
    assert result.codes == {200: 200, 403: 100}
    assert len(result.response_times) == 300
    assert 0 <= result.percentile(0.5) <= result.percentile(0.99) <= max(result.response_times)
    assert seen[-1].ended > 0


def test_sipp_counts_calls_that_fail(tmp_path: Path) -> None:
    with KamailioServer(
        tmp_path, workers=1, shared_memory=32
    ) as server:  # nobody is ready: the gate is closed
        result = run_sipp(tmp_path, server.sip_port, calls=3, rate=100)
    assert result.codes == {503: 3}
    assert (result.successful, result.failed) == (3, 0)
