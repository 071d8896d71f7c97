"""Nodes that DNS knows: found, followed, and kept while it does not answer."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.rcode
import pytest
from structlog.testing import capture_logs

from adapter.evapi.discovery import Discovery, LookupFailed, SystemResolver, Target, short
from adapter.settings import Address, Lookup, NodeAddress
from tests.harness.dns_server import DnsServer
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

HOST = Lookup("dns", "kamailio", 8448)
SERVICE = Lookup("srv", "_evapi._tcp.kamailio.sip.svc.cluster.local", 0)
DOMAIN = "kamailio.sip.svc.cluster.local"


class Resolver:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.hosts: dict[str, list[str] | Exception] = {}
        self.services: dict[str, list[Target] | Exception] = {}
        self.hanging: set[str] = set()

    async def addresses(self, host: str) -> Sequence[str]:
        if host in self.hanging:
            await asyncio.Event().wait()
        return _given(self.hosts.get(host, []))

    async def targets(self, name: str) -> Sequence[Target]:
        return _given(self.services.get(name, []))


def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


class Told:
    """What ``on_nodes`` was told."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, nodes: Sequence[NodeAddress]) -> None:
        self.calls.append([str(node) for node in nodes])


@asynccontextmanager
async def running(
    *lookups: Lookup, fixed: Sequence[NodeAddress] = (), resolver: Any = None, within: float = 3.0
) -> AsyncIterator[tuple[Resolver, Told]]:
    resolver, told = resolver or Resolver(), Told()
    task = asyncio.create_task(Discovery(fixed, lookups, told, 0.001, resolver, within).run())
    try:
        yield resolver, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ready(**hosts: list[str]) -> Resolver:
    found = Resolver()
    found.hosts.update(hosts)
    return found


def fixed(name: str, text: str) -> NodeAddress:
    return NodeAddress(name, Address.parse(text))


async def test_fixed_nodes_are_told_at_once_and_once() -> None:
    async with running(fixed=[fixed("sbc1", "10.0.0.5:8448")]) as (_, told):
        await until(lambda: told.calls)
        await asyncio.sleep(0)
        assert told.calls == [["sbc1=10.0.0.5:8448"]]


async def test_each_address_is_a_node_and_they_come_and_go() -> None:
    async with running(HOST, resolver=ready(kamailio=["10.0.0.7", "10.0.0.6", "10.0.0.6"])) as (
        resolver,
        told,
    ):
        await until(lambda: len(told.calls) == 2)
        assert told.calls == [[], ["10.0.0.6:8448=10.0.0.6:8448", "10.0.0.7:8448=10.0.0.7:8448"]]
        resolver.hosts["kamailio"] = ["10.0.0.7", "10.0.0.8"]
        await until(lambda: len(told.calls) == 3)
        assert told.calls[-1] == ["10.0.0.7:8448=10.0.0.7:8448", "10.0.0.8:8448=10.0.0.8:8448"]


async def test_an_address_of_version_6() -> None:
    async with running(HOST, resolver=ready(kamailio=["fd00::5"])) as (_, told):
        await until(lambda: len(told.calls) == 2)
        assert told.calls[-1] == ["[fd00::5]:8448=[fd00::5]:8448"]


async def test_a_target_keeps_its_name_while_its_address_changes() -> None:
    resolver = ready(
        **{f"kamailio-0.{DOMAIN}": ["10.0.0.6"], f"kamailio-1.{DOMAIN}": ["10.0.0.9", "10.0.0.7"]}
    )
    resolver.services[SERVICE.host] = [Target(f"kamailio-{n}.{DOMAIN}", 8448 + n) for n in (0, 1, 2)]
    async with running(SERVICE, resolver=resolver) as (_, told):
        await until(lambda: len(told.calls) == 2)
        assert told.calls[-1] == ["kamailio-0=10.0.0.6:8448", "kamailio-1=10.0.0.7:8449"]
        resolver.hosts[f"kamailio-0.{DOMAIN}"] = ["10.0.0.99"]
        await until(lambda: len(told.calls) == 3)
        assert told.calls[-1][0] == "kamailio-0=10.0.0.99:8448"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (f"kamailio-0.{DOMAIN}", "kamailio-0"),
        (f"Kamailio-0.{DOMAIN}.", "kamailio-0"),
        (f"a.b.{DOMAIN}", "a.b"),
        ("sbc1.example.net", "sbc1.example.net"),
        (f"kamailio-0.other{DOMAIN}", f"kamailio-0.other{DOMAIN}"),
    ],
)
def test_a_targets_name_is_its_host_without_the_services_domain(host: str, name: str) -> None:
    assert short(host, SERVICE.host) == name


def test_a_service_found_by_a_search_domain() -> None:
    assert short(f"kamailio-0.{DOMAIN}", "_evapi._tcp.kamailio") == "kamailio-0"


async def test_what_fails_changes_nothing_and_is_told_once() -> None:
    with capture_logs() as logs:
        async with running(HOST, resolver=ready(kamailio=["10.0.0.6"])) as (resolver, told):
            await until(lambda: len(told.calls) == 2)
            resolver.hosts["kamailio"] = LookupFailed("server failure")
            await until(lambda: any("no answer" in entry["event"] for entry in logs))
            resolver.hosts["kamailio"] = ["10.0.0.6", "10.0.0.7"]
            await until(lambda: len(told.calls) == 3)
            resolver.hosts["kamailio"] = LookupFailed("server failure")
            await until(lambda: sum("no answer" in entry["event"] for entry in logs) == 2)
        assert told.calls[-1] == ["10.0.0.6:8448=10.0.0.6:8448", "10.0.0.7:8448=10.0.0.7:8448"]
    first, _ = (entry for entry in logs if "no answer" in entry["event"])
    assert (first["error"], first["nodes"]) == ("server failure", ["10.0.0.6:8448"])


async def test_no_such_name_is_an_answer() -> None:
    with capture_logs() as logs:
        async with running(HOST, resolver=ready(kamailio=["10.0.0.6"])) as (resolver, told):
            await until(lambda: len(told.calls) == 2)
            resolver.hosts["kamailio"] = []
            await until(lambda: len(told.calls) == 3)
            assert told.calls[-1] == []
    assert [entry["name"] for entry in logs if "no node of that name" in entry["event"]] == [
        "dns://kamailio:8448"
    ]


async def test_one_that_hangs_does_not_delay_the_others_for_ever() -> None:
    resolver = ready(kamailio=["10.0.0.6"], other=["10.0.0.7"])
    resolver.hanging.add("kamailio")
    async with running(HOST, Lookup("dns", "other", 1), resolver=resolver, within=0.01) as (_, told):
        await until(lambda: len(told.calls) == 2)
        assert told.calls[-1] == ["10.0.0.7:1=10.0.0.7:1"]
        resolver.hanging.clear()
        await until(lambda: len(told.calls) == 3)


async def test_a_kamailio_that_is_named_twice_is_one_node() -> None:
    with capture_logs() as logs:
        resolver = ready(kamailio=["10.0.0.5", "10.0.0.6"])
        async with running(HOST, fixed=[fixed("sbc1", "10.0.0.5:8448")], resolver=resolver) as (_, told):
            await until(lambda: len(told.calls) == 2)
            assert told.calls[-1] == ["sbc1=10.0.0.5:8448", "10.0.0.6:8448=10.0.0.6:8448"]
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_a_name_for_two_addresses_is_the_first_ones() -> None:
    resolver = ready(**{f"kamailio-0.{DOMAIN}": ["10.0.0.6"], "kamailio-0.b.c": ["10.0.0.7"]})
    resolver.services[SERVICE.host] = [Target(f"kamailio-0.{DOMAIN}", 8448)]
    other = Lookup("srv", "_evapi._tcp.b.c", 0)
    resolver.services[other.host] = [Target("kamailio-0.b.c", 8448)]
    with capture_logs() as logs:
        async with running(SERVICE, other, resolver=resolver) as (_, told):
            await until(lambda: ["kamailio-0=10.0.0.6:8448"] in told.calls)
            await until(lambda: any(entry["log_level"] == "error" for entry in logs))
            assert all(len(call) <= 1 for call in told.calls)
    (clash,) = (entry for entry in logs if entry["log_level"] == "error")
    assert clash["nodes"] == ["kamailio-0=10.0.0.6:8448", "kamailio-0=10.0.0.7:8448"]


@pytest.mark.parametrize("host", ["all." + DOMAIN])
async def test_no_node_is_called_all(host: str) -> None:
    resolver = ready(**{host: ["10.0.0.6"], f"ok.{DOMAIN}": ["10.0.0.7"]})
    resolver.services[SERVICE.host] = [Target(host, 8448), Target(f"ok.{DOMAIN}", 8448)]
    async with running(SERVICE, resolver=resolver) as (_, told):
        await until(lambda: len(told.calls) == 2)
        assert told.calls[-1] == ["ok=10.0.0.7:8448"]


async def test_what_is_no_name_or_too_much_is_no_answer() -> None:
    resolver = ready(
        kamailio=[f"10.0.{n // 250}.{n % 250}" for n in range(1001)], **{f"a\x1bb.{DOMAIN}": ["10.0.0.6"]}
    )
    resolver.services[SERVICE.host] = [Target(f"a\x1bb.{DOMAIN}", 8448)]
    with capture_logs() as logs:
        async with running(HOST, SERVICE, resolver=resolver) as (_, told):
            await until(lambda: sum("no answer" in entry["event"] for entry in logs) == 2)
            assert told.calls == [[]]
    assert {entry["error"] for entry in logs} == {
        "1001 nodes; at most 1000 are believed",
        "no names of nodes: 'a\\x1bb'",
    }


async def test_once_gives_the_nodes_or_says_why_not() -> None:
    resolver = ready(kamailio=["10.0.0.6"])
    found = Discovery([fixed("sbc1", "10.0.0.5:1")], [HOST], Told(), 5.0, resolver)
    assert [node.name for node in await found.once()] == ["sbc1", "10.0.0.6:8448"]
    resolver.hosts["kamailio"] = LookupFailed("server failure")
    with pytest.raises(LookupFailed, match="server failure"):
        await found.once()


class TestSystemResolver:
    async def test_addresses_are_the_systems(self) -> None:
        assert await SystemResolver().addresses("localhost") == ["127.0.0.1"]
        assert await SystemResolver().addresses("127.0.0.9") == ["127.0.0.9"]
        assert await SystemResolver().addresses("::1") == ["::1"]

    async def test_of_both_families_the_fourth_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        both = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::5", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.5", 0)),
        ]

        async def getaddrinfo(*_: object, **__: object) -> Any:
            return both

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        assert await SystemResolver().addresses("kamailio") == ["10.0.0.5"]

    @pytest.mark.parametrize(
        ("error", "answer"),
        [
            (socket.gaierror(socket.EAI_NONAME, "unknown"), []),
            (socket.gaierror(socket.EAI_AGAIN, "try again"), "try again"),
            (UnicodeError("label too long"), "label too long"),
        ],
    )
    async def test_what_the_system_says(
        self, error: Exception, answer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def getaddrinfo(*_: object, **__: object) -> Any:
            raise error

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        if answer == []:
            assert await SystemResolver().addresses("kamailio") == []
        else:
            with pytest.raises(LookupFailed, match=answer):
                await SystemResolver().addresses("kamailio")

    async def test_targets_are_a_dns_servers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with DnsServer() as server:
            monkeypatch.setattr(dns.asyncresolver, "get_default_resolver", lambda: server.resolver)
            server.records[SERVICE.host, "SRV"] = [f"0 50 8448 kamailio-{n}.{DOMAIN}." for n in (0, 1)]
            found = await SystemResolver().targets(SERVICE.host)
            assert sorted(found) == [Target(f"kamailio-{n}.{DOMAIN}", 8448) for n in (0, 1)]
            assert await SystemResolver().targets("_evapi._tcp.nowhere.test") == []
            server.records[SERVICE.host, "TXT"] = server.records.pop((SERVICE.host, "SRV"))
            assert await SystemResolver().targets(SERVICE.host) == []
            server.rcode = dns.rcode.SERVFAIL
            with pytest.raises(LookupFailed, match="SERVFAIL"):
                await SystemResolver().targets(SERVICE.host)

    async def test_a_dns_server_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with DnsServer() as server:
            monkeypatch.setattr(dns.asyncresolver, "get_default_resolver", lambda: server.resolver)
            server.silent = True
            with pytest.raises(LookupFailed, match="lifetime expired"):
                await SystemResolver(timeout=0.05).targets(SERVICE.host)
            assert server.asked
