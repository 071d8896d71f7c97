"""``evapi-adapter trace``: what became of a call, from what replicas write and through the whole bridge."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from adapter.model.transaction import Outcome, State
from adapter.observe.journal import Journal
from adapter.observe.sink import Commanded
from adapter.ports.broker import Reply
from adapter.simulator import SimulatedKamailio
from tests.cli.command import evapi_adapter, in_pipes, on_terminal
from tests.cli.operating import Calls
from tests.harness.pika_service import PikaService
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
def calls(redis_server: RedisServer) -> Calls:
    return Calls(redis_server.url)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server to be broken."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


def found(done: Any) -> list[dict[str, Any]]:
    assert (done.code, done.err) == (0, "")
    transactions: list[dict[str, Any]] = json.loads(done.out)["transactions"]
    return transactions


class TestTimeline:
    def test_as_a_table(self, calls: Calls) -> None:
        calls.now = 1_700_000_000.0
        calls.decided(calls.call(7))
        done = evapi_adapter("trace", "call-7@h", **calls.variables)
        assert (done.code, done.err) == (0, "")
        head, titles, *lines = done.out.splitlines()
        assert head == "sbc1:1:7:1  invite_request  Call-ID call-7@h  decided after 20 ms"
        assert titles.split() == ["TIME", "SINCE", "TOOK", "WHERE", "STEP"]
        assert [line[titles.index("WHERE") :].rstrip() for line in lines] == [
            "kamailio  event arrived: invite_request",
            "adapter   claimed by r1",
            "rabbitmq  published, confirmed",
            "consumer  received by lcr",
            "consumer  lcr replied",
            "adapter   reply came from lcr",
            "adapter   resume written: decided",
            "kamailio  read by Kamailio",
        ]
        assert lines[0].startswith("22:13:20.000")
        assert lines[5].split()[1:5] == ["16", "ms", "2", "ms"]
        assert lines[7].split()[1:5] == ["120", "ms", "100", "ms"]

    def test_commands_that_name_the_call(self, calls: Calls) -> None:
        calls.decided(call := calls.call(7, ago=10))
        journal = Journal()
        for name, call_id, detail in (("calls", "other@h", ""), ("hangup", call.call_id, "the BYE got 200")):
            told = Commanded("sbc1", name, f"id-{name}", call_id, "done", 0.25, detail)
            journal.commanded(call.claimed_at + 5, told)
        calls.write(journal, "r2~cd")
        for asked in (call.call_id, str(call.id)):
            done = evapi_adapter("trace", asked, **calls.variables)
            *_, last = done.out.splitlines()
            assert last.split()[3:5] == ["250", "ms"]
            assert last.endswith("kamailio  command hangup of sbc1: done (the BYE got 200)")
            assert "command calls" not in done.out
        (one,) = found(evapi_adapter("trace", call.call_id, "-o", "json", **calls.variables))
        shown = {key: value for key, value in one["steps"][-1].items() if key not in ("at", "since", "text")}
        assert shown == {
            "step": "command",
            "where": "kamailio",
            "took": 0.25,
            "replica": "r2~cd",
            "command": "id-hangup",
            "name": "hangup",
            "outcome": "done",
        }

    def test_as_json_with_keys_that_stay(self, calls: Calls) -> None:
        calls.decided(calls.call(7), replica="r9~ef")
        (one,) = found(evapi_adapter("trace", "sbc1:1:7:1", "-o", "json", **calls.variables))
        assert {key: value for key, value in one.items() if key != "steps"} == {
            "id": "sbc1:1:7:1",
            "call_id": "call-7@h",
            "node": "sbc1",
            "event": "invite_request",
            "state": "resumed",
            "outcome": "decided",
            "seconds": 0.02,
            "services": None,
            "decided_by": None,
        }
        steps = one["steps"]
        assert all({"at", "since", "took", "step", "where", "text"} <= step.keys() for step in steps)
        assert [step["step"] for step in steps] == [
            *("event", "claimed", "published", "received", "replied", "reply", "resume", "read"),
        ]
        assert steps[1]["replica"] == "r9~ef"
        assert steps[4]["took"] == pytest.approx(0.010, abs=1e-5)

    def test_each_service_and_what_decided(self, calls: Calls) -> None:
        calls.now = 1_700_000_000.0
        calls.coursed(calls.call(7), "backup", screening="decided", fraud="timeout", fraud2="decided")
        done = evapi_adapter("trace", "call-7@h", **calls.variables)
        assert (done.code, done.err) == (0, "")
        head, titles, *lines = done.out.splitlines()
        assert head.endswith("Call-ID call-7@h  decided after 400 ms, decided by backup")
        assert [line[titles.index("WHERE") :].rstrip() for line in lines[3:]] == [
            "consumer  screening decided",
            "consumer  fraud did not answer in time",
            "consumer  fraud2 decided",
            "adapter   decided by backup",
            "adapter   resume written: decided",
            "kamailio  read by Kamailio",
        ]
        assert lines[4].split()[1:5] == ["200", "ms", "198", "ms"], "since it was asked"
        (one,) = found(evapi_adapter("trace", "call-7@h", "-o", "json", **calls.variables))
        assert one["decided_by"] == "backup"
        assert one["services"] == {"screening": "decided", "fraud": "timeout", "fraud2": "decided"}
        answer = one["steps"][4]
        assert (answer["step"], answer["service"], answer["status"]) == ("answer", "fraud", "timeout")

    def test_a_decision_that_was_no_longer_good_is_told_at_once(self, calls: Calls) -> None:
        calls.coursed(calls.call(7), "stale", Outcome.TIMEOUT, fraud="timeout")
        done = evapi_adapter("trace", "call-7@h", **calls.variables)
        assert "timeout after 400 ms, answered from the cache (stale)\n" in done.out

    def test_of_a_call_id_all_its_transactions(self, calls: Calls) -> None:
        calls.decided(calls.call(1, call_id="a@h", ago=5), calls.call(2), calls.call(3, call_id="a@h"))
        done = evapi_adapter("trace", "a@h", "-o", "jsonl", **calls.variables)
        assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["sbc1:1:1:1", "sbc1:1:3:1"]
        table = evapi_adapter("trace", "a@h", **calls.variables)
        assert table.out.count("\n\n") == 1, "a line between the two"

    def test_what_is_in_flight_is_said_to_be(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        waits = calls.call(1, ago=2.0)
        answered = calls.call(2)
        calls.claim(waits, answered)
        calls.settle(answered, Outcome.TIMEOUT)
        done = evapi_adapter("trace", "call-1@h", **calls.variables)
        assert "  in flight\n" in done.out
        assert "in flight: waits to be published; 2" in done.out
        (one,) = found(evapi_adapter("trace", "call-1@h", "-o", "json", **calls.variables))
        assert (one["state"], one["outcome"], one["steps"][-1]["step"]) == ("claimed", None, "open")
        (two,) = found(evapi_adapter("trace", "call-2@h", "-o", "json", **calls.variables))
        assert (two["state"], two["outcome"]) == ("settled", "timeout")

    def test_adopted_by_whom(self, calls: Calls) -> None:
        one = calls.call(1)
        dead, heir = Journal(), Journal()
        dead.claimed(calls.now, [one])
        heir.adopted(calls.now + 1.5, one.id.node, ["r1~ab"], State.CLAIMED, [one])
        calls.write(dead, "r1~ab")
        calls.write(heir, "r2~cd")
        calls.beat("r1~ab", "r2~cd")
        done = evapi_adapter("trace", "call-1@h", **calls.variables)
        assert done.out.index("claimed by r1") < done.out.index("adopted by r2")
        assert "it is over, and no journal tells how" in done.out

    def test_of_a_node_that_is_not_known_by_its_id(self, calls: Calls) -> None:
        calls.claim(calls.call(1, node="far"))
        (one,) = found(evapi_adapter("trace", "far:1:1", "-o", "json", **calls.variables))
        assert one["state"] == "claimed"

    def test_what_a_peer_wrote_does_not_steer_the_terminal(self, calls: Calls) -> None:
        wicked = "a\x1b[2J\u202e\n@h"
        calls.decided(calls.call(1, call_id=wicked, event="e\x1bvil"), service="s\x07")
        shown = "a\\x1b[2J\\u202e\\n@h"
        for done in (
            evapi_adapter("trace", wicked, **calls.variables),
            on_terminal("trace", wicked, **calls.variables),
        ):
            assert done.code == 0
            assert shown in done.out
            assert not set("\x1b\x07\u202e") & set(done.out)
        (one,) = found(evapi_adapter("trace", wicked, "-o", "json", **calls.variables))
        assert one["call_id"] == wicked
        done = evapi_adapter("trace", "b\x1b[2J", **calls.variables)
        assert (done.code, done.out) == (1, "")
        assert "b\\x1b[2J" in done.err

    def test_it_fits_a_terminal(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        done = on_terminal("trace", "call-1@h", **calls.variables)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "resume written: decided" in done.out


class TestPayloads:
    def test_only_when_asked_for_and_then_masked(self, calls: Calls) -> None:
        calls.decided(calls.call(1, ruri="sip:b@h", password="hunter2"), payloads=True)
        plain = evapi_adapter("trace", "call-1@h", "-o", "json", **calls.variables)
        assert "sip:b@h" not in plain.out
        assert "data" not in found(plain)[0]
        (one,) = found(evapi_adapter("trace", "call-1@h", "--payloads", "-o", "json", **calls.variables))
        assert one["data"] == {"call_id": "call-1@h", "ruri": "sip:b@h", "password": "***"}
        assert one["decision"] == {"action": "allow", "token": "***"}
        table = evapi_adapter("trace", "call-1@h", "--payloads", **calls.variables)
        assert '  "ruri": "sip:b@h"' in table.out
        assert "DECISION" in table.out
        assert "hunter2" not in table.out

    def test_where_they_are_not_kept_that_is_said(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        done = evapi_adapter("trace", "call-1@h", "--payloads", **calls.variables)
        assert done.code == 0
        assert "EVAPI_JOURNAL_PAYLOADS=true" in done.err
        assert "DATA" not in done.out


class TestNothing:
    def test_no_journal_at_all(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        done = evapi_adapter("trace", "x@h", **calls.variables)
        assert (done.code, done.out) == (1, "")
        assert "no replica has a journal" in done.err
        assert "EVAPI_JOURNAL" in done.err

    def test_events_without_a_call_id_and_the_line_to_write(self, calls: Calls) -> None:
        calls.decided(calls.call(1, call_id=""))
        done = evapi_adapter("trace", "x@h", **calls.variables)
        assert done.code == 1
        assert 'jansson_set("string", "call_id", "$ci", "$var(data)");' in done.err
        by_id = evapi_adapter("trace", "sbc1:5:5:5", **calls.variables)
        assert by_id.code == 1
        assert "jansson_set" not in by_id.err, "an id needs no Call-ID"

    def test_longer_ago_than_the_journals_go_back(self, calls: Calls) -> None:
        calls.decided(calls.call(1))
        done = evapi_adapter("trace", "x@h", "-o", "json", **calls.variables)
        assert done.code == 1
        assert json.loads(done.out) == {"transactions": []}
        assert "the journals begin at " in done.err

    def test_without_a_redis_url_it_is_wrong_usage(self) -> None:
        done = evapi_adapter("trace", "x@h")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("evapi-adapter: EVAPI_REDIS_URL: is not set")


class TestRedisAway:
    def test_nobody_listens(self) -> None:
        url = f"redis://:hunter2@127.0.0.1:{free_port()}"
        done = in_pipes("trace", "x@h", EVAPI_REDIS_URL=url)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert done.err.startswith("evapi-adapter: Redis at redis://:***@127.0.0.1:")
        assert "hunter2" not in done.err

    def test_it_hangs(self, own_server: RedisServer) -> None:
        own_server.pause()
        done = in_pipes("trace", "x@h", EVAPI_REDIS_URL=own_server.url)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "no answer: does it hang" in done.err


async def test_through_the_whole_bridge(rabbitmq: RabbitServer, redis_server: RedisServer) -> None:
    node, call_id = f"sbc-{uuid4().hex[:8]}", f"{uuid4().hex}@h"
    urls = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
    variables = {"EVAPI_REDIS_URL": redis_server.url, "EVAPI_REDIS_PREFIX": node}
    service = PikaService(rabbitmq.url, node, ["traced_request"], lambda _: {"action": "allow"})
    async with SimulatedKamailio() as sim, bridged(sim, node, {**urls, "journal_payloads": "true"}):
        with service:
            first = await sim.suspend("traced_request", {"call_id": call_id, "secret": "hunter2"})
            await first.resumed(timeout=10)
            second = await sim.suspend("nobodys_request", {"call_id": call_id})
            await second.resumed(timeout=10)
            told: list[Any] = []

            async def whole() -> bool:  # the journal is written twice a second
                words = ("trace", call_id, "--payloads", "-o", "json")
                told[:] = [await asyncio.to_thread(in_pipes, *words, **variables)]
                steps = [each["steps"] for each in json.loads(told[0].out)["transactions"]]
                return [each[-1]["step"] for each in steps] == ["read", "read"]

            await until(whole)
    decided, unroutable = found(*told)
    steps = [step["step"] for step in decided["steps"] if step["where"] != "consumer"]
    assert steps.index("published") >= 2, "RabbitMQ may confirm a request when it is answered already"
    steps.remove("published")
    assert steps == ["event", "claimed", "reply", "resume", "read"]
    assert (decided["event"], decided["outcome"], decided["node"]) == ("traced_request", "decided", node)
    assert decided["data"] == {"call_id": call_id, "secret": "***"}
    assert decided["decision"] == {"action": "allow"}
    assert [step["step"] for step in unroutable["steps"]] == ["event", "claimed", "resume", "read"]
    assert unroutable["outcome"] == "unroutable"
    begun = [step["at"] for step in decided["steps"]]
    assert begun == sorted(begun)


def test_two_replies_are_both_told(calls: Calls) -> None:
    one = calls.call(1)
    journal = Journal()
    journal.claimed(calls.now, [one])
    for after in (0.1, 0.3):
        journal.replied(calls.now + after, [(one.id, Reply(str(one.id), b"", service="lcr"))])
        journal.resumed(calls.now + 0.2, one, Outcome.DECIDED, 0.2, b"{}")
    calls.beat("r1~ab")
    calls.write(journal)
    done = evapi_adapter("trace", "call-1@h", **calls.variables)
    assert "reply came from lcr\n" in "\n".join(line.rstrip() for line in done.out.splitlines()) + "\n"
    assert "reply came from lcr, too late: nobody waited" in done.out
