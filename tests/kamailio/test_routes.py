"""ADAPTER_ROUTE: several gateways, in turn or at once, each with its own time, headers and caller."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from consumers import routes as sdk_routes
from consumers.decisions import MAX_HEADERS
from consumers.gateways import MAX_CALLER, MAX_DURATION, MAX_TIMEOUT
from tests.harness.sip import Gateway
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers import Route
    from tests.harness.evapi_client import EvapiClient
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Call, Caller

KAMAILIO = {"defines": {"ADAPTER_STEP_HEADER": '"X-Decided-By"'}}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def gateways(stack: AsyncExitStack, *codes: int | None) -> list[Gateway]:
    """One for each code; 0 rings for ever, None never says a word."""
    return [
        await stack.enter_async_context(await Gateway.open(code or 0, deaf=1_000 if code is None else 0))
        for code in codes
    ]


def routes(found: list[Gateway], **more: Any) -> list[dict[str, Any]]:
    return [{"uri": f"sip:4420@127.0.0.1:{one.port}", **more} for one in found]


async def decided(caller: Caller, link: EvapiClient, headers: str = "", **decision: Any) -> Call:
    call = caller.call("4420", headers=headers)
    link.answer(await link.event("invite_request"), {"action": "route", **decision})
    return call


async def talked(call: Call, by: Gateway) -> None:
    """The call is answered by this gateway, and its BYE comes there, too."""
    assert (await call.final()).code == 200
    assert (await call.bye()).code == 200
    assert [request.method for request in by.requests] == ["INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("first", [503, 500, 408, None])
async def test_the_second_is_tried_where_the_first_fails(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient, first: int | None
) -> None:
    one, two = await gateways(stack, first, 200)
    call = await decided(caller, link, routes=routes([one, two], timeout_ms=400))
    await talked(call, two)
    assert len(one.of("INVITE")) == 1


async def test_one_that_rings_too_long_is_cancelled(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    one, two = await gateways(stack, 0, 200)
    call = await decided(caller, link, routes=routes([one], timeout_ms=400) + routes([two]))
    await talked(call, two)
    await until(lambda: one.of("CANCEL"))  # if it rang after its time, Kamailio cancels it then
    assert len(one.of("CANCEL")) == 1


async def test_the_time_of_one_is_not_that_of_the_next(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    (one,) = await gateways(stack, None)
    two = await stack.enter_async_context(await Gateway.open(deaf=1))  # answers what comes after 0.5 s
    call = await decided(caller, link, routes=routes([one], timeout_ms=200) + routes([two]))
    assert (await call.final()).code == 200
    assert len(two.of("INVITE")) == 2


async def test_what_the_callee_says_is_the_end(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    one, two = await gateways(stack, 486, 200)
    call = await decided(caller, link, routes=routes([one, two]))
    assert (await call.final()).code == 486
    assert two.requests == []


@pytest.mark.parametrize("listed", [[486], ["486"], ["4xx"], [503, "4xx", 600]])
async def test_reroute_on_says_which_replies_go_on(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient, listed: list[Any]
) -> None:
    one, two = await gateways(stack, 486, 200)
    call = await decided(caller, link, routes=routes([one, two], reroute_on=listed))
    await talked(call, two)


@pytest.mark.parametrize("listed", [[], [486], ["4xx", "6xx"]])
async def test_reroute_on_says_which_replies_do_not(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient, listed: list[Any]
) -> None:
    one, two = await gateways(stack, 500, 200)
    call = await decided(caller, link, routes=routes([one, two], reroute_on=listed))
    assert (await call.final()).code == 500
    assert two.requests == []


async def test_the_reply_of_the_last_counts(stack: AsyncExitStack, caller: Caller, link: EvapiClient) -> None:
    """tm itself would choose 404, and ask 404 whether it goes on."""
    found = await gateways(stack, 404, 502, 504)
    listed = routes(found[:1], reroute_on=[404]) + routes(found[1:])
    call = await decided(caller, link, routes=listed)
    assert (await call.final()).code == 504
    assert [len(one.of("INVITE")) for one in found] == [1, 1, 1]


async def test_one_that_cannot_be_reached_is_passed_over(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    (two,) = await gateways(stack, 200)
    listed = [{"uri": "sip:4420@no-such-host.invalid"}, *routes([two])]
    await talked(await decided(caller, link, routes=listed), two)


async def test_where_none_can_be_reached(caller: Caller, link: EvapiClient) -> None:
    call = await decided(caller, link, routes=[{"uri": "sip:4420@no-such-host.invalid"}] * 2)
    assert (await call.final()).code == 500


async def test_a_caller_who_hangs_up_ends_it(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    one, two = await gateways(stack, 0, 200)
    call = await decided(caller, link, routes=routes([one, two]))
    await call.response(180)
    call.cancel()
    assert (await call.final()).code == 487
    assert len(one.of("CANCEL")) == 1
    assert two.requests == []


async def test_what_each_next_hop_must_see(
    stack: AsyncExitStack, kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    """The second INVITE comes from a failure route, where all that RESUME added is lost."""
    found = await gateways(stack, 503, 200)
    listed = [
        {**one, "headers": {"X-Carrier": name, "X-Quote": 'say "hi", \\ {there}'}}
        for one, name in zip(routes(found), ("one", "two"), strict=True)
    ]
    call = caller.call("4420", headers="X-Carrier: mine\r\nX-Mine: stays\r\ntraceparent: mine\r\n")
    event = await link.event("invite_request")
    link.write(
        {
            "tm_trans": event["tm_trans"],
            "outcome": "decided",
            "decision": {"action": "route", "routes": listed},
            "traceparent": TRACE,
        }
    )
    await talked(call, found[1])
    for one, name in zip(found, ("one", "two"), strict=True):
        (invite,) = one.of("INVITE")
        assert invite.all("x-carrier") == [name]
        assert invite.all("x-quote") == ['say "hi", \\ {there}']
        assert invite.all("x-mine") == ["stays"]
        assert invite.all("traceparent") == [TRACE]
        assert invite.all("x-decided-by") == ["decided;step=service"]
        (record,) = invite.all("record-route")
        assert f"127.0.0.1:{kamailio.sip_port}" in record
        assert invite.get("max-forwards") == "69"


async def test_each_gateway_gets_the_caller_that_it_knows(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    found = await gateways(stack, 503, 200)
    callers = ("+4420", "sip:+4930@carrier.test")
    listed = [{**one, "caller": each} for one, each in zip(routes(found), callers, strict=True)]
    call = await decided(caller, link, routes=listed)
    await talked(call, found[1])
    assert "<sip:+4420@caller.test>" in found[0].of("INVITE")[0].get("from")
    for request in found[1].requests:
        assert "<sip:+4930@carrier.test>" in request.get("from")
    assert "<sip:alice@caller.test>" in (await call.final()).get("from")


async def test_all_at_once(stack: AsyncExitStack, caller: Caller, link: EvapiClient) -> None:
    found = await gateways(stack, 0, 486, 200)
    listed = [
        {**one, "headers": {"X-Carrier": name}, "caller": name}
        for one, name in zip(routes(found), ("one", "two", "three"), strict=True)
    ]
    call = await decided(caller, link, routes=listed, mode="parallel")
    await talked(call, found[2])
    assert [one.of("INVITE")[0].all("x-carrier") for one in found] == [["one"], ["two"], ["three"]]
    callers = [one.of("INVITE")[0].get("from").partition("@")[0] for one in found]
    assert callers == ["<sip:one", "<sip:two", "<sip:three"]
    await until(lambda: found[0].of("CANCEL"))
    assert len(found[0].of("CANCEL")) == 1


async def test_all_at_once_but_one_that_cannot_be_reached(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    found = await gateways(stack, 486, 200)
    first, last = (
        {**one, "headers": {"X-Carrier": name}} for one, name in zip(routes(found), "ab", strict=True)
    )
    lost = {"uri": "sip:4420@no-such-host.invalid", "headers": {"X-Carrier": "lost"}}
    call = await decided(caller, link, routes=[first, lost, last], mode="parallel")
    await talked(call, found[1])
    assert [one.of("INVITE")[0].all("x-carrier") for one in found] == [["a"], ["b"]]


async def test_all_at_once_end_with_the_longest_time(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient
) -> None:
    found = await gateways(stack, 0, None)
    listed = routes(found[:1], timeout_ms=300) + routes(found[1:], timeout_ms=500)
    call = await decided(caller, link, routes=listed, mode="parallel")
    assert (await call.final()).code == 408


async def test_a_uri_without_a_user_is_the_next_hop(
    stack: AsyncExitStack, kamailio: KamailioServer, caller: Caller, link: EvapiClient
) -> None:
    found = await gateways(stack, 503, 200)
    listed = [{"uri": f"sip:127.0.0.1:{one.port}"} for one in found]
    for mode in ("serial", "parallel"):
        call = await decided(caller, link, routes=listed, mode=mode)
        assert (await call.final()).code == 200
        assert (await call.bye()).code == 200
        assert {one.of("INVITE")[-1].uri for one in found} == {f"sip:4420@127.0.0.1:{kamailio.sip_port}"}


@pytest.mark.parametrize("action", ["route", "allow"])
async def test_a_call_ends_after_its_longest_duration(
    kamailio: KamailioServer, caller: Caller, link: EvapiClient, action: str
) -> None:
    async with await Gateway.open(port=kamailio.gateway_port) as gateway:
        where = {"action": action, **routes([gateway])[0]}
        call = await decided(caller, link, **where, max_duration=1)
        call.answers = False  # at once, dialog might spare the other side its BYE; see README
        assert (await call.final()).code == 200
        await until(lambda: call.byes and gateway.of("BYE"))


UTMOST: list[Route] = [
    {"uri": "", "timeout_ms": MAX_TIMEOUT, "reroute_on": ["3xx", *range(400, 449)]},
    {"uri": "", "headers": {"X-Long": "x" * (MAX_HEADERS - 20)}},
    {"uri": "", "headers": {f"X-{n}": "ä'\"\\ $ci %s" for n in range(50)}},
    {"uri": "", "caller": "sip:" + "a" * (MAX_CALLER - 10) + "@b.test"[:6]},
    {"uri": "", "caller": "Alice_1.a-b"},
]


@pytest.mark.parametrize("one", UTMOST, ids=range(len(UTMOST)))
async def test_what_the_sdk_lets_pass_is_carried_out(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient, one: Route
) -> None:
    (gateway,) = await gateways(stack, 200)
    host = f"@127.0.0.1:{gateway.port}"
    uri = f"sip:{'4' * 300}{host}"
    made = sdk_routes([{**one, "uri": uri}], max_duration=MAX_DURATION)
    call = await decided(caller, link, **{key: made[key] for key in ("routes", "max_duration")})
    await talked(call, gateway)
    (invite,) = gateway.of("INVITE")
    assert invite.uri == uri
    for name, value in one.get("headers", {}).items():
        assert invite.all(name) == [value]


async def test_more_than_are_tried(stack: AsyncExitStack, caller: Caller, link: EvapiClient) -> None:
    found = await gateways(stack, *[503] * 12)
    call = await decided(caller, link, routes=routes(found))
    assert (await call.final()).code >= 500
    assert [len(one.of("INVITE")) for one in found] == [1] * 10 + [0] * 2


def rtjson(found: list[Gateway], routing: str = "serial", **more: Any) -> dict[str, Any]:
    return {"version": "1.0", "routing": routing, "routes": [{**one, **more} for one in routes(found)]}


@pytest.mark.parametrize("action", [{}, {"action": "route"}])
async def test_rtjson_one_after_the_other(
    stack: AsyncExitStack, caller: Caller, link: EvapiClient, action: dict[str, str]
) -> None:
    found = await gateways(stack, 503, 200)
    call = caller.call("4420")
    document = rtjson(found, headers={"extra": "X-Carrier: some\r\nX-More: x\r\n"}, fr_timer=2000)
    link.answer(await link.event("invite_request"), {**document, **action})
    await talked(call, found[1])
    for one in found:
        assert one.of("INVITE")[0].all("x-carrier") == ["some"]
        assert len(one.of("INVITE")[0].all("record-route")) == 1


async def test_rtjson_at_once(stack: AsyncExitStack, caller: Caller, link: EvapiClient) -> None:
    found = await gateways(stack, 486, 200)
    call = caller.call("4420")
    link.answer(await link.event("invite_request"), rtjson(found, "parallel"))
    await talked(call, found[1])
    assert len(found[0].of("INVITE")) == 1
