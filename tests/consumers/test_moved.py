"""Events that moved to another service, and those that share a routing key, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiormq
import pytest

from adapter.contract import (
    DEAD_EXCHANGE,
    EVENTS_EXCHANGE,
    HEADER_BCC,
    handles_queue,
    routing_key,
    service_queue,
)
from consumers import Result, Service
from consumers.amqp import bindings
from tests.consumers.asker import Asker, numbers, running
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import DeliveredMessage

    from tests.harness.rabbitmq import RabbitServer


def made(name: str, *events: str) -> Service:
    """A service whose decisions name it."""
    service = Service(name)
    service.on(*events)(lambda request: {"action": "allow", "by": name, "event": request.event})
    return service


@pytest.fixture
async def names(asker: Asker) -> AsyncIterator[tuple[str, str, str]]:
    """Two services and an event."""
    number = next(numbers)
    a, b = f"a{number}", f"b{number}"
    yield a, b, f"moves{number}"
    for each in (a, b):
        await asker.channel.queue_delete(service_queue(each))


def user(rabbitmq: RabbitServer, rights: str, topics: str = ".*") -> str:
    """The URL of a new user with these rights to configure and read."""
    name = f"user{next(numbers)}"
    url = rabbitmq.add_user(name, "pw", rights, ".*", rights)
    rabbitmq.eval(
        f'rabbit_auth_backend_internal:set_topic_permissions(<<"{name}">>, <<"/">>, <<"{EVENTS_EXCHANGE}">>, '
        f'<<"^$">>, <<"{topics}">>, <<"test">>)'
    )
    return url


async def decided_by(asker: Asker, event: str, times: int = 10) -> list[str]:
    found = []
    for _ in range(times):
        reply = await asker.reply(await asker.ask(event))
        assert "error" not in reply, reply
        assert reply["event"] == event
        found.append(reply["by"])
    return found


async def is_bound(asker: Asker, event: str) -> bool:
    """Whether any queue gets the event; asked with a request that nobody need answer."""
    confirmed = await asker.channel.basic_publish(
        b"\xc1", exchange=EVENTS_EXCHANGE, routing_key=routing_key(event, "n"), mandatory=True
    )
    return isinstance(confirmed, aiormq.spec.Basic.Ack)


async def test_an_event_that_moved_is_decided_by_its_new_service(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    a, b, event = names
    async with running(made(a, event, f"{event}_stays"), rabbitmq.url):
        assert await decided_by(asker, event) == [a] * 10
    left = made(a, f"{event}_stays")
    async with running(left, rabbitmq.url), running(made(b, event), rabbitmq.url):
        assert await decided_by(asker, event) == [b] * 10
        assert await decided_by(asker, f"{event}_stays", 1) == [a]
    assert left.counts[Result.UNHANDLED] >= 1
    told = [entry for entry in caplog.messages if f"no handler of {event!r}" in entry]
    assert len(told) == 1
    assert f"the binding {event}.* of evapi.decide.{a} is to go" in told[0]


async def test_a_binding_that_nobody_wants_is_taken_away(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str]
) -> None:
    """Even with several instances. The calls after it are unroutable, which is told at once."""
    a, _, event = names
    async with running(made(a, event, f"{event}_stays"), rabbitmq.url):
        pass
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(running(made(a, f"{event}_stays"), rabbitmq.url))
        unanswered = await asker.ask(event)

        async def unbound() -> bool:
            return not await is_bound(asker, event)

        await until(unbound)
        assert unanswered not in asker.replies
        assert await decided_by(asker, f"{event}_stays") == [a] * 10


async def test_both_versions_of_a_service_run_at_once(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str]
) -> None:
    """As they do during a rolling update that brings a handler. What the old one gets it passes on."""
    a, _, event = names
    old = made(a, f"{event}_stays")
    async with running(old, rabbitmq.url), running(made(a, event, f"{event}_stays"), rabbitmq.url):
        assert await decided_by(asker, event, 40) == [a] * 40
        assert await is_bound(asker, event)
    assert old.counts[Result.UNHANDLED] >= 10


async def test_a_handler_that_comes_while_its_event_is_unbound_is_bound_again(
    rabbitmq: RabbitServer,
    asker: Asker,
    names: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, _, event = names
    old = made(a, f"{event}_stays")
    async with running(old, rabbitmq.url) as runner, running(made(a, event), rabbitmq.url):
        unbound = asyncio.Event()
        real = runner._bindings._unbind

        async def unbind(*given: str) -> None:
            await real(*given)
            unbound.set()

        async def came_too_early(*_: object) -> bool:
            return False

        monkeypatch.setattr(runner._bindings, "_offer", came_too_early)
        monkeypatch.setattr(runner._bindings, "_unbind", unbind)
        while not old.counts[Result.UNHANDLED]:
            id_ = await asker.ask(event)

            async def taken(id_: str = id_) -> bool:
                return id_ in asker.replies or old.counts[Result.UNHANDLED] > 0

            await until(taken)
        await unbound.wait()
        monkeypatch.undo()
        assert await decided_by(asker, event) == [a] * 10


async def test_events_that_share_a_routing_key(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    a, b, event = names
    async with running(made(a, f"{event}.x"), rabbitmq.url), running(made(b, f"{event}_x"), rabbitmq.url):
        assert await decided_by(asker, f"{event}.x") == [a] * 10
        assert await decided_by(asker, f"{event}_x") == [b] * 10
    assert len([entry for entry in caplog.messages if f"routing key {event}_x.*" in entry]) == 2


async def test_one_service_may_handle_both(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str]
) -> None:
    a, _, event = names
    async with running(made(a, f"{event}.x", f"{event}_x"), rabbitmq.url):
        assert await decided_by(asker, f"{event}.x") + await decided_by(asker, f"{event}_x") == [a] * 20


async def test_the_bindings_come_back(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody took away, and the queue for what is passed on."""
    a, _, event = names
    monkeypatch.setattr(bindings, "AGAIN_EACH", 0.02)
    async with running(made(a, event), rabbitmq.url):
        await asker.channel.queue_unbind(service_queue(a), EVENTS_EXCHANGE, f"{event}.*")
        await asker.channel.queue_delete(handles_queue(a, event))

        async def bound() -> bool:
            return await is_bound(asker, event)

        async def passed_on() -> bool:
            confirmed = await asker.channel.basic_publish(
                b"\xc1", routing_key=handles_queue(a, event), mandatory=True
            )
            return isinstance(confirmed, aiormq.spec.Basic.Ack)

        await until(bound)
        await until(passed_on)


async def test_no_right_to_the_queue_for_what_is_passed_on(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The service decides all the same. As it cannot tell who has a handler, it unbinds nothing."""
    a, b, event = names
    url = user(rabbitmq, r"^(evapi\.(events|dead|dead-letters|decide\..*)|amq\.default)$")
    async with running(made(a, event, f"{event}_stays"), rabbitmq.url):
        pass
    async with running(made(a, f"{event}_stays"), url), running(made(b, event), rabbitmq.url):
        assert await decided_by(asker, event) == [b] * 10
        assert await decided_by(asker, f"{event}_stays") == [a] * 10
    assert f"evapi.handles.{a}.{event}_stays cannot be declared" in caplog.text
    assert "is to go" not in caplog.text


async def test_no_right_to_unbind(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The topic permission is for the events of today alone."""
    a, b, event = names
    async with running(made(a, event, f"{event}_stays"), rabbitmq.url):
        pass
    url = user(rabbitmq, ".*", rf"^{event}_stays\\.\\*$")
    async with running(made(a, f"{event}_stays"), url), running(made(b, event), rabbitmq.url):
        assert await decided_by(asker, event) == [b] * 10

        async def told() -> bool:
            return f"the binding {event}.* of evapi.decide.{a} stays" in caplog.text

        await until(told)


async def test_what_was_passed_on_and_dies_is_told_to_its_node(
    rabbitmq: RabbitServer, asker: Asker, names: tuple[str, str, str]
) -> None:
    """By the routing key of its event, though it came by the default exchange and went on by it."""
    a, _, event = names
    channel, handles, by_node = asker.channel, handles_queue(a, event), f"by-node-{event}"
    async with running(made(a, event, f"{event}_stays"), rabbitmq.url):
        pass
    await channel.queue_declare(handles, arguments=dict(bindings.HANDLES_ARGUMENTS), exclusive=True)
    async with running(made(a, f"{event}_stays"), rabbitmq.url):
        await channel.exchange_declare(by_node, exchange_type="topic", auto_delete=True)
        await channel.exchange_bind(by_node, DEAD_EXCHANGE)
        told = str((await channel.queue_declare(exclusive=True)).queue)
        await channel.queue_bind(told, by_node, "*.n")
        await asker.ask(event)
        passed = await got(channel, handles)
        assert passed.header.properties.headers is not None
        assert HEADER_BCC not in passed.header.properties.headers
        await channel.basic_reject(passed.delivery_tag or 0, requeue=False)
        dead = await got(channel, told)
        assert (dead.body, dead.routing_key) == (passed.body, handles)


async def got(channel: aiormq.abc.AbstractChannel, queue: str) -> DeliveredMessage:
    """The next message of a queue, once there is one."""
    found: list[DeliveredMessage] = []

    async def look() -> bool:
        message = await channel.basic_get(queue)
        if message.body:
            found.append(message)
        return bool(found)

    await until(look)
    return found[0]
