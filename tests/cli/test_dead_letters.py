"""``evapi-adapter dead-letters`` as an operator meets it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pika
import pytest

from adapter import contract
from tests.cli.command import Done, evapi_adapter, on_terminal
from tests.harness.process import wait_until
from tests.harness.rabbitmq import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    Run = Callable[..., Done]

KEYS = [
    *("number", "at", "age", "kind", "reason", "detail", "event", "node", "service", "correlation_id"),
    *("message_id", "call_id", "bytes", "deadline", "redelivered"),
]
SERVICE = "evapi.decide.x"


@pytest.fixture
def client(vhost: str) -> Iterator[BlockingChannel]:
    """With the queues of the dead letters and of one service."""
    connection = pika.BlockingConnection(pika.URLParameters(vhost))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.exchange_declare(contract.EVENTS_EXCHANGE, "topic", durable=True)
    channel.exchange_declare(contract.DEAD_EXCHANGE, "fanout", durable=True)
    channel.queue_declare(contract.DEAD_QUEUE, durable=True, arguments=dict(contract.DEAD_QUEUE_ARGUMENTS))
    channel.queue_bind(contract.DEAD_QUEUE, contract.DEAD_EXCHANGE)
    channel.queue_declare(SERVICE, arguments={"x-dead-letter-exchange": contract.DEAD_EXCHANGE})
    channel.queue_bind(SERVICE, contract.EVENTS_EXCHANGE, "#")
    yield channel
    connection.close()


@pytest.fixture
def letters(vhost: str) -> Run:
    def run(*words: str, stdin: str = "") -> Done:
        return evapi_adapter("dead-letters", *words, stdin=stdin, EVAPI_AMQP_URL=vhost)

    return run


def publish(client: BlockingChannel, event: str, left: float | None = None, **data: Any) -> None:
    """As an adapter does; without ``left``, the seconds until its deadline, a notice."""
    request = contract.Request(event, "sbc1", data)
    if left is not None:
        request = contract.Request(event, "sbc1", data, 3, 7, 1, deadline=time.time() + left)
    body = contract.encode_request(request)
    headers: dict[str, Any] = {"x-node": "sbc1", "x-version": 1}
    properties = pika.BasicProperties(
        content_type=contract.MSGPACK, headers=headers, type=event, message_id=event, app_id=contract.APP_ID
    )
    if request.deadline is not None:
        headers["x-deadline"] = round(request.deadline * 1000)
        properties.correlation_id, properties.expiration = "sbc1:3:7:1", "60000"
    client.basic_publish(contract.EVENTS_EXCHANGE, f"{event}.sbc1", body, properties, mandatory=True)


def reject_all(client: BlockingChannel) -> None:
    while True:
        method, _, _ = client.basic_get(SERVICE)
        if method is None:
            return
        client.basic_reject(method.delivery_tag, requeue=False)


def keep(client: BlockingChannel, reason: str, body: bytes, detail: str = "") -> None:
    """As an adapter keeps what it did not understand."""
    headers = {"x-reason": reason, "x-detail": detail, "x-node": "sbc1"}
    given = pika.BasicProperties(content_type="application/octet-stream", headers=headers, message_id=reason)
    client.basic_publish(contract.DEAD_EXCHANGE, "dead-letter", body, given)


def letters_there(client: BlockingChannel, number: int) -> None:
    """Wait until so many letters are on the queue: RabbitMQ moves them in its own time, and those that a
    command has looked at are back there once its channel is closed.
    """
    wait_until(lambda: waiting(client) == number, f"{number} dead letters")


def waiting(client: BlockingChannel, queue: str = contract.DEAD_QUEUE) -> int:
    return int(client.queue_declare(queue, passive=True).method.message_count)


@pytest.fixture
def four(client: BlockingChannel) -> BlockingChannel:
    """A request in time, a late one, a notice and a frame."""
    publish(client, "invite_request", 60, call_id="abc@host", password="hush")
    publish(client, "late_request", -1)
    publish(client, "call_ended", call_id="abc@host")
    reject_all(client)
    letters_there(client, 3)
    keep(client, "not-json", b'{"event":"invite_request","secret":"hush', "\x1b[31mExpecting")
    letters_there(client, 4)
    return client


@pytest.mark.usefixtures("four")
class TestList:
    def test_the_newest_last(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("list")
        assert done.code == 0
        assert done.err == "4 of 4 dead letters (looked at: RabbitMQ marks them redelivered)\n"
        head, *rows = done.out.splitlines()
        assert head.split()[:4] == ["#", "AGE", "KIND", "REASON"]
        assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
        for word in ("request", "rejected", "invite_request", "sbc1", "x", "sbc1:3:7:1", "abc@host"):
            assert word in rows[0].split()
        assert "\\x1b[31mExpecting" in rows[3]
        letters_there(four, 4)

    def test_json_has_it_all(self, letters: Run, four: BlockingChannel) -> None:
        rows = letters("list", "-o", "json").rows
        assert [list(row) for row in rows] == [KEYS] * 4
        # RabbitMQ 4.3 takes what was rejected from another queue for delivered again, the first time, too.
        assert [row["redelivered"] for row in rows] == [version() >= (4, 3)] * 3 + [False]
        letters_there(four, 4)
        assert [row["redelivered"] for row in letters("list", "-o", "json").rows] == [True] * 4
        assert [row["kind"] for row in rows] == ["request", "request", "notice", "frame"]
        assert abs(rows[0]["deadline"] - time.time() - 60) < 60
        assert 0 <= rows[0]["age"] < 60

    @pytest.mark.parametrize(
        ("words", "numbers"),
        [
            (("--limit", "2"), [3, 4]),
            (("--cause", "rejected"), [1, 2, 3]),
            (("--event", "invite_request"), [1, 4]),
            (("--event", "invite_request", "--limit", "1"), [4]),
            (("--node", "sbc2"), []),
        ],
    )
    def test_some_of_them(self, letters: Run, words: tuple[str, ...], numbers: list[int]) -> None:
        assert [row["number"] for row in letters("list", *words, "-o", "json").rows] == numbers

    def test_on_a_narrow_terminal(self, vhost: str) -> None:
        code, shown, _ = on_terminal("dead-letters", "list", EVAPI_AMQP_URL=vhost)
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80
        assert shown.splitlines()[0].split() == [
            "#",
            "AGE",
            "REASON",
            "EVENT",
            "ID,",
            "CALL-ID,",
            "DETAIL",
            "BYTES",
        ]
        assert "by x" in shown
        assert "request of sbc1" in shown
        assert "\x1b[31m" not in shown
        assert "\\x1b[31mExpecting" in shown


@pytest.mark.usefixtures("four")
class TestShow:
    def test_one(self, letters: Run) -> None:
        done = letters("show", "1")
        assert (done.code, done.err) == (0, "")
        assert '"password": "***"' in done.out
        assert "hush" not in done.out
        assert '"x-first-death-reason": "rejected"' in done.out
        assert '"routing_key": "invite_request.sbc1"' in done.out

    def test_json(self, letters: Run) -> None:
        found = json.loads(letters("show", "4", "-o", "json").out)
        assert list(found) == [*KEYS, "properties", "headers", "body"]
        assert found["body"] == '{"event":"invite_request","secret":***'

    def test_by_an_id(self, letters: Run) -> None:
        assert json.loads(letters("show", "abc@host", "-o", "json").out)["number"] == 3
        assert json.loads(letters("show", "sbc1:3:7:1", "-o", "json").out)["number"] == 2

    def test_raw(self, letters: Run) -> None:
        assert letters("show", "4", "--raw").out == '{"event":"invite_request","secret":"hush'

    def test_raw_on_a_terminal_steers_nothing(self, four: BlockingChannel, vhost: str) -> None:
        keep(four, "not-json", b"\x1b[31m\nred")
        letters_there(four, 5)
        code, shown, _ = on_terminal("dead-letters", "show", "5", "--raw", EVAPI_AMQP_URL=vhost)
        assert (shown, code) == ("\\x1b[31m\nred\n", 0)

    def test_none(self, letters: Run) -> None:
        done = letters("show", "9")
        assert (done.code, done.out) == (1, "")
        assert done.err == "no dead letter 9: there are 4; see evapi-adapter dead-letters list\n"


class TestReplay:
    def test_a_rehearsal(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("replay", "--dry-run")
        assert done.code == 0
        assert [line.split("  ")[:3] for line in done.out.splitlines()] == [
            ["would be replayed", "1", "request"],
            ["late", "2", "request"],
            ["would be replayed", "3", "notice"],
            ["impossible", "4", "frame"],
        ]
        assert done.err == (
            "2 would be replayed, 1 left: too late (--even-late replays them), "
            "1 left: neither request nor notice\n"
        )
        letters_there(four, 4)
        assert waiting(four, SERVICE) == 0

    def test_what_is_still_alive(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("replay", "-o", "json")
        assert [row["fate"] for row in done.rows] == ["replayed", "late", "replayed", "impossible"]
        assert [list(row) for row in done.rows] == [["fate", "dry_run", *KEYS]] * 4
        assert done.err.startswith("2 replayed, 1 left: too late")
        letters_there(four, 2)
        assert waiting(four, SERVICE) == 2
        _, properties, body = four.basic_get(SERVICE, auto_ack=True)
        assert contract.decode_request(body).data == {"call_id": "abc@host", "password": "hush"}
        assert properties.headers.keys() == {"x-node", "x-version", "x-deadline"}
        assert 0 < int(properties.expiration) <= 60_000
        assert [row["number"] for row in letters("list", "-o", "json").rows] == [1, 2]

    def test_late_ones_too_in_turn(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("replay", "--even-late", "--limit", "2", "--rate", "1000", "-o", "jsonl")
        fates = [json.loads(line)["fate"] for line in done.out.splitlines()]
        assert fates == ["replayed", "replayed", "beyond", "impossible"]
        letters_there(four, 2)
        assert waiting(four, SERVICE) == 2

    def test_some_of_them(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("replay", "--event", "call_ended")
        assert (done.code, done.err) == (0, "1 replayed\n")
        assert done.out.startswith("replayed  3  notice  rejected  call_ended  sbc1")
        letters_there(four, 3)
        assert waiting(four, SERVICE) == 1

    def test_what_nobody_is_bound_for_stays(self, letters: Run, four: BlockingChannel) -> None:
        four.queue_unbind(SERVICE, contract.EVENTS_EXCHANGE, "#")
        done = letters("replay")
        assert done.code == 1
        assert "2 left: no queue is bound for the event" in done.err
        letters_there(four, 4)

    @pytest.mark.usefixtures("client")
    def test_nothing(self, letters: Run) -> None:
        assert letters("replay") == (0, "", "no dead letter to replay\n")


class TestPurge:
    def test_nobody_to_ask(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("purge")
        assert (done.code, done.err) == (2, "evapi-adapter: --yes: is needed where nobody can be asked\n")
        letters_there(four, 4)

    def test_some_of_them(self, letters: Run, four: BlockingChannel) -> None:
        done = letters("purge", "--yes", "--event", "invite_request", "-o", "json")
        assert json.loads(done.out) == {"purged": 2, "left": 2}
        letters_there(four, 2)
        assert [row["event"] for row in letters("list", "-o", "json").rows] == ["late_request", "call_ended"]
        letters_there(four, 2)

    def test_asked_on_a_terminal(self, four: BlockingChannel, vhost: str) -> None:
        words = ("dead-letters", "purge", "--cause", "not-json")
        code, shown, _ = on_terminal(*words, answer="n", EVAPI_AMQP_URL=vhost)
        assert code == 1
        assert "Delete 1 of 4 dead letters for good? [y/N]" in shown
        assert "nothing was deleted" in shown
        letters_there(four, 4)
        code, shown, _ = on_terminal(*words, answer="y", EVAPI_AMQP_URL=vhost)
        assert code == 0
        assert [line.split() for line in shown.splitlines()[-2:]] == [["PURGED", "1"], ["LEFT", "3"]]
        letters_there(four, 3)

    @pytest.mark.usefixtures("client")
    def test_nothing(self, letters: Run) -> None:
        assert json.loads(letters("purge", "--yes", "-o", "json").out) == {"purged": 0, "left": 0}


def test_where_no_letter_ever_was(letters: Run) -> None:
    assert letters("list") == (0, "", "0 of 0 dead letters (looked at: RabbitMQ marks them redelivered)\n")


def test_help() -> None:
    for words in ((), ("list",), ("show",), ("replay",), ("purge",)):
        done = evapi_adapter("dead-letters", *words, "--help")
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
        assert "Example" in done.out
