"""kemi.cfg and kemi.py: the include under a script in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import adapter.kamailio
from tests.harness.sip import Gateway
from tests.kamailio.conftest import is_asked

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Caller

KAMAILIO = {
    "cfg": "kemi.cfg",
    "defines": {"KEMI_SCRIPT": f'"{adapter.kamailio.path("kemi.py")}"', "ADAPTER_FR_TIMER": 1000},
}


async def test_a_call_is_allowed_to_its_end(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        call = caller.call("4420", headers='User-Agent: we"ird\\ $ua\r\n')
        event = await link.event("invite_request")
        assert event["data"]["user"] == "4420"
        assert event["data"]["user_agent"] == 'we"ird\\ $ua'
        link.answer(event, {"action": "allow"})
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        assert [request.method for request in gateway.requests] == ["INVITE", "ACK", "BYE"]


async def test_the_second_gateway_is_tried_with_all_that_it_must_see(
    caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(503) as one, await Gateway.open() as two:
        call = caller.call("4420")
        listed = [
            {"uri": f"sip:4420@127.0.0.1:{each.port}", "headers": {"X-Carrier": name}, "caller": name}
            for each, name in ((one, "one"), (two, "two"))
        ]
        link.answer(await link.event("invite_request"), {"action": "route", "routes": listed})
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        for each, name in ((one, "one"), (two, "two")):
            (invite,) = each.of("INVITE")
            assert invite.all("x-carrier") == [name]
            assert len(invite.all("record-route")) == 1
            assert f"<sip:{name}@caller.test>" in invite.get("from")
        assert [request.method for request in two.requests] == ["INVITE", "ACK", "BYE"]


async def test_all_at_once(caller: Caller, link: EvapiClient) -> None:
    async with await Gateway.open(486) as one, await Gateway.open() as two:
        call = caller.call("4420")
        listed = [{"uri": f"sip:4420@127.0.0.1:{each.port}"} for each in (one, two)]
        decision = {"action": "route", "routes": listed, "mode": "parallel"}
        link.answer(await link.event("invite_request"), decision)
        assert (await call.final()).code == 200
        assert len(one.of("INVITE")) == 1


async def test_a_rejection_and_a_redirection(caller: Caller, link: EvapiClient) -> None:
    for decision, code in (
        ({"action": "reject", "code": 486, "reason": "Busy"}, 486),
        ({"action": "redirect", "uris": ["sip:a@b.test"]}, 302),
        ({"action": "fly"}, 500),
    ):
        call = caller.call()
        link.answer(await link.event("invite_request"), decision)
        assert (await call.final()).code == code


@pytest.mark.parametrize("decision", [None, 7, [], "x"])
async def test_what_is_no_map(caller: Caller, link: EvapiClient, decision: object) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    link.write({"tm_trans": event["tm_trans"], "outcome": "decided", "decision": decision})
    final = await call.final()
    assert (final.code, final.reason) == (500, "Bad Decision")


async def test_silence_and_late_answers(kamailio: KamailioServer, caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    final = await call.final()
    assert (final.code, final.reason) == (503, "No Decision")
    link.answer(event, {"action": "allow"})
    await link.receipt()
    assert "no such question is open" in kamailio.log


async def test_a_cancel_is_told(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    call.cancel()
    assert (await link.event("call_cancelled"))["data"] == {"call_id": call.call_id, **event["tm_trans"]}
    assert (await call.final()).code == 487


async def test_with_no_adapter_ready_nobody_is_asked(caller: Caller, link: EvapiClient) -> None:
    await link.status("draining")
    assert not await is_asked(caller, link)
    await link.status("ready")
    assert await is_asked(caller, link)
