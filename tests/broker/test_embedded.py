from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from adapter.broker.embedded import DEAD_LETTER_BYTES, Delivery, EmbeddedBroker
from adapter.contract import MSGPACK, Request, encode_reply, encode_request, service_queue
from adapter.ports.broker import Broker, DeadLetter, Publication, Published, Reply
from consumers import MoreTime, Service, route
from tests.broker.stubs import NOW, Answer, Receiver, Stub, asked, echo, started
from tests.harness.until import until

URI = "sip:1@gw"


async def test_it_is_the_port() -> None:
    broker: Broker = EmbeddedBroker([])
    assert not broker.ready
    assert await broker.publish([asked()]) == [Published.UNAVAILABLE]
    await broker.start(Receiver())
    assert broker.ready
    assert not broker.gone
    assert await broker.publish([asked()]) == [Published.UNROUTABLE]
    await broker.close()
    assert not broker.ready
    assert await broker.publish([asked()]) == [Published.UNAVAILABLE]


async def test_a_real_service_behind_it() -> None:
    service = Service("routes", clock=lambda: NOW)

    @service.on("now")
    def decide(request: Request) -> dict[str, Any]:
        return route(URI, user=request.data["user"])

    @service.on("later")
    async def decide_later(request: Request) -> dict[str, Any]:
        await asyncio.sleep(0)
        raise KeyError("x")

    broker, receiver = await started(service)
    for seq, event in enumerate(("now", "later"), 1):
        body = encode_request(Request(event, "n", {"user": "1"}, 1, 1, seq, NOW + 2))
        assert await broker.publish([Publication(event, "n", body, f"n:1:1:{seq}", NOW + 2)]) == [
            Published.CONFIRMED
        ]
    await receiver.has(2)
    failed = Reply(
        "n:1:1:2", encode_reply({"error": "KeyError"}), MSGPACK, "failed", "routes", None, NOW, NOW
    )
    line = decide_later.__code__.co_firstlineno + 3
    assert [reply for batch in receiver.batches for reply in batch] == [
        Reply("n:1:1:1", encode_reply(route(URI, user="1")), MSGPACK, None, "routes", None, NOW, NOW),
        replace(failed, detail=f"KeyError at test_embedded.py, line {line}"),
    ]
    await broker.close()


async def test_a_request_carries_what_it_does_on_rabbitmq() -> None:
    seen: list[Delivery] = []

    def look(message: Delivery) -> Answer:
        seen.append(message)
        return Answer()

    broker, _ = await started(Stub(look))
    await broker.publish([asked(), Publication("e", "n", b"notice")])
    await broker.publish([replace(asked(2), traceparent="00-1-2-01")])
    await broker.close()
    assert seen.pop().headers["traceparent"] == "00-1-2-01"
    assert seen == [
        Delivery(
            "n",
            b"request 1",
            "n:1:1:1",
            NOW + 2,
            {"x-node": "n", "x-version": 1, "x-deadline": 1_002_000, "x-time-left": 2000},
        ),
        Delivery("n", b"notice", None, None, {"x-node": "n", "x-version": 1}),
    ]


async def test_every_bound_service_gets_its_copy_and_others_nothing() -> None:
    heard: list[str] = []

    def named(name: str, *events: str) -> Stub:
        def hear(message: Delivery) -> Answer:
            heard.append(f"{name} {message.correlation_id}")
            return Answer(b"x", headers={"x-service": name})

        return Stub(hear, name, events)

    broker, receiver = await started(named("a", "e", "f"), named("b", "e", "e"), named("c", "f"))
    results = await broker.publish([asked(1), asked(2, "f"), asked(3, "g")])
    assert results == [Published.CONFIRMED, Published.CONFIRMED, Published.UNROUTABLE]
    await receiver.has(4)
    assert sorted(heard) == ["a n:1:1:1", "a n:1:1:2", "b n:1:1:1", "c n:1:1:2"]
    assert {reply.service for batch in receiver.batches for reply in batch} == {"a", "b", "c"}
    await broker.close()


async def test_events_that_share_a_routing_key_are_told_apart() -> None:
    broker, receiver = await started(Stub(echo, events=("inv.ite",)))
    assert await broker.publish([asked(1, "inv ite"), asked(2, "inv.ite")]) == [
        Published.UNROUTABLE,
        Published.CONFIRMED,
    ]
    await receiver.has(1)
    await broker.close()


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_replies_of_one_round_come_in_one_batch(is_async: bool) -> None:
    async def later(message: Delivery) -> Answer:
        return Answer(message.body)

    broker, receiver = await started(Stub(later if is_async else echo))
    await broker.publish([asked(number) for number in range(5)])
    await broker.publish([asked(5)])
    await receiver.has(6)
    assert [len(batch) for batch in receiver.batches] == [6]
    await broker.close()


async def test_what_has_expired_is_not_handed_over() -> None:
    broker, receiver = await started(Stub(echo))
    deadlines = [NOW - 1, NOW, NOW + 1, None]
    await broker.publish([asked(n, deadline=deadline) for n, deadline in enumerate(deadlines)])
    await receiver.has(2)
    await broker.close()
    assert receiver.ids == ["n:1:1:2", "n:1:1:3"]
    assert broker.expired == 2


async def test_what_expires_while_it_waits_is_not_handed_over() -> None:
    gate = asyncio.Event()
    now = [NOW]

    async def slow(message: Delivery) -> Answer:
        await gate.wait()
        return Answer(b"x")

    broker = EmbeddedBroker([Stub(slow, prefetch=1)], clock=lambda: now[0])
    receiver = Receiver()
    await broker.start(receiver)
    broker.attach("n")
    await broker.publish([asked(1), asked(2), asked(3, deadline=NOW + 9)])
    await asyncio.sleep(0)
    now[0] = NOW + 5
    gate.set()
    await receiver.has(2)
    await broker.close()
    assert receiver.ids == ["n:1:1:1", "n:1:1:3"]


async def test_a_rejected_request_comes_back_and_is_kept() -> None:
    broker, receiver = await started(Stub(lambda message: Answer(rejected=True)))
    await broker.publish([asked(), Publication("e", "n", b"notice")])
    await receiver.has(1)
    assert receiver.batches == [
        [Reply("n:1:1:1", b"request 1", MSGPACK, None, "stub", "rejected")],
    ]
    assert list(broker.dead_letters) == [
        DeadLetter("rejected", "stub", b"request 1", "n", "n:1:1:1", MSGPACK),
        DeadLetter("rejected", "stub", b"notice", "n", None, MSGPACK),
    ]
    await broker.close()


async def test_why_a_service_failed_goes_with_its_reply() -> None:
    headers = {"x-status": "failed", "x-detail": "user: Field required"}
    broker, receiver = await started(Stub(lambda _: Answer(b"x", headers=headers)))
    await broker.publish([asked()])
    await receiver.has(1)
    (found,) = receiver.batches[0]
    assert (found.status, found.detail) == ("failed", "user: Field required")
    await broker.close()


async def test_the_dead_letters_are_bounded() -> None:
    broker = EmbeddedBroker([])
    for number in range(2_000):
        broker.dead_letter(DeadLetter("malformed", "", b"%d" % number, "n"))
    assert len(broker.dead_letters) == 1_000
    assert broker.dead_letters[-1].body == b"1999"
    letter = DeadLetter("malformed", "", b"x" * DEAD_LETTER_BYTES + b"y" * 9, "n", "n:1:1:1", MSGPACK)
    broker.dead_letter(letter)
    assert broker.dead_letters[-1] == replace(letter, body=b"x" * DEAD_LETTER_BYTES)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_core_that_raises_has_rejected(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    def fail(message: Delivery) -> Answer:
        raise ZeroDivisionError

    async def fail_later(message: Delivery) -> Answer:
        raise ZeroDivisionError

    broker, receiver = await started(Stub(fail_later if is_async else fail))
    await broker.publish([asked(), asked(2)])
    await receiver.has(2)
    assert {reply.rejected for batch in receiver.batches for reply in batch} == {"rejected"}
    assert "ZeroDivisionError" in caplog.text
    await broker.close()


async def test_prefetch_bounds_what_is_in_hand_and_the_queue_what_waits() -> None:
    gate = asyncio.Event()
    in_hand, most = 0, 0

    async def slow(message: Delivery) -> Answer:
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        await gate.wait()
        in_hand -= 1
        return Answer(b"x")

    broker, receiver = await started(Stub(slow, prefetch=3), Stub(echo, "other", ("e", "f")), queue_limit=5)
    await broker.publish([asked(number) for number in range(3)])
    await until(lambda: in_hand == 3)
    results = await broker.publish([asked(number) for number in range(3, 10)])
    assert results == [Published.CONFIRMED] * 5 + [Published.REFUSED] * 2
    assert await broker.publish([asked(10, "f")]) == [Published.REFUSED]  # as many wait for `other`
    await receiver.has(8)  # what `other` says to the 8 that were taken
    assert await broker.publish([asked(11, "f")]) == [Published.CONFIRMED]
    assert "stub=3+5 other=0+" in repr(broker)
    gate.set()
    await receiver.has(17)
    assert most == 3
    await broker.close()


async def test_a_flood_leaves_the_loop_its_turn() -> None:
    broker, receiver = await started(Stub(echo, prefetch=1))
    await broker.publish([asked(number) for number in range(1_000)])
    await receiver.has(1)
    assert len(receiver.ids) < 200
    await receiver.has(1_000)
    assert receiver.ids == [f"n:1:1:{number}" for number in range(1_000)]
    await broker.close()


async def test_a_service_asks_for_more_time_before_it_answers() -> None:
    """The reply that asks for it is there while the handler is still at it."""
    service, go = Service("routes", clock=lambda: NOW), asyncio.Event()

    @service.on("slow")
    async def decide(more: MoreTime) -> dict[str, Any]:
        assert more.ask(1.5)
        await go.wait()
        return route(URI)

    broker, receiver = await started(service)
    body = encode_request(Request("slow", "n", {}, 1, 1, 1, NOW + 2))
    await broker.publish([Publication("slow", "n", body, "n:1:1:1", NOW + 2)])
    await receiver.has(1)
    assert receiver.batches == [[Reply("n:1:1:1", b"", None, "extend", "routes", extend=1500)]]
    go.set()
    await receiver.has(2)
    (reply,) = receiver.batches[-1]
    assert (reply.status, reply.body) == (None, encode_reply(route(URI)))
    await broker.close()


async def test_requests_that_were_taken_need_no_timer() -> None:
    broker, receiver = await started(Stub(echo))
    await broker.publish([replace(asked(n), expires=NOW + 0.001) for n in range(5)])
    await receiver.has(5)
    assert [reply.rejected for reply in receiver.batches[0]] == [None] * 5
    await until(lambda: broker._untaken._timer is None)
    assert broker._untaken._heap == []
    assert not broker._queues[0].expires
    await broker.publish([asked(6)])
    assert broker._untaken._timer is None
    await broker.close()


async def test_what_was_to_be_taken_earlier_is_not_handed_over() -> None:
    """Though the timer has not come round to it yet."""
    now, gate = [NOW], asyncio.Event()

    async def slow(message: Delivery) -> Answer:
        await gate.wait()
        return Answer(b"x")

    broker, receiver = EmbeddedBroker([Stub(slow, prefetch=1)], clock=lambda: now[0]), Receiver()
    await broker.start(receiver)
    broker.attach("n")
    early = [replace(asked(n, deadline=NOW + 99), expires=NOW + n) for n in (50, 30, 40)]
    await broker.publish([asked(1), *early])
    await until(lambda: broker._queues[0].in_hand)
    now[0] = NOW + 45
    gate.set()
    await receiver.has(4)
    found = {reply.correlation_id: reply.rejected for batch in receiver.batches for reply in batch}
    assert found == {"n:1:1:1": None, "n:1:1:50": None, "n:1:1:30": "expired", "n:1:1:40": "expired"}
    assert broker.expired == 2
    await broker.close()


async def test_requests_that_may_go_together_are_answered_together_without_a_message() -> None:
    broker, receiver = await started(Stub(lambda message: Answer(message.body)))
    several = [replace(asked(number), queue=service_queue("stub"), batch=64) for number in (1, 2, 3)]
    assert await broker.publish(several) == [Published.CONFIRMED] * 3
    await receiver.has(3)
    assert [[reply.correlation_id for reply in each] for each in receiver.batches] == [
        ["n:1:1:1", "n:1:1:2", "n:1:1:3"]
    ]
    await broker.close()
