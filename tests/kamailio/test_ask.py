"""One question: what the adapter gets to read, and that nothing but its right answer resumes the call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.harness.evapi_client import EvapiClient, resume
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from tests.harness.kamailio import KamailioServer

KAMAILIO = {"defines": {"ADAPTER_FR_TIMER": 1000}}
REJECT = {"action": "reject", "code": 480, "reason": "Right"}
WRONG = {"action": "reject", "code": 486, "reason": "Wrong"}


async def test_the_event_tells_ids_as_numbers_and_the_call(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call("442079460000", headers="User-Agent: phone/1.0\r\n")
    event = await link.event("invite_request")
    ids = event["tm_trans"]
    assert sorted(ids) == ["seq", "tm_index", "tm_label"]
    assert all(type(value) is int for value in ids.values())
    assert ids["seq"] == 1
    uri = f"sip:442079460000@127.0.0.1:{kamailio.sip_port}"
    assert event["data"] == {
        "call_id": call.call_id,
        "ruri": uri,
        "user": "442079460000",
        "from": "sip:alice@caller.test",
        "to": uri,
        "source_ip": "127.0.0.1",
        "user_agent": "phone/1.0",
    }
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


@pytest.mark.parametrize(
    "agent",
    [
        "we\"ird\\ \t'agent'",
        '"}],{"event":"x","tm_trans":{"tm_index":1,"tm_label":2}',
        "$ua $env(HOME) $(var(x){s.len}) $(broken %s %d",
        "ünïcode ☎",
    ],
)
async def test_what_a_caller_writes_stays_inside_its_string(
    caller: Caller, link: EvapiClient, agent: str
) -> None:
    call = caller.call(headers=f"User-Agent: {agent}\r\n")
    event = await link.event("invite_request")
    assert event["data"]["user_agent"] == agent
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


async def test_a_header_that_is_not_utf8_is_left_out(caller: Caller, link: EvapiClient) -> None:
    call = caller.call(headers="User-Agent: \udcff\udcfe\r\n")
    event = await link.event("invite_request")
    assert "user_agent" not in event["data"]
    assert event["data"]["call_id"] == call.call_id
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


async def test_a_large_event_comes_whole(caller: Caller, link: EvapiClient) -> None:
    agent = "x" * 20_000
    call = caller.call(headers=f"User-Agent: {agent}\r\n")
    event = await link.event("invite_request")
    assert event["data"]["user_agent"] == agent
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


@pytest.mark.parametrize(
    "reason", ["$ci costs $5", "$(broken", "$env(HOME) 100%", 'a "quoted" \\ reason', "☎ ünïcode"]
)
async def test_what_a_consumer_writes_is_taken_as_it_is(
    caller: Caller, link: EvapiClient, reason: str
) -> None:
    call = caller.call()
    link.answer(await link.event("invite_request"), {**REJECT, "reason": reason})
    assert (await call.final()).reason == reason


async def test_without_a_header_its_key_is_missing(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    assert "user_agent" not in event["data"]
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


@pytest.mark.parametrize("size", [8_000, 9_000, 31_000])
async def test_a_large_answer_is_read_whole(caller: Caller, link: EvapiClient, size: int) -> None:
    call = caller.call()
    link.answer(await link.event("invite_request"), {"notes": "x" * size, **REJECT})
    assert (await call.final()).reason == "Right"


async def test_retransmissions_ask_nothing(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    call.send()
    call.send()
    other = caller.call()  # handled after the retransmissions, by the only SIP worker
    next_event = await link.json()
    assert next_event["data"]["call_id"] == other.call_id
    for question in (event, next_event):
        link.answer(question, REJECT)
    assert (await call.final()).reason == "Right"
    assert (await other.final()).reason == "Right"
    call.send()
    assert await link.receipt() == []


async def test_an_answer_is_applied_once(kamailio: KamailioServer, caller: Caller, link: EvapiClient) -> None:
    async with await Gateway.open(0, port=kamailio.gateway_port) as gateway:
        call = caller.call()
        event = await link.event("invite_request")
        for _ in range(3):
            link.answer(event, {"action": "allow"})
        link.write({**resume(event, WRONG), "tm_trans": {**event["tm_trans"], "seq": 0}})
        await call.response(180)
        await link.receipt()
        assert len(gateway.of("INVITE")) == 1
        call.cancel()
        assert (await call.final()).code == 487
    assert kamailio.log.count(f'dropped the answer to {{"tm_index":{event["tm_trans"]["tm_index"]},') == 3
    # The second t_continue of a living transaction is refused by tm, but keeps its memory: never tried.
    assert "t_continue" not in kamailio.log


async def test_another_seq_does_not_continue(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    for seq in (0, 2, -1, "x", None):
        link.write({**resume(event, WRONG), "tm_trans": {**event["tm_trans"], "seq": seq}})
    link.write({**resume(event, WRONG), "tm_trans": {**event["tm_trans"], "tm_label": 1}})
    link.answer(event, REJECT)
    assert (await call.final()).reason == "Right"


async def test_a_silent_adapter_is_answered_for(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    assert (await call.final()).reason == "No Decision"
    link.answer(event, WRONG)
    await link.receipt()
    assert f"adapter: {call.call_id}: no answer to invite_request in time" in kamailio.log
    assert f'dropped the answer to {{"tm_index":{event["tm_trans"]["tm_index"]},' in kamailio.log


async def test_ids_as_strings_do_not_continue(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    ids = {key: str(value) for key, value in event["tm_trans"].items()}
    link.write({**resume(event, WRONG), "tm_trans": ids})
    assert (await call.final()).reason == "No Decision"


async def test_the_timer_of_the_question_is_not_the_timer_of_the_call(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """The gateway hears only the second retransmission, after 1.5 s: long after ADAPTER_FR_TIMER."""
    async with await Gateway.open(200, port=kamailio.gateway_port, deaf=2) as gateway:
        call = caller.call()
        link.answer(await link.event("invite_request"), {"action": "allow"})
        assert (await call.final()).code == 200
        assert len(gateway.of("INVITE")) == 3
        assert (await call.bye()).code == 200


async def test_a_failed_call_is_not_a_missing_decision(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port):
        call = caller.call()
        link.answer(await link.event("invite_request"), {"action": "allow"})
        assert (await call.final()).code == 488
    assert f"adapter: {call.call_id}: no answer" not in kamailio.log


async def test_many_calls_at_once_each_get_their_own_answer(caller: Caller, link: EvapiClient) -> None:
    calls = {(call := caller.call()).call_id: call for _ in range(50)}
    events = [await link.event("invite_request") for _ in calls]
    for event in reversed(events):
        link.answer(event, {"action": "reject", "code": 480, "reason": event["data"]["call_id"]})
    finals = await asyncio.gather(*(call.final() for call in calls.values()))
    assert [final.reason for final in finals] == list(calls)
