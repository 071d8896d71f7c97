"""The include carries commands out, on the real Kamailio, with real calls."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.process import free_port
from tests.harness.sip import Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller

KAMAILIO = {"defines": {"ADAPTER_COMMANDS": None}}
_ids = count(1)


@pytest.fixture
async def gateway(kamailio: KamailioServer) -> AsyncIterator[Gateway]:
    async with await Gateway.open(port=kamailio.gateway_port) as made:
        yield made


async def up(caller: Caller, link: EvapiClient, code: int = 200) -> Call:
    """A call that was allowed, as far as that response."""
    call = caller.call()
    link.answer(await link.event("invite_request"), {"action": "allow"})
    await call.response(code)
    return call


async def carried(link: EvapiClient, name: str, id_: str = "", **args: Any) -> dict[str, Any]:
    """What became of a command."""
    id_ = id_ or f"t{next(_ids)}"
    link.write({"adapter": {"command": id_, "name": name, "args": args}})
    found = await link.until_within(lambda frame: frame.get("adapter", {}).get("result") == id_, 5)
    told: dict[str, Any] = found["adapter"]
    return told


async def outcome(link: EvapiClient, name: str, **args: Any) -> str:
    told = await carried(link, name, **args)
    found: str = told["outcome"]
    return found


async def gone(link: EvapiClient, call: Call) -> None:
    """Returns when the call is no more."""
    while await outcome(link, "calls", call_id=call.call_id) != "not_found":
        await asyncio.sleep(0.02)


async def test_hangup(kamailio: KamailioServer, caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    call, other = await up(caller, link), await up(caller, link)
    assert await outcome(link, "hangup", call_id="nobody") == "not_found"
    assert await outcome(link, "hangup") == "refused"
    assert await outcome(link, "hangup", call_id=call.call_id) == "done"
    await until(lambda: gateway.of("BYE"))
    assert [bye.get("call-id") for bye in gateway.of("BYE")] == [call.call_id]
    await gone(link, call)
    assert await outcome(link, "hangup", call_id=call.call_id) == "not_found"
    told = await carried(link, "calls", call_id=other.call_id)
    dialog = told["data"]["calls"][0]["dialog"]
    assert await outcome(link, "hangup", call_id=other.call_id, dialog=f"d1:1:{other.call_id}") == "not_found"
    assert await outcome(link, "hangup", dialog=dialog) == "done"
    await gone(link, other)
    assert await outcome(link, "hangup", dialog=dialog) == "not_found"


async def test_an_id_that_was_there_does_nothing(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    call = await up(caller, link)
    before = len(gateway.of("BYE"))
    first = await carried(link, "hangup", "same", call_id=call.call_id)
    await gone(link, call)
    assert await carried(link, "hangup", "same", call_id=call.call_id) == first
    assert len(gateway.of("BYE")) == before + 1


async def test_limit(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    call = await up(caller, link)
    for wrong in ({}, {"max_duration": "soon"}, {"left": -1}, {"left": 1.5}, {"left": None}):
        assert await outcome(link, "limit", call_id=call.call_id, **wrong) == "refused"
    assert await outcome(link, "limit", call_id="nobody", left=1) == "not_found"
    told = await carried(link, "limit", call_id=call.call_id, max_duration=600)
    assert (told["outcome"], told["data"]["left"] in (599, 600)) == ("done", True)
    assert await carried(link, "limit", "l1", call_id=call.call_id, left=1) == {
        "result": "l1",
        "outcome": "done",
        "data": {"left": 1},
    }
    # dialog's own BYE may reach one side alone (5.6.3): which one is not certain.
    await until(lambda: call.byes or gateway.of("BYE"))
    await gone(link, call)
    other = await up(caller, link)
    assert await outcome(link, "limit", call_id=other.call_id, max_duration=0) == "done"
    await gone(link, other)


async def test_cancel_of_a_call_that_rings(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    gateway.code = 0
    for name in ("cancel", "hangup"):
        call = await up(caller, link, 180)
        assert await outcome(link, name, call_id=call.call_id) == "done"
        assert (await call.final()).code == 487
        await gone(link, call)
    gateway.code = 200
    answered = await up(caller, link)
    assert await outcome(link, "cancel", call_id=answered.call_id) == "refused"


async def test_cancel_of_a_call_that_waits_for_its_answer(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    link.write({"adapter": {"command": "w1", "name": "cancel", "args": {"call_id": call.call_id}}})
    notice = await link.event("call_cancelled")
    assert notice["data"]["call_id"] == call.call_id
    assert notice["data"]["tm_index"] == event["tm_trans"]["tm_index"]
    assert (await call.final()).code == 487
    assert await outcome(link, "cancel", call_id=call.call_id) == "not_found"
    link.answer(event, {"action": "allow"})  # what comes later is no answer any more
    await link.receipt("late")
    assert [found.code for found in call.responses if found.code >= 200] == [487]


async def test_transfer(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    call = await up(caller, link)
    uri = "sip:desk@127.0.0.1"
    for wrong in ({}, {"uri": "desk"}, {"uri": uri, "side": "both"}, {"uri": uri + ">x", "side": "caller"}):
        assert await outcome(link, "transfer", call_id=call.call_id, **wrong) == "refused", wrong
    assert await outcome(link, "transfer", call_id=call.call_id, uri=uri, side="callee") == "done"
    await until(lambda: gateway.of("REFER"))
    (refer,) = gateway.of("REFER")
    assert (refer.get("refer-to"), refer.get("call-id")) == (uri, call.call_id)
    await outcome(link, "hangup", call_id=call.call_id)


async def test_calls(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    calls = [await up(caller, link) for _ in range(3)]
    ids = {call.call_id for call in calls}
    told = await carried(link, "calls")
    found = {each["call_id"]: each for each in told["data"]["calls"]}
    assert ids <= found.keys()
    one = found[calls[0].call_id]
    assert (one["state"], one["from"]) == ("answered", "sip:alice@caller.test")
    assert one["ends"] > one["answered"] >= one["started"]
    for filters, there in (
        ({"from": "sip:alice"}, True),
        ({"to": "sip:4420", "ruri": "sip:4420"}, True),
        ({"from": "sip:bob"}, False),
        ({"from": "sip:alice", "to": "sip:bob"}, False),
    ):
        told = await carried(link, "calls", **filters)
        assert (ids <= {each["call_id"] for each in told["data"]["calls"]}) is there, filters


async def test_calls_come_in_pages_that_kamailio_can_send(
    caller: Caller, link: EvapiClient, gateway: Gateway
) -> None:
    calls = {
        (await up(caller, link)).call_id for _ in range(120)
    }  # more than a while of Kamailio's has rounds
    found: list[str] = []
    page, pages = 0, 0
    while True:
        told = await carried(link, "calls", page=page)
        await link.status("ready")
        assert len(link.seen[-1]) < 32_000
        found += [each["call_id"] for each in told["data"]["calls"]]
        pages += 1
        if "next" not in told["data"]:
            break
        page = told["data"]["next"]
    assert pages >= 3
    assert calls <= set(found)
    assert len(found) == len(set(found)), "each once"


async def test_request(kamailio: KamailioServer, link: EvapiClient, gateway: Gateway) -> None:
    uri = f"sip:phone@127.0.0.1:{gateway.port}"
    told = await carried(link, "request", method="OPTIONS", uri=uri)
    assert (told["outcome"], told["data"]["code"]) == ("done", 200)
    headers = "Content-Type: text/plain\r\nX-Mark: 7\r\n"
    await carried(link, "request", "m1", method="MESSAGE", uri=uri, headers=headers, body="hello")
    await carried(link, "request", "m1", method="MESSAGE", uri=uri, headers=headers, body="hello")
    (message,) = gateway.of("MESSAGE")
    assert (message.body, message.get("x-mark")) == ("hello", "7")
    for wrong in (
        {"method": "INVITE", "uri": uri},
        {"method": "OPTIONS", "uri": "tel:1"},
        {"method": "OPTIONS", "uri": "sip:a b"},
        {"method": "OPTIONS"},
        {"method": "OPTIONS", "uri": uri, "headers": "X: 1\r\n\r\nINVITE sip:x SIP/2.0\r\n"},
        {"method": "OPTIONS", "uri": uri, "headers": "X: 1"},
        {"method": "OPTIONS", "uri": uri, "headers": "X: 1\r\nVia: SIP/2.0/UDP a\r\n"},
        {"method": "OPTIONS", "uri": uri, "next_hop": "127.0.0.1"},
    ):
        assert await outcome(link, "request", **wrong) == "refused", wrong


async def test_a_request_that_comes_again_is_told_its_reply(link: EvapiClient, gateway: Gateway) -> None:
    """However soon the reply comes: a SIP worker tells it, and the command was read by EVAPI's process."""
    uri = f"sip:phone@127.0.0.1:{gateway.port}"
    for number in range(50):
        first = await carried(link, "request", f"again{number}", method="OPTIONS", uri=uri)
        assert await carried(link, "request", f"again{number}", method="OPTIONS", uri=uri) == first
    assert len(gateway.of("OPTIONS")) == 50


async def test_a_request_that_is_refused_or_answered_by_nobody(link: EvapiClient, gateway: Gateway) -> None:
    nobody = f"sip:nobody@127.0.0.1:{free_port()}"
    link.write({"adapter": {"command": "n1", "name": "request", "args": {"method": "INFO", "uri": nobody}}})
    link.write({"adapter": {"command": "n1", "name": "request", "args": {"method": "INFO", "uri": nobody}}})
    await link.receipt("sent")  # nothing waits for it


async def test_rpc(kamailio: KamailioServer, link: EvapiClient) -> None:
    told = await carried(link, "rpc", method="core.version")
    assert told["outcome"] == "done"
    assert "kamailio" in str(told["data"]["result"])
    told = await carried(link, "rpc", method="htable.get", params=["adapter_gate"])
    assert (told["outcome"], told["data"]["code"]) == ("failed", 500)
    for method in (
        "core.shmmem",
        "tm.t_uac_wait_block",
        "cfg.set_now_int",
        "core.version.more",
        "",
        "core.psx",
    ):
        assert await outcome(link, "rpc", method=method) == "refused", method
    assert await outcome(link, "rpc", method="core.version", params="all") == "refused"


async def test_what_has_no_name_here_is_refused_without_a_route_of_the_users(link: EvapiClient) -> None:
    assert await outcome(link, "reload") == "refused"
    assert await outcome(link, "") == "refused"
    link.write({"adapter": {"command": "x9"}})
    found = await link.until(lambda frame: frame.get("adapter", {}).get("result") == "x9")
    assert found["adapter"]["outcome"] == "refused"
