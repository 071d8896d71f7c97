"""Beside the trip: notices out to the broker, commands in to Kamailio."""

from __future__ import annotations

import pytest

from adapter import contract
from adapter.broker.base import Published
from adapter.errors import CodecError
from adapter.relay import RESEND_FOR
from adapter.wire import netstring
from adapter.wire.event import Notice
from tests.relay_bench import Bench, suspended


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestNotices:
    async def test_they_are_published_and_never_tracked(self, bench: Bench) -> None:
        bench.broker.answers["lonely"] = Published.UNROUTABLE
        await bench.events(Notice("call_ended", {"id": 1}), Notice("lonely", b"\xff"))
        assert [(each.correlation_id, each.deadline) for each in bench.broker.published] == [(None, None)] * 2
        first, second = (contract.decode_request(each.body) for each in bench.broker.published)
        assert first.is_notice
        assert (first.event, first.data, second.data) == ("call_ended", {"id": 1}, b"\xff")
        assert await bench.store.scan("sbc1") == []
        assert bench.counted("events_total", node="sbc1", kind="notice") == 2
        assert bench.counted("notices_total", published="confirmed") == 1
        assert bench.counted("notices_total", published="unroutable") == 1

    async def test_one_of_the_replicas_publishes_them(self, bench: Bench) -> None:
        other = Bench(store=bench.store.inner.beside("r2"))
        nodes = [f"sbc{number}" for number in range(20)]
        for replica in (bench, other):
            replica.relay.replicas = {"r1", "r2"}
            for node in nodes:
                await replica.events(Notice("call_ended", {}), suspended(), node=node)
        published = [
            [each.node for each in replica.broker.published if each.event == "call_ended"]
            for replica in (bench, other)
        ]
        assert sorted(published[0] + published[1]) == sorted(nodes)
        assert all(published)
        other.relay.replicas = {"r2"}
        await other.events(Notice("call_ended", {}), node=published[0][0])
        assert other.broker.published[-1].node == published[0][0]

    async def test_one_that_cannot_be_published_is_kept(self, bench: Bench) -> None:
        await bench.events(Notice("call_ended", {"n": 1 << 70}))
        assert [letter.reason for letter in bench.broker.letters] == ["unencodable"]
        assert bench.broker.published == []
        assert bench.links.sent == []


class TestCommands:
    def test_they_are_pushed_as_they_are(self, bench: Bench) -> None:
        body = b'{"command":"kick", "user":"100"}'
        bench.relay.on_command("sbc1", body)
        assert bench.links.sent == [("sbc1", body, RESEND_FOR, None)]
        assert bench.counted("commands_total", node="sbc1") == 1

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not-json"),
            (b"\xff", "not-json"),
            (b"[" * 100_000, "not-json"),
            (b"[1]", "not-a-command"),
            (b'{"tm_trans":{"tm_index":1,"tm_label":2}}', "not-a-command"),
            (b'{"tm_tr\\u0061ns":{}}', "not-a-command"),
            (b'{"tm_index":1}', "not-a-command"),
            (b'{"tm_label":1}', "not-a-command"),
            (b'{"adapter":{"status":"ready"}}', "not-a-command"),
            (b'{"a":"' + b"x" * netstring.MAX_OUT + b'"}', "too-large"),
        ],
        ids=lambda value: str(value[:20]),
    )
    def test_what_must_not_be_pushed(self, bench: Bench, body: bytes, reason: str) -> None:
        with pytest.raises(CodecError) as caught:
            bench.relay.on_command("sbc1", body)
        assert caught.value.reason == reason
        assert bench.links.sent == []
        assert bench.counted("commands_total", node="sbc1") == 0

    @pytest.mark.parametrize(
        "body", ['{"a":1}'.encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":"\\u0000"}']
    )
    def test_what_kamailio_would_not_read(self, bench: Bench, body: bytes) -> None:
        with pytest.raises(CodecError):
            bench.relay.on_command("sbc1", body)
        assert bench.links.sent == []

    @pytest.mark.parametrize("node", ["sbc1", "sbc9"])
    def test_only_to_a_configuration_that_tells_them_from_resumes(self, bench: Bench, node: str) -> None:
        bench.links.gated = False
        with pytest.raises(CodecError, match="no-hello"):
            bench.relay.on_command(node, b"{}")
        assert bench.links.sent == []
