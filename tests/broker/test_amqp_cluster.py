"""Several servers in the URL: which of them is used, and how soon another one is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from adapter.amqp.connection import Connection
from adapter.amqp.tasks import end
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.limits import Limits
from adapter.broker.rabbitmq.supervisor import Supervisor
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import Published
from tests.broker.support import Recorder, attached, request_of, unique
from tests.harness.process import free_port
from tests.harness.silent import silent_server
from tests.harness.until import until

if TYPE_CHECKING:
    from adapter.broker.rabbitmq.supervisor import Up
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer


def limits() -> Limits:
    return Limits(prefetch=10, confirm_timeout=1.0)


async def test_a_server_that_says_nothing_does_not_hold_up_the_next(rabbitmq: RabbitServer) -> None:
    async with silent_server() as silent:
        bounds = limits()
        bounds.head_start, bounds.connect_timeout = 0.05, 30.0
        urls = [URL(silent.url), URL(f"amqp://127.0.0.1:{free_port()}/"), URL(rabbitmq.url)]
        connection = await Connection.open_any(urls, bounds)
        assert connection.url == urls[0].with_password(None).human_repr()
        assert "connection refused" in connection.passed_over  # one that is silent is not given up yet
        assert str(urls[0]) == rabbitmq.url  # the next attempt begins where this one ended
        await until(lambda: silent.connections == 1 and silent.open == 0)
        await connection.close(5)


async def test_the_slower_of_two_is_let_go(rabbitmq: RabbitServer, proxy: Proxy) -> None:
    bounds = limits()
    bounds.head_start, bounds.connect_timeout = 0.05, 30.0
    proxy.cut(accepting=True)
    connection = await Connection.open_any([URL(proxy.amqp_url), URL(rabbitmq.url)], bounds)
    assert str(rabbitmq.port) in connection.url
    await connection.close(5)


async def test_two_that_answer_at_once(rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is taken; the other is let go though it has just come about."""
    opened: list[Connection] = []
    both = asyncio.Event()
    real = Connection._open

    async def together(url: URL, bounds: Limits, name: str) -> Connection:
        own = await real(url, bounds, name)
        opened.append(own)
        if len(opened) == 2:
            both.set()
        await both.wait()
        return own

    monkeypatch.setattr(Connection, "_open", together)
    bounds = limits()
    bounds.head_start = 0.0
    url = URL(rabbitmq.url)
    connection = await Connection.open_any([url, url.with_host("localhost")], bounds)
    await until(lambda: sorted(each.alive for each in opened) == [False, True])
    assert connection.alive
    await connection.close(5)


async def test_who_gives_up_lets_go_of_all(rabbitmq: RabbitServer) -> None:
    async with silent_server() as silent:
        bounds = limits()
        bounds.head_start = 0.0
        opening = asyncio.create_task(Connection.open_any([URL(silent.url)] * 2, bounds))
        await until(lambda: silent.open == 2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: silent.open == 0)


async def test_a_server_that_is_lost_is_left_for_the_next(
    rabbitmq: RabbitServer, proxy: Proxy, receiver: Recorder, node: str
) -> None:
    broker = AmqpBroker(f"{proxy.amqp_url},{rabbitmq.url}", limits=Limits(confirm_timeout=2.0))
    broker.limits.probe_interval = 0.1
    await broker.start(receiver)
    await attached(broker, node)
    assert str(proxy.port) in repr(broker)
    proxy.cut(accepting=True)  # it still takes connections, and hangs
    broker.limits.confirm_timeout = 0.2
    await until(lambda: str(proxy.port) not in repr(broker))
    broker.limits.confirm_timeout = 2.0  # the next one may be slow on a busy machine
    await until(lambda: broker.ready and str(rabbitmq.port) in repr(broker))
    await attached(broker, node)
    assert await broker.publish([request_of(unique("event"), node)]) == [Published.UNROUTABLE]
    assert broker.counters.connects == 2
    proxy.heal()
    await broker.close()


async def test_pauses_grow_to_a_second_and_none_follows_what_stood(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real(0)

    monkeypatch.setattr("adapter.broker.rabbitmq.supervisor.asyncio.sleep", sleep)
    bounds = limits()
    attempts = 0
    again = asyncio.Event()

    async def level(up: Up) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 8:
            up()
            bounds.backoff_longest = -1.0  # so it has stood for longer than that
        elif attempts == 9:
            again.set()
            await asyncio.Event().wait()
        raise BrokerUnavailable("x")

    keeping = Supervisor(bounds).start("part", level)
    await again.wait()
    grown = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert all(0.5 <= pause / longest <= 1 for pause, longest in zip(pauses, grown, strict=True))
    await end(keeping)
