"""What the embedded broker delivers to whom, what waits until then, and its end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgpack

from adapter.broker.embedded import Delivery, EmbeddedBroker
from adapter.contract import Request, encode_request, service_queue
from adapter.ports.broker import Publication
from consumers import NO_ANSWER, MoreTime, Service, cached
from tests.broker.stubs import NOW, Answer, Receiver, Stub, asked, echo, started
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from adapter.ports.broker import Reply


async def test_replies_that_were_not_taken_come_again_in_order() -> None:
    broker, receiver = await started(Stub(echo), retry=0.01)
    receiver.gate, receiver.failures = asyncio.Event(), 2
    await broker.publish([asked(1), asked(2)])
    await until(lambda: broker._results["n"].task and not broker._results["n"].replies)  # being taken in
    await broker.publish([asked(3)])
    await until(lambda: broker._results["n"].replies)
    receiver.gate.set()
    await receiver.has(3)
    assert receiver.ids == ["n:1:1:1", "n:1:1:2", "n:1:1:3"]
    await broker.close()


async def test_a_reply_tells_when_the_service_had_the_request() -> None:
    now, answer = [NOW], asyncio.Event()

    async def later(message: Delivery) -> Answer:
        await answer.wait()
        return Answer(b"x")

    broker, receiver = EmbeddedBroker([Stub(later)], clock=lambda: now[0]), Receiver()
    await broker.start(receiver)
    broker.attach("n")
    await broker.publish([asked(1)])
    now[0] += 0.25
    await until(lambda: broker._queues[0].in_hand)
    now[0] += 0.5
    answer.set()
    await receiver.has(1)
    (reply,) = receiver.batches[0]
    assert (reply.received, reply.replied) == (NOW + 0.25, NOW + 0.75)
    await broker.close()


async def test_the_replies_of_a_node_wait_until_it_is_attached() -> None:
    broker, receiver = await started(Stub(echo))
    broker.detach("n")
    await broker.publish([asked(1), asked(2, node="m")])
    broker.attach("m")
    await receiver.has(1)
    assert receiver.ids == ["m:1:1:2"]
    broker.attach("n")
    await receiver.has(2)
    assert receiver.ids == ["m:1:1:2", "n:1:1:1"]
    await broker.close()


async def test_nothing_is_lost_by_a_link_that_goes_and_comes() -> None:
    broker, receiver = await started(Stub(echo))
    receiver.gate = asyncio.Event()
    await broker.publish([asked(1)])
    await until(lambda: not broker._results["n"].replies and broker._results["n"].task)
    broker.detach("n")
    await broker.publish([asked(2)])
    broker.attach("n")
    await asyncio.sleep(0)
    broker.detach("n")
    receiver.gate.set()
    await receiver.has(1)
    await until(lambda: broker._results["n"].task is None)
    assert receiver.ids == ["n:1:1:1"]
    broker.attach("n")
    await receiver.has(2)
    assert receiver.ids == ["n:1:1:1", "n:1:1:2"]
    await broker.close()


async def test_the_trouble_of_one_node_is_not_anothers() -> None:
    class Picky(Receiver):
        async def on_replies(self, replies: Sequence[Reply]) -> None:
            if replies[0].correlation_id.startswith("bad"):
                raise RuntimeError
            await super().on_replies(replies)

    broker = EmbeddedBroker([Stub(echo)], clock=lambda: NOW, grace=0.01)
    receiver = Picky()
    await broker.start(receiver)
    for node in ("bad", "n"):
        broker.attach(node)
    await broker.publish([asked(1, node="bad"), asked(2)])
    await receiver.has(1)
    assert receiver.ids == ["n:1:1:2"]
    await broker.close()


async def test_the_replies_that_wait_are_bounded() -> None:
    broker, receiver = await started(Stub(echo), queue_limit=3)
    broker.detach("n")
    for number in range(1, 6):
        await broker.publish([asked(number)])
        await asyncio.sleep(0)
    broker.attach("n")
    await receiver.has(3)
    assert receiver.ids == ["n:1:1:3", "n:1:1:4", "n:1:1:5"]
    await broker.close()


async def test_closing_finishes_what_waits_and_what_is_in_hand() -> None:
    gate = asyncio.Event()

    async def slow(message: Delivery) -> Answer:
        await gate.wait()
        return Answer(b"x")

    broker, receiver = await started(Stub(slow, prefetch=1), Stub(echo, "other"))
    await broker.publish([asked(1), asked(2)])
    closing = asyncio.ensure_future(broker.close())
    await receiver.has(2)
    assert not closing.done()
    gate.set()
    await closing
    assert len(receiver.ids) == 4
    assert repr(broker) == "<EmbeddedBroker closed stub=0+0 other=0+0 replies=0>"


async def test_closing_does_not_wait_for_ever() -> None:
    ended = asyncio.Event()

    async def endless(message: Delivery) -> Answer:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Answer()

    broker, _ = await started(Stub(endless, prefetch=1), grace=0.01)
    await broker.publish([asked(1), asked(2)])
    await broker.close()
    assert ended.is_set()


async def test_bodies_are_bytes_on_both_ways() -> None:
    service = Service("echo", clock=lambda: NOW)
    data = {"list": [1]}
    service.on("e")(lambda request: request.data)
    broker, receiver = await started(service)
    body = encode_request(Request("e", "n", data, 1, 1, 1, NOW + 2))
    await broker.publish([Publication("e", "n", body, "n:1:1:1", NOW + 2)])
    data["list"].append(2)
    await receiver.has(1)
    assert msgpack.unpackb(receiver.batches[0][0].body) == {"list": [1]}
    await broker.close()


async def test_a_service_asks_for_more_time_and_decides_later() -> None:
    service, gate = Service("slow"), asyncio.Event()

    @service.on("e")
    async def decide(more: MoreTime) -> dict[str, str]:
        more.ask(20.0)
        await gate.wait()
        return cached({"action": "allow"}, seconds=30)

    broker, receiver = EmbeddedBroker([service]), Receiver()
    await broker.start(receiver)
    broker.attach("n")
    deadline = time.time() + 5
    body = encode_request(Request("e", "n", {}, 1, 1, 1, deadline))
    await broker.publish([Publication("e", "n", body, "n:1:1:1", deadline)])
    await receiver.has(1)
    gate.set()
    await receiver.has(2)
    first, last = (reply for batch in receiver.batches for reply in batch)
    assert (first.status, first.extend, first.body, first.service) == ("extend", 20_000, b"", "slow")
    assert (last.status, last.cache, last.service) == (None, 30, "slow")
    assert first.correlation_id == last.correlation_id == "n:1:1:1"
    await broker.close()


async def test_a_request_for_one_service_alone_is_always_answered(caplog: pytest.LogCaptureFixture) -> None:
    """One that came to all that are bound is left to the others."""
    service = Service("lcr")
    service.on("e")(lambda request: NO_ANSWER)
    broker, receiver = EmbeddedBroker([service]), Receiver()
    await broker.start(receiver)
    broker.attach("n")
    until_when = time.time() + 60
    body = {event: encode_request(Request(event, "n", {}, 1, 1, 1, until_when)) for event in "ef"}
    queue = service_queue("lcr")
    await broker.publish(
        [
            Publication("e", "n", body["e"], "n:1:1:1", until_when),
            Publication("e", "n", body["e"], "n:1:1:2", until_when, queue=queue),
            Publication("f", "n", body["f"], "n:1:1:3", until_when, queue=queue),
            Publication("f", "n", body["f"], "n:1:1:4", until_when, queue=queue),
            Publication("f", "n", body["f"], queue=queue),
        ]
    )
    await receiver.has(3)
    await broker.close()
    found = [(each.correlation_id, each.status, each.detail, each.service) for each in receiver.batches[0]]
    assert found == [
        ("n:1:1:2", "none", None, "lcr"),
        ("n:1:1:3", "failed", "no handler for f in lcr", "lcr"),
        ("n:1:1:4", "failed", "no handler for f in lcr", "lcr"),
    ]
    assert [entry.levelname for entry in caplog.records] == ["ERROR"]


async def test_of_two_parts_of_one_service_the_one_with_a_handler_is_asked() -> None:
    """As an instance on RabbitMQ passes on what it has no handler for."""
    one, other = Stub(echo, name="lcr", events=("a",)), Stub(echo, name="lcr", events=("e",))
    broker, receiver = await started(one, other)
    await broker.publish([replace(asked(1), queue=service_queue("lcr"))])
    await receiver.has(1)
    await broker.close()
    assert receiver.ids == ["n:1:1:1"]
