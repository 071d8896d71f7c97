"""The runner against a real RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from adapter.amqp.connection import Connection
from adapter.amqp.limits import ConnectionLimits
from adapter.contract import (
    MSGPACK,
    Request,
    routing_key,
    service_queue,
)
from adapter.errors import BrokerUnavailable
from consumers import Result, Service, route
from consumers.amqp import Runner, queue_arguments
from tests.consumers.asker import URI, Asker, event_of, running
from tests.harness.process import Process, free_port
from tests.harness.silent import silent_server
from tests.harness.until import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.proxy import Proxy
    from tests.harness.rabbitmq import RabbitServer


async def test_requests_are_answered(rabbitmq: RabbitServer, asker: Asker, service: Service) -> None:
    async with running(service, rabbitmq.url):
        ids = [await asker.ask(event_of(service)) for _ in range(100)]
        for id_ in ids:
            assert await asker.reply(id_) == route(URI, seq=int(id_.rpartition(":")[2]))
        properties = asker.replies[ids[0]].header.properties
        assert properties.content_type == MSGPACK
        assert properties.headers is not None
        received, replied = properties.headers.pop("x-received"), properties.headers.pop("x-replied")
        assert 0 < received <= replied <= time.time() * 1e6
        assert properties.headers == {"x-service": service.name}
        await asker.tell(event_of(service))
    assert await asker.waiting(service) == 0
    assert service.counts == {Result.DECIDED: 100, Result.NOTED: 1}


async def test_failures_and_what_is_no_request(
    rabbitmq: RabbitServer, asker: Asker, service: Service
) -> None:
    event = event_of(service) + "x"
    service.on(event)(lambda request: {"x": request.data["absent"]})
    async with running(service, rabbitmq.url):
        failed = await asker.ask(event)
        assert await asker.reply(failed) == {"error": "KeyError"}
        assert asker.replies[failed].header.properties.headers["x-status"] == "failed"
        broken = await asker.ask(event, body=b"\xc1")
        dead = await asker.dead_letter(broken)
        assert dead.header.properties.headers["x-death"][0]["reason"] == "rejected"
        assert dead.routing_key == routing_key(event, "n")
        assert dead.body == b"\xc1"
        expired = await asker.ask(event, left=-1)
        last = await asker.ask(event)
        await asker.reply(last)
    assert expired not in asker.replies
    assert await asker.waiting(service) == 0


async def test_a_reply_to_nobody(
    rabbitmq: RabbitServer, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(service, rabbitmq.url):
        lost = await asker.ask(event_of(service), reply_to="evapi.results.absent")
        await asker.reply(await asker.ask(event_of(service)))

        async def told() -> bool:
            return f"{lost}: there is no queue evapi.results.absent" in caplog.text

        await until(told)
    assert await asker.waiting(service) == 0


async def test_a_full_results_queue_makes_a_dead_letter(
    rabbitmq: RabbitServer, asker: Asker, service: Service
) -> None:
    arguments: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = str((await asker.channel.queue_declare(exclusive=True, arguments=arguments)).queue)
    await asker.channel.basic_publish(b"x", routing_key=full)
    async with running(service, rabbitmq.url):
        id_ = await asker.ask(event_of(service), reply_to=full)
        await asker.dead_letter(id_)


async def test_prefetch_bounds_what_is_in_hand(
    rabbitmq: RabbitServer, asker: Asker, service: Service
) -> None:
    gate = asyncio.Event()
    in_hand = 0
    event = event_of(service) + "x"

    @service.on(event)
    async def decide(request: Request) -> dict[str, Any]:
        nonlocal in_hand
        in_hand += 1
        await gate.wait()
        return route(URI)

    async with running(service, rabbitmq.url, prefetch=3):
        ids = [await asker.ask(event) for _ in range(8)]

        async def five_wait() -> bool:
            return in_hand == 3 and await asker.waiting(service) == 5

        await until(five_wait)
        gate.set()
        for id_ in ids:
            await asker.reply(id_)


async def test_a_stop_finishes_what_is_in_hand(
    rabbitmq: RabbitServer, asker: Asker, service: Service
) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()
    event = event_of(service) + "x"

    @service.on(event)
    async def decide(request: Request) -> dict[str, Any]:
        begun.set()
        await gate.wait()
        return route(URI)

    made = Runner(service, [rabbitmq.url], prefetch=1)
    task = asyncio.ensure_future(made.run())
    await made.consuming.wait()
    ids = [await asker.ask(event) for _ in range(2)]
    await begun.wait()
    made.stop()

    async def nobody_consumes() -> bool:
        found = await asker.channel.queue_declare(service_queue(service.name), passive=True)
        return found.consumer_count == 0

    await until(nobody_consumes)
    assert not task.done()
    gate.set()
    await task
    assert await asker.reply(ids[0]) == route(URI)
    assert await asker.waiting(service) == 1  # the second was never taken


async def test_a_lost_connection_comes_back_and_the_request_with_it(
    rabbitmq: RabbitServer, proxy: Proxy, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []
    event = event_of(service) + "x"

    @service.on(event)
    async def decide(request: Request) -> dict[str, Any]:
        tries.append("begun")
        if len(tries) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                tries.append("cancelled")
        return route(URI)

    async with running(service, proxy.amqp_url) as made:
        id_ = await asker.ask(event)

        async def begun() -> bool:
            return tries == ["begun"]

        await until(begun)
        proxy.drop()
        assert await asker.reply(id_) == route(URI)
        assert tries == ["begun", "cancelled", "begun"]
        await made.consuming.wait()

        async def bound() -> bool:
            return proxy.accepted == 4  # each time one for requests and one for bindings

        await until(bound)
    assert len([record for record in caplog.records if "trying again" in record.getMessage()]) == 1


async def test_a_server_that_is_away_is_waited_for(
    rabbitmq: RabbitServer, proxy: Proxy, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "consumers")
    async with running(service, proxy.amqp_url) as made:
        proxy.refuse()
        proxy.drop()

        def refused() -> list[int]:
            return [entry.levelno for entry in caplog.records if ": connection refused" in entry.getMessage()]

        async def refused_thrice() -> bool:
            return len(refused()) >= 3

        await until(refused_thrice)
        assert refused()[:3] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
        proxy.listen()
        await made.consuming.wait()
        await asker.reply(await asker.ask(event_of(service)))


async def test_urls_are_tried_in_turn(
    rabbitmq: RabbitServer, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    dead = f"amqp://guest:secret@127.0.0.1:{free_port()}/"
    async with running(service, dead, f"amqp://guest:wrong@127.0.0.1:{rabbitmq.port}/", rabbitmq.url):
        await asker.reply(await asker.ask(event_of(service)))
    assert "secret" not in caplog.text
    assert "wrong" not in caplog.text
    assert "the login was refused" in caplog.text


async def test_a_consumer_cancelled_by_the_server_begins_again(
    rabbitmq: RabbitServer, proxy: Proxy, asker: Asker, service: Service
) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()
    event = event_of(service) + "x"

    @service.on(event)
    async def decide(request: Request) -> dict[str, Any]:
        begun.set()
        await gate.wait()
        return route(URI)

    async with running(service, proxy.amqp_url) as made:
        in_hand = await asker.ask(event)
        await begun.wait()
        await asker.channel.queue_delete(service_queue(service.name))

        async def cancelled() -> bool:
            return not made.consuming.is_set()

        await until(cancelled, pause=0)
        await made.consuming.wait()
        gate.set()
        assert await asker.reply(in_hand) == route(URI)  # what was in hand went on
        await asker.reply(await asker.ask(event_of(service)))
        assert proxy.accepted == 2  # one for requests, one for bindings


async def test_a_queue_declared_otherwise_is_used_as_it_is(
    rabbitmq: RabbitServer, asker: Asker, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    await asker.channel.queue_declare(service_queue(service.name), durable=True)
    async with running(service, rabbitmq.url):
        await asker.reply(await asker.ask(event_of(service)))
    assert f"{service_queue(service.name)} is used as it is: " in caplog.text


async def test_a_quorum_queue(rabbitmq: RabbitServer, asker: Asker) -> None:
    service = Service("quorum", queue_type="quorum", delivery_limit=2)
    service.on("quorum_event")(lambda request: route(URI))
    assert queue_arguments(service) == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "evapi.dead",
        "x-max-length": 100_000,
        "x-delivery-limit": 2,
    }
    async with running(service, rabbitmq.url):
        await asker.reply(await asker.ask("quorum_event"))
    await asker.channel.queue_delete(service_queue("quorum"))


async def test_a_stop_ends_the_wait_for_a_server() -> None:
    nowhere = Runner(Service("x"), [f"amqp://127.0.0.1:{free_port()}/"])
    task = asyncio.ensure_future(nowhere.run())
    await asyncio.sleep(0)
    nowhere.stop()
    await task


async def test_a_stop_ends_the_wait_for_a_server_that_says_nothing() -> None:
    async with silent_server() as silent:
        made = Runner(Service("x"), [silent.url])
        task = asyncio.ensure_future(made.run())
        await silent.connected.wait()
        made.stop()
        await task


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with silent_server() as silent:
        limits = ConnectionLimits(1, connect_timeout=0.05)
        with pytest.raises(BrokerUnavailable, match=r"no answer within 0.05 s"):
            await Connection.open_any([URL(silent.url)], limits)


async def test_a_server_that_hangs_does_not_hold_up_a_stop(
    rabbitmq: RabbitServer, proxy: Proxy, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    made = Runner(service, [proxy.amqp_url])
    task = asyncio.ensure_future(made.run())
    await made.consuming.wait()
    made.limits.answer_timeout = made.limits.close_timeout = 0.1
    proxy.cut(accepting=True)
    made.stop()
    await task
    proxy.heal()
    assert "no answer" in caplog.text


async def test_who_gives_up_on_a_runner_is_obeyed(rabbitmq: RabbitServer, service: Service) -> None:
    made = Runner(service, [rabbitmq.url])
    task = asyncio.ensure_future(made.run())
    await made.consuming.wait()
    assert repr(made).startswith("<Runner consuming <Service ")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not made.consuming.is_set()


async def test_the_command(rabbitmq: RabbitServer, asker: Asker, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "consumers",
        "consumers.least_cost:service",
        "consumers.screening:service",
    ]
    with Process("consumers", command, tmp_path, {"EVAPI_AMQP_URL": rabbitmq.url}) as process:
        await asyncio.to_thread(
            process.wait_until, lambda: process.tail().count(": consuming evapi.decide.") == 2, "both"
        )
        decided = await asker.reply(await asker.ask("invite_request"))
        assert decided == route("sip:1@gw2.example.net")
        assert await asker.reply(await asker.ask("screening_request")) == {"action": "allow"}
        assert await asyncio.to_thread(process.stop, signal.SIGTERM) == 0
    assert "least_cost: stopped: 1 decided, 0 failed" in process.tail()
    assert "screening: stopped: 1 decided, 0 failed" in process.tail()
    for name in ("least_cost", "screening"):
        await asker.channel.queue_delete(service_queue(name))
