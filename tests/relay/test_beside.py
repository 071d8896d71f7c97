"""Beside the trip: notices out to the broker."""

from __future__ import annotations

import pytest

from adapter import contract
from adapter.model.beat import Beat
from adapter.ports.broker import Published
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

    @pytest.mark.parametrize(
        "data, member",
        [
            ({"tindex": 37, "tlabel": 5}, "tindex"),
            ({"call_id": "x", "xtra": {"tm_index": "37"}}, "xtra.tm_index"),
            ({"TransactionLabel": 5}, "TransactionLabel"),
            ({"tr-idx": 5}, "tr-idx"),
            ({"tindex": None, "index": 5, "label": "x", "tmindexes": 3}, None),
            ({"title": 3, "tindex": "a3"}, None),
            (b"tindex", None),
        ],
    )
    async def test_one_that_looks_like_a_question_is_told_once(
        self, bench: Bench, capsys: pytest.CaptureFixture[str], data: object, member: str | None
    ) -> None:
        for _ in range(3):
            await bench.events(Notice("invite_request", data), Notice("call_cancelled", data))
        told = {} if member is None else {"invite_request": member}
        assert bench.trip.without_ids == told
        assert bench.counted("questions_without_ids_total", node="sbc1") == 3 * len(told)
        assert capsys.readouterr().out.count("looks like a question") == len(told)

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
