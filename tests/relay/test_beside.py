"""Beside the trip: notices out to the broker, commands in to Kamailio."""

from __future__ import annotations

import pytest

from adapter import contract
from adapter.errors import CodecError
from adapter.model.beat import Beat
from adapter.model.transaction import RESEND_FOR
from adapter.ports.broker import Published
from adapter.relay.commands import MAX_UNREAD
from adapter.wire import netstring
from adapter.wire.event import Notice
from tests.relay_bench import Bench, suspended


@pytest.fixture
async def bench() -> Bench:
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

    async def test_one_of_the_replicas_publishes_them(self) -> None:
        nodes = [f"sbc{number}" for number in range(20)]
        both = Beat(nodes=frozenset(nodes))
        first = Bench(nodes=nodes)
        second = Bench(store=first.store.inner.beside("r2"), nodes=nodes)
        first.look(r2=both)
        second.look(r1=both)
        for replica in (first, second):
            for node in nodes:
                await replica.events(Notice("call_ended", {}), node=node)
        published = [[each.node for each in replica.broker.published] for replica in (first, second)]
        assert sorted(published[0] + published[1]) == sorted(nodes)
        assert all(published)
        second.look(r1=Beat(broker=False, nodes=frozenset(nodes)))
        await second.events(Notice("call_ended", {}), node=published[0][0])
        assert second.broker.published[-1].node == published[0][0]

    async def test_where_nobody_is_active_whoever_can_publishes_them(self, bench: Bench) -> None:
        """As it claims suspensions then: for the first second of a plain configuration, say."""
        bench.links.unsound.add("sbc1")
        await bench.events(suspended(1), Notice("call_ended", {}))
        assert sorted(each.event for each in bench.broker.published) == ["call_ended", "invite_request"]

    async def test_before_its_first_beat_too(self, bench: Bench) -> None:
        bench.links.unsound.add("sbc1")
        bench.trip.on_events("sbc1", [Notice("call_ended", {})])
        await bench.trip.idle()
        assert [each.event for each in bench.broker.published] == ["call_ended"]

    async def test_one_that_cannot_be_published_is_kept(self, bench: Bench) -> None:
        await bench.events(Notice("call_ended", {"n": 1 << 70}))
        assert [letter.reason for letter in bench.broker.letters] == ["unencodable"]
        assert bench.broker.published == []
        assert bench.links.sent == []


class TestCommands:
    def test_they_are_pushed_as_they_are(self, bench: Bench) -> None:
        body = b'{"command":"kick", "user":"100"}'
        bench.trip.on_command("sbc1", body)
        assert bench.links.sent == [("sbc1", body, RESEND_FOR, None)]
        assert bench.counted("commands_total", node="sbc1") == 1

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not-json"),
            (b"\xff", "not-json"),
            (b"[" * 30_000, "not-json"),
            (b"[" * 100_000, "too-large"),
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
            bench.trip.on_command("sbc1", body)
        assert caught.value.reason == reason
        assert bench.links.sent == []
        assert bench.counted("commands_total", node="sbc1") == 0

    @pytest.mark.parametrize(
        "body", ['{"a":1}'.encode("utf-16"), b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":"\\u0000"}']
    )
    def test_what_kamailio_would_not_read(self, bench: Bench, body: bytes) -> None:
        with pytest.raises(CodecError):
            bench.trip.on_command("sbc1", body)
        assert bench.links.sent == []

    def test_to_a_node_that_does_not_read_no_more_than_so_many(self, bench: Bench) -> None:
        bench.links.commands_waiting = MAX_UNREAD - 1
        bench.trip.on_command("sbc1", b"{}")
        bench.links.commands_waiting = MAX_UNREAD
        with pytest.raises(CodecError, match="overload"):
            bench.trip.on_command("sbc1", b"{}")
        assert len(bench.links.sent) == 1

    def test_what_is_more_than_the_node_reads(self, bench: Bench) -> None:
        bench.links.longest = 20
        with pytest.raises(CodecError, match="too-large"):
            bench.trip.on_command("sbc1", b'{"command":"kick, please"}')
        bench.trip.on_command("sbc1", b'{"command":"kick"}')
        assert len(bench.links.sent) == 1

    @pytest.mark.parametrize("node", ["sbc1", "sbc9"])
    def test_only_to_a_configuration_that_tells_them_from_resumes(self, bench: Bench, node: str) -> None:
        bench.links.gated = False
        with pytest.raises(CodecError, match="no-hello"):
            bench.trip.on_command(node, b"{}")
        assert bench.links.sent == []
