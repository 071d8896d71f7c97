"""A server that hangs, blocks or is lost: the service goes on at once, at the next one if there is one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from adapter.amqp import frames
from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.errors import BrokerUnavailable
from consumers import Service, route
from consumers.amqp import Runner, runner, topology
from tests.consumers.asker import URI, Asker, event_of, running
from tests.harness.silent import silent_server
from tests.harness.until import until

if TYPE_CHECKING:
    from adapter.contract import Request
    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer


def watchful(made: Runner, within: float = 0.2) -> None:
    """Its servers are asked often, and have little time."""
    made.limits.probe_interval, made.limits.confirm_timeout, made.limits.close_timeout = 0.02, within, 0.1


async def test_a_server_that_hangs_is_left_for_the_next(
    rabbitmq: RabbitServer, proxy: Proxy, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(service, proxy.amqp_url, rabbitmq.url) as made:
        watchful(made)
        proxy.cut(accepting=True)

        async def left() -> bool:
            at = rf"amqp://guest@127.0.0.1:{rabbitmq.port}/"
            return f"consuming evapi.decide.{service.name} at {at}" in caplog.text

        caplog.set_level("INFO", "consumers")
        await until(left)
        proxy.drop()  # the real server now learns of it, too, and gives the queue's requests to others
        await asker.reply(await asker.ask(event_of(service)))
        proxy.heal()
    assert "the server is silent: no answer within 0.2 s" in caplog.text


async def test_a_server_that_blocks_is_not_left(
    rabbitmq: RabbitServer,
    asker: Asker,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """During its memory alarm a server answers nothing; what is in hand goes on after it."""
    gate, begun = asyncio.Event(), asyncio.Event()
    event = event_of(service) + "x"

    @service.on(event)
    async def decide(request: Request) -> dict[str, Any]:
        begun.set()
        await gate.wait()
        return route(URI)

    real, unanswered = Connection._answered, 0

    async def counting(connection: Connection, asking: asyncio.Future[Any]) -> bool:
        nonlocal unanswered
        done = await real(connection, asking)
        unanswered += not done
        return done

    monkeypatch.setattr(Connection, "_answered", counting)
    async with running(service, rabbitmq.url) as made:
        watchful(made, 0.6)  # until the alarm the server must keep to it
        id_ = await asker.ask(event)
        await begun.wait()
        await asyncio.to_thread(rabbitmq.memory_alarm, True)
        try:
            gate.set()

            async def asked_in_vain() -> bool:
                return unanswered >= 2

            await until(asked_in_vain)
            assert id_ not in asker.replies
            assert made.consuming.is_set()
        finally:
            await asyncio.to_thread(rabbitmq.memory_alarm, False)
        assert await asker.reply(id_) == route(URI)
        await asker.reply(await asker.ask(event_of(service)))
    assert "trying again" not in caplog.text


async def test_a_connection_that_stood_is_begun_again_at_once(
    rabbitmq: RabbitServer,
    proxy: Proxy,
    asker: Asker,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "LONGEST_PAUSE", 0.0)
    async with running(service, proxy.amqp_url) as made:

        async def lost() -> bool:
            return not made.consuming.is_set()

        proxy.drop()
        await until(lost, pause=0)
        await made.consuming.wait()
        await asker.reply(await asker.ask(event_of(service)))
    assert "trying again, next in 0.0 s" in caplog.text


async def test_a_server_that_says_nothing_does_not_hold_up_the_next(
    rabbitmq: RabbitServer, asker: Asker, service: Service
) -> None:
    """The next one is tried beside it: one after the other each round of a long list took seconds."""
    async with silent_server() as silent, running(service, *[silent.url] * 4, rabbitmq.url) as made:
        assert silent.connections == 4
        assert str(made._urls[0]) == rabbitmq.url  # where the next session begins
        await asker.reply(await asker.ask(event_of(service)))


async def test_what_speaks_no_amqp_is_left_at_once() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(ConnectionError):  # we are let go of
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(BrokerUnavailable, match="unexpectedly closed"):
            await Connection.open_any([URL(url)], ConnectionLimits(1, connect_timeout=20))


async def test_a_line_that_is_closed_is_not_written_to(rabbitmq: RabbitServer) -> None:
    """Else the server would end the whole connection."""
    opened = await Connection.open_any([URL(rabbitmq.url)], ConnectionLimits(1))
    line = await opened.line(confirms=True)
    assert line.write(frames.ack(line.number, 0, True))
    await line.close()
    assert not line.write(frames.ack(line.number, 0, True))
    line = await opened.line(confirms=True)
    await opened.close()
    assert not line.write(frames.ack(line.number, 0, True))


async def test_an_exchange_that_was_deleted_is_declared_again(
    rabbitmq: RabbitServer, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes the bindings with it, and no consumer is told; the next probe finds it missing."""
    async with running(service, rabbitmq.url) as made:
        watchful(made, 5.0)
        await asker.channel.exchange_delete("evapi.events")

        async def missing() -> bool:
            return "no exchange 'evapi.events'" in caplog.text

        await until(missing)
        await made.consuming.wait()
        await asker.reply(await asker.ask(event_of(service)))


async def test_what_is_declared_already_is_consumed_while_declarations_hang(
    rabbitmq: RabbitServer,
    asker: Asker,
    service: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of a cluster do while one of its servers hangs."""
    async with running(service, rabbitmq.url):
        pass
    real, refused, calls = topology.declare, asyncio.Event(), 0

    async def declare(given: Any, declared: Service) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise TimeoutError
        if calls == 2:
            await refused.wait()
            raise BrokerUnavailable("refused")
        await real(given, declared)

    monkeypatch.setattr(topology, "declare", declare)
    monkeypatch.setattr(runner, "DECLARE_TIMEOUT", 0.05)
    async with running(service, rabbitmq.url) as made:
        await asker.reply(await asker.ask(event_of(service)))
        refused.set()

        async def begun_again() -> bool:
            return calls == 3

        await until(begun_again)
        await made.consuming.wait()
        await asker.reply(await asker.ask(event_of(service)))
    assert "a declaration got no answer; trying again" in caplog.text
    assert "refused; trying again" in caplog.text
