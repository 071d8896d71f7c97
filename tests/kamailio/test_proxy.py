"""kamailio.cfg with all its defines: other requests than calls are decided, too, and calls accounted for."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.sip import Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller, Message

DEFINES = ("WITH_ACCOUNTING", "WITH_REGISTER", "WITH_MESSAGE", "WITH_SUBSCRIBE", "WITH_REINVITE")
KAMAILIO = {"defines": {"ADAPTER_FR_TIMER": 1000, **dict.fromkeys(DEFINES)}}
BUSY = {"action": "reject", "code": 486, "reason": "Busy"}


def records(kamailio: KamailioServer, call: Call) -> list[str]:
    """What acc has written of a call."""
    lines = [line for line in kamailio.log.splitlines() if "ACC:" in line and call.call_id in line]
    return [line.partition("ACC: ")[2] for line in lines]


async def accounted(kamailio: KamailioServer, call: Call) -> str:
    """The only record of a call."""
    await until(lambda: records(kamailio, call))
    (found,) = records(kamailio, call)
    return found


async def decided(link: EvapiClient, event: str, decision: dict[str, Any]) -> dict[str, Any]:
    """The data of the next event of this name, which gets this decision."""
    found = await link.event(event)
    link.answer(found, decision)
    data: dict[str, Any] = found["data"]
    return data


async def answered(caller: Caller, link: EvapiClient) -> Call:
    call = caller.call("4420")
    await decided(link, "invite_request", {"action": "allow"})
    assert (await call.final()).code == 200
    return call


async def test_a_call_by_the_second_gateway_has_one_record(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(503) as one, await Gateway.open() as two:
        call = caller.call("4420")
        listed = [{"uri": f"sip:4420@127.0.0.1:{each.port}"} for each in (one, two)]
        await decided(link, "invite_request", {"action": "route", "routes": listed})
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        assert [request.method for request in two.requests] == ["INVITE", "ACK", "BYE"]
    record = await accounted(kamailio, call)
    assert record.startswith("transaction answered:")
    assert re.search(r"method=INVITE;.*code=200;.*outcome=decided;step=service;", record)


@pytest.mark.parametrize("gateway_code", [None, 486])
async def test_a_call_that_comes_to_nothing_has_one_record(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, gateway_code: int | None
) -> None:
    async with await Gateway.open(gateway_code or 200, port=kamailio.gateway_port):
        call = caller.call()
        await decided(link, "invite_request", {"action": "allow"} if gateway_code else BUSY)
        assert (await call.final()).code == 486
    assert "code=486;" in await accounted(kamailio, call)


async def test_a_call_that_nobody_decides_has_one_record(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    await link.event("invite_request")
    assert (await call.final()).code == 503
    assert "outcome=none;step=no_decision;" in await accounted(kamailio, call)


async def test_who_may_register_is_called_there(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call("bob", method="REGISTER", headers="Expires: 60\r\n")
    data = await decided(link, "register_request", {"action": "allow"})
    final = await call.final()
    assert final.code == 200
    assert f"127.0.0.1:{caller.port}" in final.get("contact")
    assert (data["expires"], data["call_id"]) == ("60", call.call_id)
    assert f"127.0.0.1:{caller.port}" in data["contact"]


async def test_who_may_not_register(caller: Caller, link: EvapiClient) -> None:
    call = caller.call("bob", method="REGISTER")
    await decided(link, "register_request", {"action": "reject", "code": 403, "reason": "No"})
    final = await call.final()
    assert (final.code, final.reason) == (403, "No")


@pytest.mark.parametrize(
    ("method", "headers", "key", "value"),
    [
        ("MESSAGE", "", "body", "hello"),
        ("SUBSCRIBE", "Event: presence\r\nExpires: 60\r\n", "package", "presence"),
    ],
)
async def test_other_requests_are_decided(
    kamailio: KamailioServer,
    caller: Caller,
    link: EvapiClient,
    method: str,
    headers: str,
    key: str,
    value: str,
) -> None:
    event = f"{method.lower()}_request"
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        allowed = caller.call(method=method, headers=headers, body="hello")
        data = await decided(link, event, {"action": "allow"})
        assert data[key] == value
        assert (await allowed.final()).code == 200
        refused = caller.call(method=method, headers=headers, body="hello")
        await decided(link, event, {"action": "reject", "code": 403, "reason": "No"})
        assert (await refused.final()).code == 403
        uri = f"sip:5@127.0.0.1:{gateway.port}"
        routed = caller.call(method=method, headers=headers, body="hello")
        await decided(link, event, {"action": "route", "uri": uri})
        assert (await routed.final()).code == 200
        assert [request.body for request in gateway.of(method)] == ["hello"] * 2
        assert gateway.of(method)[1].uri == uri


async def again(call: Call, link: EvapiClient, decision: dict[str, Any] | None) -> Message:
    """A re-INVITE with this decision; None: nobody answers."""
    task = asyncio.create_task(call.again())
    if decision is None:
        await link.event("reinvite_request")
    else:
        await decided(link, "reinvite_request", decision)
    return await task


@pytest.mark.parametrize(
    ("decision", "code", "reached"),
    [
        ({"action": "allow"}, 200, 2),
        (None, 200, 2),
        ({"action": "reject", "code": 488, "reason": "Not Here"}, 488, 1),
        ({"action": "route", "uri": "sip:elsewhere@127.0.0.1"}, 500, 1),
        ({"action": "redirect", "uris": ["sip:elsewhere@127.0.0.1"]}, 500, 1),
    ],
)
async def test_what_changes_a_call_is_decided(
    kamailio: KamailioServer,
    caller: Caller,
    link: EvapiClient,
    decision: dict[str, Any] | None,
    code: int,
    reached: int,
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        call = await answered(caller, link)
        assert (await again(call, link, decision)).code == code
        assert len(gateway.of("INVITE")) == reached
        assert (await call.bye()).code == 200
        assert len(gateway.of("BYE")) == 1
