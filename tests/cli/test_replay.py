"""``evapi-adapter replay``: real calls asked about again, and whatever a candidate may answer."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgpack
import pika
import pytest

from adapter.admin import replay
from adapter.model.transaction import Outcome
from consumers import Request, Service
from tests.cli.command import Done, evapi_adapter, on_terminal, started
from tests.cli.ground import Ground, on_ground
from tests.cli.operating import Calls
from tests.consumers.asker import running
from tests.harness.process import free_port, wait_until
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from adapter.app import Bridge
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer
    from tests.harness.redis import RedisServer

ALLOW = b'{"action":"allow"}'
WITHIN = ("--timeout", "20s")
"""No candidate may seem slow on a machine that is busy."""


class Candidate:
    """A consumer of its own queue, in a thread. ``answer`` is given the channel, and what came."""

    def __init__(
        self,
        url: str,
        answer: Callable[[Any, Any, pika.BasicProperties, bytes], object],
        name: str,
        prefetch: int = 0,
    ) -> None:
        self.asked: list[tuple[pika.BasicProperties, bytes]] = []
        self.name = name
        self.queue = f"evapi.decide.{name}"
        self._answer = answer
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.exchange_declare("evapi.dead", "fanout", durable=True)
        self._channel.exchange_declare("evapi.dead.by-node", "topic", durable=True, internal=True)
        self._channel.exchange_bind("evapi.dead.by-node", "evapi.dead")
        arguments = {"x-dead-letter-exchange": "evapi.dead"}
        self._channel.queue_declare(self.queue, durable=True, arguments=arguments)
        self._channel.basic_consume(self.queue, self._on_request)
        self._thread = threading.Thread(target=self._channel.start_consuming, name=name)

    @property
    def labels(self) -> list[int]:
        """Of the calls that it was asked about, in order."""
        return [msgpack.unpackb(body)["tm_label"] for _, body in self.asked]

    def _on_request(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.asked.append((properties, body))
        self._answer(channel, method, properties, body)

    def __enter__(self) -> Candidate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.add_callback_threadsafe(self._stop)
        self._thread.join()
        if self._connection.is_open:  # its queue was deleted: that has ended the thread before
            self._stop()

    def _stop(self) -> None:
        self._channel.queue_delete(self.queue)
        self._channel.stop_consuming()
        self._connection.close()


def reply(channel: Any, asked: pika.BasicProperties, body: bytes = ALLOW, **headers: Any) -> None:
    properties = pika.BasicProperties(correlation_id=asked.correlation_id, headers=headers)
    channel.basic_publish("", asked.reply_to, body, properties)


def replying(body: bytes = ALLOW, **headers: Any) -> Callable[..., None]:
    """A candidate's answer that is always the same."""

    def answer(channel: Any, method: Any, asked: pika.BasicProperties, _: bytes) -> None:
        reply(channel, asked, body, **headers)
        channel.basic_ack(method.delivery_tag)

    return answer


@pytest.fixture
def calls(redis_server: RedisServer, rabbitmq: RabbitServer) -> Calls:
    found = Calls(redis_server.url)
    found.variables["EVAPI_AMQP_URL"] = rabbitmq.url
    return found


@pytest.fixture
def name() -> str:
    """Of a candidate of this test alone."""
    return f"candidate-{uuid4().hex[:8]}"


def replayed(calls: Calls, name: str, *words: str, **variables: str) -> Done:
    given = ("--event", "invite_request", "--service", name, *WITHIN, *words)
    return evapi_adapter("replay", *given, **{**calls.variables, **variables})


def found(calls: Calls, name: str, *words: str, code: int = 1) -> dict[str, Any]:
    done = replayed(calls, name, *words, "-o", "json")
    assert done.code == code, done
    row: dict[str, Any] = json.loads(done.out)
    return row


def results(row: dict[str, Any]) -> dict[str, int]:
    """The counts that are not 0 of what was asked."""
    wanted = ("same", "different", "failed", "no_answer")
    return {key: row["counts"][key] for key in wanted if row["counts"][key]}


class TestThroughTheWholeBridge:
    @pytest.fixture
    async def ground(
        self, redis_server: RedisServer, managed_rabbitmq: RabbitServer, vhost: str
    ) -> AsyncIterator[Ground]:
        async with on_ground(redis_server.url, vhost, managed_rabbitmq.api) as made:
            yield made

    async def test_where_it_differs_and_no_call_is_touched(self, ground: Ground, vhost: str) -> None:
        rules: dict[str, object] = {"events": {"invite": {"deadline": 8.0, "services": ["lcr"]}}}
        made = await ground.replica("one", rules=rules, journal_payloads="true")
        decider = ground.service(decide=lambda request: {"action": "route", "uri": uri(request, "gw1")})
        assert {answer["outcome"] for answer in await ground.calls(12)} == {"decided"}
        await in_the_journal(ground, 12)
        before, candidate, asked = self.touched(ground, made), Service("candidate"), list[Request]()

        @candidate.on("invite")
        def decide(request: Request) -> dict[str, Any]:
            asked.append(request)
            number = int(request.data["call_id"].partition("@")[0])
            if number == 7:
                return {"action": "reject", "code": 403}
            return {"action": "route", "uri": uri({"data": request.data}, "gw2" if number >= 10 else "gw1")}

        async with running(candidate, vhost):
            done = await ground.run(
                "replay", "--event", "invite", "--service", "candidate", *WITHIN, "-o", "json"
            )
            assert done.code == 1, done
            # Behind all that might have come to the adapter, and to Kamailio.
            assert [answer["outcome"] for answer in await ground.calls(1)] == ["decided"]
        assert self.touched(ground, made) == {**before, "resumed": before["resumed"] + 1}
        assert decider.counts["invite"] == 13, "nobody else is asked, and nobody in its place"
        row = json.loads(done.out)
        assert results(row) == {"same": 9, "different": 3}
        assert {(each["field"], each["was"], each["now"]): each["calls"] for each in row["differences"]} == {
            ("action", "route", "reject"): 1,
            ("code", None, 403): 1,
            ("uri", f"sip:7@{ground.node}.gw1", None): 1,
            ("uri", f"sip:10@{ground.node}.gw1", f"sip:10@{ground.node}.gw2"): 1,
            ("uri", f"sip:11@{ground.node}.gw1", f"sip:11@{ground.node}.gw2"): 1,
        }
        assert sorted(call["call_id"].partition("@")[0] for call in row["examples"]) == ["10", "11", "7"]
        traced = await ground.run("trace", row["examples"][0]["id"], "-o", "json")
        (one,) = json.loads(traced.out)["transactions"]
        assert one["call_id"] == row["examples"][0]["call_id"]
        self.as_a_real_request(ground, asked)

    @staticmethod
    def as_a_real_request(ground: Ground, asked: list[Request]) -> None:
        assert Counter(request.data["call_id"] for request in asked) == Counter(
            f"{number}@{ground.node}" for number in range(12)
        ), "exactly these, once each"
        ids = {request.correlation_id for request in asked}
        assert len(ids) == 12
        assert all(id_ is not None and id_.startswith("replay-") for id_ in ids)
        for request in asked:
            assert (request.node, request.headers["x-node"]) == (ground.node, ground.node)
            assert request.headers["x-time-left"] == 20_000
            assert request.deadline is not None
            assert round(request.deadline * 1000) == request.headers["x-deadline"]
            assert request.headers["x-version"] == 1

    @staticmethod
    def touched(ground: Ground, made: Bridge) -> dict[str, float]:
        """What would tell that a call, or the adapter, has come to know of it."""
        metrics = made.metrics.trip
        return {
            "resumed": ground.sim.counters.resumed,
            "late": metrics.late_replies.labels(ground.node)._value.get(),
            "refused": metrics.replies_refused._value.get(),
            "dead": made.broker.counts["dead_letters"],
        }


def uri(request: dict[str, Any], gateway: str) -> str:
    return f"sip:{request['data']['call_id']}.{gateway}"


async def in_the_journal(ground: Ground, number: int) -> None:
    """Return once the journals tell the end of so many calls."""

    async def there() -> bool:
        words = ("tail", "--since", "60s", "--for", "1ms", "--only", "resume", "-o", "jsonl")
        return len((await ground.run(*words)).out.splitlines()) == number

    await until(there, pause=0.1)


class TestReport:
    def test_all_as_they_were(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), calls.call(2), payloads=True)
        with Candidate(rabbitmq.url, replying(b'{"token":"hunter2","action":"allow"}'), name) as candidate:
            done = replayed(calls, name)
        assert done.code == 0
        assert done.err.startswith("the journals begin at ")
        assert done.err.endswith(": EVAPI_JOURNAL keeps them longer\n")
        assert done.err.count("\n") == 1
        assert [line.split() for line in done.out.splitlines()] == [
            ["ASKED", "2"],
            ["SAME", "2"],
            *(["DIFFERENT", "0"], ["FAILED", "0"], ["NO", "ANSWER", "0"]),
        ]
        assert candidate.labels == [1, 2]

    def test_keys_that_stay(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), calls.call(2, event="other"), payloads=True)
        calls.decided(calls.call(3), calls.call(4), payloads=True, outcome=Outcome.TIMEOUT)
        with Candidate(rabbitmq.url, replying(b'{"action":"reject","token":"hunter2"}'), name):
            row = found(calls, name, "--since", "5m")
        assert row.pop("since") == pytest.approx(calls.now - 300, abs=60)
        (example,) = row.pop("examples")
        assert example.pop("seconds") > 0
        difference = {"field": "action", "was": "allow", "now": "reject"}
        assert example == {
            "id": "sbc1:1:1:1",
            "call_id": "call-1@h",
            "at": pytest.approx(calls.now + 0.001),
            "outcome": "decided",
            "differences": [difference],
        }
        assert row == {
            "event": "invite_request",
            "service": name,
            "fields": [],
            "whole": True,
            "counts": {
                "found": 3,
                "not_decided": 2,
                **dict.fromkeys(("without_payload", "in_flight", "over_limit"), 0),
                "asked": 1,
                "different": 1,
                **dict.fromkeys(("same", "failed", "no_answer"), 0),
            },
            "differences": [{**difference, "calls": 1, "example": "sbc1:1:1:1"}],
            "undecided": [],
        }

    def test_tables_for_people(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(*map(calls.call, range(1, 4)), payloads=True)
        calls.decided(calls.call(9), payloads=True, outcome=Outcome.FAILED)

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, body: bytes) -> None:
            if msgpack.unpackb(body)["tm_label"] == 3:
                reply(channel, asked, b"", **{"x-status": "failed", "x-detail": "boom \x1b[2J"})
            else:
                reply(channel, asked, b'{"action":"route","token":"sesame","uri":"sip:\\u001b[2Ja"}')
            channel.basic_ack(method.delivery_tag)

        with Candidate(rabbitmq.url, answer, name):
            done = replayed(calls, name, "--in-flight", "1")  # in this order
        assert done.code == 1
        lines = [line.split() for line in done.out.splitlines()]
        assert ["DIFFERENT", "2"] in lines
        assert ["action", "allow", "route", "2", "sbc1:1:1:1"] in lines
        assert ["token", "***", "***", "2", "sbc1:1:1:1"] in lines
        assert ["failed", "boom", "\\x1b[2J", "1", "sbc1:1:3:1"] in lines
        assert "action: allow -> route; token: *** -> ***; uri: - -> sip:\\x1b[2Ja" in done.out
        assert "\x1b" not in done.out
        assert "hunter2" not in done.out
        assert "sesame" not in done.out
        assert done.err.splitlines()[0] == (
            "left out of 4 calls: 1 that no service had decided (--all takes them)"
        )
        assert f"see the log of {name}" in done.err

    def test_only_some_keys(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), payloads=True)
        with Candidate(rabbitmq.url, replying(b'{"action":"allow","uri":"sip:a"}'), name):
            assert results(found(calls, name, "--fields", "action", code=0)) == {"same": 1}
            row = found(calls, name, "--fields", "uri, action")
        assert row["fields"] == ["action", "uri"]
        assert [each["field"] for each in row["differences"]] == ["uri"]

    def test_also_those_that_nobody_decided(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), payloads=True)
        calls.decided(calls.call(2), payloads=True, outcome=Outcome.TIMEOUT)
        with Candidate(rabbitmq.url, replying(b'{"action":"reject"}'), name) as candidate:
            row = found(calls, name, "--all")
        assert (candidate.labels, results(row)) == ([1, 2], {"different": 2})
        assert [each["outcome"] for each in row["examples"]] == ["decided", "timeout"]

    def test_the_latest_of_more_than_the_limit(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(*(calls.call(label, ago=10 - label) for label in range(1, 6)), payloads=True)
        with Candidate(rabbitmq.url, replying(), name) as candidate:
            row = found(calls, name, "--limit", "2", "--fields", "action", code=0)
        assert (candidate.labels, row["counts"]["over_limit"]) == ([4, 5], 3)

    def test_no_more_at_a_time_than_are_allowed(
        self, calls: Calls, name: str, rabbitmq: RabbitServer
    ) -> None:
        calls.decided(*map(calls.call, range(1, 8)), payloads=True)
        held: list[tuple[Any, pika.BasicProperties]] = []
        most = []

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, _: bytes) -> None:
            """Three at a time, and the last one alone."""
            channel.basic_ack(method.delivery_tag)
            held.append((channel, asked))
            most.append(len(held))
            if len(held) == 3 or len(most) == 7:
                for each in held:
                    reply(*each)
                held.clear()

        with Candidate(rabbitmq.url, answer, name):
            row = found(calls, name, "--in-flight", "3", "--rate", "10000", "--fields", "action", code=0)
        assert results(row) == {"same": 7}
        assert max(most) == 3

    def test_what_the_policy_says_of_it(
        self, calls: Calls, name: str, rabbitmq: RabbitServer, tmp_path: Path
    ) -> None:
        calls.decided(calls.call(1, user="4420", secret="x"), payloads=True)
        policy = tmp_path / "policy.toml"
        table = f'[services.{name}]\nformat = "json"\nfields = ["user"]\naccepts = ["reject"]\n'
        policy.write_text(f'[events.invite_request]\nservices = ["{name}"]\n{table}')
        with Candidate(rabbitmq.url, replying(), name) as candidate:
            row = found(calls, name, "--policy", str(policy))
        ((properties, body),) = candidate.asked
        request = json.loads(body)
        assert (request["data"], properties.content_type) == ({"user": "4420"}, "application/json")
        assert results(row) == {"failed": 1}
        assert "may not decide 'allow'" in row["undecided"][0]["detail"]


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "result", "detail"),
        [
            (replying(b"", **{"x-status": "failed", "x-detail": "boom"}), "failed", "boom"),
            (replying(b"", **{"x-status": "failed"}), "failed", "it failed, and does not say why"),
            (replying(b"allow"), "failed", "format: neither JSON nor msgpack"),
            (replying(b'{"a":"%s"}' % (b"x" * 200_000)), "failed", "its reply is too long"),
            (
                lambda channel, method, *_: channel.basic_reject(method.delivery_tag, requeue=False),
                "failed",
                "the request was rejected",
            ),
        ],
    )
    def test_that_are_no_decision(
        self, calls: Calls, name: str, rabbitmq: RabbitServer, answer: Any, result: str, detail: str
    ) -> None:
        calls.decided(calls.call(1), payloads=True)
        with Candidate(rabbitmq.url, answer, name):
            row = found(calls, name)
        (one,) = row["undecided"]
        assert (one["result"], one["calls"], one["example"]) == (result, 1, "sbc1:1:1:1")
        assert one["detail"].startswith(detail)
        assert results(row) == {result: 1}

    def test_what_is_no_answer_is_waited_past(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), payloads=True)

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, _: bytes) -> None:
            stray = pika.BasicProperties(correlation_id="sbc1:1:1:1", reply_to=asked.reply_to)
            reply(channel, stray, b'{"action":"reject"}')
            reply(channel, asked, b"")
            reply(channel, asked, b"", **{"x-status": "extend", "x-extend": 1000})
            reply(channel, asked)
            channel.basic_ack(method.delivery_tag)

        with Candidate(rabbitmq.url, answer, name):
            assert results(found(calls, name, "--fields", "action", code=0)) == {"same": 1}

    def test_silence(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), calls.call(2), payloads=True)
        with Candidate(rabbitmq.url, lambda *_: None, name) as candidate:
            done = replayed(calls, name, "--timeout", "2s")  # in which both come to it
        assert done.code == 1
        assert ["NO", "ANSWER", "2"] in [line.split() for line in done.out.splitlines()]
        assert "no reply in time" in done.out
        assert f"{name} answered nothing within 2 s: see its log" in done.err
        assert candidate.labels == [1, 2]

    def test_nobody_takes_it_from_the_queue(
        self, calls: Calls, name: str, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay, "MORE_TIME", 3.0)  # RabbitMQ tells of it, in its own time
        calls.decided(calls.call(1), calls.call(2), payloads=True)
        with Candidate(rabbitmq.url, lambda *_: None, name, prefetch=1) as candidate:
            row = found(calls, name, "--timeout", "1s")
        assert candidate.labels == [1]
        assert {each["detail"] for each in row["undecided"]} == {
            "no reply in time",
            "no instance took it from the queue in time",
        }

    @pytest.mark.parametrize(("extended", "result"), [(True, {"same": 1}), (False, {"no_answer": 1})])
    def test_more_time(
        self,
        calls: Calls,
        name: str,
        rabbitmq: RabbitServer,
        monkeypatch: pytest.MonkeyPatch,
        extended: bool,
        result: dict[str, int],
    ) -> None:
        """An answer that takes longer than the time that it has counts if the candidate has said so."""
        monkeypatch.setattr(replay, "MORE_TIME", 20.0)
        calls.decided(calls.call(1), payloads=True)

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, _: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            if extended:
                reply(channel, asked, b"", **{"x-status": "extend", "x-extend": 60_000})
            channel.connection.call_later(3.0, lambda: reply(channel, asked))

        with Candidate(rabbitmq.url, answer, name):
            words = ("--timeout", "2s", "--fields", "action")
            assert results(found(calls, name, *words, code=0 if extended else 1)) == result


class TestNothing:
    """Nothing that could be compared: why, what to do, and exit code 1."""

    def nothing(self, calls: Calls, *words: str, **variables: str) -> str:
        done = evapi_adapter(
            *("replay", "--event", "invite_request", "--service", "x", *words),
            **{**calls.variables, **variables},
        )
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done
        return done.err

    def test_no_journal(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        said = self.nothing(calls)
        assert "no replica has a journal" in said
        assert "EVAPI_JOURNAL is the seconds" in said

    def test_no_such_event(self, calls: Calls) -> None:
        calls.decided(calls.call(1, event="invite"), calls.call(2, event="register"), payloads=True)
        said = self.nothing(calls)
        assert "no invite_request came since" in said
        assert "there are invite, register; the journals begin at" in said

    def test_longer_ago(self, calls: Calls) -> None:
        calls.decided(calls.call(1, ago=90), payloads=True)
        assert "there is no other event either" in self.nothing(calls, "--since", "1m")

    def test_no_payloads(self, calls: Calls) -> None:
        calls.decided(calls.call(1), calls.call(2))
        said = self.nothing(calls)
        assert "2 calls of invite_request, and the journals kept no payloads of 2: set" in said
        assert "EVAPI_JOURNAL_PAYLOADS=true for the adapters" in said

    def test_nobody_decided(self, calls: Calls) -> None:
        calls.decided(calls.call(1), payloads=True, outcome=Outcome.TIMEOUT)
        said = self.nothing(calls)
        assert "1 call of invite_request, none of which a service decided: --all takes them" in said

    def test_no_queue(self, calls: Calls, name: str) -> None:
        calls.decided(calls.call(1), payloads=True)
        done = replayed(calls, name)
        assert (done.code, done.out) == (1, "")
        assert f"{name} has no queue evapi.decide.{name}: start an instance of it" in done.err

    def test_nobody_consumes_it(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(calls.call(1), payloads=True)
        with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as client:
            channel = client.channel()
            channel.queue_declare(f"evapi.decide.{name}", durable=True)
            done = replayed(calls, name)
            assert channel.queue_delete(f"evapi.decide.{name}").method.message_count == 0
        assert (done.code, done.out) == (1, "")
        assert f"nobody consumes evapi.decide.{name}: start an instance" in done.err

    def test_rabbitmq_is_away(self, calls: Calls) -> None:
        calls.decided(calls.call(1), payloads=True)
        url = f"amqp://guest:hunter2@127.0.0.1:{free_port()}"
        said = self.nothing(calls, EVAPI_AMQP_URL=url)
        assert "connection refused" in said
        assert "hunter2" not in said


def test_no_right_to_ask(calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
    """An operator's user with the rights of the release before."""
    calls.decided(*map(calls.call, range(1, 4)), payloads=True)
    url = rabbitmq.add_user(f"op-{name}", "pw", r"^evapi\.answers\..*$", r"^evapi\..*$", r"^evapi\..*$")
    with Candidate(rabbitmq.url, replying(), name) as candidate:
        done = replayed(calls, name, EVAPI_AMQP_URL=url)
    assert (done.code, done.out, candidate.asked) == (1, "", [])
    assert "let it write amq.default (README, Security)" in done.err


class TestBrokenOff:
    """What was seen so far is told, and then why it ended."""

    def test_the_queue_is_deleted(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(*map(calls.call, range(1, 6)), payloads=True)

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, _: bytes) -> None:
            channel.basic_ack(method.delivery_tag)
            channel.queue_delete(f"evapi.decide.{name}")
            reply(channel, asked)

        with Candidate(rabbitmq.url, answer, name):
            done = replayed(calls, name, "--in-flight", "1", "-o", "json")
        row = json.loads(done.out)
        assert (done.code, row["counts"]["asked"], row["whole"]) == (1, 1, False)
        assert f"{name} has no queue" in done.err

    def test_the_connection_is_lost(
        self, calls: Calls, name: str, rabbitmq: RabbitServer, proxy: Proxy
    ) -> None:
        """Of what was asked and not answered nothing is said: it may have been answered."""
        calls.decided(*map(calls.call, range(1, 4)), payloads=True)

        def answer(channel: Any, method: Any, asked: pika.BasicProperties, body: bytes) -> None:
            if msgpack.unpackb(body)["tm_label"] == 3:
                proxy.drop()
            else:
                reply(channel, asked)
            channel.basic_ack(method.delivery_tag)

        with Candidate(rabbitmq.url, answer, name):
            words = ("--timeout", "2s", "--in-flight", "1", "-o", "json")
            done = replayed(calls, name, *words, EVAPI_AMQP_URL=proxy.amqp_url)
        row = json.loads(done.out)
        assert (done.code, row["whole"], row["counts"]["no_answer"]) == (1, False, 0)
        assert row["counts"]["asked"] == 2
        assert "the connection was lost" in done.err

    def test_ctrl_c(self, calls: Calls, name: str, rabbitmq: RabbitServer) -> None:
        calls.decided(*map(calls.call, range(1, 101)), payloads=True)
        words = ["replay", "--event", "invite_request", "--service", name, "--rate", "5", "-o", "json"]
        words += ["--in-flight", "1"]  # the third is asked once the first two are answered
        with (
            Candidate(rabbitmq.url, replying(b'{"action":"reject"}'), name) as candidate,
            started(*words, **calls.variables) as child,
        ):
            wait_until(lambda: len(candidate.asked) >= 3, "3 requests")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
        row = json.loads(out)
        assert (child.returncode, row["whole"]) == (130, False)
        assert 2 <= row["counts"]["different"] == row["counts"]["asked"] < 100
        assert "Traceback" not in err

    def test_on_a_terminal_it_tells_how_far_it_is(
        self, calls: Calls, name: str, rabbitmq: RabbitServer
    ) -> None:
        calls.decided(calls.call(1), calls.call(2), payloads=True)
        words = ("replay", "--event", "invite_request", "--service", name, "--fields", "action")
        with Candidate(rabbitmq.url, replying(), name):
            done = on_terminal(*words, **calls.variables)
        assert done.code == 0
        assert "1 of 2 asked, 0 not the same" in done.out
        assert done.out.index("asked") < done.out.index("ASKED")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fields", " , "), "--fields"),
        (("--timeout", "0s"), "--timeout"),
        (("--timeout", "2 hours"), "is no time"),
        (("--since", "yesterday"), "is no time"),
        (("--rate", "0"), "--rate"),
        (("--limit", "0"), "--limit"),
        (("--service", "x" * 101), "--service"),
        (("--event", ""), "--event"),
        (("--policy", "/nowhere/policy.toml"), "/nowhere/policy.toml"),
        (("--service",), "--service"),
    ],
)
def test_wrong_usage(calls: Calls, words: tuple[str, ...], said: str) -> None:
    done = evapi_adapter("replay", "--event", "e", "--service", "s", *words, **calls.variables)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
