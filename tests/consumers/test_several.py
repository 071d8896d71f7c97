"""Several requests in one message, against a line that the test plays."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import batches, contract
from adapter.contract import Request, encode_request
from consumers import Result, route
from consumers.amqp import work
from consumers.amqp.delivery import Delivery
from tests.consumers.test_amqp_work import Hands
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import Callable

SERVICE = "evapi.decide.x"
_PUBLISHED = 3


@pytest.fixture(autouse=True)
def one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, all that one read brings is begun with in one turn of the loop."""
    monkeypatch.setattr(work, "TURN", 60.0)


def batch(*events: str, left: float = 2.0) -> bytes:
    bodies = [
        encode_request(Request(event, "n", {"of": number}, 1, 1, number, time.time() + left))
        for number, event in enumerate(events, 1)
    ]
    return batches.joined(
        [
            batches.request(body, f"n:1:1:{number}", int(left * 1000), "00-4-2-01")
            for number, body in enumerate(bodies, 1)
        ]
    )


def message(
    tag: int, body: bytes, to: str | None = "r", more: dict[str, Any] | None = None, exchange: str = ""
) -> Delivery:
    headers: Any = {"x-node": "n", "x-version": 1, "x-batch": 2} if more is None else more
    properties = Basic.Properties(headers=headers, reply_to=to)
    header = frame.marshal(ContentHeader(properties=properties), 1)[7:-1]
    deliver = Basic.Deliver("", tag, False, exchange, SERVICE)
    return Delivery(tag, header, body, 0, frame.marshal(deliver, 1)[7:-1])


def published(written: bytes) -> list[tuple[Basic.Publish, Basic.Properties, bytes]]:
    """What was published, of the frames of a write."""
    found: list[Any] = []
    while written:
        size, _, each = frame.unmarshal(written)
        written = written[size:]
        if isinstance(each, Basic.Publish):
            found.append([each, None, b""])
        elif isinstance(each, ContentHeader):
            found[-1][1] = each.properties
        elif isinstance(each, ContentBody):
            found[-1][2] += each.value
    return [tuple(each) for each in found]


def ids(body: bytes) -> list[str]:
    """Of the replies in one message."""
    return [id_ for id_, _, _ in batches.replied(body)[0]]


class Batched(Hands):
    """Keeps what was written."""

    def __init__(self, more: int = 0, prefetch: int = 1) -> None:
        super().__init__(more, prefetch)
        self.frames: list[bytes] = []
        for line in (self.line, *self.others):
            line.write = partial(self._keep, line.write)  # type: ignore[method-assign]

    def _keep(self, write: Callable[[bytes], bool], frames: bytes) -> bool:
        self.frames.append(frames)
        return write(frames)

    def deliver(self, *messages: Delivery) -> None:
        self.line.receive(list(messages), [])

    @property
    def replies(self) -> list[tuple[Basic.Publish, Basic.Properties, bytes]]:
        return [each for frames in self.frames for each in published(frames)]


async def test_the_replies_of_one_turn_go_out_in_one_message() -> None:
    hands = Batched()
    hands.deliver(message(7, batch("e", "e", "e")))
    ((how, properties, body),) = hands.replies
    assert (how.exchange, how.routing_key, how.mandatory) == ("", "r", True)
    assert properties.correlation_id is None
    headers = dict(properties.headers or {})
    assert 0 < headers.pop("x-received") <= headers.pop("x-replied")  # type: ignore[operator]
    assert headers == {"x-service": "x", "x-batch": 3}
    found, wrong = batches.replied(body)
    assert not wrong
    assert [(id_, told, contract.decode_reply(said)) for id_, told, said in found] == [
        (f"n:1:1:{number}", None, {"action": "allow"}) for number in (1, 2, 3)
    ]
    assert hands.work.in_hand == 1
    hands.line.confirm(1)
    assert hands.line.did[1:] == ["ack 7"]
    assert hands.work.in_hand == 0


async def test_the_handler_sees_each_request_as_it_would_come_alone() -> None:
    hands, seen = Batched(), []

    @hands.service.on("told")
    def decide(request: Request) -> dict[str, Any]:
        seen.append(request)
        return route("sip:1@gw")

    hands.deliver(message(7, batch("e", "told")))
    (request,) = seen
    assert (request.event, request.seq, request.data, request.correlation_id) == (
        "told",
        2,
        {"of": 2},
        "n:1:1:2",
    )
    assert request.deadline is not None
    assert request.headers == {
        "x-node": "n",
        "x-version": 1,
        "x-deadline": round(request.deadline * 1000),
        "x-time-left": 2000,
        "traceparent": "00-4-2-01",
    }


async def test_replies_of_several_messages_of_one_turn_go_to_each_queue_in_one() -> None:
    hands = Batched()
    hands.deliver(message(1, batch("e", "e")), message(2, batch("e", "e"), "s"), message(3, batch("e", "e")))
    assert [
        (how.routing_key, (properties.headers or {})["x-batch"]) for how, properties, _ in hands.replies
    ] == [
        ("r", 4),
        ("s", 2),
    ]
    hands.line.confirm(1)
    assert hands.line.did[2:] == ["ack 1 and before", "ack 3"]
    assert hands.work.in_hand == 1
    hands.line.confirm(2)
    assert hands.line.did[4:] == ["ack 2 and before"]
    assert hands.work.in_hand == 0


async def test_the_message_is_acknowledged_when_all_of_it_is_answered() -> None:
    hands, gates = Batched(), [asyncio.Event(), asyncio.Event()]

    @hands.service.on("slow")
    async def decide(request: Request) -> dict[str, Any]:
        await gates[request.data["of"] - 2].wait()
        return route("sip:1@gw")

    hands.deliver(message(7, batch("e", "slow", "slow")))
    await asyncio.sleep(0)
    ((_, properties, body),) = hands.replies  # alone, and so in the usual form
    assert (properties.correlation_id, contract.decode_reply(body)) == ("n:1:1:1", {"action": "allow"})
    assert "x-batch" not in (properties.headers or {})
    hands.line.confirm(1)
    assert hands.work.in_hand == 1
    for number, gate in enumerate(gates, 2):
        assert hands.work.in_hand == 1
        gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        hands.line.confirm(number)
    assert [properties.correlation_id for _, properties, _ in hands.replies] == [
        f"n:1:1:{n}" for n in (1, 2, 3)
    ]
    assert hands.line.did[-1] == "ack 7"
    assert hands.work.in_hand == 0


async def test_what_has_expired_in_it_is_skipped() -> None:
    hands = Batched()
    hands.deliver(message(7, _mixed()))
    ((_, _, body),) = hands.replies
    assert [each.correlation_id for each in batches.replied(body)[0]] == ["n:1:1:1", "n:1:1:3"]
    assert hands.service.counts == {Result.DECIDED: 2, Result.EXPIRED: 1}
    hands.line.confirm(1)
    assert hands.line.did[-1] == "ack 7"


async def test_what_expired_in_a_message_that_has_not_is_skipped_whoever_reads_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RabbitMQ hands it out: it is no sign of a clock that was set."""
    hands = Batched()
    monkeypatch.setattr(hands.work._unread, "seconds", lambda: 0.0)
    hands.deliver(message(1, batch("e", "e")))
    published = time.time() - 3.0
    several = []
    for number, left in enumerate((1, 10, 1, 9), 1):
        body = encode_request(Request("e", "n", {}, 1, 1, number, published + left))
        several.append(batches.request(body, f"n:1:1:{number}", left * 1000))
    headers = {"x-node": "n", "x-batch": 4, "x-time-left": 10_000}
    hands.deliver(message(2, batches.joined(several), more=headers))
    assert ids(hands.replies[1][2]) == ["n:1:1:2", "n:1:1:4"]
    assert hands.service.counts == {Result.DECIDED: 4, Result.EXPIRED: 2}


def _mixed() -> bytes:
    """Three, of which the second has no time left."""
    found = msgpack.unpackb(batch("e", "e", "e"))
    found[1]["deadline"] -= 10_000
    packed: bytes = msgpack.packb(found)
    return packed


async def test_one_that_is_no_request_is_a_dead_letter_of_its_own() -> None:
    hands = Batched()
    found = msgpack.unpackb(batch("e", "e", "e"))
    found[1]["event"] = 7
    hands.deliver(message(7, msgpack.packb(found)))
    (dead, properties, body), (_, _, replies) = hands.replies
    assert (dead.exchange, dead.routing_key) == ("evapi.dead", "7.n")
    headers = properties.headers or {}
    assert (properties.correlation_id, properties.reply_to, headers["x-node"]) == ("n:1:1:2", "r", "n")
    death: Any = headers["x-death"]
    assert (death[0]["reason"], death[0]["queue"], "x-batch" in headers) == ("rejected", SERVICE, False)
    assert "correlation_id" not in msgpack.unpackb(body)
    assert [each.correlation_id for each in batches.replied(replies)[0]] == ["n:1:1:1", "n:1:1:3"]
    hands.line.confirm(2)
    assert hands.work.in_hand == 1
    hands.line.confirm(1)
    assert hands.line.did[-1] == "ack 7"


async def test_if_its_dead_letter_is_not_taken_its_message_is_rejected_once_all_is_done_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So that its call does not wait for its deadline, and the message not for ever."""
    monkeypatch.setattr(work, "REPLY_PAUSE", 0.0)
    hands = Batched(more=work.REPLY_ATTEMPTS)
    found = msgpack.unpackb(batch("e", "e"))
    found[1]["event"] = 7
    hands.deliver(message(7, msgpack.packb(found)))
    hands.line.confirm(1, taken=False)
    for number in range(work.REPLY_ATTEMPTS - 1):
        await until(lambda: len(hands.opened) > number and hands.opened[number].did)
        hands.opened[number].confirm(1, taken=False)
    await until(lambda: "x: n:1:1:2: evapi.dead takes no dead letter" in caplog.text)
    assert hands.work.in_hand == 1
    hands.line.confirm(2)
    assert hands.line.did[2:] == ["reject 7 False"]
    assert hands.work.in_hand == 0


async def test_without_a_line_for_its_dead_letter_its_message_is_rejected() -> None:
    hands = Batched()
    found = msgpack.unpackb(batch("e", "e"))
    found[1]["event"] = 7
    hands.deliver(message(7, msgpack.packb(found)))
    hands.line.confirm(2)
    hands.line.confirm(1, taken=False)
    await until(lambda: hands.line.did[2:] == ["reject 7 False"])
    assert hands.work.in_hand == 0
    assert len(hands.replies) == 2


async def test_what_is_no_batch_is_rejected_whole(caplog: pytest.LogCaptureFixture) -> None:
    hands = Batched()
    broken = msgpack.packb([{"event": "e"}, {"event": "e"}])
    untold, later = {"x-node": "n"}, {"x-batch": 2, "x-version": 2}
    found = msgpack.unpackb(batch("e"))
    found[0]["correlation_id"] = "x" * 256
    hands.deliver(
        message(1, broken),
        message(2, b"\x92\xc1"),
        message(3, batch("e", "e"), more=untold),
        message(4, batch("e", "e"), more=later),
        message(5, b"\x90"),
        message(6, msgpack.packb(found)),
    )
    assert hands.line.did == [f"reject {tag} False" for tag in (1, 2, 3, 4, 5, 6)]
    assert "to the dead letters" in caplog.text
    assert hands.work.in_hand == 0


async def test_a_large_reply_goes_alone_and_none_is_longer_than_is_read() -> None:
    hands = Batched()
    hands.service.on("large")(lambda _: {"action": "x" * 9_000})
    hands.service.on("long")(lambda _: {"action": "x" * 8_000})
    hands.deliver(message(7, batch(*["large", "e", "e"], *["long"] * 40)))
    sizes = [len(body) for _, _, body in hands.replies]
    assert sum((properties.headers or {}).get("x-batch", 1) for _, properties, _ in hands.replies) == 43  # type: ignore[misc]
    assert len(sizes) > _PUBLISHED
    assert max(sizes) <= contract.MAX_REPLY
    assert hands.replies[0][1].correlation_id == "n:1:1:1"


async def test_a_refused_message_of_replies_is_sent_again() -> None:
    hands = Batched(more=1)
    hands.deliver(message(7, batch("e", "e")))
    hands.line.confirm(1, taken=False)

    def again() -> list[str]:
        """Each after a pause of its own; those of one turn in one message, as ever."""
        found = [(told.correlation_id, body) for _, told, body in hands.replies[1:]]
        return [id_ for alone, body in found for id_ in ([alone] if alone else ids(body))]

    await until(lambda: sorted(again()) == ["n:1:1:1", "n:1:1:2"])
    hands.opened[0].confirm(len(hands.opened[0].did), multiple=True)
    assert hands.line.did[-1] == "ack 7"


async def test_the_reply_has_the_correlation_id_of_a_message_that_has_one() -> None:
    hands = Batched()
    asked = message(7, batch("e", "e"))
    properties = Basic.Properties(correlation_id="whole", reply_to="r", headers={"x-node": "n", "x-batch": 2})
    asked._header = frame.marshal(ContentHeader(properties=properties), 1)[7:-1]
    hands.deliver(asked)
    ((_, told, body),) = hands.replies
    assert (told.correlation_id, len(batches.replied(body)[0])) == ("whole", 2)


async def test_what_tells_of_itself_does_so_in_headers_of_its_own() -> None:
    hands = Batched()

    def fail(_: Request) -> dict[str, Any]:
        raise ValueError

    hands.service.on("failing")(fail)
    hands.deliver(message(7, batch("e", "failing", "unknown")))
    ((_, _, body),) = hands.replies
    told = {each.correlation_id: each.headers for each in batches.replied(body)[0]}
    assert told["n:1:1:1"] is None
    assert re.fullmatch(
        r"{'x-status': 'failed', 'x-detail': 'ValueError at test_several.py, line \d+'}", str(told["n:1:1:2"])
    )
    assert told["n:1:1:3"] == {"x-status": "failed", "x-detail": "no handler for unknown in x"}


async def test_no_more_handlers_run_at_a_time_than_prefetch_lets_in() -> None:
    """As of single requests: a service that waits for a database has said so by that, if by anything."""
    hands, gate, running = Batched(prefetch=2), asyncio.Event(), set()

    @hands.service.on("slow")
    async def decide(request: Request) -> dict[str, Any]:
        running.add(request.data["of"])
        await gate.wait()
        running.discard(request.data["of"])
        return route("sip:1@gw")

    hands.deliver(message(7, batch(*["slow"] * 5)), message(8, batch(*["slow"] * 5, left=0.05)))
    await asyncio.sleep(0.01)
    assert running == {1, 2}
    await until(lambda: hands.service.counts[Result.EXPIRED] == 5)
    gate.set()
    await until(lambda: hands.service.counts[Result.DECIDED] == 5)
    assert hands.line.did[-1] == "publish to r"
    hands.line.confirm(9, multiple=True)
    assert hands.work.in_hand == 0


async def test_nobody_waits_for_the_answer_of_one_that_is_observed() -> None:
    hands = Batched()
    hands.deliver(message(7, batch("e", "e"), to=None))
    assert hands.replies == []
    assert hands.work.in_hand == 0 or hands.line.did == []
    await until(lambda: hands.line.did)
    assert hands.line.did == ["ack 7"]


async def test_a_request_of_it_can_be_passed_on_alone() -> None:
    hands, passed = Batched(), []

    async def pass_on(delivery: Delivery, event: str) -> bool:
        passed.append((event, delivery.content, delivery.properties()))
        return True

    hands.work._pass_on = pass_on
    hands.deliver(message(7, batch("e", "moved")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ((event, body, properties),) = passed
    assert (event, contract.decode_request(body).seq) == ("moved", 2)
    assert (properties.correlation_id, properties.reply_to, properties.message_type) == (
        "n:1:1:2",
        "r",
        "moved",
    )
    assert 0 < int(properties.expiration or 0) <= 2_000
    assert "x-batch" not in (properties.headers or {})
    hands.line.confirm(1)
    assert hands.line.did[-1] == "ack 7"
