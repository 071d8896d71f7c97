"""The writer against a model of Kamailio's netstring reader, which loses frames on bad splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.evapi.window import Outgoing
from adapter.simulator.reader import BUFFER
from adapter.wire import netstring, to_kamailio
from tests.evapi.model import FOREVER, SEGMENTS, Bench
from tests.harness.examples import examples

if TYPE_CHECKING:
    from random import Random

STATUS = to_kamailio.status("ready", "r1", "sbc1")

sizes = st.lists(
    st.one_of(st.integers(20, 700), st.sampled_from((8_000, 29_900, 31_999, 32_000))), max_size=120
)
BROKEN_TOKENS = (
    *(":", ":1", "link0001", "link0001:", "link0001:0", "link0001:2", "link0001:-1", "link0001:1:1", ""),
    *("link0002:1", "link0001:x", "link0001:1.0", "link0001: 1", "link0001:\N{SUPERSCRIPT ONE}"),
    *("link0001:\N{ARABIC-INDIC DIGIT ONE}", "link0001:" + "9" * 5_000),
)


class TestWithReceipts:
    @given(sizes, st.sampled_from(SEGMENTS), st.randoms(use_true_random=True))
    @settings(max_examples=examples(75), deadline=None)
    def test_every_frame_arrives_once_and_in_order(
        self, sizes: list[int], segment: int, random: Random
    ) -> None:
        bench = Bench(segment, timeout=FOREVER)
        kamailio = bench.kamailio
        steps = 0
        while sizes or bench.writer.waiting:
            steps += 1
            assert steps < 20_000, "the writer never came to rest"
            match random.randrange(6):
                case 0 if sizes:
                    bench.put(sizes.pop())
                case 1:
                    bench.writer.put_status(STATUS)
                case 2:
                    bench.take()
                case 3:
                    kamailio.read(random.choice((1, 2, 5, 100)))
                case 4:
                    bench.receipt()
                case 5 if bench.writer.wake_at != FOREVER:
                    bench.wake()
        assert [frame.rstrip(b" ") for frame in kamailio.received] == bench.payloads
        assert [id_.index for id_ in bench.read_ids] == list(range(len(bench.payloads)))
        assert kamailio.most_unread <= BUFFER  # and see Bench.take
        assert (bench.writer.resent, bench.writer.receipts_missed, bench.writer.expired) == (0, 0, 0)

    @given(sizes, st.sampled_from(SEGMENTS), st.randoms(use_true_random=True))
    @settings(max_examples=examples(75), deadline=None)
    def test_whatever_is_lost_every_frame_arrives_that_its_connection_outlives(
        self, sizes: list[int], segment: int, random: Random
    ) -> None:
        bench = Bench(segment)
        given_up: set[int] = set()
        for _ in range(20 * len(sizes)):
            match random.randrange(40):
                case 0:
                    given_up |= {id_.index for id_ in bench.writer.ids}
                    bench.connect()
                    assert bench.writer.ids == set()
                case 1:
                    bench.lose(random.choice((1, 3, 10, 1_000)))
                case 2 | 3:
                    bench.kamailio.receipts.clear()
                case 4 | 5:
                    bench.kamailio.receipts.rotate()
                case 6:
                    bench.wake()
                case n if n < 12 and sizes:
                    bench.put(sizes.pop())
                case n if n < 20:
                    bench.take()
                case n if n < 30:
                    bench.kamailio.read(random.choice((1, 2, 5, 100)))
                case _:
                    bench.receipt()
            assert bench.kamailio.most_unread <= BUFFER
        bench.settle()
        kept = set(range(len(bench.payloads))) - given_up
        assert set(bench.kamailio.numbers) >= kept
        assert sorted(id_.index for id_ in bench.read_ids) == sorted(kept)

    def test_a_lost_receipt_is_asked_for_and_the_window_written_again(self) -> None:
        bench = Bench()
        bench.put()
        bench.take_all()
        bench.kamailio.read()
        bench.kamailio.receipts.clear()
        assert bench.writer.wake_at == bench.now + 1.0
        bench.now += 0.999
        assert bench.take() == []
        bench.now += 0.001
        (probe,) = bench.take()
        assert b"sync" in probe
        assert bench.writer.receipts_missed == 1
        assert bench.kamailio.received == bench.payloads
        bench.kamailio.read()
        bench.receipt()
        assert bench.read_ids == []
        bench.settle()
        assert bench.kamailio.received == bench.payloads * 2
        assert bench.writer.resent == 1
        assert len(bench.read_ids) == 1

    def test_a_late_receipt_of_the_window_ends_it_and_its_probes_say_nothing_more(self) -> None:
        bench = Bench()
        bench.put()
        bench.take_all()
        bench.wake()
        assert len(bench.take()) == 1
        bench.kamailio.read()
        bench.put()
        bench.receipt()
        assert len(bench.read_ids) == 1
        assert len(bench.take()) == 1  # more, with the probe's receipt still to come
        bench.receipt()
        assert bench.take() == []
        assert (len(bench.read_ids), bench.writer.resent) == (1, 0)
        bench.settle()
        assert bench.kamailio.received == bench.payloads

    def test_kamailio_may_stand_still_for_a_day(self) -> None:
        bench = Bench()
        bench.put(32_000)
        bench.put()
        end = bench.now + 86_400
        bench.take()
        while bench.now < end:
            bench.wake()
            assert len(bench.take()) == 1
        assert bench.kamailio.most_unread <= BUFFER
        bench.settle()
        assert bench.kamailio.received == bench.payloads

    def test_patience_is_as_short_as_before_after_a_receipt(self) -> None:
        bench = Bench()
        bench.put()
        bench.take()
        for _ in range(5):
            bench.wake()
            bench.take()
        bench.settle()
        bench.put()
        bench.take_all()
        assert bench.writer.wake_at == bench.now + 1.0

    @pytest.mark.parametrize("token", BROKEN_TOKENS)
    def test_foreign_and_broken_tokens_do_nothing(self, token: str) -> None:
        bench = Bench()
        bench.writer.synced(token, bench.now)
        bench.put()
        bench.take_all()
        before = bench.writer.waiting, bench.writer.wake_at
        bench.writer.synced(token, bench.now + 0.1)
        assert (bench.writer.waiting, bench.writer.wake_at) == before
        assert bench.read_ids == []
        assert bench.take() == []
        bench.settle()
        bench.writer.synced(token, bench.now)
        assert len(bench.read_ids) == 1

    def test_a_new_connection_gets_no_resume_of_the_old_one_and_ignores_its_receipts(self) -> None:
        """The store knows them: who writes them again may be another replica by now."""
        bench = Bench()
        for size in (20_000, 20_000):
            bench.put(size)
        assert len(bench.take()) == 2
        bench.kamailio.read()
        (old,) = bench.kamailio.receipts
        assert len(bench.writer.ids) == 2
        bench.connect()
        assert (bench.writer.ids, bench.writer.waiting) == (set(), 0)
        bench.writer.synced(old, bench.now)
        bench.settle()
        assert bench.read_ids == []
        assert bench.kamailio.received == bench.payloads[:1]
        assert bench.writer.resent == 0

    def test_commands_outlive_the_connection_in_their_order(self) -> None:
        bench = Bench()
        for number in range(3):
            bench.writer.put(Outgoing(netstring.encode(b'{"n":%d}' % number), FOREVER))
            bench.put()
            if number == 0:
                bench.take()
        bench.connect()
        assert bench.writer.waiting == 3
        bench.settle()
        assert bench.kamailio.numbers == [0, 1, 2]
        assert bench.read_ids == []

    def test_what_is_written_again_keeps_its_order(self) -> None:
        bench = Bench()
        for _ in range(10):
            bench.put()
        bench.take_all()
        bench.put()
        bench.kamailio.lose()
        bench.settle()
        assert bench.kamailio.received == [bench.payloads[10], *bench.payloads]
        assert bench.writer.resent == 11

    def test_a_new_connection_is_paced_until_its_hello(self) -> None:
        bench = Bench()
        bench.writer.connected("link0002", 0)
        assert not bench.writer.receipts
        bench.put()
        assert len(bench.take()) == 1

    def test_what_is_late_is_not_written(self) -> None:
        bench = Bench()
        for until in (bench.now, bench.now + 1, bench.now - 1):
            bench.put(until=until)
        bench.settle()
        assert bench.kamailio.numbers == [1]
        assert bench.writer.expired == 2
        assert bench.writer.waiting == 0

    def test_what_is_late_is_not_written_again(self) -> None:
        bench = Bench()
        bench.put(until=bench.now + 0.5)
        bench.put()
        bench.take_all()
        bench.kamailio.lose()
        bench.settle()
        assert bench.kamailio.numbers == [1]
        assert [id_.index for id_ in bench.read_ids] == [1]
        assert (bench.writer.expired, bench.writer.resent) == (1, 2)

    def test_a_frame_that_resumes_nothing_is_not_reported(self) -> None:
        bench = Bench()
        bench.writer.put(Outgoing(netstring.encode(b'{"n":0}'), FOREVER))
        bench.settle()
        assert bench.kamailio.numbers == [0]
        assert bench.read_ids == []
