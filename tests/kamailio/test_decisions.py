"""kamailio.cfg carries out what consumers decide, to the end of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.evapi_client import resume
from tests.harness.sip import Caller, Gateway

if TYPE_CHECKING:
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer

KAMAILIO = {"defines": {"WITH_SCREENING": None}}


async def _decide(caller: Caller, link: EvapiClient, decision: dict[str, Any]):  # type: ignore[no-untyped-def]
    """A call that is allowed by screening and gets this decision to its invite_request."""
    call = caller.call("4420")
    link.answer(await link.event("screening_request"), {"action": "allow"})
    event = await link.event("invite_request")
    assert event["data"]["user"] == "4420"
    assert event["tm_trans"]["seq"] == 2
    link.answer(event, decision)
    return call


@pytest.mark.parametrize(
    ("decision", "uri"),
    [
        ({"action": "allow"}, "sip:4420@127.0.0.1:{sip}"),
        ({"action": "route", "uri": "sip:127.0.0.1:{gateway}"}, "sip:4420@127.0.0.1:{sip}"),
        ({"action": "route", "uri": "sip:99@127.0.0.1:{gateway};x=y"}, "sip:99@127.0.0.1:{gateway};x=y"),
    ],
)
async def test_a_routed_call_goes_through_to_its_end(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, decision: dict[str, str], uri: str
) -> None:
    ports = {"sip": kamailio.sip_port, "gateway": kamailio.gateway_port}
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        call = await _decide(caller, link, {key: value.format(**ports) for key, value in decision.items()})
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        assert [request.method for request in gateway.requests] == ["INVITE", "ACK", "BYE"]
        assert gateway.requests[0].uri == uri.format(**ports)
        assert all(request.get("max-forwards") == "69" for request in gateway.requests)


async def test_a_trace_goes_on_in_a_header_of_its_own_call_alone(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    uri = f"sip:127.0.0.1:{kamailio.gateway_port}"
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        for traceparent in (trace, None):
            call = caller.call("4420", headers="traceparent: 00-of-the-caller\r\n")
            for event, decision in (
                ("screening_request", {"action": "allow"}),
                ("invite_request", {"action": "route", "uri": uri}),
            ):
                answer = resume(await link.event(event), decision)
                link.write({**answer, "traceparent": traceparent} if traceparent else answer)
            assert (await call.final()).code == 200
            assert (await call.bye()).code == 200
        invites = gateway.of("INVITE")
        assert [request.all("traceparent") for request in invites] == [[trace], ["00-of-the-caller"]]


async def test_screening_alone_can_refuse(caller: Caller, link: EvapiClient) -> None:
    call = caller.call()
    event = await link.event("screening_request")
    link.answer(event, {"action": "reject", "code": 403, "reason": "Screened out"})
    final = await call.final()
    assert (final.code, final.reason) == (403, "Screened out")
    assert await link.receipt() == []


async def test_an_allowed_screening_is_not_an_allowed_call(caller: Caller, link: EvapiClient) -> None:
    """The second question has the same ids: the first answer, repeated, must not let the call through."""
    call = caller.call()
    screening = await link.event("screening_request")
    link.answer(screening, {"action": "allow"})
    routing = await link.event("invite_request")
    link.answer(screening, {"action": "allow"})
    link.answer(routing, {"action": "reject", "code": 404, "reason": "No route"})
    assert (await call.final()).reason == "No route"


@pytest.mark.parametrize("key", ["uris", "contacts"])
async def test_redirect_lists_its_uris_in_order(caller: Caller, link: EvapiClient, key: str) -> None:
    uris = ["sip:a@one.test", "sip:b@two.test;transport=tcp"]
    call = await _decide(caller, link, {"action": "redirect", key: uris, "code": 301})
    final = await call.final()
    assert final.code == 301
    assert final.get("contact").replace(" ", "") == ",".join(f"<{uri}>" for uri in uris)


async def test_a_rejection_has_headers(caller: Caller, link: EvapiClient) -> None:
    decision = {"action": "reject", "code": 503, "reason": "Later", "headers": {"Retry-After": "5"}}
    final = await (await _decide(caller, link, decision)).final()
    assert (final.code, final.reason, final.all("retry-after")) == (503, "Later", ["5"])


@pytest.mark.parametrize(
    "outcome", ["timeout", "unroutable", "unavailable", "overload", "malformed", "failed"]
)
async def test_the_fallback_of_any_outcome_is_carried_out(
    caller: Caller, link: EvapiClient, outcome: str
) -> None:
    call = caller.call()
    fallback = {"action": "reject", "code": 503, "reason": "No decision"}
    link.answer(await link.event("screening_request"), fallback, outcome)
    final = await call.final()
    assert (final.code, final.reason) == (503, "No decision")


@pytest.mark.parametrize(
    "decision",
    [
        {},
        {"action": "fly"},
        {"action": 7},
        {"action": {"action": "allow"}},
        {"action": "route"},
        {"action": "route", "uri": {"sip": "x"}},
        {"action": "route", "uri": "sip:with space@gw"},
        {"action": "route", "uri": "sip:x@gw\r\nX-Injected: yes"},
        {"action": "route", "uri": "tel:+4420"},
        {"action": "redirect"},
        {"action": "redirect", "uris": []},
        {"action": "redirect", "uris": "sip:a@b"},
        {"action": "redirect", "uris": ["sip:a@b>\r\nX-Injected: yes"]},
        {"action": "redirect", "uris": ["sip:a@b"], "code": 200},
        {"action": "reject", "code": 200, "reason": "OK"},
        {"action": "reject", "code": 700, "reason": "Beyond"},
        {"action": "reject", "code": "busy", "reason": "No number"},
        {"action": "reject", "code": "486x", "reason": "No number"},
        {"action": "reject", "code": None, "reason": "No number"},
        {"action": "reject", "code": False, "reason": "No number"},
        {"action": "reject", "code": 486, "reason": "Busy\r\nX-Injected: yes"},
    ],
)
async def test_what_cannot_be_carried_out_is_refused_and_logged(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, decision: dict[str, Any]
) -> None:
    call = await _decide(caller, link, decision)
    final = await call.final()
    assert (final.code, final.reason) == (500, "Bad Decision")
    assert not final.all("x-injected")
    assert f"{call.call_id}: not a decision I can carry out" in kamailio.log


async def test_a_dialog_that_is_not_ours_is_refused(kamailio: KamailioServer, caller: Caller) -> None:
    assert (await caller.call(method="REGISTER").final()).code == 405
    assert (await caller.call(method="OPTIONS").final()).code == 200
