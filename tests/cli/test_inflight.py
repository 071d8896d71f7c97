"""``evapi-adapter inflight``: what waits, one of it, and an answer by hand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pika
import pytest
import typer
from structlog.testing import capture_logs

from adapter import contract
from adapter.cli.inflight import REASON
from adapter.cli.options import duration
from adapter.model.correlation import parts
from adapter.model.transaction import Outcome
from adapter.observe.journal import Journal
from adapter.simulator import SimulatedKamailio
from tests.cli.command import evapi_adapter, in_pipes, on_terminal
from tests.cli.operating import Calls
from tests.harness.pika_service import PikaService
from tests.harness.process import free_port
from tests.harness.redis import RedisServer
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.rabbitmq import RabbitServer

ANSWER = ("--decision", '{"action":"reject","code":486}', "--reason", "service hangs")


@pytest.fixture
def calls(redis_server: RedisServer) -> Calls:
    return Calls(redis_server.url)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server to be broken."""
    with RedisServer(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.5s", 1.5), ("200ms", 0.2), ("2m", 120.0), ("1h", 3600.0), ("7", 7.0), (" .5s ", 0.5), ("0", 0.0)],
)
def test_a_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1d", "-1s", "1,5s", "1 s 2", "nan", "inf", "1e3"])
def test_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 200ms"):
        duration(text)


class TestList:
    def test_the_oldest_first_with_keys_that_stay(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        calls.claim(calls.call(1, ago=1), calls.call(2, ago=3))
        done = evapi_adapter("inflight", "list", "-o", "json", **calls.variables)
        assert (done.code, done.err) == (0, "")
        older, newer = json.loads(done.out)["rows"]
        assert newer["id"] == "sbc1:1:1:1"
        assert (older["age"], older["left"]) == (pytest.approx(3, abs=30), pytest.approx(27, abs=30))
        assert newer["age"] == pytest.approx(1, abs=30)
        assert older["age"] - newer["age"] == pytest.approx(2, abs=0.01)
        times = {"age", "left", "claimed_at", "deadline"}
        assert {key: value for key, value in older.items() if key not in times} == {
            "id": "sbc1:1:2:1",
            "call_id": "call-2@h",
            "event": "invite_request",
            "node": "sbc1",
            "owner": "r1~ab",
            "state": "claimed",
            "outcome": None,
        }
        assert times < older.keys()

    def test_as_a_table(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        calls.claim(calls.call(1), calls.call(2, ago=100))
        calls.settle(calls.call(1), Outcome.FAILED)
        done = evapi_adapter("inflight", "list", **calls.variables)
        titles, first, second = done.out.splitlines()
        assert titles.split() == [
            *("ID", "CALL-ID", "EVENT", "NODE", "OWNER", "STATE", "OUTCOME", "AGE", "LEFT"),
        ]
        assert first.split()[:6] == ["sbc1:1:2:1", "call-2@h", "invite_request", "sbc1", "r1~ab", "claimed"]
        assert "over by" in first
        assert second.split()[5:7] == ["settled", "failed"]
        assert done.err == "2 in flight\n"

    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            ("--node sbc2", ["2"]),
            ("--node nosuch", []),
            ("--event other", ["3"]),
            ("--call-id call-1@h", ["1"]),
            ("--state claimed", ["1", "2", "3"]),
            ("--state settled", ["4"]),
            ("--older-than 5m", ["1", "2"]),
            ("--older-than 5m --node sbc1", ["1"]),
            ("--limit 2", ["1", "2"]),
            ("", ["1", "2", "3", "4"]),
        ],
    )
    def test_filters(self, calls: Calls, words: str, wanted: list[str]) -> None:
        calls.beat("r1~ab")
        calls.beat("r2~cd", node="sbc2")
        second = calls.call(2, node="sbc2", ago=600)
        calls.claim(calls.call(1, ago=900), second, calls.call(3, event="other", ago=2), calls.call(4))
        calls.settle(calls.call(4), Outcome.DECIDED)
        done = evapi_adapter("inflight", "list", "-o", "jsonl", *words.split(), **calls.variables)
        assert [json.loads(line)["id"].split(":")[2] for line in done.out.splitlines()] == wanted

    def test_nodes_of_the_settings_too(self, calls: Calls) -> None:
        calls.claim(calls.call(1, node="far"))
        assert evapi_adapter("inflight", "list", "-o", "jsonl", **calls.variables).out == ""
        done = evapi_adapter("inflight", "list", "-o", "jsonl", "--nodes", "far=h:1", **calls.variables)
        assert json.loads(done.out)["id"] == "far:1:1:1"

    def test_it_fits_a_terminal(self, calls: Calls) -> None:
        calls.beat("r1~ab")
        calls.claim(calls.call(1, call_id="3848276298220188511@a\x1b[2Jtl.example"))
        done = on_terminal("inflight", "list", **calls.variables)
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "\x1b" not in done.out
        assert "3848276298220188511@a\\x1b[2Jtl.example" in done.out
        wide = on_terminal("inflight", "list", COLUMNS="200", **calls.variables)
        assert "NODE" in wide.out

    def test_none(self, calls: Calls) -> None:
        done = evapi_adapter("inflight", "list", **calls.variables)
        assert (done.code, done.out, done.err) == (0, "", "0 in flight\n")

    @pytest.mark.parametrize("words", ["--state open", "--older-than soon", "--limit 0"])
    def test_wrong_usage(self, calls: Calls, words: str) -> None:
        done = evapi_adapter("inflight", "list", *words.split(), **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert "Traceback" not in done.err


class TestShow:
    def test_the_record_with_secrets_masked_and_the_steps_so_far(self, calls: Calls) -> None:
        one = calls.call(1, ruri="sip:b@h", password="hunter2")
        calls.claim(one)
        journal = Journal()
        journal.claimed(calls.now, [one])
        journal.published(calls.now + 0.1, [one])
        calls.beat("r1~ab")
        calls.write(journal)
        done = evapi_adapter("inflight", "show", "sbc1:1:1:1", **calls.variables)
        assert (done.code, done.err) == (0, "")
        for word in ("call-1@h", "claimed", "r1~ab", '"ruri": "sip:b@h"', '"password": "***"', "published"):
            assert word in done.out
        found = json.loads(
            evapi_adapter("inflight", "show", "sbc1:1:1:1", "-o", "json", **calls.variables).out
        )
        assert found["data"] == {"call_id": "call-1@h", "ruri": "sip:b@h", "password": "***"}
        assert [step["step"] for step in found["steps"]] == ["event", "claimed", "published", "open"]
        raw = evapi_adapter("inflight", "show", "sbc1:1:1:1", "--raw", **calls.variables)
        assert '"password": "hunter2"' in raw.out

    def test_what_is_settled_with_its_decision(self, calls: Calls) -> None:
        calls.claim(calls.call(1))
        calls.settle(calls.call(1), Outcome.TIMEOUT)
        found = json.loads(
            evapi_adapter("inflight", "show", "sbc1:1:1:1", "-o", "json", **calls.variables).out
        )
        assert (found["state"], found["outcome"], found["decision"]) == ("settled", "timeout", {"code": 503})
        assert (found["data"], found["left"]) == (None, None)

    def test_what_is_not_in_flight(self, calls: Calls) -> None:
        done = evapi_adapter("inflight", "show", "sbc1:1:\x1b1:1".replace("\x1b", ""), **calls.variables)
        assert (done.code, done.out) == (1, "")
        assert "evapi-adapter trace sbc1:1:1:1" in done.err

    def test_what_is_no_id(self, calls: Calls) -> None:
        done = evapi_adapter("inflight", "show", "call\x1b-1@h", **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert "call\\x1b-1@h" in done.err


class TestSettle:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--decision", "[1]", "--reason", "x"], "no JSON object"),
            (["--decision", "{", "--reason", "x"], "--decision"),
            (["--decision", '{"a":NaN}', "--reason", "x"], "--decision"),
            (["--decision", '{"a":"\\u0000"}', "--reason", "x"], "NUL"),
            (["--decision", '{"a":"' + 32_000 * "x" + '"}', "--reason", "x"], "too long"),
            (["--decision", "{}", "--reason", "  "], "--reason"),
            (["--decision", "{}", "--reason", "x" * (REASON + 1)], "--reason"),
            (["--decision", "{}"], "--reason"),
            (["--reason", "x"], "--decision"),
        ],
    )
    def test_what_kamailio_could_not_be_told(self, calls: Calls, words: list[str], told: str) -> None:
        done = evapi_adapter("inflight", "settle", "sbc1:1:1:1", *words, "--yes", **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert told in done.err
        assert "Traceback" not in done.err

    def test_nobody_to_ask_and_no_yes(self, calls: Calls) -> None:
        done = in_pipes("inflight", "settle", "sbc1:1:1:1", *ANSWER, **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("evapi-adapter: --yes: ")

    def test_without_an_amqp_url_it_is_wrong_usage(self, calls: Calls) -> None:
        done = evapi_adapter("inflight", "settle", "sbc1:1:1:1", *ANSWER, "--yes", **calls.variables)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("evapi-adapter: EVAPI_AMQP_URL: ")

    def test_what_does_not_wait(self, calls: Calls) -> None:
        calls.claim(calls.call(2))
        calls.settle(calls.call(2), Outcome.TIMEOUT)
        amqp = {"EVAPI_AMQP_URL": f"amqp://127.0.0.1:{free_port()}"}  # nobody is to ask it
        gone = evapi_adapter("inflight", "settle", "sbc1:1:1:1", *ANSWER, "--yes", **calls.variables, **amqp)
        assert (gone.code, gone.out) == (1, "")
        assert "is not in flight" in gone.err
        late = evapi_adapter("inflight", "settle", "sbc1:1:2:1", *ANSWER, "--yes", **calls.variables, **amqp)
        assert (late.code, late.out) == (1, "")
        assert "settled already: timeout" in late.err

    def test_rabbitmq_away(self, calls: Calls) -> None:
        calls.claim(calls.call(1))
        amqp = {"EVAPI_AMQP_URL": f"amqp://guest:hunter2@127.0.0.1:{free_port()}"}
        done = in_pipes("inflight", "settle", "sbc1:1:1:1", *ANSWER, "--yes", **calls.variables, **amqp)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "RabbitMQ" in done.err
        assert "hunter2" not in done.err

    def test_no_adapter_has_the_queue(self, calls: Calls, rabbitmq: RabbitServer) -> None:
        one = calls.call(1, node=f"sbc-{uuid4().hex[:8]}")
        calls.claim(one)
        amqp = {"EVAPI_AMQP_URL": rabbitmq.url}
        done = evapi_adapter("inflight", "settle", str(one.id), *ANSWER, "--yes", **calls.variables, **amqp)
        assert (done.code, done.out) == (1, "")
        assert "no adapter has a link to the node" in done.err

    def test_nobody_takes_it_in(self, calls: Calls, rabbitmq: RabbitServer) -> None:
        """What was sent has who and why, and came by the exchange for it."""
        one = calls.call(1, node=f"sbc-{uuid4().hex[:8]}")
        calls.claim(one)
        queue = contract.results_queue(one.id.node)
        with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
            channel = connection.channel()
            channel.queue_declare(queue, exclusive=True)
            channel.exchange_declare("evapi.operator", "direct", durable=True)
            channel.queue_bind(queue, "evapi.operator", one.id.node)
            amqp = {"EVAPI_AMQP_URL": rabbitmq.url}
            words = (f"{one.id}:AAAA-bbbb_00", *ANSWER, "--yes", "-o", "json")
            done = evapi_adapter("inflight", "settle", *words, **calls.variables, **amqp)
            _, properties, body = channel.basic_get(queue, auto_ack=True)
        assert done.code == 1
        assert "no adapter took it" in done.err
        found = json.loads(done.out)
        assert (found["settled"], found["outcome"]) == (False, None)
        assert json.loads(body) == {"action": "reject", "code": 486}
        assert (properties.correlation_id, properties.content_type) == (str(one.id), "application/json")
        assert 20_000 < int(properties.expiration) <= 30_000
        headers = properties.headers
        assert (headers["x-status"], headers["x-detail"]) == ("operator", "service hangs")
        assert headers["x-service"] == f"operator:{found['by']}"


class TestRedisAway:
    @pytest.mark.parametrize(
        "words", [("list",), ("show", "sbc1:1:1:1"), ("settle", "sbc1:1:1:1", *ANSWER, "--yes")]
    )
    def test_nobody_listens(self, words: tuple[str, ...]) -> None:
        urls = {"EVAPI_AMQP_URL": "amqp://127.0.0.1:1"}
        urls["EVAPI_REDIS_URL"] = f"redis://:hunter2@127.0.0.1:{free_port()}"
        done = in_pipes("inflight", *words, **urls)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert done.err.startswith("evapi-adapter: Redis at redis://:***@127.0.0.1:")

    def test_it_hangs(self, own_server: RedisServer) -> None:
        own_server.pause()
        done = in_pipes("inflight", "list", EVAPI_REDIS_URL=own_server.url)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
        assert "no answer: does it hang" in done.err


class TestWholeBridge:
    """A simulated Kamailio, the bridge, both servers, and a service that keeps what it gets."""

    @pytest.fixture
    def node(self) -> str:
        return f"sbc-{uuid4().hex[:8]}"

    async def settled(
        self, node: str, urls: dict[str, str], settle: Callable[..., Any], *words: str, **options: str
    ) -> tuple[Any, Any, list[Any]]:
        """What the command says, what Kamailio was told, and the log."""
        service = PikaService(urls["amqp_url"], node, [f"kept_{node}"], lambda _: None)
        async with SimulatedKamailio() as sim, bridged(sim, node, {**urls, **options}, {"default": LONG}):
            with service, capture_logs() as logged:
                call = await sim.suspend(f"kept_{node}", {"call_id": "a@h"})
                variables = {f"EVAPI_{name.upper()}": url for name, url in urls.items()}
                variables["EVAPI_REDIS_PREFIX"] = node
                listed = await self.until_listed(variables)
                done = await asyncio.to_thread(settle, *("inflight", "settle", listed), *words, **variables)
                return done, await call.resumed(timeout=30) if done.code == 0 else None, logged

    async def until_listed(self, variables: dict[str, str]) -> str:
        """The id of the one that waits; told to others some milliseconds after it is claimed."""
        async with asyncio.timeout(20):
            while True:
                done = await asyncio.to_thread(in_pipes, "inflight", "list", "-o", "jsonl", **variables)
                if done.out:
                    found: str = json.loads(done.out)["id"]
                    return found

    async def test_an_answer_by_hand(
        self, node: str, rabbitmq: RabbitServer, redis_server: RedisServer
    ) -> None:
        urls = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}
        done, answer, logged = await self.settled(node, urls, in_pipes, *ANSWER, "--yes", "-o", "json")
        assert (done.code, done.err) == (0, "")
        found = json.loads(done.out)
        assert (found["outcome"], found["settled"], found["reason"]) == ("operator", True, "service hangs")
        assert (answer["outcome"], answer["decision"]) == ("operator", {"action": "reject", "code": 486})
        (entry,) = [each for each in logged if each["event"] == "answered by an operator"]
        assert parts(entry["correlation_id"])[0] == parts(found["id"])[0]
        assert entry["by"] == f"operator:{found['by']}"

    @pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 1)])
    async def test_on_a_terminal_it_asks(
        self, node: str, rabbitmq: RabbitServer, redis_server: RedisServer, typed: str, code: int
    ) -> None:
        urls = {"amqp_url": rabbitmq.url, "redis_url": redis_server.url}

        def settle(*words: str, **variables: str) -> Any:
            return on_terminal(*words, answer=typed, **variables)

        done, answer, _ = await self.settled(node, urls, settle, *ANSWER)
        assert done.code == code
        assert "Call-ID a@h" in done.out
        assert (answer is None) == (code == 1)
        assert ("nothing was settled" in done.out) == (code == 1)


LONG = {"deadline": 60.0}
