"""Whatever JSON stands in whichever key of a decision: a short and safe reply, and no call by accident."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

import adapter.kamailio
from tests.harness.kamailio import KamailioServer
from tests.harness.sip import Caller, Gateway
from tests.kamailio.conftest import kept_link
from tests.kamailio.plain import asked, taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.harness.evapi_client import EvapiClient
    from tests.harness.sip import Message

    Make = Callable[[Any, str], dict[str, Any]]

INJECTED: Final = ("a\r\nX-Injected: yes", "a\nX-Injected: yes", "a\rX-Injected: yes", "a\r\n\r\nbody")
ANYTHING: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 486.0, 1e300, 2**31, "", "0", "x", "null", "ä", "$ru $env(PATH)", "a\tb"),
    *(
        "x" * 5_000,
        [],
        [None],
        ["x"],
        [[]],
        {},
        {"a": 1},
        {"action": "allow"},
        '{"action":"allow"}',
        "allow ",
    ),
    *INJECTED,
)
"""Right for no key but those of `FITTING`."""
ROUTED: Final = {"action": "route"}
PATHS: Final = {
    "action": lambda value, uri: {"action": value, "uri": uri},
    "uri": lambda value, uri: {**ROUTED, "uri": value},
    "code": lambda value, uri: {"action": "reject", "code": value},
    "reason": lambda value, uri: {"action": "reject", "code": 486, "reason": value},
}
MORE: Final = {
    "headers of a reply": lambda value, uri: {"action": "reject", "headers": value},
    "a header of a reply": lambda value, uri: {"action": "reject", "headers": {"X-A": value}},
    "the name of a header": lambda value, uri: {**ROUTED, "uri": uri, "headers": {f"X {value}": "a"}},
    "uris": lambda value, uri: {"action": "redirect", "uris": value},
    "one of uris": lambda value, uri: {"action": "redirect", "uris": ["sip:a@b", value]},
    "code of a redirect": lambda value, uri: {"action": "redirect", "uris": ["sip:a@b"], "code": value},
    "routes": lambda value, uri: {**ROUTED, "routes": value},
    "a route": lambda value, uri: {**ROUTED, "routes": [{"uri": uri}, value]},
    "uri of a route": lambda value, uri: {**ROUTED, "routes": [{"uri": uri}, {"uri": value}]},
    "timeout_ms": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "timeout_ms": value}]},
    "caller": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "caller": value}]},
    "reroute_on": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "reroute_on": value}]},
    "one of reroute_on": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "reroute_on": [value]}]},
    "headers": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "headers": value}]},
    "a header": lambda value, uri: {**ROUTED, "routes": [{"uri": uri, "headers": {"X-A": value}}]},
    "mode": lambda value, uri: {**ROUTED, "uri": uri, "mode": value},
    "max_duration": lambda value, uri: {**ROUTED, "uri": uri, "max_duration": value},
    "max_duration of allow": lambda value, uri: {"action": "allow", "max_duration": value},
    "routing": lambda value, uri: {"version": "1.0", "routing": value, "routes": [{"uri": uri}]},
    "version": lambda value, uri: {"version": value, "routing": "serial", "routes": [{"uri": uri}]},
    "RTJSON's routes": lambda value, uri: {"version": "1.0", "routing": "serial", "routes": value},
    "RTJSON's uri": lambda value, uri: {"version": "1.0", "routing": "serial", "routes": [{"uri": value}]},
    "RTJSON's extra": lambda value, uri: {
        "version": "1.0", "routing": "serial", "routes": [{"uri": uri, "headers": {"extra": value}}],
    },
    "RTJSON's from": lambda value, uri: {
        "version": "1.0", "routing": "serial", "routes": [{"uri": uri, "headers": {"from": {"uri": value}}}],
    },
}  # fmt: skip

FITTING: Final[dict[str, list[Any]]] = {
    "reason": [],
    "timeout_ms": [1],
    "max_duration": [1],
    "max_duration of allow": [1],
    "caller": ["0", "x", "null"],
    "headers": [{}, {"action": "allow"}],
    "a header": ["", "0", "x", "null", "ä", "$ru $env(PATH)", '{"action":"allow"}', "allow "],
    "reroute_on": [[]],
    "one of reroute_on": [486.0],
    "version": ["1.0"],
}
"""With these the call may be connected."""


@asynccontextmanager
async def asking(kamailio: KamailioServer, caller: Caller, plain: bool) -> AsyncIterator[EvapiClient]:
    async with taken(kamailio, caller) if plain else kept_link(kamailio) as made:
        yield made


async def decide(link: EvapiClient, plain: bool, decisions: dict[str, dict[str, Any]]) -> None:
    """Answer every call, as its Call-ID says."""
    for _ in decisions:
        if plain:
            data, ids = await asked(link)
        else:
            event = await link.event("invite_request")
            data, ids = event["data"], event["tm_trans"]
        decision = decisions[data["call_id"]]
        link.write({"tm_trans": ids, "outcome": "decided", "decision": decision})


def is_safe(reply: Message) -> bool:
    """Whether a reply is short, and nothing came into it by the decision."""
    names = {
        "record-route",
        "via",
        "from",
        "to",
        "call-id",
        "cseq",
        "server",
        "content-length",
        "x-a",
        "contact",
        "action",
    }
    told = sum(len(value) for _, value in reply.headers) + len(reply.first)
    return {name for name, _ in reply.headers} <= names and not reply.body and told < 6_000


def is_fitting(value: Any, path: str) -> bool:
    """By value and type: 1 is not True here."""
    return any(type(value) is type(one) and value == one for one in FITTING.get(path, []))


@pytest.mark.parametrize(
    "cfg, paths",
    [("plain.cfg", PATHS), ("kamailio.cfg", {**PATHS, **MORE}), ("kemi.cfg", {**PATHS, **MORE})],
    ids=["plain", "include", "kemi"],
)
async def test_anything_in_any_key(tmp_path: Any, cfg: str, paths: dict[str, Make]) -> None:
    plain = cfg == "plain.cfg"
    script = {"KEMI_SCRIPT": f'"{adapter.kamailio.path("kemi.py")}"'}
    with KamailioServer(tmp_path, cfg, script, workers=1, shared_memory=64) as kamailio:
        uri = f"sip:4420@127.0.0.1:{kamailio.gateway_port}"
        async with (
            await Caller.open(kamailio.sip_port) as caller,
            await Gateway.open(603, port=kamailio.gateway_port) as gateway,
            asking(kamailio, caller, plain) as link,
        ):
            for path, make in paths.items():
                made = [(value, caller.call()) for value in ANYTHING]
                await decide(link, plain, {call.call_id: make(value, uri) for value, call in made})
                connected = []
                for value, call in made:
                    final = await call.final()
                    assert 300 <= final.code < 700, (path, value, final)
                    assert is_safe(final), (path, value, final)
                    if any(one.get("call-id") == call.call_id for one in gateway.requests):
                        connected.append(value)
                assert all(is_fitting(value, path) for value in connected), (path, connected)
            assert not any(request.all("x-injected") for request in gateway.requests)
        assert kamailio.running
    assert "CRITICAL" not in kamailio.log
