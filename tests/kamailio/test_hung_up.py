"""A caller who hangs up between the answer and the relay: he has 487, as the consumers are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.sip import Caller

KAMAILIO = {"cfg": Path(__file__).with_name("hung_up.cfg")}
ROUTES = [{"uri": "sip:4420@127.0.0.1:9"}, {"uri": "sip:4421@127.0.0.1:9"}]


@pytest.mark.parametrize("decision", [{"action": "allow"}, {"action": "route", "routes": ROUTES}])
async def test_it_has_487(caller: Caller, link: EvapiClient, decision: dict[str, Any]) -> None:
    call = caller.call()
    link.answer(await link.event("invite_request"), decision)
    await link.event("resumed")
    call.cancel()
    assert (await call.final()).code == 487
    assert (await link.event("call_started"))["data"]["call_id"] == call.call_id
    end = (await link.event("call_ended"))["data"]
    assert (end["code"], end["ended_by"]) == (487, "caller")
