"""``evapi-adapter topology`` as an operator meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pika
import pytest

from tests.cli.command import Done, evapi_adapter
from tests.harness.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from tests.harness.rabbitmq import RabbitServer

    Topology = Callable[..., Done]

KEYS = ["state", "kind", "name", "of", "remark"]


@pytest.fixture
def topology(managed_rabbitmq: RabbitServer, vhost: str) -> Topology:
    def run(*words: str, api: str = managed_rabbitmq.api) -> Done:
        variables = {"EVAPI_AMQP_URL": vhost, "EVAPI_AMQP_API": api, "EVAPI_NODES": "sbc1=127.0.0.1:8448"}
        return evapi_adapter("topology", *words, **variables)

    return run


@pytest.fixture
def client(vhost: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(vhost))
    yield connection.channel()
    connection.close()


def test_from_nothing_to_what_it_should_be(topology: Topology) -> None:
    before = topology("diff")
    assert (before.code, before.err) == (1, "21 of 21 differ\n")
    assert len(before.out.splitlines()) == 22
    assert "evapi.dead.by-node -> evapi.results.sbc1 [*.sbc1]" in before.out
    applied = topology("apply")
    assert (applied.code, applied.err) == (0, "11 declared, 10 bound, 0 left alone\n")
    assert [line.split()[0] for line in applied.out.splitlines()[1:]].count("declared") == 11
    assert topology("apply") == (0, "", "0 declared, 0 bound, 21 left alone\n")
    assert topology("diff") == (0, "", "nothing of 21 differs\n")
    shown = topology("show")
    assert (shown.code, shown.err) == (0, "")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["STATE", *["ok"] * 21]


def test_what_is_there_otherwise_is_told_and_not_touched(topology: Topology, client: BlockingChannel) -> None:
    client.queue_declare("evapi.results.sbc1", durable=True, arguments={"x-expires": 5000})
    applied = topology("apply", "-o", "json")
    assert applied.code == 1
    (left,) = [row for row in applied.rows if row["action"] == "left"]
    assert list(left) == ["action", *KEYS]
    assert (left["name"], left["state"], left["of"]) == ("evapi.results.sbc1", "differs", "node sbc1")
    assert "its x-expires is '5000', not '600000'" in left["remark"]
    assert [row["name"] for row in topology("diff", "-o", "json").rows] == ["evapi.results.sbc1"]
    assert topology("diff", "--set", "results_expires=5").out.count("evapi.commands.sbc1") == 1


def test_without_the_management_api(topology: Topology) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    topology("apply")
    done = topology("diff", api=away)
    assert (done.code, done.out) == (1, ""), "0 would say that all is as it should be"
    assert "connection refused" in done.err
    assert done.err.endswith(
        "nothing of 21 differs; 10 could not be seen (topology show tells which and why)\n"
    )
    rows = topology("show", "-o", "json", api=away).rows
    assert [list(row) for row in rows] == [KEYS] * 21
    assert {row["remark"] for row in rows if row["state"] == "unknown"} == {
        "unknown: needs RabbitMQ's management plugin (EVAPI_AMQP_API)"
    }


def test_without_redis_it_is_not_known_which_nodes_there_are(topology: Topology, vhost: str) -> None:
    topology("apply")
    away = {"EVAPI_REDIS_URL": f"redis://127.0.0.1:{free_port()}", "EVAPI_AMQP_URL": vhost}
    done = evapi_adapter("topology", "diff", **away)
    assert done.code == 1
    assert "so which nodes there are is not known" in done.err


def test_a_service_by_name(topology: Topology) -> None:
    topology("apply")
    done = topology("diff", "--also", "least_cost")
    assert done.code == 1
    assert "no queue: it has never run here; start it (python -m consumers MODULE:least_cost)" in done.out
    assert topology("apply", "--also", "least_cost").code == 0  # a service declares its own


def test_the_queue_of_a_service_that_cannot_declare_it(topology: Topology) -> None:
    wanted = ("--queue", "least_cost=invite_request,call.ended")
    done = topology("apply", *wanted)
    assert (done.code, done.err) == (0, "12 declared, 12 bound, 0 left alone\n")
    assert "evapi.events -> evapi.decide.least_cost [call_ended.*]" in done.out
    assert topology("apply", *wanted, "--also", "least_cost").err == "0 declared, 0 bound, 24 left alone\n"
    for wrong in ("least_cost", "=invite_request", "least_cost="):
        refused = topology("apply", "--queue", wrong)
        assert refused.code == 2
        assert "takes NAME=EVENT,EVENT" in refused.err


def test_help() -> None:
    done = evapi_adapter("topology")
    assert done.code == 2
    assert all(word in done.out + done.err for word in ("show", "diff", "apply", "Examples:"))
    assert max(map(len, evapi_adapter("topology", "apply", "--help").out.splitlines())) <= 80
