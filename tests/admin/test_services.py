"""The services: who they are, and what is wrong with each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapter.admin.management import Management
from adapter.admin.rabbit import Rabbit
from adapter.admin.services import Service, asked_for, services
from adapter.amqp.topology import Binding, Queue
from adapter.broker.rabbitmq.topology import EXCHANGES
from adapter.contract import handles_queue
from adapter.relay import policy
from adapter.settings import load

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
) -> Service:
    return Service("x", "evapi.decide.x", messages, consumers, events, asked)


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
        (service(consumers=0), "nobody consumes: its events time out; start it, or delete evapi.decide.x"),
        (service(3, 0), "nobody consumes; 3 wait: its events time out; start it, or delete evapi.decide.x"),
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
