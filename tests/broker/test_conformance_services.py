"""What every broker does alike with requests to the queue of one service.

Each implementation runs each test.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from adapter import contract
from adapter.ports.broker import Publication, Published
from tests.broker.buses import Answer, Bus, Service, echo, request_of
from tests.broker.support import Recorder, unique
from tests.harness.until import until

CONFIRMED, UNROUTABLE = Published.CONFIRMED, Published.UNROUTABLE


async def test_a_request_goes_to_the_queue_that_it_names_alone(bus: Bus, node: str) -> None:
    event = unique("event")
    first, second = Service(event, echo), Service(event, echo)
    other, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(first, receiver, second, other)
    bus.broker.attach(node)
    asked = [
        replace(request_of(first, node, number), queue=each.queue)
        for number, each in enumerate((second, other), 1)
    ]
    assert await bus.broker.publish([*asked, request_of(other, node, 3)]) == [CONFIRMED] * 3
    await until(lambda: len(receiver.replies) == 3)
    assert ([got.body for got in second.got], first.got) == ([b"request 1"], [])
    assert sorted(got.body for got in other.got) == [b"request 2", b"request 3"]
    assert {reply.body: reply.service for reply in receiver.replies} == {
        b"request 1": second.name,
        b"request 2": other.name,
        b"request 3": other.name,
    }
    assert contract.HEADER_BCC not in second.got[0].headers
    assert contract.HEADER_UNTAKEN not in second.got[0].headers


async def test_a_queue_that_is_not_there_is_told_of_that_publication_alone(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    nowhere = contract.service_queue(unique("nobody"))
    asked = [
        replace(request_of(service, node, 1), queue=nowhere),
        replace(request_of(service, node, 2), queue=service.queue),
        Publication(service.event, node, b"notice", queue=nowhere),
        request_of(service, node, 3),
    ]
    assert await bus.broker.publish(asked) == [UNROUTABLE, CONFIRMED, UNROUTABLE, CONFIRMED]
    await until(lambda: len(receiver.replies) == 2)
    assert [got.body for got in service.got] == [b"request 2", b"request 3"]


async def test_an_observer_gets_a_notice(bus: Bus, node: str) -> None:
    event = unique("event")
    service, observer, receiver = Service(event, echo), Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver, observer)
    bus.broker.attach(node)
    copy = Publication(event, node, b"request 1", queue=observer.queue)
    assert await bus.broker.publish([request_of(service, node), copy]) == [CONFIRMED] * 2
    await until(lambda: receiver.replies and observer.got)
    (got,) = observer.got
    assert (got.correlation_id, got.body) == (None, b"request 1")
    assert got.headers == {contract.HEADER_NODE: node, contract.HEADER_VERSION: contract.VERSION}
    assert [reply.service for reply in receiver.replies] == [service.name]


async def test_a_request_that_a_service_rejects_says_which(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), lambda _: Answer(rejected=True)), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    asked = [request_of(service, node, 1), replace(request_of(service, node, 2), queue=service.queue)]
    assert await bus.broker.publish(asked) == [CONFIRMED] * 2
    await until(lambda: len(receiver.replies) == 2)
    assert {(each.correlation_id, each.rejected, each.service) for each in receiver.replies} == {
        (each.correlation_id, "rejected", service.name) for each in asked
    }


@pytest.mark.parametrize("direct", [True, False])
async def test_a_request_that_nobody_takes_in_time_comes_back(bus: Bus, node: str, direct: bool) -> None:
    service, receiver = Service(unique("event"), echo, held=asyncio.Event()), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    queue = service.queue if direct else ""

    def early(number: int, waits: float) -> Publication:
        asked = request_of(service, node, number, lasts=60)
        return replace(asked, queue=queue, expires=time.time() + waits)

    taken = early(1, 30)
    assert await bus.broker.publish([taken]) == [CONFIRMED]
    await until(lambda: service.got)
    untaken = [early(2, 0.2), early(3, 0.3)]
    assert await bus.broker.publish([*untaken, early(4, 30)]) == [CONFIRMED] * 3
    await until(lambda: len(receiver.replies) == 2)
    assert [(each.correlation_id, each.rejected) for each in receiver.replies] == [
        (each.correlation_id, "expired") for each in untaken
    ]
    assert [each.body for each in receiver.replies] == [b"request 2", b"request 3"]
    assert {each.service for each in receiver.replies} == {service.name}
    assert service.held is not None
    service.held.set()
    await until(lambda: len(receiver.replies) == 4)
    assert [(each.body, each.rejected) for each in receiver.replies[2:]] == [
        (b"request 1", None),
        (b"request 4", None),
    ]
    assert [got.body for got in service.got] == [b"request 1", b"request 4"]
    assert {got.headers[contract.HEADER_UNTAKEN] for got in service.got} == {1}
    assert service.got[0].headers[contract.HEADER_TIME_LEFT] > 30_000


async def test_what_expires_with_its_deadline_is_not_told(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo, held=asyncio.Event()), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    await bus.broker.publish([request_of(service, node)])
    await until(lambda: service.got)
    late = replace(request_of(service, node, 2, lasts=0.2), queue=service.queue)
    assert late.deadline is not None
    never, told = replace(late, expires=late.deadline + 1), request_of(service, node, 3)
    told = replace(told, queue=service.queue, expires=time.time() + 0.3)
    assert await bus.broker.publish([late, never, told]) == [CONFIRMED] * 3
    await until(lambda: receiver.replies)
    assert [(each.body, each.rejected) for each in receiver.replies] == [(b"request 3", "expired")]
    assert service.held is not None
    service.held.set()
    await until(lambda: len(receiver.replies) == 2)
    assert [got.body for got in service.got] == [b"request 1"]


@pytest.mark.parametrize(
    ("value", "read"), [(1500, 1500), ("1500", 1500), (1500.9, 1500), ("soon", 0), (-3, 0), ("", 0)]
)
async def test_more_time_and_how_long_a_decision_holds(bus: Bus, node: str, value: Any, read: int) -> None:
    headers = {
        contract.HEADER_STATUS: contract.STATUS_EXTEND,
        contract.HEADER_EXTEND: value,
        contract.HEADER_CACHE: value,
    }
    service, receiver = Service(unique("event"), lambda got: Answer(b"", headers=headers)), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    assert await bus.broker.publish([request_of(service, node)]) == [CONFIRMED]
    await until(lambda: receiver.replies)
    (reply,) = receiver.replies
    assert (reply.status, reply.body, reply.service) == (contract.STATUS_EXTEND, b"", service.name)
    assert (reply.extend, reply.cache) == (read, read)
