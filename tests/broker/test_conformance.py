"""What every broker does alike. Each implementation runs each test."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from adapter import contract
from adapter.errors import StoreUnavailable
from adapter.ports.broker import DeadLetter, Publication, Published
from tests.broker.buses import Answer, Bus, Service, echo, request_of
from tests.broker.support import Recorder, unique
from tests.harness.until import until


async def test_request_and_reply(bus: Bus, node: str) -> None:
    headers = {contract.HEADER_STATUS: contract.STATUS_FAILED}
    service = Service(unique("event"), lambda got: Answer(got.body.upper(), headers=headers))
    receiver = Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    asked = request_of(service, node)
    assert await bus.broker.publish([asked]) == [Published.CONFIRMED]
    await until(lambda: receiver.replies)
    (reply,) = receiver.replies
    assert (reply.correlation_id, reply.body) == (asked.correlation_id, b"REQUEST 1")
    assert (reply.content_type, reply.service) == (contract.JSON, service.name)
    assert (reply.status, reply.rejected) == (contract.STATUS_FAILED, None)
    (got,) = service.got
    assert (got.correlation_id, got.body) == (asked.correlation_id, asked.body)
    assert got.content_type == contract.MSGPACK
    assert asked.deadline is not None
    left = got.headers[contract.HEADER_TIME_LEFT]
    assert 0 < left <= 5000
    assert got.headers == {
        contract.HEADER_TIME_LEFT: left,
        contract.HEADER_NODE: node,
        contract.HEADER_VERSION: contract.VERSION,
        contract.HEADER_DEADLINE: round(asked.deadline * 1000),
    }


async def test_a_trace_goes_along(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = replace(request_of(service, node), traceparent=trace)
    assert await bus.broker.publish([asked, request_of(service, node, 2)]) == [Published.CONFIRMED] * 2
    await until(lambda: len(service.got) == 2)
    assert [got.headers.get(contract.HEADER_TRACEPARENT) for got in service.got] == [trace, None]


async def test_results_are_in_the_order_of_the_publications(bus: Bus, node: str) -> None:
    service = Service(unique("event"), echo)
    await bus.begin(service, Recorder())
    nobody = Publication(unique("nobody"), node, b"", f"{node}:9:9:1", time.time() + 5)
    notice, unheard = Publication(service.event, node, b"n"), Publication(nobody.event, node, b"")
    results = await bus.broker.publish([nobody, request_of(service, node), unheard, notice])
    away, here = Published.UNROUTABLE, Published.CONFIRMED
    assert results == [away, here, away, here]
    assert await bus.broker.publish([]) == []


async def test_notice_is_delivered_and_its_answer_is_not(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    notice = Publication(service.event, node, b"ended")
    await bus.broker.publish([notice, request_of(service, node)])
    await until(lambda: receiver.replies)
    assert [got.body for got in service.got] == [b"ended", b"request 1"]
    assert service.got[0].correlation_id is None
    assert contract.HEADER_DEADLINE not in service.got[0].headers
    assert [reply.body for reply in receiver.replies] == [b"request 1"]


async def test_replies_keep_their_order(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    asked = [request_of(service, node, number) for number in range(300)]
    assert set(await bus.broker.publish(asked)) == {Published.CONFIRMED}
    await until(lambda: len(receiver.replies) == 300)
    assert [reply.body for reply in receiver.replies] == [each.body for each in asked]


async def test_replies_that_could_not_be_taken_in_come_again(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    receiver.error = StoreUnavailable("away")
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    await bus.broker.publish([request_of(service, node)])
    await until(lambda: len(receiver.refused) > 1)
    assert receiver.replies == []
    receiver.error = None
    await until(lambda: receiver.replies)
    assert [reply.body for reply in receiver.replies] == [b"request 1"]


async def test_replies_wait_for_their_node(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    other = unique("sbc")
    for each in (node, other):
        bus.broker.attach(each)
        await bus.broker.publish([request_of(service, each)])
    await until(lambda: len(receiver.replies) == 2)
    bus.broker.detach(node)
    bus.broker.detach(node)
    await bus.broker.publish([request_of(service, node, 2), request_of(service, other, 3)])
    await until(lambda: len(receiver.replies) == 3)
    assert receiver.replies[-1].body == b"request 3"
    bus.broker.attach(node)
    bus.broker.attach(node)
    await until(lambda: len(receiver.replies) == 4)
    assert receiver.replies[-1].body == b"request 2"


async def test_a_rejected_request_comes_back_as_such(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), lambda _: Answer(rejected=True)), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    asked = request_of(service, node)
    await bus.broker.publish([Publication(service.event, node, b"a rejected notice"), asked])
    await until(lambda: receiver.replies)
    (reply,) = receiver.replies
    assert (reply.rejected, reply.body) == ("rejected", asked.body)
    assert reply.correlation_id == asked.correlation_id
    assert reply.content_type == contract.MSGPACK


async def test_the_content_type_is_that_of_the_body(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    await bus.broker.publish(
        [request_of(service, node, 1, body=b'{"n":1}'), request_of(service, node, 2, body=b"\x81\xa1n\1")]
    )
    await until(lambda: len(receiver.replies) == 2)
    assert {got.body[:1]: got.content_type for got in service.got} == {
        b"{": contract.JSON,
        b"\x81": contract.MSGPACK,
    }


async def test_what_has_expired_is_not_handed_over(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    bus.broker.attach(node)
    await bus.broker.publish([request_of(service, node, 1, lasts=-0.1), request_of(service, node, 2)])
    await until(lambda: receiver.replies)
    assert [got.body for got in service.got] == [b"request 2"]


async def test_dead_letters_are_kept(bus: Bus, node: str) -> None:
    await bus.begin(Service(unique("event"), echo), Recorder())
    bus.broker.dead_letter(DeadLetter("not-json", "at 3", b"{a", node))
    await until(lambda: "not-json" in bus.dead_reasons())


async def test_closed_means_unavailable_and_finishes_what_is_under_way(bus: Bus, node: str) -> None:
    service, receiver = Service(unique("event"), echo), Recorder()
    await bus.begin(service, receiver)
    assert bus.broker.ready
    bus.broker.attach(node)
    receiver.gate.clear()
    await bus.broker.publish([request_of(service, node)])
    await until(lambda: receiver.under_way)
    closing = asyncio.create_task(bus.broker.close())
    asyncio.get_running_loop().call_later(0.05, receiver.gate.set)
    await closing
    assert [reply.body for reply in receiver.replies] == [b"request 1"]
    assert not bus.broker.ready
    assert await bus.broker.publish([request_of(service, node)]) == [Published.UNAVAILABLE]
