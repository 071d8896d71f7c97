"""``evapi-adapter services`` as an operator meets it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pika
import pytest

from adapter.cli.services import COLUMNS, as_seen
from tests.cli.command import Done, evapi_adapter, on_terminal
from tests.harness.process import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer

KEYS = [
    *("name", "queue", "messages", "consumers", "hidden"),
    *("events", "expected_events", "remark", "instances"),
]

INSTANCE = [
    *("instance", "host", "version", "sdk", "events", "uptime", "requests", "decided", "failed"),
    *("prefetch", "concurrency", "per_decision", "error", "error_age"),
]


@pytest.fixture
def client(vhost: str) -> Iterator[BlockingChannel]:
    """With one service that is bound and consumed, and one that is neither."""
    connection = pika.BlockingConnection(pika.URLParameters(vhost))
    channel = connection.channel()
    channel.exchange_declare("evapi.events", "topic", durable=True)
    for name in ("least_cost", "screening"):
        channel.queue_declare(f"evapi.decide.{name}", durable=True)
    channel.queue_bind("evapi.decide.least_cost", "evapi.events", "invite_request.*")
    channel.basic_consume("evapi.decide.least_cost", lambda *_: None)
    channel.basic_publish("", "evapi.decide.screening", b"waits")
    channel.queue_declare("evapi.decide.screening", passive=True)
    yield channel
    connection.close()


@pytest.mark.usefixtures("client")
class TestListing:
    def test_a_table(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        done = evapi_adapter("services", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API=managed_rabbitmq.api)
        assert (done.code, done.err) == (0, "")
        head, one, two = done.out.splitlines()
        assert head.split() == ["SERVICE", "WAITING", "CONSUMERS", "EVENTS", "REMARK"]
        assert one.split() == ["least_cost", "0", "1", "invite_request"]
        assert two.split()[:3] == ["screening", "1", "0"]
        assert "nobody consumes; 1 wait: its events time out; start it, or if it is gone for good: " in two
        assert "evapi-adapter services remove screening" in two

    def test_json(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        done = evapi_adapter(
            "services", "-o", "json", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API=managed_rabbitmq.api
        )
        assert [list(row) for row in done.rows] == [KEYS, KEYS]
        assert [row["events"] for row in done.rows] == [["invite_request"], []]

    def test_what_may_not_be_looked_at(self) -> None:
        row = {"name": "x", "messages": None, "consumers": None, "hidden": True}
        assert [column.cell(as_seen(row)) for column in COLUMNS[:3]] == ["x", "?", "?"]
        assert [column.cell(as_seen({**row, "hidden": False})) for column in COLUMNS[:3]] == ["x", "-", "-"]

    def test_without_the_api_those_that_are_named(self, vhost: str, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.invite_request]\nservices = ["least_cost"]\n')
        away = f"http://127.0.0.1:{free_port()}"
        words = ("services", "--policy", str(policy), "--also", "absent", "--amqp-api", away)
        done = evapi_adapter(*words, EVAPI_AMQP_URL=vhost)
        assert done.code == 0
        absent, known = done.out.splitlines()[1:]
        assert absent.split()[:4] == ["absent", "-", "-", "?"]
        assert "no queue: it has never run here; start it" in absent
        assert known.split() == ["least_cost", "0", "1", "?"]
        assert "management API" in done.err
        assert "connection refused" in done.err


@pytest.fixture
def child(vhost: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m consumers``, which takes requests."""
    environment = {**os.environ, "EVAPI_AMQP_URL": vhost}
    words = [sys.executable, "-m", "consumers", "consumers.screening:service"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        yield process
        process.send_signal(signal.SIGCONT)
        process.terminate()


class TestWhoIsThere:
    def listed(self, vhost: str) -> list[dict[str, Any]]:
        away = f"http://127.0.0.1:{free_port()}"
        return evapi_adapter("services", "-o", "json", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API=away).rows

    def test_an_instance_and_one_that_hangs(self, vhost: str, child: subprocess.Popen[bytes]) -> None:
        rows: list[dict[str, Any]] = []

        def answered() -> bool:  # an instance has a second for it
            rows[:] = self.listed(vhost)
            return [len(row["instances"]) for row in rows] == [1]

        wait_until(answered, "a hello")
        (row,) = rows
        (instance,) = row["instances"]
        assert row["consumers"] == 1
        assert list(instance) == INSTANCE
        assert f"-{child.pid}-" in instance["instance"]
        assert row["events"] == instance["events"]
        tables: list[str] = []

        def told() -> bool:
            done = evapi_adapter("services", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API="http://127.0.0.1:1")
            tables[:] = done.out.split("\n\n")
            return len(tables) == 2

        wait_until(told, "a table of the instances")
        first, second = tables
        assert first.splitlines()[1].split()[0] == row["name"]
        assert second.splitlines()[0].split()[:5] == ["SERVICE", "INSTANCE", "VERSION", "UP", "REQUESTS"]
        assert instance["instance"] in second
        child.send_signal(signal.SIGSTOP)
        words = ("services", "-o", "json", "--also", row["name"])
        (hung,) = evapi_adapter(*words, EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API="http://127.0.0.1:1").rows
        assert hung["instances"] == []
        assert hung["remark"] == "its consumers do not answer who is there: they hang; restart them"


def test_nobody_is_known(managed_rabbitmq: RabbitServer, vhost: str) -> None:
    done = evapi_adapter("services", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API=managed_rabbitmq.api)
    assert (done.code, done.out) == (0, "")
    assert "no service is known: name it with --also" in done.err


COMMANDS = [
    ("services",),
    ("topology", "show"),
    ("topology", "diff"),
    ("topology", "apply"),
    ("dead-letters", "list"),
    ("dead-letters", "show", "1"),
    ("dead-letters", "replay"),
    ("dead-letters", "purge", "--yes"),
    ("send", "sbc1", "{}"),
    ("send", "--event", "invite_request"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_rabbitmq_away(words: tuple[str, ...]) -> None:
    port = free_port()
    done = evapi_adapter(*words, EVAPI_AMQP_URL=f"amqp://guest:hush@127.0.0.1:{port}/")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"evapi-adapter: RabbitMQ: amqp://guest@127.0.0.1:{port}/: connection refused: nothing listens "
        "there; is RabbitMQ running, and the port right?\n"
    )


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_rabbitmq_is_set(words: tuple[str, ...]) -> None:
    done = evapi_adapter(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("evapi-adapter: EVAPI_AMQP_URL: is not set")


def test_one_that_hangs_on_a_terminal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel takes the connection, nobody else
        url = f"amqp://127.0.0.1:{server.getsockname()[1]}/"
        code, shown, _ = on_terminal("services", EVAPI_AMQP_URL=url)
    assert code == 1
    assert f"RabbitMQ: {url}: no answer within 2 s: does it hang" in shown.replace("\n", "")


@pytest.mark.usefixtures("client")
class TestRemove:
    def removed(self, managed: RabbitServer, vhost: str, *words: str, **variables: str) -> Done:
        api = {"EVAPI_AMQP_URL": vhost, "EVAPI_AMQP_API": managed.api}
        return evapi_adapter("services", "remove", *words, **{**api, **variables})

    def test_it_says_what_goes_and_goes(
        self, managed_rabbitmq: RabbitServer, vhost: str, client: BlockingChannel, tmp_path: Path
    ) -> None:
        client.queue_bind("evapi.decide.screening", "evapi.events", "screening_request.*")
        policy = tmp_path / "policy.toml"
        policy.write_text('[events.screening_request]\nservices = ["screening"]\n')
        words = ("screening", "--yes", "-o", "json")
        done = self.removed(managed_rabbitmq, vhost, *words, EVAPI_POLICY=str(policy))
        assert done.code == 0, done.err
        told = "1 request that wait and its bindings to screening_request go with it; the policy still has it"
        assert told in done.err
        assert json.loads(done.out)["dropped"] == 1
        again = self.removed(managed_rabbitmq, vhost, "screening", "--yes")
        assert again.code == 1
        assert "there is no such queue" in again.err

    def test_one_that_is_consumed_stays(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        done = self.removed(managed_rabbitmq, vhost, "least_cost", "--yes")
        assert (done.code, done.out) == (1, "")
        assert "1 consumer on it; stop them first" in done.err
        listed = evapi_adapter("services", EVAPI_AMQP_URL=vhost, EVAPI_AMQP_API=managed_rabbitmq.api)
        assert "least_cost" in listed.out

    def test_where_nobody_can_be_asked_it_needs_yes(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        done = self.removed(managed_rabbitmq, vhost, "screening")
        assert (done.code, "--yes" in done.err) == (2, True)
        api = {"EVAPI_AMQP_URL": vhost, "EVAPI_AMQP_API": managed_rabbitmq.api}
        refused = on_terminal("services", "remove", "screening", answer="n", **api)
        assert refused.code == 1
        assert "nothing was deleted" in refused.out
