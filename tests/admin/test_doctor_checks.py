"""The judgement of doctor's checks, without a server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from adapter.admin import (
    checks_clocks,
    checks_http,
    checks_kamailio,
    checks_nodes,
    checks_redis,
    checks_replicas,
)
from adapter.admin.checks_clocks import LATE, of_services, skew
from adapter.admin.checks_finding import Finding, Group, Status, counted, version_of
from adapter.admin.checks_services import events, parts_of
from adapter.admin.checks_settings import read
from adapter.admin.services import Service
from adapter.evapi.discovery import LookupFailed, Target
from adapter.kamailio.lint import RULES
from adapter.model.beat import Beat, node_order, replica_order
from adapter.model.transaction import TransactionId
from adapter.observe.journal_entry import Kind, Step
from adapter.relay import policy
from adapter.settings import examine
from tests.admin.findings import NODE, bad, beat, overview
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

WEB = Group("replicas")


@pytest.mark.parametrize(
    ("text", "found"),
    [("7.0.15", (7, 0, 15)), ("3.13.0-rc.1", (3, 13, 0)), ("3.10", (3, 10)), ("", ()), ("x", ())],
)
def test_versions(text: str, found: tuple[int, ...]) -> None:
    assert version_of(text) == found


def test_numbers() -> None:
    assert (counted(1, "call"), counted(1200, "call")) == ("1 call", "1,200 calls")


class TestSettings:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("EVAPI_NODES", "EVAPI_AMQP_URL", "EVAPI_REDIS_URL", "EVAPI_POLICY"):
            monkeypatch.delenv(name, raising=False)

    def test_each_that_is_wrong_is_told_and_the_rest_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_LEASE", "soon")
        site, found = read(redis_url="http://x", nodes="sbc1=127.0.0.1:8448", retention="30")
        assert bad(found) == [("settings", "EVAPI_REDIS_URL", "error"), ("settings", "EVAPI_LEASE", "error")]
        assert site.wrong == {"redis_url", "lease"}
        assert site.settings is not None
        assert (site.settings.redis_url, site.settings.lease, site.settings.retention) == (None, 1.0, 30.0)
        assert list(map(str, site.settings.nodes)) == [f"{NODE}=127.0.0.1:8448"]

    def test_a_secret_file_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_REDIS_URL_FILE", "/nowhere")
        site, found = read()
        assert site.settings is None
        assert bad(found) == [("settings", "EVAPI_REDIS_URL_FILE", "error")]

    def test_a_setting_that_there_is_not(self) -> None:
        site, found = read(leese="1")
        assert bad(found) == [("settings", "EVAPI_LEESE", "error")]
        assert site.settings is not None

    def test_a_slip_of_the_pen_and_not_what_is_anothers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_REDIS_ULR", "redis://x")
        monkeypatch.setenv("EVAPI_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv("EVAPI_LEAST_COST_RATES", "rates.csv")
        _, found = read()
        assert bad(found) == [("variables", "EVAPI_REDIS_ULR", "warning")]
        assert any(each.todo == "EVAPI_REDIS_URL=..." for each in found)

    def test_two_who_decide(self) -> None:
        _, found = read(amqp_url="amqp://rabbit/", consumer="consumers.least_cost:service")
        assert bad(found) == [("settings", "EVAPI_CONSUMER", "error")]

    def test_what_is_given_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVAPI_LEASE", "2")
        _, found = read(retention="30")
        (told,) = (each.seen for each in found if each.check == "settings")
        assert told == "2 settings given (1 by environment, 1 by flag), the rest are defaults"

    def test_a_policy_that_is_wrong(self, tmp_path: Path) -> None:
        file = tmp_path / "policy.toml"
        file.write_text("[default]\ndeadline = 0\n")
        site, found = read(policy=str(file))
        assert bad(found) == [("policy", "", "error")]
        assert f"{file}, line 2, default.deadline: 0 is not within" in found[-1].seen
        assert found[-1].todo == "write deadline = 2.0, for example"
        assert site.settings is not None
        assert site.settings.policy is None  # so that the rest is looked at with the default
        file.write_text('[events.invite]\ndeadline = 3\nservices = ["lcr"]\n')
        site, found = read(policy=str(file))
        assert bad(found) == []
        assert found[-1].seen.endswith(
            f"1 event, longest deadline 3 s, services: lcr, revision {site.policy.revision}"
        )
        assert site.policy.longest_deadline == 3.0


@pytest.mark.parametrize(
    ("off", "doubt", "status"),
    [
        (0.09, 0.0, Status.OK),
        (0.5, 0.0, Status.WARNING),
        (-0.5, 0.0, Status.WARNING),
        (0.5, 0.45, Status.OK),
        (1.5, 0.0, Status.ERROR),
        (-1.5, 0.1, Status.ERROR),
    ],
)
def test_redis_clock(off: float, doubt: float, status: Status) -> None:
    found = checks_redis.clock(off, doubt)
    assert found.status is status
    assert ("ahead" in found.seen) == (off > 0 and status is not Status.OK)


def step(at: float, kind: Kind = Kind.EVENT, label: int = 1, **more: Any) -> Step:
    return Step(kind, at, TransactionId(NODE, 1, label, 1), more=more)


class TestClocks:
    def test_an_entry_is_written_soon_after_its_last_step(self) -> None:
        assert skew([]) is None
        assert skew([(100.0, [])]) is None
        assert skew([(100.0, [step(99.0), step(99.6)])]) == 0.0
        assert skew([(100.0, [step(95.0)]), (101.0, [step(100.9)])]) == 0.0  # the first was late

    def test_ahead_of_the_clock_that_stamps_them_or_behind(self) -> None:
        assert skew([(100.0, [step(100.4)]), (101.0, [step(101.2)])]) == pytest.approx(0.4)
        assert skew([(100.0, [step(97.0)])]) == pytest.approx(-(3.0 - LATE))

    def test_a_service_cannot_reply_later_than_its_reply_came(self) -> None:
        fine = step(10.5, Kind.REPLY, service="lcr", received=10.1, replied=10.4)
        ahead = step(10.5, Kind.REPLY, service="lcr", received=10.1, replied=12.0)
        assert of_services([step(10.0), fine]) == {}
        assert of_services([step(10.0), fine, ahead]) == {"lcr": pytest.approx(1.5)}

    def test_nor_get_a_request_before_its_event_came(self) -> None:
        behind = step(10.5, Kind.REPLY, service="lcr", received=9.5, replied=9.9)
        assert of_services([behind, step(10.0)]) == {"lcr": pytest.approx(-0.5)}
        assert of_services([behind]) == {}  # of whose event nothing is known
        unnamed = step(10.5, Kind.REPLY, received=1.0, replied=99.0)
        assert of_services([step(10.0), unnamed, step(10.5, Kind.REPLY, service="x")]) == {}

    def test_an_entry_of_another_version_says_nothing(self) -> None:
        assert checks_clocks._steps(b"\xc1") == []


def service(name: str, *bound: str, consumers: int = 1) -> Service:
    return Service(name, f"evapi.decide.{name}", 0, consumers, bound)


class TestEvents:
    def decided(self, rules: Mapping[str, Any], *found: Service) -> list[tuple[str, str, str]]:
        read = policy.parse({"events": rules})
        return bad(events(found, read, [NODE, "sbc2"], complete=True))

    def test_by_those_the_policy_names(self) -> None:
        rules = {"invite": {"services": ["lcr"]}}
        assert self.decided(rules, service("lcr", "invite")) == []
        assert self.decided(rules, service("lcr", "#")) == []
        assert self.decided(rules, service("lcr", "*")) == []
        assert self.decided(rules, service("lcr", "invite.sbc1", "#.sbc2")) == []
        assert self.decided({"in.vite": {}}, service("lcr", "in_vite")) == []

    @pytest.mark.parametrize("bound", [(), ("invite.sbc1",), ("invites",), ("*.sbc3",)])
    def test_nobody_is_bound(self, bound: tuple[str, ...]) -> None:
        assert self.decided({"invite": {}}, service("lcr", *bound)) == [("event", "invite", "error")]

    def test_nobody_consumes(self) -> None:
        assert self.decided({"invite": {}}, service("lcr", "invite", consumers=0)) == [
            ("event", "invite", "error")
        ]

    def test_another_decides(self) -> None:
        rules = {"invite": {"services": ["lcr"]}}
        assert self.decided(rules, service("x", "invite")) == [("event", "invite", "error")]
        both = service("x", "invite"), service("lcr", "invite")
        assert self.decided(rules, *both) == [("event", "invite", "warning")]

    @pytest.mark.parametrize(
        ("rules", "there", "status"),
        [
            ({"services": ["a", "b"]}, "a", "warning"),
            ({"services": ["a", "b"]}, "", "error"),
            ({"mode": "all", "services": ["a", "b"]}, "a", "error"),
            ({"mode": "all", "services": ["a", "x"]}, "a", "warning"),
            ({"mode": "chain", "services": ["x", "a"]}, "x", "error"),
            ({"mode": "all", "services": ["x", "y"]}, "", "error"),
            ({"mode": "quorum", "quorum": 2, "services": ["a", "b", "c"]}, "ab", "warning"),
            ({"mode": "quorum", "quorum": 2, "services": ["a", "b", "c"]}, "a", "error"),
        ],
    )
    def test_as_many_as_its_mode_needs(self, rules: dict[str, Any], there: str, status: str) -> None:
        raw = {"events": {"invite": rules}, "services": {name: {"optional": True} for name in "xy"}}
        found = [service(name, "invite", consumers=name in there) for name in rules["services"]]
        for complete in (True, False):
            (told,) = events(found, policy.parse(raw), [NODE], complete)
            assert (told.status, told.of) == (status, "invite")
            assert told.why
            assert told.todo

    @pytest.mark.parametrize(
        ("rules", "there", "status"),
        [
            ({"services": ["a", "b"]}, "a", "unknown"),
            ({"mode": "all", "services": ["a", "b"]}, "", "error"),
            ({"mode": "all", "services": ["a", "b"]}, "a", "unknown"),
            ({"mode": "quorum", "quorum": 2, "services": ["a", "b"]}, "", "error"),
            ({}, "a", "ok"),
            ({}, "", "unknown"),
        ],
    )
    def test_whose_queue_may_not_be_looked_at_is_neither_there_nor_absent(
        self, rules: dict[str, Any], there: str, status: str
    ) -> None:
        """It is b that nobody knows of; a is there or not."""
        hidden = Service("b", "evapi.decide.b", None, None, ("invite",), hidden=True)
        found = [service("a", "invite", consumers=len(there)), hidden]
        (told,) = events(found, policy.parse({"events": {"invite": rules}}), [NODE], complete=True)
        assert (told.status, told.of) == (status, "invite")
        assert ("the queue of b" in told.seen) is (status == "unknown")

    def test_who_is_named_is_asked_bound_or_not(self) -> None:
        rules = {"invite": {"services": ["a"]}}
        assert self.decided(rules, service("a", "other")) == [("event", "invite", "warning")]
        (told,) = events([service("a")], policy.parse({"events": rules}), [NODE], complete=False)
        assert (told.status, told.seen) == (Status.OK, "decided by a (1 consumer)")

    def test_who_is_bound_and_named_beside_is_no_other(self) -> None:
        rules = {"invite": {"services": ["a"], "observers": ["b"], "shadows": ["c"], "backup": ["d"]}}
        assert self.decided(rules, *(service(name, "invite") for name in "abcd")) == []

    def test_the_gravest_of_several_parts_counts(self) -> None:
        raw = {
            "services": {"a": {"optional": True}},
            "default": {"services": ["a"], "observers": ["b"]},
            "events": {"e": {"services": ["c"], "observers": [], "backup": ["b"], "shadows": ["a"]}},
        }
        parts = parts_of(policy.parse(raw), ["d"])
        assert {name: part.told for name, part in parts.items()} == {
            "a": "; it is optional",
            "b": "; it is a backup",
            "c": "",
            "d": "",
        }

    def test_without_bindings_or_policy(self) -> None:
        rules = policy.parse({"events": {"invite": {}}})
        (found,) = events([service("lcr")], rules, [NODE], complete=False)
        assert found.status is Status.UNKNOWN
        assert list(events([service("lcr")], policy.Policy(), [NODE], complete=False)) == []
        (found,) = events([service("lcr", "invite")], policy.Policy(), [NODE], complete=True)
        assert found.seen == "those that are bound: invite (the policy names none)"


class TestReplicas:
    def check(self, beats: Mapping[str, Beat], **orders: Any) -> list[tuple[str, str, str]]:
        return bad(checks_replicas.check(overview(beats, orders)))

    def test_two_alike(self) -> None:
        assert self.check({"a~1": beat(), "b~1": beat(active=False)}) == []

    def test_none_and_one(self) -> None:
        assert self.check({}) == [("replicas", "", "error")]
        assert self.check({"a~1": beat()}) == [("replicas", "", "warning")]

    def test_silent_unless_it_began_anew(self) -> None:
        beats = {"a~1": beat(), "b~1": beat(), "c~1": beat(age=30.0), "b~0": beat(age=30.0)}
        assert self.check(beats) == [("silent", "c", "warning")]

    def test_of_several_versions(self) -> None:
        beats = {"a~1": beat(), "b~1": beat(about={"version": "2"})}
        assert self.check(beats) == [("version", "", "warning")]

    @pytest.mark.parametrize(
        ("told", "found"),
        [
            ({"clock_off": -2.5, "clock_corrected": 0.0}, [("clock-off", "b", "error")]),
            ({"clock_off": 0.2, "clock_corrected": 30.0}, [("machine-clock", "b", "warning")]),
            ({"clock_off": 0.2, "clock_corrected": -0.2}, []),
        ],
    )
    def test_one_whose_clock_is_wrong(
        self, told: dict[str, float], found: list[tuple[str, str, str]]
    ) -> None:
        assert self.check({"a~1": beat(), "b~1": beat(about=told)}) == found

    def test_messages_that_were_dropped(self) -> None:
        told = [["evapi.results.sbc1", 2], ["evapi.results.sbc2", 1], "odd"]
        beats = {"a~1": beat(), "b~1": beat(about={"dropped": told}), "c~1": beat(about={"dropped": 7})}
        assert self.check(beats) == [
            ("dropped", "evapi.results.sbc1", "warning"),
            ("dropped", "evapi.results.sbc2", "warning"),
        ]

    def test_names_that_clash(self) -> None:
        beats = {"a~1": beat(identities={NODE: "x@h:1"}), "b~1": beat(identities={NODE: "y@h:2"})}
        assert self.check(beats) == [("names", NODE, "error")]
        beats = {"a~1": beat(), "a~2": beat()}
        assert self.check(beats) == [("names", "a", "error")]
        assert self.check({"a~1": beat(), "a~2": beat(age=1.5), "b~1": beat()}) == [], "it began anew"

    def test_without_broker(self) -> None:
        assert self.check({"a~1": beat(), "b~1": beat(broker=False)}) == [("broker", "b", "warning")]
        without = {"a~1": beat(broker=False), "b~1": beat(broker=False)}
        assert self.check(without) == [("broker", "a", "error"), ("broker", "b", "error")]

    def test_drained_by_order_and_about_to_end(self) -> None:
        beats = {"a~1": beat(accepting=False), "b~1": beat(accepting=False)}
        order = {replica_order("a~1"): {"by": "me", "at": 0, "reason": "disk"}}
        found = checks_replicas.check(overview(beats, order))
        assert bad(found) == [("order", "a", "warning"), ("order", "b", "warning")]
        first, second = (each for each in found if each.check == "order")
        assert first.seen.startswith("drained by me at 19")
        assert first.seen.endswith(": disk")
        assert (first.todo, second.seen) == ("evapi-adapter resume a", "draining")


class TestNodes:
    def node(self, beats: Mapping[str, Beat], **orders: Any) -> Finding:
        (found,) = checks_replicas.nodes(overview(beats, orders), {NODE: 3})
        assert found.of == NODE
        assert found.status in (Status.OK, Status.UNKNOWN) or (found.why and found.todo)
        return found

    def test_all_is_well(self) -> None:
        found = self.node({"a~1": beat(), "b~1": beat(active=False)})
        assert found.status is Status.OK
        assert found.seen == "a is active, 3 calls in flight; 2 links with receipts"

    @pytest.mark.parametrize("how", ["down", "unread"])
    def test_a_standby_without_link(self, how: str) -> None:
        found = self.node({"a~1": beat(), "b~1": beat(how, active=False)})
        assert found.status is Status.WARNING
        assert ("kamcmd" in found.todo) == (how == "unread")

    def test_without_receipts(self) -> None:
        found = self.node({"a~1": beat("paced"), "b~1": beat("paced", active=False)})
        assert found.status is Status.WARNING
        assert 'include_file "evapi-adapter.cfg"' in found.todo
        assert "poll" in found.why, "what such a node's calls may wait for is said, though it cannot be seen"
        assert "doctor --kamailio-cfg FILE" in found.why

    def test_several_workers(self) -> None:
        found = self.node({"a~1": beat("unordered"), "b~1": beat("unordered", active=False)})
        assert found.status is Status.WARNING
        assert found.todo.startswith('modparam("evapi", "workers", 0)')

    @pytest.mark.parametrize(
        ("only", "why", "todo"),
        [
            (beat("down", active=False), "a: no link", "ss -ltnp"),
            (beat(active=False, broker=False), "a: has no broker", "see rabbitmq above"),
            (beat(active=False, accepting=False), "a: takes no calls", "evapi-adapter resume a"),
            (beat(active=False), "a: has not taken it yet", "ss -ltnp"),
        ],
    )
    def test_nobody_is_active(self, only: Beat, why: str, todo: str) -> None:
        found = self.node({"a~1": only})
        assert found.status is Status.ERROR
        assert why in found.seen
        assert found.todo.startswith(todo)

    def test_paused(self) -> None:
        found = self.node({"a~1": beat()}, **{node_order(NODE): {"by": "me", "reason": ""}})
        assert (found.status, found.seen) == (Status.WARNING, "paused by me")
        assert found.todo == f"evapi-adapter resume {NODE}"

    def test_of_replicas_that_live_no_more(self) -> None:
        assert self.node({"a~1": beat(age=60.0)}).status is Status.UNKNOWN


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """A server that says this to whoever connects, or nothing at all; gives its address."""

    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is not None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + answer)
        else:
            await reader.read()
        writer.close()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"{host}:{port}"
        await served.wait()


class TestHttp:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [
            (b'{"status":"ready","checks":{"broker":true}}', Status.OK),
            (b'{"status":"degraded","checks":{"broker":false}}', Status.WARNING),
            (b'{"checks":1}', Status.WARNING),
            (b"<html>", Status.WARNING),
            (b"[]", Status.WARNING),
        ],
    )
    async def test_what_it_answers(self, answer: bytes, status: Status) -> None:
        async with answering(answer) as address:
            found = await checks_http.ready(WEB, address, "one-7", socket.gethostname())
            _, port = address.split(":")
            wild = await checks_http.ready(WEB, f"0.0.0.0:{port}", "one-7", socket.gethostname())
        assert (found.status, wild.status) == (status, status)
        assert ("broker" in found.seen) == (b"false" in answer)

    async def test_what_is_the_matter_with_it_is_told(self) -> None:
        answer = b'{"status":"degraded","checks":{"store":false},"details":{"store":"the login was refused"}}'
        async with answering(answer) as address:
            found = await checks_http.ready(WEB, address)
        assert found.seen.endswith("not ready: store; store: the login was refused")

    async def test_this_machines_own_adapter_is_not_asked_for_anothers(self) -> None:
        """In a pod each replica listens on 0.0.0.0: asked there, this one would say that another is ready."""
        async with answering(b'{"status":"ready","checks":{"broker":true}}') as address:
            _, port = address.split(":")
            for given in (address, f"0.0.0.0:{port}", f"[::]:{port}"):
                for machine in (f"{socket.gethostname()}0", "adapter-7", ""):
                    # Its name may begin as this machine's: adapter-1 and adapter-10.
                    name = f"{socket.gethostname()}0"
                    found = await checks_http.ready(WEB, given, name, machine)
                    assert found.status is Status.UNKNOWN, found
            await checks_http.ready(WEB, address)  # which ends the server

    async def test_one_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checks_http, "TIMEOUT", 0.05)
        async with answering(None) as address:
            found = await checks_http.ready(WEB, address)
        assert found.status is Status.WARNING
        assert found.seen.endswith("no answer in time")

    async def test_nobody_listens_here_or_on_another_machine(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        here = await checks_http.ready(WEB, address, "one-123", socket.gethostname())
        assert here.status is Status.WARNING
        assert here.seen.endswith("connection refused")
        for given in (
            address,
            address.replace("127.0.0.1", "localhost"),
            address.replace("127.0.0.1", "[::]"),
        ):
            there = await checks_http.ready(WEB, given, "elsewhere-123", "elsewhere")
            assert there.status is Status.UNKNOWN

    async def test_no_address(self) -> None:
        assert (await checks_http.ready(WEB, "", "a")).status is Status.UNKNOWN


def test_a_kamailio_configuration(tmp_path: Path) -> None:
    file = tmp_path / "kamailio.cfg"
    file.write_text("request_route {\n}\n")
    found = checks_kamailio.check(str(file), {}, (5, 8), 2, 2.0)
    assert found[0].check in RULES
    assert found[0].file == str(file)
    assert found[0].seen.startswith(str(file))


class Dns:
    """Gives this answer to each question."""

    def __init__(self, answer: Sequence[str] | Exception) -> None:
        self._answer = answer

    async def addresses(self, host: str) -> Sequence[str]:
        if isinstance(self._answer, Exception):
            raise self._answer
        pod = host.removesuffix(f".{DOMAIN}").removeprefix("pod-")
        return [f"10.1.0.{pod}"] if pod.isdigit() else self._answer

    async def targets(self, name: str) -> Sequence[Target]:
        return [Target(f"pod-{number}.{DOMAIN}", 8448) for number, _ in enumerate(await self.addresses(name))]


DOMAIN = "sip.svc.cluster.local"


@pytest.mark.parametrize(
    ("answer", "status", "seen"),
    [
        (["10.0.0.1"], Status.OK, "1 node: {}"),
        ([f"10.0.0.{number}" for number in range(1, 10)], Status.OK, "9 nodes: {}"),
        ([], Status.WARNING, "there is no such name, or it has no address"),
        (LookupFailed("SERVFAIL"), Status.WARNING, "no answer from DNS: SERVFAIL"),
    ],
)
async def test_what_dns_says_of_the_nodes(
    answer: Sequence[str] | Exception, status: Status, seen: str
) -> None:
    settings = examine(nodes=f"dns://k.{DOMAIN}:8448,dns+srv://_evapi._tcp.{DOMAIN},a=127.0.0.1:1")[0]
    assert settings is not None
    host, service = await checks_nodes.discovery(settings, Dns(answer))
    assert (host.status, service.status) == (status, status)
    assert host.seen.startswith(seen.format("10.0.0.1"))
    assert service.seen.startswith(seen.format("pod-0"))
    assert (host.todo.split("    #")[0], service.todo.split("    #")[0]) in (
        ("", ""),
        (f"dig k.{DOMAIN}", f"dig SRV _evapi._tcp.{DOMAIN}"),
    )
