"""plain.cfg: EVAPI without our include, the colon form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.sip import Caller, Gateway
from tests.kamailio.plain import asked, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer

KAMAILIO = {"cfg": "plain.cfg", "defines": {"SILENT_AFTER": 1000}}


@pytest.fixture
async def link(kamailio: KamailioServer, caller: Caller) -> AsyncIterator[EvapiClient]:
    async with taken(kamailio, caller) as made:
        yield made


async def test_a_call_is_decided_through_the_colon_form(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        call = caller.call("4420", headers='User-Agent: we"ird\\ $ua\r\n')
        data, ids = await asked(link)
        assert data["user"] == "4420"
        assert data["call_id"] == call.call_id
        assert data["user_agent"] == 'we"ird\\ $ua'
        uri = f"sip:4420@127.0.0.1:{kamailio.gateway_port}"
        link.write(
            {"tm_trans": {**ids, "seq": 1}, "outcome": "decided", "decision": {"action": "route", "uri": uri}}
        )
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        assert [request.method for request in gateway.requests] == ["INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("size", [0, 9_000, 31_000])
async def test_an_answer_of_any_size_is_read(caller: Caller, link: EvapiClient, size: int) -> None:
    call = caller.call()
    _, ids = await asked(link)
    reject = {"action": "reject", "code": 486, "reason": "Busy Here", "notes": "x" * size}
    link.write({"tm_trans": ids, "decision": reject})
    assert (await call.final()).reason == "Busy Here"


@pytest.mark.parametrize("code, told", [("480", 480), ("busy", 500), (None, 500), (200, 500)])
async def test_a_code_that_is_no_number_of_a_refusal(
    caller: Caller, link: EvapiClient, code: object, told: int
) -> None:
    call = caller.call()
    _, ids = await asked(link)
    link.write({"tm_trans": ids, "decision": {"action": "reject", "code": code, "reason": "Mine"}})
    final = await call.final()
    assert (final.code, final.reason) == (told, "Mine" if told == 480 else "Bad Decision")


async def test_retransmissions_ask_nothing(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    await asked(link)
    call.send()
    call.send()
    other = caller.call()
    data, _ = await asked(link)
    assert data["call_id"] == other.call_id


async def test_silence_is_answered_for(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    await asked(link)
    final = await call.final()
    assert (final.code, final.reason) == (503, "No Decision")


async def test_a_frame_without_ids_continues_nothing(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """The ids of the earlier frame must not be used again: tm refuses them, but keeps their memory."""
    first, second = caller.call(), caller.call()
    both = [await asked(link) for _ in range(2)]
    link.write({"tm_trans": both[0][1], "decision": {"action": "reject", "code": 486, "reason": "First"}})
    link.write({"adapter": {"status": "ready"}})
    link.write({"tm_trans": both[1][1], "decision": {"action": "reject", "code": 480, "reason": "Second"}})
    assert (await first.final()).reason == "First"
    assert (await second.final()).reason == "Second"
    assert "t_continue" not in kamailio.log
