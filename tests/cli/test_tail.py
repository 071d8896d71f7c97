"""``evapi-adapter tail``: events and outcomes as they come, into a pipe, a terminal, a pipe that closes."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest

from adapter.admin.timelines import Noted
from adapter.cli import tail
from adapter.cli.tail import Follower, Lines
from adapter.errors import StoreUnavailable
from adapter.model.transaction import Outcome, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.journal_entry import Kind, Step
from adapter.ports.broker import Reply
from adapter.simulator import SimulatedKamailio
from tests.cli.command import evapi_adapter, in_pipes, on_terminal, started
from tests.cli.operating import Calls
from tests.harness.pika_service import PikaService
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.rabbitmq import RabbitServer

PAST = ("tail", "--since", "60s", "--for", "1ms")
"""What is kept, and no more."""


@pytest.fixture
def calls(redis_server: RedisServer) -> Calls:
    return Calls(redis_server.url)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server to be broken."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


def rows(calls: Calls, *words: str) -> list[dict[str, Any]]:
    done = evapi_adapter(*PAST, "-o", "jsonl", *words, **calls.variables)
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


class TestLines:
    def test_a_line_for_the_event_and_one_for_the_outcome(self, calls: Calls) -> None:
        calls.decided(calls.call(7))
        done = evapi_adapter(*PAST, **calls.variables)
        assert (done.code, done.err) == (0, "")
        event, outcome = (line.split() for line in done.out.splitlines())
        assert event[1:] == ["event", "invite_request", "sbc1:1:7:1", "call-7@h"]
        assert outcome[1:] == ["decided", "20", "ms", "invite_request", "sbc1:1:7:1", "lcr", "call-7@h"]

    def test_keys_that_stay(self, calls: Calls) -> None:
        calls.decided(calls.call(7))
        event, outcome = rows(calls)
        same = {
            "node": "sbc1",
            "event": "invite_request",
            "id": "sbc1:1:7:1",
            "call_id": "call-7@h",
            "replica": "r1~ab",
        }
        assert event == {
            "at": pytest.approx(calls.now + 0.001),
            "kind": "event",
            **same,
            **dict.fromkeys(("outcome", "seconds", "service", "services", "step")),
        }
        assert outcome == {
            "at": pytest.approx(calls.now + 0.020),
            "kind": "resume",
            **same,
            "outcome": "decided",
            "seconds": 0.02,
            "service": "lcr",
            "services": None,
            "step": None,
        }

    def test_what_others_decided_than_who_is_asked_first_is_marked(self, calls: Calls) -> None:
        calls.coursed(calls.call(1, ago=9), "service", screening="decided", fraud="decided")
        calls.coursed(calls.call(2, ago=8), "backup", screening="failed", lcr="decided")
        calls.coursed(calls.call(3, ago=7), "stale", Outcome.TIMEOUT, fraud="timeout")
        done = evapi_adapter(*PAST, "--only", "resume", **calls.variables)
        assert (done.code, done.err) == (0, "")
        found = [line.partition("invite_request")[2].split() for line in done.out.splitlines()]
        assert found == [
            ["sbc1:1:1:1", "screening,", "fraud", "call-1@h"],
            ["sbc1:1:2:1", "lcr", "by", "backup", "call-2@h"],
            ["sbc1:1:3:1", "by", "stale", "call-3@h"],
        ]
        told = [(row["service"], row["services"], row["step"]) for row in rows(calls, "--only", "resume")]
        assert told == [
            ("screening, fraud", {"screening": "decided", "fraud": "decided"}, "service"),
            ("lcr", {"screening": "failed", "lcr": "decided"}, "backup"),
            (None, {"fraud": "timeout"}, "stale"),
        ]

    def test_of_all_replicas_in_order_of_time(self, calls: Calls) -> None:
        calls.decided(calls.call(1, ago=3), calls.call(3, ago=1))
        calls.decided(calls.call(2, ago=2), replica="r2~cd")
        found = rows(calls, "--only", "event")
        assert [row["id"] for row in found] == ["sbc1:1:1:1", "sbc1:1:2:1", "sbc1:1:3:1"]

    def test_each_column_has_its_place(self, calls: Calls) -> None:
        calls.decided(calls.call(7), calls.call(8))
        calls.coursed(calls.call(9, ago=1), "stale", Outcome.TIMEOUT, fraud="timeout")
        lines = evapi_adapter(*PAST, **calls.variables).out.splitlines()
        for word in ("invite_request", "sbc1:1:", "call-"):
            assert len({line.index(word) for line in lines}) == 1, word
        shown = on_terminal(*PAST, COLUMNS="160", **calls.variables).out.splitlines()
        head, *rest = [line for line in shown if line]
        assert head.split() == ["TIME", "WHAT", "TOOK", "EVENT", "ID", "SERVICE", "STEP", "CALL-ID"]
        assert len(rest) == 6
        for title, word in (("EVENT", "invite_request"), ("ID", "sbc1:1:"), ("CALL-ID", "call-")):
            assert {line.index(word) for line in rest} == {
                head.index(title) if title != "ID" else head.index(" ID ") + 1
            }

    def test_only_what_is_new_where_nothing_older_is_asked_for(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        done = evapi_adapter("tail", "--for", "1ms", **calls.variables)
        assert (done.code, done.out, done.err) == (0, "", "")

    def test_what_a_peer_wrote_does_not_steer_the_terminal(self, calls: Calls) -> None:
        calls.decided(calls.call(1, call_id="a\x1b[2J\n@h", event="e\u202e"), service="s\x9b")
        for done in (evapi_adapter(*PAST, **calls.variables), on_terminal(*PAST, **calls.variables)):
            assert "a\\x1b[2J\\n@h" in done.out
            assert not set("\x1b\u202e\x9b") & set(done.out)
        assert [row["call_id"] for row in rows(calls)] == ["a\x1b[2J\n@h"] * 2

    def test_nobody_there_is_said(self, calls: Calls) -> None:
        done = evapi_adapter(*PAST, **calls.variables)
        assert (done.code, done.out) == (0, "")
        assert "no replica" in done.err


class TestFilters:
    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            ("--node sbc2", ["event 2", "resume 2"]),
            ("--event other", ["event 3", "resume 3"]),
            ("--outcome timeout", ["resume 3"]),
            ("--outcome !decided", ["resume 3"]),
            ("--outcome !timeout", ["resume 1", "resume 2"]),
            ("--outcome timeout --outcome decided", ["resume 1", "resume 2", "resume 3"]),
            ("--outcome timeout --outcome failed", ["resume 3"]),
            ("--outcome timeout --outcome !timeout", []),
            ("--call-id call-1@h", ["event 1", "resume 1"]),
            ("--service lcr", ["resume 1"]),
            ("--only resume", ["resume 1", "resume 2", "resume 3"]),
            ("--only resume --node sbc1", ["resume 1", "resume 3"]),
            ("--only event --service lcr", []),
            ("--service lcr --step backup", []),
        ],
    )
    def test_each(self, calls: Calls, words: str, wanted: list[str]) -> None:
        calls.decided(calls.call(1, ago=9))
        calls.decided(calls.call(2, ago=8, node="sbc2"), service="screening")
        calls.decided(calls.call(3, ago=7, event="other"), outcome=Outcome.TIMEOUT)
        found = rows(calls, *words.split())
        assert [f"{row['kind']} {row['id'].split(':')[2]}" for row in found] == wanted

    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            ("--step backup", ["2"]),
            ("--step stale", ["3"]),
            ("--step fallback", []),
            ("--service fraud", ["1"]),
            ("--service lcr", ["2"]),
            ("--service screening", ["1"]),
        ],
    )
    def test_each_of_several_services(self, calls: Calls, words: str, wanted: list[str]) -> None:
        calls.coursed(calls.call(1, ago=9), "service", screening="decided", fraud="decided")
        calls.coursed(calls.call(2, ago=8), "backup", screening="failed", lcr="decided")
        calls.coursed(calls.call(3, ago=7), "stale", Outcome.TIMEOUT, fraud="timeout")
        assert [row["id"].split(":")[2] for row in rows(calls, *words.split())] == wanted

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("--outcome nosuch", "decided, timeout"),
            ("--outcome !nosuch", "decided, timeout"),
            ("--step nosuch", "fallback_on, fallback"),
            ("--only nosuch", "event"),
            ("-o json", "jsonl"),
            ("--for soon", "1.5s"),
            ("--since -3s", "1.5s"),
        ],
    )
    def test_wrong_usage(self, calls: Calls, words: str, told: str) -> None:
        done = evapi_adapter("tail", *words.split(), **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert told in done.err
        assert "Traceback" not in done.err


class TestPayloads:
    def test_only_when_asked_for_and_then_masked(self, calls: Calls) -> None:
        calls.decided(calls.call(1, password="hunter2", ruri="sip:b@h"), payloads=True)
        assert all("data" not in row and "decision" not in row for row in rows(calls))
        event, outcome = rows(calls, "--payloads")
        assert event["data"] == {"call_id": "call-1@h", "password": "***", "ruri": "sip:b@h"}
        assert outcome["decision"] == {"action": "allow", "token": "***"}
        assert (
            '{"action": "allow", "token": "***"}' in evapi_adapter(*PAST, "--payloads", **calls.variables).out
        )

    def test_where_they_are_not_kept_that_is_said_once(self, calls: Calls) -> None:
        calls.decided(calls.call(1), calls.call(2))
        done = evapi_adapter(*PAST, "--payloads", **calls.variables)
        assert done.code == 0
        assert done.err.count("EVAPI_JOURNAL_PAYLOADS=true") == 1


class TestEnds:
    def test_by_ctrl_c_quietly(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        with started("tail", "--since", "60s", "-o", "jsonl", **calls.variables) as child:
            assert json.loads(child.stdout.readline())["kind"] == "event", "each line is flushed"
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 130
            assert child.stderr.read() == ""

    @pytest.mark.parametrize("output", ["jsonl", "table"])
    def test_by_a_pipe_that_is_closed(self, calls: Calls, output: str) -> None:
        calls.decided(*(calls.call(number) for number in range(2000)))  # more than a pipe holds
        with started("tail", "--since", "60s", "-o", output, **calls.variables) as child:
            child.stdout.readline()
            child.stdout.close()
            assert child.wait(20) == 0
            assert child.stderr.read() == ""

    def test_by_its_time_with_what_came_meanwhile(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        with started("tail", "--since", "60s", "--for", "2s", "-o", "jsonl", **calls.variables) as child:
            child.stdout.readline()
            calls.decided(calls.call(2), replica="r2~cd")
            later = [json.loads(line) for line in child.stdout]
            assert [row["replica"] for row in later] == ["r1~ab", "r2~cd", "r2~cd"], "a new replica, too"
            assert (child.wait(20), child.stderr.read()) == (0, "")


class TestRedisAway:
    def test_from_the_beginning(self) -> None:
        done = in_pipes("tail", EVAPI_REDIS_URL=f"redis://:hunter2@127.0.0.1:{free_port()}")
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert done.err.startswith("evapi-adapter: Redis at redis://:***@127.0.0.1:")

    def test_meanwhile_it_is_waited_for(self, own_server: RedisServer) -> None:
        calls = Calls(own_server.url)
        calls.decided(calls.call(1))
        with started("tail", "--since", "60s", "-o", "jsonl", **calls.variables) as child:
            child.stdout.readline()
            own_server.kill()
            assert "It is waited for" in child.stderr.readline()
            own_server.start()
            assert child.stderr.readline() == "evapi-adapter: Redis is back\n"
            calls.decided(calls.call(2))
            for line in child.stdout:
                if json.loads(line)["call_id"] == "call-2@h":
                    break
            child.send_signal(signal.SIGINT)
            assert child.wait(20) == 130

    def test_of_each_outage_it_is_said_once(self, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
        away = StoreUnavailable("no answer")
        looks = [[], away, away, [], away, [], KeyboardInterrupt]
        monkeypatch.setattr(Follower, "read", AsyncMock(side_effect=looks))
        monkeypatch.setattr(tail, "LOOK", 0.0001)
        done = evapi_adapter("tail", **calls.variables)
        assert (done.code, done.out) == (130, "")
        said = done.err.splitlines()[1:]
        assert [line.endswith("It is waited for") for line in said] == [True, False, True, False]
        assert [line.endswith("Redis is back") for line in said] == [False, True, False, True]

    def test_where_it_is_still_away_in_the_end_it_has_failed(self, own_server: RedisServer) -> None:
        calls = Calls(own_server.url)
        calls.decided(calls.call(1))
        with started("tail", "--since", "60s", "--for", "3s", **calls.variables) as child:
            child.stdout.readline()
            own_server.kill()
            assert child.wait(30) == 1
            assert "Traceback" not in child.stderr.read()


class TestRemembers:
    def test_who_replied_until_the_outcome_and_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tail, "SERVICES", 2)
        ids = [TransactionId("sbc1", 1, label, 1) for label in range(4)]
        replies = [Noted("r1", Step(Kind.REPLY, 1.0, id_, more={"service": "lcr"})) for id_ in ids]
        more = {"outcome": "decided", "seconds": 0.1}
        ends = [Noted("r1", Step(Kind.RESUME, 2.0, id_, "e", "", more)) for id_ in ids]
        lines = Lines()
        assert list(lines.rows(replies)) == []
        assert [row["service"] for row in lines.rows(ends)] == [None, None, "lcr", "lcr"]
        assert [row["service"] for row in lines.rows(ends)] == [None] * 4
        more = {"service": "", "status": "stale", "seconds": 0.1}
        steps = [Noted("r1", Step(Kind.STEP, 1.0, id_, "e", more=more)) for id_ in ids]
        assert list(lines.rows(steps)) == []
        assert [row["step"] for row in lines.rows(ends)] == [None, None, "stale", "stale"]
        assert [row["step"] for row in lines.rows(ends)] == [None] * 4

    def test_a_reply_without_a_name(self, calls: Calls) -> None:
        one = calls.call(1)
        journal = Journal()
        journal.replied(calls.now, [(one.id, Reply(str(one.id), b""))])
        journal.resumed(calls.now, one, Outcome.DECIDED, 0.1, b"{}")
        calls.beat("r1~ab")
        calls.write(journal)
        assert [row["service"] for row in rows(calls)] == [None]


async def test_through_the_whole_bridge(rabbitmq: RabbitServer, redis_server: RedisServer) -> None:
    node = f"sbc-{uuid4().hex[:8]}"
    urls = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    variables = {"EVAPI_REDIS_URL": redis_server.url, "EVAPI_REDIS_PREFIX": node}
    service = PikaService(rabbitmq.url, node, ["tailed_request"], lambda _: {"action": "allow"})
    async with SimulatedKamailio() as sim, bridged(sim, node, urls):
        with service, started("tail", "--since", "60s", "-o", "jsonl", **variables) as child:
            call = await sim.suspend("tailed_request", {"call_id": "a@h"})
            await call.resumed(timeout=10)
            lines = [await asyncio.to_thread(child.stdout.readline) for _ in range(2)]
            child.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(child.wait, 20) == 130
    event, outcome = map(json.loads, lines)
    assert (event["kind"], event["event"], event["call_id"]) == ("event", "tailed_request", "a@h")
    assert (outcome["kind"], outcome["outcome"], outcome["node"]) == ("resume", "decided", node)
    assert outcome["id"] == event["id"]
    assert 0 < outcome["seconds"] < 10
