"""Who answers the question who is there, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiormq

from adapter import hello
from adapter.admin import presence
from adapter.admin.presence import who_is_there
from adapter.admin.rabbit import Rabbit
from adapter.admin.services import Service, services
from adapter.contract import ASK, SERVICES_EXCHANGE, ask_key, asked_queue, service_queue
from adapter.hello import Hello
from adapter.settings import load
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

WAIT = 0.3


class Instance:
    """One of a service, in any language: it consumes, and answers as it is told."""

    def __init__(self, channel: Any, told: Hello) -> None:
        self.channel = channel
        self.told = told

    async def on_question(self, _: Any) -> None:
        body, key = hello.encode(self.told), self.told.key
        await self.channel.basic_publish(body, exchange=SERVICES_EXCHANGE, routing_key=key)


async def leave(_: Any) -> None:
    """Not answer."""


@asynccontextmanager
async def instance(url: str, told: Hello, answers: bool = True, hears: bool = True) -> AsyncIterator[None]:
    async with aiormq.connect(url) as connected:
        channel = await connected.channel()
        await channel.exchange_declare(SERVICES_EXCHANGE, exchange_type="topic", durable=True)
        await channel.queue_declare(service_queue(told.service), durable=True)
        await channel.basic_consume(service_queue(told.service), leave)
        if hears:
            made = Instance(channel, told)
            queue = asked_queue(told.service, told.instance)
            await channel.queue_declare(queue, auto_delete=True)
            for key in (ASK, ask_key(told.service)):
                await channel.queue_bind(queue, SERVICES_EXCHANGE, key)
            await channel.basic_consume(queue, made.on_question if answers else leave, no_ack=True)
        yield


async def listed(url: str) -> dict[str, Service]:
    async with Rabbit(url) as rabbit:
        present = await who_is_there(rabbit, WAIT)
        found = await services(load(bridge=False, amqp_url=url), rabbit, None, ["one"], present=present)
    return {each.name: each for each in found}


async def told(url: str, *instances: Hello) -> dict[str, Service]:
    """The list, once exactly these of the service have answered: on a busy machine some need longer."""
    found: dict[str, Service] = {}

    async def so() -> bool:
        found.clear()
        found.update(await listed(url))
        return found["one"].instances == instances

    await until(so)
    return found


ONE, TWO = Hello("one", "a", events=("x",)), Hello("one", "b", events=("y", "x"))
OTHER = Hello("other", "a")


async def test_nobody_was_ever_here(vhost: str) -> None:
    async with Rabbit(vhost) as rabbit:
        assert await who_is_there(rabbit) == {}


async def test_nobody_hears(vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody is waited for."""
    async with Rabbit(vhost) as rabbit, asyncio.timeout(20), instance(vhost, ONE, hears=False):
        assert await who_is_there(rabbit, wait=3600) == {}


async def test_a_queue_that_takes_no_question_hides_none_who_answer(vhost: str) -> None:
    """RabbitMQ refuses the question if one queue of many does, such as that of an instance that leaves."""
    async with instance(vhost, ONE), aiormq.connect(vhost) as connected:
        channel = await connected.channel()
        full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
        await channel.queue_declare("evapi.asked.full", auto_delete=True, arguments=full)
        await channel.queue_bind("evapi.asked.full", SERVICES_EXCHANGE, ASK)
        await told(vhost, ONE)


async def test_all_who_answer(vhost: str) -> None:
    async with instance(vhost, ONE), instance(vhost, TWO), instance(vhost, OTHER):
        found: dict[str, Service] = {}

        async def all_told() -> bool:
            found.clear()
            found.update(await listed(vhost))
            answered = {name: each.instances for name, each in found.items()}
            return answered == {"one": (ONE, TWO), "other": (OTHER,)}

        await until(all_told)
    assert found["one"].handled == ("x", "y")
    assert found["one"].remark == ""


async def test_who_leaves_is_not_there(vhost: str) -> None:
    gone = Hello("one", "b", leaves=True)
    async with instance(vhost, ONE), instance(vhost, gone):
        await told(vhost, ONE)


async def test_one_of_several_does_not_answer(vhost: str) -> None:
    async with instance(vhost, ONE), instance(vhost, TWO, answers=False):
        found = (await told(vhost, ONE))["one"]
    assert found.consumers == 2
    assert found.remark == ("1 of 2 consumers does not answer who is there: it hangs, or is none of the SDK")


async def test_none_answers_though_it_hears(vhost: str) -> None:
    async with instance(vhost, ONE, answers=False):
        assert (await listed(vhost))["one"].remark == (
            "its consumers do not answer who is there: they hang; restart them"
        )


async def test_consumers_without_hello_are_as_they_were(vhost: str) -> None:
    async with instance(vhost, OTHER), instance(vhost, ONE, hears=False):
        found = (await listed(vhost))["one"]
    assert (found.consumers, found.instances, found.handled, found.remark) == (1, (), None, "")


async def test_what_is_no_hello_is_left_out(vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hello, "encode", lambda told: b"x" if told is TWO else b'{"uptime":1500}')
    async with instance(vhost, ONE), instance(vhost, TWO):
        await told(vhost, Hello("one", "a", uptime=1.5))


async def test_a_flood_is_read_in_part(vhost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST", 1)
    async with instance(vhost, ONE), instance(vhost, TWO):

        async def one() -> bool:
            return len((await listed(vhost))["one"].instances) == 1

        await until(one)
