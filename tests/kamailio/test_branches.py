"""More questions than tm has branches: evapi_async_relay fails, and only the configuration can answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.kamailio.conftest import ask

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Caller

KAMAILIO = {"cfg": Path(__file__).with_name("probe.cfg"), "defines": {"ADAPTER_MAX_QUESTIONS": 20}}


async def test_a_question_that_cannot_be_sent_is_answered_at_once(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    call = caller.call()
    link.answer(await ask(call, link, 12), {"next": "again"})
    assert (await call.final()).reason == "No Decision"
    assert f"{call.call_id} could not be asked about" in kamailio.log
    assert "no answer to" not in kamailio.log  # it did not wait for the timer


async def test_after_twelve_questions_a_call_cannot_be_relayed(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """The reason for ADAPTER_MAX_QUESTIONS to be 11."""
    call = caller.call()
    link.answer(await ask(call, link, 12), {"next": "relay"})
    assert (await call.final()).reason == "Relay Failed"
