"""Requests straight to the queue of one service, which leaves them undecided, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from adapter.contract import HEADER_DIRECT, handles_queue, service_queue
from consumers import NO_ANSWER, Result, Service
from tests.consumers.asker import Asker, numbers, running
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.harness.rabbitmq import RabbitServer


@pytest.fixture
async def name(asker: Asker) -> AsyncIterator[str]:
    """Of a service, and of its event."""
    found = f"alone{next(numbers)}"
    yield found
    await asker.channel.queue_delete(service_queue(found))


def made(name: str, *events: str) -> Service:
    service = Service(name)
    service.on(*events)(lambda request: {"action": "allow", "event": request.event})
    return service


async def straight(asker: Asker, name: str, event: str) -> tuple[dict[str, Any], bytes]:
    """The headers and the body of the reply to a request for this service alone."""
    return await replied(asker, await asker.ask(event, queue=service_queue(name)))


async def replied(asker: Asker, id_: str) -> tuple[dict[str, Any], bytes]:
    await until(lambda: id_ in asker.replies)
    message = asker.replies[id_]
    return said(message.header.properties.headers), message.body


def said(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in headers.items() if key not in ("x-received", "x-replied")}


def failed(name: str, event: str) -> dict[str, Any]:
    return {"x-service": name, "x-status": "failed", "x-detail": f"no handler for {event} in {name}"}


async def test_an_event_without_a_handler_has_failed_at_once(
    rabbitmq: RabbitServer, asker: Asker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = made(name, f"{name}_other")
    async with running(service, rabbitmq.url):
        for _ in range(3):
            headers, body = await straight(asker, name, name)
            assert headers == failed(name, name)
            assert b"UnknownEvent" in body
        await asker.ask(name, queue=service_queue(name), reply_to=None)
        await straight(asker, name, f"{name}_more")
    told = [entry for entry in caplog.records if "no handler of" in entry.getMessage()]
    assert [entry.levelname for entry in told] == ["ERROR", "ERROR"], "once for each event"
    assert f"no handler of '{name}', and it alone was asked" in told[0].getMessage()
    assert f"Give {name} a handler of the event, or take it out of the policy's lists" in told[0].getMessage()
    assert service.last_failure is not None
    assert service.last_failure[1] == f"no handler for {name}_more in {name}"


async def test_another_instance_has_a_handler(
    rabbitmq: RabbitServer, asker: Asker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Or has no say, which it says: it is told that the request came to its service alone."""
    old, new = made(name, f"{name}_stays"), made(name, f"{name}_stays", name)
    new.on(f"{name}_idle")(lambda request: NO_ANSWER)
    async with running(old, rabbitmq.url), running(new, rabbitmq.url):
        for _ in range(10):
            headers, _ = await straight(asker, name, name)
            assert headers == {"x-service": name}
            headers, body = await straight(asker, name, f"{name}_idle")
            assert (headers, body) == ({"x-service": name, "x-status": "none"}, b"")
    assert old.counts[Result.UNHANDLED] >= 5
    assert [entry for entry in caplog.records if entry.levelname == "ERROR"] == []


async def test_what_was_passed_on_and_finds_no_handler_there_either(
    rabbitmq: RabbitServer, asker: Asker, name: str
) -> None:
    """The instance that had one was replaced by one that has none, while it was under way."""
    service = made(name, name)
    async with running(service, rabbitmq.url):
        queue, event = handles_queue(name, name), f"{name}_gone"
        others: tuple[dict[str, Any], ...] = ({}, {HEADER_DIRECT: "1"}, {HEADER_DIRECT: 0})
        left = [await asker.ask(event, queue=queue, headers=each) for each in others]
        id_ = await asker.ask(event, queue=queue, headers={HEADER_DIRECT: 1})
        assert (await replied(asker, id_))[0] == failed(name, event)
        assert service.counts[Result.UNHANDLED] == 4
        assert not asker.replies.keys() & set(left)


async def test_a_request_by_the_exchange_of_all_is_left_to_others(
    rabbitmq: RabbitServer, asker: Asker, name: str
) -> None:
    service = made(name, name)
    service.on(f"{name}_idle")(lambda request: NO_ANSWER)
    async with running(made(name, name, f"{name}_gone"), rabbitmq.url):
        pass
    async with running(service, rabbitmq.url):
        silent = await asker.ask(f"{name}_idle"), await asker.ask(f"{name}_gone")
        await until(lambda: service.counts[Result.SILENT] == service.counts[Result.UNHANDLED] == 1)
        await asker.reply(await asker.ask(name))
        assert not asker.replies.keys() & set(silent)


async def test_no_connection_to_ask_the_others_by(
    rabbitmq: RabbitServer, asker: Asker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = made(name, name)
    async with running(service, rabbitmq.url) as runner:
        monkeypatch.setattr(runner._bindings, "_offers", None)
        event = f"{name}_gone"
        async with asyncio.timeout(10):
            assert (await straight(asker, name, event))[0] == failed(name, event)
        monkeypatch.undo()
