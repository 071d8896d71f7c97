"""A caller who hangs up: Kamailio answers by itself, and only the configuration can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer


async def test_a_cancel_is_told_with_the_ids_of_the_question(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    call.cancel()
    assert await link.json() == {
        "event": "call_cancelled",
        "data": {"call_id": call.call_id, **event["tm_trans"]},
    }
    assert (await call.final()).code == 487
    link.answer(event, {"action": "reject", "code": 480, "reason": "Late"})
    await link.receipt()
    assert f'dropped the answer to {{"tm_index":{event["tm_trans"]["tm_index"]},' in kamailio.log
    assert "active transaction not found" not in kamailio.log


async def test_it_is_told_once(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    await link.event("invite_request")
    call.cancel()
    call.cancel()
    await link.event("call_cancelled")
    assert (await call.final()).code == 487
    assert await link.receipt() == []


async def test_of_a_call_that_nobody_asks_about_any_more_nothing_is_told(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(0, port=kamailio.gateway_port) as gateway:
        call = caller.call()
        link.answer(await link.event("invite_request"), {"action": "allow"})
        await call.response(180)
        call.cancel()
        assert (await call.final()).code == 487
        assert len(gateway.of("CANCEL")) == 1
    assert await link.receipt() == []


async def test_a_cancel_of_one_call_leaves_the_others_alone(caller: Caller, link: EvapiClient) -> None:
    first, second = caller.call(), caller.call()
    events = [await link.event("invite_request") for _ in range(2)]
    first.cancel()
    assert (await link.event("call_cancelled"))["data"]["call_id"] == first.call_id
    assert events[1]["data"]["call_id"] == second.call_id
    link.answer(events[1], {"action": "reject", "code": 480, "reason": "Right"})
    assert (await second.final()).reason == "Right"


async def test_a_cancel_of_nothing_is_told_to_nobody(caller: Caller, link: EvapiClient) -> None:
    caller.call(method="CANCEL")
    assert (await caller.call(method="OPTIONS").final()).code == 200  # handled after the CANCEL
    assert await link.receipt() == []


async def test_a_cancel_of_one_fork_closes_its_own_question_alone(caller: Caller, link: EvapiClient) -> None:
    """A proxy before us forks: Call-ID, From and CSeq are the same, only the branch differs."""
    first = caller.call()
    one = await link.event("invite_request")
    second = caller.call(call_id=first.call_id)
    other = await link.event("invite_request")
    first.cancel()
    assert (await link.event("call_cancelled"))["data"] == {"call_id": first.call_id, **one["tm_trans"]}
    assert (await first.final()).code == 487
    link.answer(other, {"action": "reject", "code": 480, "reason": "Decided"})
    assert (await second.final()).reason == "Decided"
