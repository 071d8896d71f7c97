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
    await gone(link, call)
    await until(lambda: (call.byes, len(gateway.of("BYE"))) == (1, 1))
    other = await up(caller, link)
    assert await outcome(link, "limit", call_id=other.call_id, max_duration=0) == "done"
    await gone(link, other)
    await until(lambda: (other.byes, len(gateway.of("BYE"))) == (1, 2))


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
    gateway.codes = {"REFER": 603}
    told = await carried(link, "transfer", call_id=call.call_id, uri=uri, side="callee")
    assert (told["outcome"], told["data"]["code"]) == ("failed", 603)
    assert await outcome(link, "calls", call_id=call.call_id) == "done", "it goes on"
    gateway.codes = {"REFER": 202}
    told = await carried(link, "transfer", call_id=call.call_id, uri=uri, side="callee")
    assert (told["outcome"], told["data"]["code"]) == ("done", 202)
    first, refer = gateway.of("REFER")
    assert (refer.get("refer-to"), refer.get("call-id")) == (f"<{uri}>", call.call_id)
    assert (first.get("cseq"), refer.get("cseq")) == ("2 REFER", "3 REFER")
    await gone(link, call)
    await until(lambda: (call.byes, len(gateway.of("BYE"))) == (1, 1))


@pytest.mark.parametrize("end", ["hangup", "transfer"])
async def test_the_next_call_is_found_too(
    caller: Caller, link: EvapiClient, gateway: Gateway, end: str
) -> None:
    """What a command does with one dialog does not stick to EVAPI's process, which resumes the next call."""
    call = await up(caller, link)
    args = {"uri": "sip:desk@127.0.0.1", "side": "caller"} if end == "transfer" else {}
    assert await outcome(link, end, call_id=call.call_id, **args) == "done"
    after = await up(caller, link)
    assert await outcome(link, "calls", call_id=after.call_id) == "done"


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


async def test_a_request_in_a_call(caller: Caller, link: EvapiClient, gateway: Gateway) -> None:
    call = await up(caller, link)
    ask = {"call_id": call.call_id, "headers": "Content-Type: text/plain\r\n", "body": "hello"}
    for side, method in (
        ("callee", "INFO"),
        ("callee", "OPTIONS"),
        ("caller", "NOTIFY"),
        ("caller", "MESSAGE"),
    ):
        told = await carried(link, "request", side=side, method=method, **ask)
        assert (told["outcome"], told["data"]["code"]) == ("done", 200)
    answer = await call.final()
    for found in gateway.of("INFO") + gateway.of("OPTIONS"):
        assert (found.get("from"), found.get("to")) == (answer.get("from"), answer.get("to"))
        assert found.first == f"{found.method} sip:gateway@127.0.0.1:{gateway.port} SIP/2.0"
        assert found.get("contact") == f"<sip:alice@127.0.0.1:{caller.port}>"
    for found in call.requests:
        assert (found.get("from"), found.get("to")) == (answer.get("to"), answer.get("from"))
        assert found.body == "hello"
    told_cseqs = [found.get("cseq") for found in gateway.of("INFO") + gateway.of("OPTIONS") + call.requests]
    assert told_cseqs == ["2 INFO", "3 OPTIONS", "1 NOTIFY", "2 MESSAGE"]
    assert await outcome(link, "hangup", call_id=call.call_id) == "done"
    await gone(link, call)
    await until(lambda: (call.byes, len(gateway.of("BYE"))) == (1, 1))
    assert (call.requests[-1].get("cseq"), gateway.of("BYE")[0].get("cseq")) == ("3 BYE", "4 BYE")


async def test_a_request_in_a_call_that_is_not_sent(
    caller: Caller, link: EvapiClient, gateway: Gateway
) -> None:
    call = await up(caller, link)
    ask = {"call_id": call.call_id, "method": "INFO", "side": "caller"}
    for wrong in (
        {"side": ""},
        {"side": "both"},
        {"method": "BYE"},
        {"uri": "sip:phone@127.0.0.1"},
        {"next_hop": "sip:127.0.0.1"},
        {"headers": "Route: <sip:127.0.0.1;lr>\r\n"},
        {"call_id": ""},
        {"headers": f"X-Long: {'x' * 3000}\r\n"},
    ):
        assert await outcome(link, "request", **{**ask, **wrong}) == "refused", wrong
    assert await outcome(link, "request", **{**ask, "call_id": "nobody"}) == "not_found"
    gateway.code = 0
    rings = await up(caller, link, 180)
    assert await outcome(link, "request", **{**ask, "call_id": rings.call_id}) == "refused"
    assert call.requests == []
    gateway.codes = {"INFO": 415}
    told = await carried(link, "request", **{**ask, "side": "callee"})
    assert (told["outcome"], told["data"]["code"]) == ("failed", 415)
    assert await outcome(link, "calls", call_id=call.call_id) == "done"
    for each in (call, rings):
        assert await outcome(link, "hangup", call_id=each.call_id) == "done"


async def test_a_side_that_had_a_request_gets_a_bye_that_it_takes(
    caller: Caller, link: EvapiClient, gateway: Gateway
) -> None:
    """The other side's has the CSeq that the request had: PJSIP answers 500 and stays in the call."""
    call = await up(caller, link)
    assert await outcome(link, "request", call_id=call.call_id, side="callee", method="INFO") == "done"
    assert (await call.bye()).code == 200
    await gone(link, call)
    assert sorted(bye.get("cseq") for bye in gateway.of("BYE")) == ["2 BYE", "3 BYE"]
    other = await up(caller, link)
    assert await outcome(link, "request", call_id=other.call_id, side="caller", method="INFO") == "done"
    assert (await other.bye()).code == 200
    await gone(link, other)
    assert [bye.get("cseq") for bye in gateway.of("BYE")[2:]] == ["2 BYE"], "the callee had none"
    assert other.byes == 0


async def test_a_request_in_a_call_goes_by_its_route_set(
    caller: Caller, link: EvapiClient, gateway: Gateway
) -> None:
    routes = [f"<sip:127.0.0.1:{caller.port};lr;n=1>", "<sip:127.0.0.1:9;lr;n=2>"]
    call = caller.call(headers="".join(f"Record-Route: {route}\r\n" for route in routes))
    link.answer(await link.event("invite_request"), {"action": "allow"})
    await call.final()
    assert await outcome(link, "request", call_id=call.call_id, side="caller", method="INFO") == "done"
    (info,) = call.requests
    assert [route.strip() for value in info.all("route") for route in value.split(",")] == routes
    assert await outcome(link, "hangup", call_id=call.call_id) == "done"


async def test_a_request_in_a_call_reaches_a_phone_behind_nat(
    caller: Caller, link: EvapiClient, gateway: Gateway
) -> None:
    gateway.contact = f"sip:gateway@127.0.0.9:5060;alias=127.0.0.1~{gateway.port}~1;ob"
    call = await up(caller, link)
    assert await outcome(link, "request", call_id=call.call_id, side="callee", method="INFO") == "done"
    (info,) = gateway.of("INFO")
    assert info.first == "INFO sip:gateway@127.0.0.9:5060;ob SIP/2.0"
    assert await outcome(link, "hangup", call_id=call.call_id) == "done"


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
