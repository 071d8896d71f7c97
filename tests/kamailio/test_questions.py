"""Several questions about one request, and questions that cannot be sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.sip import Caller, Gateway
from tests.kamailio.conftest import ask

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer

KAMAILIO = {"cfg": Path(__file__).with_name("probe.cfg")}


async def test_the_second_question_gets_the_second_answer(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    first = await link.event("first")
    link.answer(first, {"next": "again"})
    second = await link.event("further")
    assert second["tm_trans"] == {**first["tm_trans"], "seq": 2}
    link.answer(first, {"stale": True}, outcome="stale")  # a repeat of the answer to question 1
    link.answer(second, {}, outcome="decided")
    link.answer(second, {}, outcome="twice")
    assert (await call.final()).reason == "further decided"
    await link.receipt()
    assert kamailio.log.count("dropped the answer") == 2
    assert "t_continue" not in kamailio.log  # dropped before, not refused by, tm


async def test_outcome_and_event_reach_resume(caller: Caller, link: EvapiClient) -> None:
    call = caller.call(method="MESSAGE")
    event = await link.event("first")
    assert event["data"] == {"method": "MESSAGE"}
    link.answer({**event, "event": "not believed"}, {}, outcome="timeout")
    assert (await call.final()).reason == "first timeout"


async def test_what_is_changed_between_two_questions_is_lost(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """Kamailio keeps a message's changes at its first suspension only: the include says so to its users."""
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call()
        link.answer(await ask(call, link, 2), {"next": "relay"})
        assert (await call.final()).code == 488
        names = [name for name, _ in gateway.of("INVITE")[0].headers if name.startswith("x-")]
        assert sorted(names) == ["x-after", "x-before"]


async def test_the_next_hop_is_told_nothing_that_was_not_asked_for(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call(headers="X-Decided-By: the caller\r\n")
        link.answer(await ask(call, link, 1), {"next": "relay"})
        assert (await call.final()).code == 488
        invite = gateway.of("INVITE")[0]
        assert invite.all("x-decided-by") == ["the caller"]
        assert invite.all("x-after") == ["decided service"], "RESUME knows it all the same"


async def test_after_eleven_questions_the_call_can_still_be_relayed(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port):
        call = caller.call()
        link.answer(await ask(call, link, 11), {"next": "relay"})
        assert (await call.final()).code == 488


async def test_the_twelfth_question_is_not_asked(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    link.answer(await ask(call, link, 11), {"next": "again"})
    assert (await call.final()).reason == "No Decision"
    assert f"{call.call_id} asks more than ADAPTER_MAX_QUESTIONS times" in kamailio.log


@pytest.mark.parametrize("user", ["notjson", "array"])
async def test_data_that_is_no_object_is_not_asked_about(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, user: str
) -> None:
    call = caller.call(user)
    assert (await call.final()).reason == "No Decision"
    assert await link.receipt() == []
    assert f"{call.call_id}: $var(data) is no JSON object" in kamailio.log


async def test_data_beyond_kamailios_buffer_is_not_asked_about(caller: Caller, link: EvapiClient) -> None:
    call = caller.call("huge", body="x" * 30_000)
    assert (await call.final()).reason == "No Decision"
    assert await link.receipt() == []


async def test_a_command_reaches_its_route(link: EvapiClient) -> None:
    link.write({"reload": "lists", "note": 'a "quoted" $ru'})
    told = await link.event("command_seen")
    assert told["data"] == {"reload": "lists", "note": 'a "quoted" $ru'}


async def test_what_is_no_command_does_not(link: EvapiClient) -> None:
    link.write({"adapter": {"unknown": 1}})
    link.write({"tm_trans": {"tm_index": 1, "tm_label": 1, "seq": 1}})
    assert await link.receipt() == []


async def test_commands_of_the_users_own(link: EvapiClient) -> None:
    async def carried(name: str, **args: str) -> dict[str, Any]:
        link.write({"adapter": {"command": f"own:{name}:{len(args)}", "name": name, "args": args}})
        found = await link.until(lambda frame: "result" in frame.get("adapter", {}))
        told: dict[str, Any] = found["adapter"]
        return told

    told = await carried("greet", who='"Ann"')
    assert (told["outcome"], told["data"]) == ("done", {"hello": '"Ann"'})
    told = await carried("greet")
    assert (told["outcome"], told["detail"]) == ("refused", "whom?")
    assert (await carried("nobody knows it"))["outcome"] == "not_found"
    told = await carried("break")
    assert (told["outcome"], "data" in told) == ("failed", False)
