"""What decided a call: told to RESUME, to accounting and, where asked, to the next hop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.evapi_client import resume
from tests.harness.sip import Caller, Gateway
from tests.kamailio.conftest import ask

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Message

KAMAILIO = {
    "cfg": Path(__file__).with_name("probe.cfg"),
    "defines": {
        "ADAPTER_STEP_HEADER": '"X-Decided-By"',
        "ADAPTER_FR_TIMER": 1000,
        "ADAPTER_MAX_QUESTIONS": 2,
    },
}
FORGED = "X-Decided-By: decided;step=service\r\nx-decided-by: twice\r\n"
SERVICES = {"screening": "decided", "fraud": "timeout"}


def told(invite: Message) -> tuple[list[str], list[str]]:
    """What the next hop gets to know, and what the configuration knew."""
    return invite.all("x-decided-by"), invite.all("x-after")


@pytest.mark.parametrize(
    ("outcome", "more", "step"),
    [
        ("decided", {}, "service"),
        ("operator", {}, "operator"),
        ("timeout", {}, "fallback"),
        ("overload", {}, "fallback"),
        ("decided", {"services": SERVICES, "step": "backup"}, "backup"),
        ("timeout", {"services": SERVICES, "step": "stale"}, "stale"),
        ("timeout", {"services": SERVICES, "step": "fallback_on"}, "fallback_on"),
        ("decided", {"services": {}, "step": "cache"}, "cache"),
    ],
)
async def test_the_next_hop_and_accounting_know_what_decided(
    kamailio: KamailioServer,
    caller: Caller,
    link: EvapiClient,
    outcome: str,
    more: dict[str, Any],
    step: str,
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call(headers=FORGED)
        link.write({**resume(await link.event("first"), {"next": "relay"}, outcome), **more})
        final = await call.final()
        assert final.code == 488
        assert told(gateway.of("INVITE")[0]) == ([f"{outcome};step={step}"], [f"{outcome} {step}"])
        assert final.all("x-replied") == [f"{outcome} {step}"], "for as long as the transaction is there"


async def test_what_one_call_left_is_not_told_of_the_next(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """EVAPI's process handles both: its variables last from one to the other."""
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        for more in ({"step": "backup"}, {}):
            call = caller.call()
            link.write({**resume(await link.event("first"), {"next": "relay"}), **more})
            assert (await call.final()).code == 488
        found = [told(each) for each in gateway.of("INVITE")]
        assert found == [
            (["decided;step=backup"], ["decided backup"]),
            (["decided;step=service"], ["decided service"]),
        ]


async def test_of_two_questions_the_second_answer_counts(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call()
        link.answer(await ask(call, link, 2), {"next": "relay"}, "timeout")
        assert (await call.final()).code == 488
        assert told(gateway.of("INVITE")[0]) == (["timeout;step=fallback"], ["timeout fallback"])


async def test_a_call_that_nobody_answers_is_marked(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call("anyway", headers=FORGED)
        await link.event("first")
        assert (await call.final()).code == 488
        assert told(gateway.of("INVITE")[0]) == (["none;step=no_decision"], ["none no_decision"])


async def test_a_call_that_nobody_is_asked_about_is_marked(kamailio: KamailioServer, caller: Caller) -> None:
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call("anyway", headers=FORGED)
        assert (await call.final()).code == 488
        assert told(gateway.of("INVITE")[0]) == (["none;step=no_decision"], ["none no_decision"])


async def test_where_a_further_question_cannot_be_sent_the_last_one_counts(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """A change of the message cannot be taken back within one route."""
    async with await Gateway.open(488, port=kamailio.gateway_port) as gateway:
        call = caller.call("anyway")
        link.answer(await ask(call, link, 2), {"next": "again"})
        assert (await call.final()).code == 488
        ours = ["decided;step=service", "none;step=no_decision"]
        assert told(gateway.of("INVITE")[0]) == (ours, ["none no_decision"])
