"""evapi-adapter-calls.cfg tells of each call as it lives: start, answer, end, in this order and once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.sip import Caller, Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call

KAMAILIO = {"cfg": Path(__file__).with_name("calls.cfg")}
PAUSE = 0.15
"""Seconds between two moments of a call, so that what is measured cannot be 0."""


async def allowed(
    caller: Caller, link: EvapiClient, decision: dict[str, Any] | None = None
) -> tuple[Call, dict[str, Any]]:
    """A call that goes out, by default to the gateway, and what is told of its start."""
    await link.status("ready")
    call = caller.call()
    link.answer(await link.event("invite_request"), decision or {"action": "allow"})
    return call, await told(link, "call_started", call)


async def told(link: EvapiClient, event: str, call: Call) -> dict[str, Any]:
    """The next notice, which is this one of this call; what it says beside its Call-ID and time."""
    found = await link.json()
    assert found["event"] == event, found
    data: dict[str, Any] = found["data"]
    assert data.pop("call_id") == call.call_id
    assert abs(data.pop("at") - time.time()) < 5
    return data


async def test_a_call_that_the_caller_ends(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(0, port=kamailio.gateway_port) as gateway:
        call, start = await allowed(caller, link)
        uri = f"sip:4420@127.0.0.1:{kamailio.sip_port}"
        assert start == {"ruri": uri, "from": "sip:alice@caller.test", "to": uri}
        await call.response(180)
        await asyncio.sleep(PAUSE)
        gateway.answer(200)
        await call.final()
        answer = await told(link, "call_answered", call)
        assert answer.keys() == {"pdd_ms", "answer_ms"}
        assert 0 <= answer["pdd_ms"] <= answer["answer_ms"] - PAUSE * 900
        await asyncio.sleep(PAUSE)
        await call.bye()
        end = await told(link, "call_ended", call)
        duration = end.pop("duration_ms")
        assert PAUSE * 900 <= duration < 3000
        assert end == {**answer, "code": 200, "ended_by": "caller"}
    assert await link.receipt() == []


async def test_a_call_that_the_callee_ends(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        call, _ = await allowed(caller, link)
        await call.final()
        answer = await told(link, "call_answered", call)
        assert answer["pdd_ms"] <= answer["answer_ms"]
        gateway.bye(kamailio.sip_port)
        end = await told(link, "call_ended", call)
        assert (end["code"], end["ended_by"]) == (200, "callee")
    assert await link.receipt() == []


async def test_a_call_that_kamailio_ends_for_its_longest_duration(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        uri = f"sip:127.0.0.1:{kamailio.gateway_port}"
        call, _ = await allowed(caller, link, {"action": "route", "uri": uri, "max_duration": 1})
        await call.final()
        await told(link, "call_answered", call)
        end = await told(link, "call_ended", call)
        assert (end["code"], end["ended_by"]) == (200, "kamailio")
        assert 100 < end["duration_ms"] < 5000, "dialog counts in whole seconds"
        await until(lambda: gateway.of("BYE") or call.byes)  # dialog's own, maybe to one side alone
    assert await link.receipt() == []


@pytest.mark.parametrize("code", [404, 486, 603])
async def test_a_call_that_the_callee_refuses(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, code: int
) -> None:
    async with await Gateway.open(code, port=kamailio.gateway_port):
        call, _ = await allowed(caller, link)
        assert (await call.final()).code == code
        end = await told(link, "call_ended", call)
        assert end.pop("pdd_ms") >= 0
        assert end == {"code": code, "ended_by": "callee"}
    assert await link.receipt() == []


async def test_a_call_that_the_caller_cancels(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(0, port=kamailio.gateway_port):
        call, _ = await allowed(caller, link)
        await call.response(180)
        call.cancel()
        assert (await call.final()).code == 487
        end = await told(link, "call_ended", call)
        assert end.pop("pdd_ms") >= 0
        assert end == {"code": 487, "ended_by": "caller"}
    assert await link.receipt() == []


async def test_a_call_that_goes_to_a_second_gateway_is_one_call(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(503) as first, await Gateway.open(486) as second:
        routes = [{"uri": f"sip:127.0.0.1:{gateway.port}"} for gateway in (first, second)]
        call, _ = await allowed(caller, link, {"action": "route", "routes": routes})
        assert (await call.final()).code == 486
        assert len(first.of("INVITE")) == len(second.of("INVITE")) == 1
        end = await told(link, "call_ended", call)
        assert (end["code"], end["ended_by"]) == (486, "callee")
    assert await link.receipt() == []


async def test_a_call_to_a_gateway_that_is_silent(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port, deaf=99):
        call, _ = await allowed(caller, link)
        assert (await call.final()).code == 408
        assert await told(link, "call_ended", call) == {"code": 408, "ended_by": "kamailio"}
    assert await link.receipt() == []


async def test_a_call_that_the_caller_cancels_while_the_gateway_is_silent(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port, deaf=99):
        call, _ = await allowed(caller, link)
        call.cancel()
        final = await call.final()
        assert await told(link, "call_ended", call) == {"code": final.code, "ended_by": "caller"}
    assert await link.receipt() == []


async def test_of_a_call_that_the_decision_refuses_nothing_is_told(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    link.answer(await link.event("invite_request"), {"action": "reject", "code": 403, "reason": "No"})
    assert (await call.final()).code == 403
    assert await link.receipt() == []
