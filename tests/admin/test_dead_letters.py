"""The dead letters: told apart, shown, and published again."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from adapter import batches, contract
from adapter.admin.dead_letters import (
    Fate,
    Filter,
    Kind,
    Letter,
    Pace,
    again,
    body,
    find,
    headers,
    opened,
    properties,
    read,
)
from adapter.admin.rabbit import Message, Rabbit
from adapter.amqp.topology import Binding, Queue
from adapter.broker.rabbitmq import AmqpBroker
from adapter.broker.rabbitmq.topology import DEAD_BINDINGS, DEAD_QUEUE, EXCHANGES
from adapter.contract import Request
from adapter.errors import BrokerUnavailable
from adapter.ports.broker import DeadLetter, Publication
from consumers.amqp import several
from consumers.amqp.delivery import Delivery
from tests.broker.support import Recorder
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pamqp.common import FieldTable

NOW = 1_800_000_000.0
SERVICE = Queue("evapi.decide.x", {"x-dead-letter-exchange": contract.DEAD_EXCHANGE})


def died(request: Request | bytes, reason: str = "rejected", left: float = 5.0, **given: Any) -> Letter:
    """As RabbitMQ gives up what an adapter published; ``left`` seconds before its deadline."""
    death = {"reason": reason, "queue": "evapi.decide.x", "count": 1, "original-expiration": "2000"}
    death |= {"time": datetime.fromtimestamp(NOW - 60, UTC), "exchange": "evapi.events"}
    table: dict[str, Any] = {
        "x-death": [death],
        "x-first-death-reason": reason,
        "x-node": "sbc1",
        "x-version": 1,
    }
    if not (isinstance(request, Request) and request.is_notice):
        table["x-deadline"] = round((NOW + left) * 1000)
        given = {"correlation_id": "sbc1:3:7:1", "reply_to": "evapi.results.sbc1", **given}
    raw = contract.encode_request(request) if isinstance(request, Request) else request
    found = Basic.Properties(
        content_type=contract.MSGPACK, headers=table, message_type="invite_request", message_id="m", **given
    )
    return read(1, Message(1, True, contract.DEAD_EXCHANGE, "invite_request.sbc1", found, raw))


def kept(raw: bytes, reason: str = "not-json", content_type: str | None = None, **given: Any) -> Letter:
    """As an adapter keeps what it did not understand."""
    table: FieldTable = {"x-reason": reason, "x-detail": "why", "x-node": "sbc1"}
    found = Basic.Properties(
        content_type=content_type or "application/octet-stream",
        headers=table,
        timestamp=datetime.fromtimestamp(NOW - 5, UTC),
        **given,
    )
    return read(2, Message(2, False, contract.DEAD_EXCHANGE, "dead-letter", found, raw))


def request(data: Any, left: float = 5.0) -> Request:
    return Request("invite_request", "sbc1", data, 3, 7, 1, NOW + left)


class TestTellingApart:
    def test_a_request(self) -> None:
        found = died(request({"call_id": "abc@host"}))
        assert (found.kind, found.reason, found.event, found.node) == (
            Kind.REQUEST,
            "rejected",
            "invite_request",
            "sbc1",
        )
        assert (found.service, found.call_id, found.at, found.deadline) == (
            "x",
            "abc@host",
            NOW - 60,
            NOW + 5,
        )
        assert (found.correlation_id, found.message_id, found.detail) == ("sbc1:3:7:1", "m", "")

    def test_a_notice(self) -> None:
        found = died(Request("call_ended", "sbc1", {}))
        assert (found.kind, found.deadline, found.correlation_id) == (Kind.NOTICE, None, "")

    def test_what_no_adapter_published(self) -> None:
        found = died(b"hello")
        assert (found.kind, found.event, found.node, found.deadline) == (
            Kind.OTHER,
            "invite_request",
            "sbc1",
            NOW + 5,
        )

    def test_of_one_without_properties_the_routing_key_tells(self) -> None:
        table: Any = {"x-death": [{"reason": "maxlen", "queue": "q", "count": 3}]}
        message = Message(1, False, "evapi.dead", "a.b", Basic.Properties(headers=table), b"")
        found = read(1, message)
        assert (found.kind, found.event, found.node, found.service) == (Kind.OTHER, "a", "b", "q")
        assert (found.at, found.deadline, found.detail) == (None, None, "3 times")

    @pytest.mark.parametrize(
        "raw", [b"invite_request:3:7:!", b'{"event":"invite_request",', b"invite_request:::e30="]
    )
    def test_a_frame(self, raw: bytes) -> None:
        found = kept(raw)
        assert (found.kind, found.reason, found.detail, found.node) == (Kind.FRAME, "not-json", "why", "sbc1")
        assert (found.event, found.at) == ("invite_request", NOW - 5)

    def test_a_frame_of_the_configuration(self) -> None:
        assert kept(b'{"adapter":{"hello":1}}').event == ""

    def test_a_reply(self) -> None:
        assert kept(b"[]", "not-a-map", contract.JSON, correlation_id="sbc1:3:7:1").kind is Kind.REPLY
        assert kept(b"[]", "no-correlation-id").kind is Kind.REPLY

    def test_a_command(self) -> None:
        assert kept(b"[]", "not-a-command", contract.JSON).kind is Kind.COMMAND

    def test_anything_else(self) -> None:
        message = Message(1, False, "", "evapi.dead-letters", Basic.Properties(headers={"x-death": []}), b"")
        assert read(1, message).kind is Kind.OTHER
        bytes_for_text = Basic.Properties(headers={"x-reason": b"\xffno", "x-detail": None})
        assert read(1, replace(message, properties=bytes_for_text)).reason == "\\xffno"


class TestChoosing:
    @pytest.mark.parametrize(
        ("chosen", "takes"),
        [
            (Filter(), True),
            (Filter("rejected", "invite_request", "sbc1"), True),
            (Filter(reason="expired"), False),
            (Filter(event="call_ended"), False),
            (Filter(node="sbc2"), False),
        ],
    )
    def test_by_reason_event_and_node(self, chosen: Filter, takes: bool) -> None:
        assert chosen.takes(died(request({}))) is takes

    def test_by_number_or_id(self) -> None:
        one, two = died(request({"call_id": "c"})), kept(b"", correlation_id="sbc1:3:7:1")
        assert find([one, two], "1") is one
        assert find([one, two], "2") is two
        assert find([one, two], "3") is None
        assert find([one, two], "sbc1:3:7:1") is two
        assert find([one, two], "c") is one
        assert find([one, two], "m") is one

    def test_the_key_tells_it_from_others_when_it_is_read_again(self) -> None:
        one = died(request({}))
        assert replace(one, number=9, message=replace(one.message, tag=9)).key == one.key
        assert died(request({}), "expired").key != one.key


class TestFate:
    @pytest.mark.parametrize(
        ("letter", "even_late", "fate"),
        [
            (died(request({})), False, Fate.REPLAYED),
            (died(request({}, left=0)), False, Fate.LATE),
            (died(request({}, left=0)), True, Fate.REPLAYED),
            (died(Request("call_ended", "sbc1", {})), False, Fate.REPLAYED),
            (died(b"hello"), True, Fate.IMPOSSIBLE),
            (kept(b"frame"), True, Fate.IMPOSSIBLE),
            (kept(b"reply", correlation_id="a"), True, Fate.IMPOSSIBLE),
        ],
    )
    def test_what_can_be_replayed(self, letter: Letter, even_late: bool, fate: Fate) -> None:
        assert letter.fate(NOW, even_late) is fate

    def test_again_as_it_was(self) -> None:
        letter = died(request({}), delivery_mode=1, app_id="evapi-adapter", user_id="guest")
        found = again(letter, NOW)
        assert found.headers == {"x-node": "sbc1", "x-version": 1, "x-deadline": round((NOW + 5) * 1000)}
        assert (found.expiration, found.correlation_id, found.message_id) == ("5000", "sbc1:3:7:1", "m")
        assert (found.reply_to, found.message_type) == ("evapi.results.sbc1", "invite_request")
        assert (found.content_type, found.delivery_mode, found.user_id) == (contract.MSGPACK, 1, None)
        assert "x-death" in letter.message.headers

    def test_a_late_one_has_the_time_it_had(self) -> None:
        assert again(died(request({}, left=-9)), NOW).expiration == "2000"

    def test_a_notice_never_expires(self) -> None:
        assert again(died(Request("call_ended", "sbc1", {})), NOW).expiration is None


class TestShowing:
    def test_a_request(self) -> None:
        shown = body(died(request({"call_id": "c", "password": "hush", "deep": [{"token": "hush"}]})))
        assert shown["data"] == {"call_id": "c", "password": "***", "deep": [{"token": "***"}]}
        assert (shown["event"], shown["tm_index"]) == ("invite_request", 3)

    def test_data_that_are_bytes(self) -> None:
        assert body(died(request(b'{"password":"hush","a":1\xff')))["data"] == '{"password":***,"a":1\\xff'

    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            (b'{"a":1,"secret":"hush"}', {"a": 1, "secret": "***"}),
            (b'{"password":"hush", "a', '{"password":***, "a'),
            (b'{"a":1, "password" : "hush', '{"a":1, "password" : ***'),
            (b'{"a":1, "user" : "ann', '{"a":1, "user" : "ann'),
            (
                b"e:3:7:" + base64.b64encode(b'{"password":"hus'),
                {"frame": "e:3:7:", "data": '{"password":***'},
            ),
            (b"e:3:7:" + base64.b64encode(b'{"secret":"x"}'), {"frame": "e:3:7:", "data": {"secret": "***"}}),
            (b"e:3:7:" + base64.b64encode(b"plain"), {"frame": "e:3:7:", "data": "plain"}),
            (
                b"e:3:7:aHVz",
                {"frame": "e:3:7:", "data": "hus"},
            ),
            (
                b"e:3:7:aHVzaA!",
                {"frame": "e:3:7:", "data": "(7 bytes that are no base64; --raw shows them)"},
            ),
            (b"\xff\x00", "\\xff\x00"),
        ],
    )
    def test_a_frame(self, raw: bytes, shown: object) -> None:
        assert body(kept(raw)) == shown

    def test_a_reply(self) -> None:
        packed = msgpack.packb({"action": "route", "token": "hush"})
        assert body(kept(packed, "x", contract.MSGPACK, correlation_id="a")) == {
            "action": "route",
            "token": "***",
        }
        assert body(kept(b"\xc1", "x", contract.MSGPACK, correlation_id="a")) == "\\xc1"

    def test_properties_and_headers(self) -> None:
        found = died(request({}), priority=0)
        shown = properties(found)
        assert (shown["exchange"], shown["routing_key"]) == ("evapi.dead", "invite_request.sbc1")
        assert (shown["type"], shown["priority"], shown["correlation_id"]) == (
            "invite_request",
            0,
            "sbc1:3:7:1",
        )
        assert "headers" not in shown
        assert "user_id" not in shown
        assert headers(found)["x-death"][0]["time"] == "2027-01-15T07:59:00+00:00"
        secret = kept(b"")
        secret.message.properties.headers = {"authorization": "Digest hush", "b": b"\xff"}
        assert headers(secret) == {"authorization": "***", "b": "\\xff"}


async def test_so_many_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(1 / 1000)
    for _ in range(3):
        await pace.role()
    assert [round(seconds, -2) for seconds in slept] == [1000, 2000]
    for _ in range(3):
        await Pace(None).role()
    assert len(slept) == 2


def message_of(written: bytes) -> tuple[str, bytes, Basic.Properties]:
    """The routing key, the body and the properties of what is published by these frames."""
    found = []
    while written:
        size, _, each = frame.unmarshal(written)
        written = written[size:]
        found.append(each)
    publish, header, content = found
    assert isinstance(publish, Basic.Publish)
    assert isinstance(header, ContentHeader)
    assert isinstance(content, ContentBody)
    return publish.routing_key, content.value, header.properties


class TestOnTheQueue:
    @pytest.fixture
    async def rabbit(self, vhost: str) -> AsyncIterator[Rabbit]:
        async with Rabbit(vhost) as found:
            for thing in (*EXCHANGES, DEAD_QUEUE, SERVICE):
                await found.declare(thing)
            for binding in (*DEAD_BINDINGS, Binding(contract.EVENTS_EXCHANGE, SERVICE.name, "*.sbc1")):
                await found.bind(binding)
            yield found

    async def publish(self, vhost: str, *publications: Publication) -> None:
        broker = AmqpBroker(vhost)
        await broker.start(Recorder())
        await until(lambda: broker.ready)
        await broker.publish(publications)
        await broker.close()

    async def reject(self, rabbit: Rabbit, messages: int = 1) -> None:
        """As a service does with what it does not take for a request."""
        channel = await rabbit._channel()
        for _ in range(messages):
            found = await channel.basic_get(SERVICE.name)
            assert found.delivery_tag
            await channel.basic_reject(found.delivery_tag, requeue=False)
        async with asyncio.timeout(10):
            while await self.waiting(rabbit) < messages:
                await asyncio.sleep(0.01)

    async def waiting(self, rabbit: Rabbit, name: str = DEAD_QUEUE.name) -> int:
        state = await rabbit.queue(name)
        assert state is not None
        return state.messages

    async def wait(self, rabbit: Rabbit, messages: int) -> None:
        """Wait until so many are on the queue: what was looked at is back once its channel is closed."""

        async def there() -> bool:
            return await self.waiting(rabbit) == messages

        await until(there)

    async def test_what_an_adapter_kept_and_what_a_service_rejected(self, rabbit: Rabbit, vhost: str) -> None:
        now = time.time()
        packed = contract.encode_request(
            Request("invite_request", "sbc1", {"call_id": "c"}, 3, 7, 1, now + 60)
        )
        await self.publish(vhost, Publication("invite_request", "sbc1", packed, "sbc1:3:7:1", now + 60))
        await self.reject(rabbit)
        broker = AmqpBroker(vhost)
        await broker.start(Recorder())
        await until(lambda: broker.ready)
        broker.dead_letter(DeadLetter("colon-form", "no data", b"invite_request:1", "sbc1"))
        await until(lambda: broker.counters.dead_letters == 1)
        broker.dead_letter(DeadLetter("not-a-map", "a list", b"[]", "sbc1", "sbc1:3:7:1", contract.JSON))
        await until(lambda: broker.counters.dead_letters == 2)
        await broker.close()
        async with opened(rabbit) as found:
            one, two, three = found.letters
        assert (one.kind, one.reason, one.service, one.call_id) == (Kind.REQUEST, "rejected", "x", "c")
        assert (two.kind, two.reason, two.detail) == (Kind.FRAME, "colon-form", "no data")
        assert (three.kind, three.correlation_id) == (Kind.REPLY, "sbc1:3:7:1")
        assert all(letter.at is not None and abs(letter.at - now) < 60 for letter in found.letters)
        assert [letter.number for letter in found.letters] == [1, 2, 3]
        await self.wait(rabbit, 3)

    async def test_one_is_published_again_as_it_was(self, rabbit: Rabbit, vhost: str) -> None:
        now = time.time()
        packed = contract.encode_request(Request("invite_request", "sbc1", {}, 3, 7, 1, now + 60))
        await self.publish(vhost, Publication("invite_request", "sbc1", packed, "sbc1:3:7:1", now + 60))
        channel = await rabbit._channel()
        first = await channel.basic_get(SERVICE.name)
        assert first.delivery_tag
        await channel.basic_reject(first.delivery_tag, requeue=True)
        await self.reject(rabbit)
        async with opened(rabbit) as found:
            assert await found.replay(found.letters[0], now + 1) is Fate.REPLAYED
        assert await self.waiting(rabbit) == 0
        second = await (await rabbit._channel()).basic_get(SERVICE.name)
        assert (second.body, second.routing_key) == (first.body, first.routing_key)
        before, after = dict(first.header.properties), dict(second.header.properties)
        assert 0 < int(str(after.pop("expiration"))) <= 59_000
        before.pop("expiration")
        # The time left is not what it was: the expiry says it.
        was: Any = before.pop("headers")
        assert was.pop("x-time-left") <= 60_000
        assert after.pop("headers") == was
        assert after == before

    async def test_for_one_that_nobody_is_bound_to_it_stays(self, rabbit: Rabbit, vhost: str) -> None:
        packed = contract.encode_request(Request("call_ended", "sbc1", {}))
        await self.publish(vhost, Publication("call_ended", "sbc1", packed))
        await self.reject(rabbit)
        channel = await rabbit._channel()
        await channel.queue_unbind(SERVICE.name, contract.EVENTS_EXCHANGE, "*.sbc1")
        async with opened(rabbit) as found:
            assert await found.replay(found.letters[0], NOW) is Fate.UNROUTABLE
        await self.wait(rabbit, 1)

    async def test_each_request_of_a_batch_is_a_letter_of_its_own(self, rabbit: Rabbit, vhost: str) -> None:
        now = time.time()
        published = [
            Publication(
                "invite_request",
                "sbc1",
                contract.encode_request(
                    Request("invite_request", "sbc1", {"call_id": id_}, 3, 7, 1, now + 60)
                ),
                f"sbc1:3:7:{id_}",
                now + 60,
                queue=SERVICE.name,
                batch=64,
            )
            for id_ in "abc"
        ]
        await self.publish(vhost, *published)
        await self.reject(rabbit)
        async with opened(rabbit) as found:
            letters = found.letters
            assert [(each.number, each.kind, each.call_id) for each in letters] == [
                (1, Kind.REQUEST, "a"),
                (2, Kind.REQUEST, "b"),
                (3, Kind.REQUEST, "c"),
            ]
            assert {(each.reason, each.service, each.node) for each in letters} == {("rejected", "x", "sbc1")}
            second = find(letters, "sbc1:3:7:b")
            assert second is letters[1]
            assert await found.replay(second, now + 1) is Fate.REPLAYED
            await found.remove([letters[0]])
            assert await self.waiting(rabbit) == 0
        got = await (await rabbit._channel()).basic_get(SERVICE.name)
        assert (got.body, got.header.properties.correlation_id) == (published[1].body, "sbc1:3:7:b")
        assert contract.HEADER_BATCH not in (got.header.properties.headers or {})
        await self.wait(rabbit, 1)
        async with opened(rabbit) as found:
            (left,) = found.letters
            assert (left.call_id, left.reason, left.message.body) == ("c", "rejected", published[2].body)
            assert found.letters[0].correlation_id == "sbc1:3:7:c"
            assert await found.replay(left, now + 1) is Fate.REPLAYED
        got = await (await rabbit._channel()).basic_get(SERVICE.name)
        assert (got.body, got.header.properties.correlation_id) == (published[2].body, "sbc1:3:7:c")

    async def test_what_is_left_of_a_batch_is_not_lost_if_it_cannot_be_published(
        self, rabbit: Rabbit, vhost: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = time.time()
        published = [
            Publication(
                "invite_request",
                "sbc1",
                contract.encode_request(Request("invite_request", "sbc1", {}, 3, 7, seq, now + 60)),
                f"sbc1:3:7:{seq}",
                now + 60,
                queue=SERVICE.name,
                batch=64,
            )
            for seq in (1, 2)
        ]
        await self.publish(vhost, *published)
        await self.reject(rabbit)

        async def refused(*_: object) -> bool:
            return False

        monkeypatch.setattr(rabbit, "publish", refused)
        with pytest.raises(BrokerUnavailable, match="takes nothing"):
            async with opened(rabbit) as found:
                await found.remove(found.letters[:1])
        await self.wait(rabbit, 1)
        async with opened(rabbit) as found:
            assert "sbc1:3:7:2" in [each.correlation_id for each in found.letters]

    async def test_one_that_the_sdk_rejected_out_of_a_batch_goes_to_that_service_alone(
        self, rabbit: Rabbit
    ) -> None:
        other = Queue("evapi.decide.other")
        await rabbit.declare(other)
        await rabbit.bind(Binding(contract.EVENTS_EXCHANGE, other.name, "*.sbc1"))
        now = time.time()
        bodies = [
            contract.encode_request(Request("invite_request", "sbc1", {}, 3, 7, seq, now + 60))
            for seq in (1, 2)
        ]
        whole = batches.joined(
            [batches.request(each, f"sbc1:3:7:{seq}", 60_000) for seq, each in enumerate(bodies, 1)]
        )
        told = Basic.Properties(headers={"x-node": "sbc1", "x-version": 1, "x-batch": 2}, reply_to="r")
        header = ContentHeader(body_size=len(whole), properties=told).marshal()
        (_, part) = several.parts(Delivery(1, header, whole))
        assert isinstance(part, several.Part)
        died = message_of(part.dead("x", 1, 100_000))
        assert await rabbit.publish(contract.DEAD_EXCHANGE, *died)
        await self.wait(rabbit, 1)
        async with opened(rabbit) as found:
            assert await found.replay(found.letters[0], now + 1) is Fate.REPLAYED
        await self.wait(rabbit, 0)
        assert (await self.waiting(rabbit, SERVICE.name), await self.waiting(rabbit, other.name)) == (1, 0)

    async def test_without_a_queue_there_are_none(self, vhost: str) -> None:
        async with Rabbit(vhost) as rabbit, opened(rabbit) as found:
            assert list(found.letters) == []
