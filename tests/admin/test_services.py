"""The services: who they are, and what is wrong with each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from pamqp.commands import Basic

from adapter.admin.management import Management
from adapter.admin.rabbit import NoRights, QueueState, Rabbit
from adapter.admin.replay import NoCandidate, look_for
from adapter.admin.services import Service, asked_for, services
from adapter.amqp.topology import Binding, Queue
from adapter.broker.rabbitmq.topology import EXCHANGES
from adapter.contract import handles_queue
from adapter.hello import Hello
from adapter.relay import policy
from adapter.settings import load
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.rabbitmq import RabbitServer

POLICY = """
[events.invite_request]
services = ["least_cost"]
[events.register_request]
services = ["screening", "least_cost"]
"""


def service(
    messages: int | None = 0,
    consumers: int | None = 1,
    events: tuple[str, ...] | None = ("e",),
    asked: tuple[str, ...] = (),
    hidden: bool = False,
) -> Service:
    return Service("x", "evapi.decide.x", messages, consumers, events, asked, hidden=hidden)


HELLO = Hello("x", "x-1")


class Refusing(Rabbit):
    """As RabbitMQ 4.3 is to a user without any right to a queue."""

    async def queue(self, name: str) -> QueueState | None:
        raise NoRights(f"queue {name}: the user has no rights to it")


@pytest.mark.parametrize(
    ("found", "remark"),
    [
        (service(), ""),
        (service(events=None), ""),
        (service(asked=("e",)), ""),
        (service(asked=("e.f",), events=("e_f",)), ""),
        (service(asked=("e", "f"), events=("#",)), ""),
        (service(asked=("e", "f"), events=("*",)), ""),
        (service(asked=("e", "f")), "the policy has it decide f, to which it is not bound"),
        (service(events=()), "bound to nothing: no event comes to it; restart it, its start binds it"),
        (service(None, None), "no queue: it has never run here; start it (python -m consumers MODULE:x)"),
        (
            service(consumers=0),
            "nobody consumes: its events time out; start it, or if it is gone for good: "
            "evapi-adapter services remove x",
        ),
        (
            service(None, None, None, hidden=True),
            "RabbitMQ does not let this user look at its queue: whether anybody consumes it is not known "
            "(README, Security)",
        ),
        (
            service(None, None, (), hidden=True),
            "bound to nothing: no event comes to it; restart it, its start binds it",
        ),
        (replace(service(None, None, None, hidden=True), instances=(HELLO,)), ""),
        (
            replace(service(None, None, None, hidden=True), deaf=True),
            "its consumers do not answer who is there: they hang; restart them",
        ),
        (
            replace(service(None, None, None, hidden=True), instances=(HELLO,), silent={"e": 9}),
            "takes requests and answers none: the last 9 calls of e timed out; "
            "evapi-adapter conformance --service x finds out why",
        ),
        (
            service(3, 0),
            "nobody consumes; 3 wait: its events time out; start it, or if it is gone for good: "
            "evapi-adapter services remove x",
        ),
    ],
)
def test_what_is_wrong(found: Service, remark: str) -> None:
    assert found.remark == remark


def test_what_a_policy_asks_of_each() -> None:
    raw = {"default": {"services": ["any"]}, "events": {"b": {}, "a": {"services": ["x", "any"]}}}
    assert asked_for(policy.parse(raw)) == {"any": ("a", "b"), "x": ("a",)}


async def test_of_policy_and_option_without_the_api(vhost: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    settings = load(bridge=False, amqp_url=vhost, policy=str(path))
    async with Rabbit(vhost) as rabbit:
        await rabbit.declare(Queue("evapi.decide.least_cost"))
        found = await services(settings, rabbit, None, ["other"])
    events = ("invite_request", "register_request")
    assert found == [
        Service("least_cost", "evapi.decide.least_cost", 0, 0, None, events),
        Service("other", "evapi.decide.other", None, None, None),
        Service("screening", "evapi.decide.screening", None, None, None, ("register_request",)),
    ]


async def test_the_api_knows_all_and_their_events(managed_rabbitmq: RabbitServer, vhost: str) -> None:
    settings = load(bridge=False, amqp_url=vhost, amqp_api=managed_rabbitmq.api)
    async with Rabbit(vhost) as rabbit, Management.of(settings) as management:
        for thing in (
            *EXCHANGES,
            Queue("evapi.decide.one"),
            Queue("evapi.decide.two"),
            Queue("evapi.results.n"),
            Queue(handles_queue("one", "a.b")),
        ):
            await rabbit.declare(thing)
        for event in ("invite_request", "a_b"):
            await rabbit.bind(Binding("evapi.events", "evapi.decide.one", f"{event}.*"))
        found = await services(settings, rabbit, management)
    assert [(each.name, each.events, each.unhandled) for each in found] == [
        ("one", ("a_b", "invite_request"), ("invite_request",)),
        ("two", (), ()),
    ]
    assert replace(found[0], consumers=1).remark.startswith("bound to invite_request without a handler")


class TestAQueueThatMayNotBeLookedAt:
    async def test_without_the_api_nobody_knows(self, vhost: str) -> None:
        settings = load(bridge=False, amqp_url=vhost)
        async with Refusing(vhost) as rabbit:
            found = await services(settings, rabbit, None, ["x"], {"e": 9}, {"y": (HELLO,)})
        assert [(each.name, each.hidden, each.missing, each.consumed) for each in found] == [
            ("x", True, False, None),
            ("y", True, False, True),
        ]

    async def test_the_api_tells(self, managed_rabbitmq: RabbitServer, vhost: str) -> None:
        """Once it knows the queue: its figures are some seconds old."""
        settings = load(bridge=False, amqp_url=vhost, amqp_api=managed_rabbitmq.api)
        async with Refusing(vhost) as rabbit, Management.of(settings) as management:
            await rabbit.declare(Queue("evapi.decide.x"))
            await rabbit.publish("", "evapi.decide.x", b"", Basic.Properties())

            async def looked() -> tuple[Service, ...]:
                return tuple(await services(settings, rabbit, management, ["absent"]))

            async def is_known() -> bool:
                absent, known = await looked()
                assert absent.missing
                assert known.messages is not None or (known.hidden, known.consumed) == (True, None)
                return known.messages == 1

            await until(is_known, pause=0.1)
            _, known = await looked()
        assert (known.hidden, known.consumers, known.consumed) == (False, 0, False)
        assert known.remark.startswith("nobody consumes; 1 wait")

    async def test_replay_goes_on_without_a_look(self, vhost: str) -> None:
        async with Refusing(vhost) as refusing, Rabbit(vhost) as rabbit:
            await look_for(refusing, "x")
            with pytest.raises(NoCandidate, match="has no queue"):
                await look_for(rabbit, "x")
