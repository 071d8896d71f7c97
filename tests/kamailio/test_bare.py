"""ADAPTER_ROUTE without the modules that it can use, and ADAPTER_FAILED, the configuration's last word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.sip import Gateway

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller

KAMAILIO = {"cfg": Path(__file__).with_name("bare.cfg")}
ELSEWHERE = "sip:4420@127.0.0.1"


async def decided(caller: Caller, link: EvapiClient, decision: dict[str, Any]) -> Call:
    call = caller.call("4420")
    link.answer(await link.event("invite_request"), decision)
    return call


@pytest.mark.parametrize(
    ("more", "module"),
    [
        ({"headers": {"X-A": "b"}}, "textops"),
        ({"caller": "1"}, "uac"),
        ({"max_duration": 60}, "dialog"),
        ({"version": "1.0", "routing": "serial", "routes": [{"uri": ELSEWHERE}]}, "rtjson"),
    ],
)
async def test_what_needs_a_module_that_is_not_there_is_refused_and_told(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, more: dict[str, Any], module: str
) -> None:
    call = await decided(caller, link, {"action": "route", "uri": ELSEWHERE, **more})
    final = await call.final()
    assert (final.code, final.reason) == (500, "Bad Decision")
    assert f"the module {module}, loaded above evapi-adapter.cfg" in kamailio.log


async def test_all_at_once_needs_corex(kamailio: KamailioServer, caller: Caller, link: EvapiClient) -> None:
    decision = {"action": "route", "routes": [{"uri": ELSEWHERE}] * 2, "mode": "parallel"}
    assert (await (await decided(caller, link, decision)).final()).code == 500
    assert "parallel needs the module corex" in kamailio.log


async def test_what_needs_none_is_carried_out(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(503) as one, await Gateway.open(port=kamailio.gateway_port) as two:
        listed = [{"uri": f"sip:4420@127.0.0.1:{each.port}"} for each in (one, two)]
        assert (
            await (await decided(caller, link, {"action": "route", "routes": listed})).final()
        ).code == 200
        assert (await (await decided(caller, link, {"action": "allow"})).final()).code == 200
        assert (len(one.of("INVITE")), len(two.of("INVITE"))) == (1, 2)
    redirect = await decided(caller, link, {"action": "redirect", "uris": ["sip:a@b.test"]})
    assert "<sip:a@b.test>" in (await redirect.final()).get("contact")
    reject = await decided(caller, link, {"action": "reject", "code": 480, "reason": "Away"})
    assert (await reject.final()).reason == "Away"


@pytest.mark.parametrize("mode", ["serial", "parallel"])
async def test_where_no_gateway_takes_the_call_another_question_may_be_asked(
    caller: Caller, link: EvapiClient, mode: str
) -> None:
    async with await Gateway.open(486) as busy, await Gateway.open() as mailbox:
        uri = f"sip:4420@127.0.0.1:{busy.port}"
        call = await decided(caller, link, {"action": "route", "uri": uri, "mode": mode})
        event = await link.event("busy_request")
        assert event["tm_trans"]["seq"] == 2
        link.answer(event, {"action": "route", "uri": f"sip:mailbox@127.0.0.1:{mailbox.port}"})
        assert (await call.final()).code == 200
        assert mailbox.of("INVITE")[0].uri.startswith("sip:mailbox@")


async def test_else_the_caller_gets_the_reply(caller: Caller, link: EvapiClient) -> None:
    async with await Gateway.open(404) as gateway:
        call = await decided(caller, link, {"action": "route", "uri": f"sip:4@127.0.0.1:{gateway.port}"})
        assert (await call.final()).code == 404
    assert await link.receipt() == []
