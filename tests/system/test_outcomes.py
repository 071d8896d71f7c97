"""Every outcome, and every kind of bad input, through a whole bridge to a simulated Kamailio."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aio_pika
import msgpack
import pytest

from adapter.evapi.limits import LinkSettings
from adapter.simulator import SimulatedKamailio
from consumers import Request, Service
from tests.harness.process import free_port
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from adapter.simulator import SimTransaction
    from adapter.simulator.frames import Form
    from adapter.simulator.routes import Configuration
    from tests.harness.redis import RedisServer

FALLBACK = {"action": "reject", "code": 503, "reason": "No decision"}
SILENT = "told_silence"
"""The event of calls that are not answered, which alone must be over soon."""
PATIENT = {"default": {"deadline": 30.0}, "events": {SILENT: {"deadline": 0.3}}}
ROUTE = {"action": "route", "uri": "sip:gw7.example.net"}

service = Service("told")


@service.on("told", SILENT)
async def _decide(request: Request) -> dict[str, Any]:
    """Do what the event's data tells: for the embedded broker."""
    match request.data["do"]:
        case "fail":
            raise RuntimeError("as told")
        case "silence":
            await asyncio.sleep(60)
        case "unsendable":
            return {"action": "x", "blob": b"\x00"}
        case "large":
            return {"action": "x", "pad": "x" * 40_000}
    return ROUTE


class Consumer:
    """The same on RabbitMQ, by hand, since it must also do what no SDK would."""

    def __init__(
        self, channel: aio_pika.abc.AbstractChannel, operator: aio_pika.abc.AbstractExchange
    ) -> None:
        self._exchange = channel.default_exchange
        self._operator = operator
        self.seen: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def on_request(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        self.seen.append(message)
        data = msgpack.unpackb(message.body)["data"]
        if not isinstance(data, dict):
            data = {"do": "route"}
        do = data["do"]
        if do == "operator":
            node = str(message.headers["x-node"])
            assert message.correlation_id is not None
            by_hand = aio_pika.Message(
                json.dumps(ROUTE).encode(),
                correlation_id=message.correlation_id.rpartition(":")[0],  # operators have no key
                content_type="application/json",
            )
            await self._operator.publish(by_hand, node)
        if do == "reject":
            await message.reject(requeue=False)
            return
        bodies: dict[str, tuple[bytes, str]] = {
            "route": (msgpack.packb(ROUTE), "application/msgpack"),
            "json": (json.dumps(ROUTE).encode(), "application/json; charset=utf-8"),
            "fail": (b"", "application/msgpack"),
            "garbage": (b"\xc1garbage", "application/msgpack"),
            "list": (b"[1]", "application/json"),
            "text": (b"route it", "text/plain"),
            "unsendable": (msgpack.packb({"blob": b"\x00"}), "application/msgpack"),
            "large": (json.dumps({"pad": "x" * 40_000}).encode(), "application/json"),
            "huge": (msgpack.packb({"pad": "x" * 2_000_000}), "application/msgpack"),
        }
        if do in bodies:
            await self.reply(message, *bodies[do], {"x-status": "failed"} if do == "fail" else {})
        await message.ack()

    async def reply(
        self,
        message: Any,
        body: bytes,
        content_type: str,
        headers: dict[str, Any],
        correlation_id: str | None = None,
    ) -> None:
        reply = aio_pika.Message(
            body,
            correlation_id=correlation_id or message.correlation_id,
            content_type=content_type,
            headers=headers,
        )
        await self._exchange.publish(reply, message.reply_to)


@asynccontextmanager
async def consuming(url: str, node: str, event: str = "told") -> AsyncIterator[Consumer]:
    """A consumer bound to the event of this node alone, and to that of silence."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("evapi.events", "topic", durable=True)
        await channel.declare_exchange("evapi.dead", "fanout", durable=True)
        operator = await channel.declare_exchange("evapi.operator", "direct", durable=True)
        queue = await channel.declare_queue(
            f"evapi.decide.{node}", durable=True, arguments={"x-dead-letter-exchange": "evapi.dead"}
        )
        for each in (event, SILENT):
            await queue.bind(exchange, f"{each}.{node}")
        consumer = Consumer(channel, operator)
        await queue.consume(consumer.on_request)
        yield consumer
        await queue.delete(if_unused=False, if_empty=False)


def check(answer: dict[str, Any], call: SimTransaction, node: str, outcome: str, decision: Any) -> None:
    """The resume frame is the contract's. Where consumers are elsewhere, its correlation id has a tag."""
    tag = answer["correlation_id"].removeprefix(f"{node}:{call.index}:{call.label}:{call.seq}")
    assert re.fullmatch("" if node == "sbc1" else ":[A-Za-z0-9_-]{12}", tag)
    assert answer == {
        "tm_trans": {"tm_index": call.index, "tm_label": call.label, "seq": call.seq},
        "event": call.event,
        "outcome": outcome,
        "correlation_id": f"{node}:{call.index}:{call.label}:{call.seq}{tag}",
        "decision": decision,
    }


def event_of(do: str) -> str:
    return SILENT if do == "silence" else "told"


BY_REPLY = [
    ("route", "decided", ROUTE),
    ("json", "decided", ROUTE),
    ("operator", "operator", ROUTE),
    ("fail", "failed", FALLBACK),
    ("reject", "failed", FALLBACK),
    ("silence", "timeout", FALLBACK),
    ("garbage", "malformed", FALLBACK),
    ("list", "malformed", FALLBACK),
    ("text", "malformed", FALLBACK),
    ("unsendable", "malformed", FALLBACK),
    ("large", "oversized", FALLBACK),
    ("huge", "oversized", FALLBACK),
]


@pytest.mark.parametrize("configuration", ["include", "plain"])
async def test_every_reply_has_its_outcome(
    scaled: dict[str, str], node: str, configuration: Configuration
) -> None:
    async with (
        SimulatedKamailio(configuration) as sim,
        bridged(sim, node, scaled, PATIENT),
        consuming(scaled["amqp_url"], node),
    ):
        calls = [await sim.suspend(event_of(do), {"do": do}) for do, _, _ in BY_REPLY]
        for call, (_, outcome, decision) in zip(calls, BY_REPLY, strict=True):
            check(await call.resumed(), call, node, outcome, decision)
        assert sim.counters.resumed == len(BY_REPLY)
        assert sim.counters.duplicates == sim.counters.stale == 0


async def test_every_outcome_of_the_embedded_broker() -> None:
    told = {"consumer": "tests.system.test_outcomes:service"}
    embedded = [("route", "decided", ROUTE), *[row for row in BY_REPLY if row[0] in EMBEDDED]]
    async with SimulatedKamailio() as sim, bridged(sim, "sbc1", told, PATIENT):
        calls = [await sim.suspend(event_of(do), {"do": do}) for do, _, _ in embedded]
        nobody = await sim.suspend("unheard_of", {})
        for call, (_, outcome, decision) in zip(calls, embedded, strict=True):
            check(await call.resumed(), call, "sbc1", outcome, decision)
        check(await nobody.resumed(), nobody, "sbc1", "unroutable", FALLBACK)


EMBEDDED = ("fail", "silence", "unsendable", "large")


async def test_an_event_nobody_is_bound_to_is_unroutable_at_once(scaled: dict[str, str], node: str) -> None:
    async with SimulatedKamailio() as sim, bridged(sim, node, scaled):
        call = await sim.suspend("unheard_of", {})
        check(await call.resumed(), call, node, "unroutable", FALLBACK)


async def test_no_broker_is_unavailable_at_once_and_closes_the_gate(
    redis_server: RedisServer, node: str
) -> None:
    nowhere = {"amqp_url": f"amqp://guest:guest@127.0.0.1:{free_port()}/", "redis_url": redis_server.url}
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, nowhere, {"default": {"deadline": 60}}, ready=False),
    ):
        await sim.until(lambda: sim.statuses)
        call = await sim.suspend("told", {"do": "route"})
        check(await call.resumed(), call, node, "unavailable", FALLBACK)
        assert not sim.gate_open


async def test_more_than_the_limit_is_overload_at_once(scaled: dict[str, str], node: str) -> None:
    rules = {**PATIENT, "limits": {"in_flight": 3}}
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, rules),
        consuming(scaled["amqp_url"], node),
    ):
        calls = [await sim.suspend(SILENT, {"do": "silence"}) for _ in range(10)]
        answers = [await call.resumed() for call in calls]
        outcomes = [answer["outcome"] for answer in answers]
        assert sorted(outcomes) == ["overload"] * 7 + ["timeout"] * 3
        call = await sim.suspend("told", {"do": "route"})
        assert (await call.resumed())["outcome"] == "decided", "there is room again"


async def test_the_fallback_is_the_events_own(scaled: dict[str, str], node: str) -> None:
    rules = {"events": {"unheard_of": {"fallback": {"action": "allow", "note": "ü"}}}}
    async with SimulatedKamailio() as sim, bridged(sim, node, scaled, rules):
        call = await sim.suspend("unheard_of", {})
        check(await call.resumed(), call, node, "unroutable", {"action": "allow", "note": "ü"})


async def test_the_fallback_of_an_outcome(scaled: dict[str, str], node: str) -> None:
    busy = {"action": "reject", "code": 486}
    on = {"failed": busy, "timeout": {"action": "allow"}}
    rules = {"default": {"deadline": 30.0, "fallback_on": on}, "events": {SILENT: {"deadline": 0.3}}}
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, rules),
        consuming(scaled["amqp_url"], node),
    ):
        failed = await sim.suspend("told", {"do": "fail"})
        silent = await sim.suspend(SILENT, {"do": "silence"})
        nobody = await sim.suspend("unheard_of", {})
        check(await failed.resumed(), failed, node, "failed", busy)
        check(await silent.resumed(), silent, node, "timeout", {"action": "allow"})
        check(await nobody.resumed(), nobody, node, "unroutable", FALLBACK)


SPOILED: dict[str, tuple[Form, Callable[[bytes], bytes]]] = {
    "broken JSON": ("json", lambda frame: frame.replace(b'"route"', b'"ro"ute"')),
    "cut JSON": ("json", lambda frame: frame[:-4]),
    "not UTF-8": ("json", lambda frame: frame.replace(b"route", b"\xff\xfe")),
    "a number over 64 bits": ("json", lambda frame: frame.replace(b'"route"', b"1" + b"0" * 30)),
    "broken base64": ("colon", lambda frame: frame + b"!"),
    "no data": ("colon", lambda frame: frame.rpartition(b":")[0]),
    "a huge frame": ("colon", lambda frame: frame + b"A" * 2_000_000),
}


@pytest.mark.parametrize("fault", SPOILED)
async def test_a_bad_frame_with_ids_is_malformed_at_once_and_nothing_is_lost_around_it(
    scaled: dict[str, str], node: str, fault: str
) -> None:
    form, spoil = SPOILED[fault]
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, {"default": {"deadline": 60}}) as bridge,
        consuming(scaled["amqp_url"], node),
    ):
        before = await sim.suspend("told", {"do": "route"})
        bad = await sim.suspend("told", {"do": "route"}, form=form, spoil=spoil)
        after = await sim.suspend("told", {"do": "route"})
        check(await bad.resumed(), bad, node, "malformed", FALLBACK)
        assert (await before.resumed())["outcome"] == "decided"
        assert (await after.resumed())["outcome"] == "decided"
        assert [link.connects for link in bridge.nodes] == [1], "the link lives"


NO_IDS = [
    b"",
    b"no colons",
    b"{}",
    b"[]",
    b'{"event":7}',
    b'{"event":"told","tm_trans":[1,2]}',
    b'{"event":"told","tm_trans":{"tm_index":true,"tm_label":{}}}',
    b"told:one:two:",
    b"told:-1:99999999999:",
    b":::",
    b"\x00\xff" * 100,
    b"{" * 5000,
    b'{"adapter":7}',
    b'{"adapter":{"synced":"nobody:99"}}',
    b"told:::!!!!",
]


async def test_bad_frames_without_ids_are_kept_for_an_operator_and_nothing_is_lost_around_them(
    scaled: dict[str, str], node: str
) -> None:
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, PATIENT) as bridge,
        consuming(scaled["amqp_url"], node),
    ):
        calls = []
        for frame in NO_IDS:
            sim.emit_payload(frame)
            calls.append(await sim.suspend("told", {"do": "route"}))
        for call in calls:
            assert (await call.resumed())["outcome"] == "decided"
        malformed = bridge.metrics.trip.events.labels(node, "malformed")._value.get()
        assert malformed == len(NO_IDS) - 1, "a receipt of another link is for that link"
        assert [link.connects for link in bridge.nodes] == [1]


@pytest.mark.parametrize("garbage", [b"x:y,", b"3:abcd,", b"00:,", b"12345678901:"])
async def test_a_stream_out_of_step_costs_the_connection_and_no_call(
    scaled: dict[str, str], node: str, garbage: bytes
) -> None:
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, PATIENT) as bridge,
        consuming(scaled["amqp_url"], node),
    ):
        before = await sim.suspend("told", {"do": "route"})
        sim.emit_raw(garbage)
        await sim.until(lambda: sim.counters.connects == 2)
        await sim.until(lambda: sim.clients == 1)
        after = await sim.suspend("told", {"do": "route"})
        assert (await before.resumed())["outcome"] == "decided"
        assert (await after.resumed())["outcome"] == "decided"
        assert [link.connects for link in bridge.nodes] == [2]


async def test_data_that_is_no_object_reaches_the_consumer_as_bytes(
    scaled: dict[str, str], node: str
) -> None:
    for data in (b"\x00\xff binary", b"", b"[1,2]", b"{not json", b'{"ua":"\xff"}'):
        async with (
            SimulatedKamailio("plain") as sim,
            bridged(sim, node, scaled, PATIENT),
            consuming(scaled["amqp_url"], node) as consumer,
        ):
            call = await sim.suspend("told", data)
            assert (await call.resumed())["outcome"] == "decided"
            assert msgpack.unpackb(consumer.seen[0].body)["data"] == data


async def test_replies_to_nothing_are_dropped_and_counted(scaled: dict[str, str], node: str) -> None:
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, scaled, PATIENT) as bridge,
        consuming(scaled["amqp_url"], node) as consumer,
    ):
        call = await sim.suspend("told", {"do": "route"})
        await call.resumed()
        asked = consumer.seen[0]
        await consumer.reply(asked, msgpack.packb(ROUTE), "application/msgpack", {})  # a second time
        for correlation_id in (f"{node}:1:2:3", "nonsense", f"elsewhere:{call.index}:{call.label}:1"):
            await consumer.reply(asked, msgpack.packb(ROUTE), "application/msgpack", {}, correlation_id)
        again = await sim.suspend("told", {"do": "route"})
        assert (await again.resumed())["outcome"] == "decided"
        # The claim of the second might have been on its way.
        await until(lambda: bridge.metrics.trip.late_replies.labels(node)._value.get())
        assert bridge.metrics.trip.replies_refused._value.get() == 2, "they have no tag"
        assert sim.counters.resumed == sim.counters.suspended == 2
        assert sim.counters.duplicates == 0


async def test_a_lost_resume_is_written_again_and_counted_once(
    scaled: dict[str, str], node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No status but the first comes between.
    patient = partial(LinkSettings, hello_wait=60.0, status_interval=60.0)
    monkeypatch.setattr("adapter.app.LinkSettings", patient)
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, {**scaled, "receipt_timeout": "0.5"}, PATIENT) as bridge,
        consuming(scaled["amqp_url"], node),
    ):
        await bridge.nodes.flushed()
        sim.lose_frames(2)  # the resume and its sync
        call = await sim.suspend("told", {"do": "route"})
        check(await call.resumed(), call, node, "decided", ROUTE)
        await bridge.nodes.flushed()
        (writer,) = (each.writer for each in bridge.nodes)
        assert sim.counters.lost == 2
        assert writer.receipts_missed == writer.resent == 1
        assert sim.counters.resumed == 1


async def test_two_replicas_make_one_answer(scaled: dict[str, str], node: str) -> None:
    patient = {"default": {"deadline": 30.0}}  # a busy machine has time for all of them
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, {**scaled, "replica": "one"}, patient) as one,
        bridged(sim, node, {**scaled, "replica": "two"}, patient) as two,
        consuming(scaled["amqp_url"], node) as consumer,
    ):
        await sim.until(lambda: sim.clients == 2)
        calls = [await sim.suspend("told", {"do": "route"}) for _ in range(100)]
        for call in calls:
            check(await call.resumed(), call, node, "decided", ROUTE)
        await asyncio.gather(one.nodes.flushed(), two.nodes.flushed())
        assert len(consumer.seen) == 100
        assert sim.counters.resumed == 100
        assert sim.counters.duplicates == sim.counters.refused == 0


async def test_two_replicas_publish_a_notice_once(scaled: dict[str, str], node: str) -> None:
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, node, {**scaled, "replica": "one"}) as one,
        bridged(sim, node, {**scaled, "replica": "two"}) as two,
        consuming(scaled["amqp_url"], node, "ended") as consumer,
    ):
        await sim.until(lambda: sim.clients == 2)
        # Each knows that the other serves the node.
        await until(lambda: all(bridge.roles.of(node).served for bridge in (one, two)))
        for number in range(50):
            sim.notify("ended", {"do": "note", "number": number})
        await until(lambda: len(consumer.seen) >= 50)
        await asyncio.gather(one.trip.idle(), two.trip.idle())
        numbers = [msgpack.unpackb(message.body)["data"]["number"] for message in consumer.seen]
        assert numbers == list(range(50))
        assert {message.correlation_id for message in consumer.seen} == {None}
        assert {message.reply_to for message in consumer.seen} == {None}
        assert {message.expiration for message in consumer.seen} == {None}


async def test_one_nodes_fault_does_not_touch_another(scaled: dict[str, str], node: str) -> None:
    other = f"{node}-other"
    async with (
        SimulatedKamailio() as sim,
        SimulatedKamailio() as broken,
        bridged(
            sim, node, {**scaled, "nodes": f"{node}={sim.address},{other}={broken.address}"}, PATIENT
        ) as bridge,
        consuming(scaled["amqp_url"], node),
    ):
        await broken.until(lambda: broken.clients)
        broken.stop_reading()
        for _ in range(100):
            await broken.suspend("unheard_of", {})
        broken.emit_raw(b"x")
        call = await sim.suspend("told", {"do": "route"})
        assert (await call.resumed())["outcome"] == "decided"
        assert [link.connects for link in bridge.nodes if link.node == node] == [1]
