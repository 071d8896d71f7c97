"""The writer where there are no receipts, and frames over several segments."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.evapi.window import PACED_BYTES, PACED_REST, Outgoing, in_segments, whole_in_segments
from adapter.simulator.reader import BUFFER
from adapter.wire import netstring
from tests.evapi.model import FOREVER, LOOPBACK, SEGMENTS, Bench, Kamailio
from tests.harness.examples import examples


def test_frames_of_one_big_write_are_lost() -> None:
    """As by the real Kamailio: tests/kamailio/test_reader.py holds the reader of this model to it."""
    lost = 0
    for size in range(90, 110):
        kamailio = Kamailio()
        kamailio.write([netstring.encode(b'{"n":1,"x":"%b"}' % (b"x" * size)) * 900])
        while kamailio.arrived:
            kamailio.read()
        lost += 900 - len(kamailio.received)
    assert lost > 0


class TestPaced:
    def test_8000_bytes_and_then_a_rest(self) -> None:
        bench = Bench(receipts=False)
        for _ in range(100):
            bench.put(190)
        began, bytes_written = bench.now, 0
        while bench.writer.waiting:
            frames = bench.take()
            assert 0 < sum(map(len, frames)) <= PACED_BYTES
            assert not any(b"sync" in frame for frame in frames)
            size = sum(map(len, frames))
            bytes_written += size
            assert bench.writer.wake_at == pytest.approx(bench.now + PACED_REST * size / PACED_BYTES)
            assert bench.take() == []
            bench.wake()
            bench.kamailio.read()
        assert bench.kamailio.received == bench.payloads
        assert [id_.index for id_ in bench.read_ids] == list(range(100))
        assert bench.now - began == pytest.approx(PACED_REST * bytes_written / PACED_BYTES)
        assert bench.take() == []
        assert bench.writer.wake_at is None

    def test_frames_of_more_than_half_the_allowance_have_all_of_the_pace(self) -> None:
        bench = Bench(receipts=False)
        for _ in range(20):
            bench.put(6_000)
        began, size = bench.now, bench.writer.wait(0, bench.now) / PACED_REST * PACED_BYTES + PACED_BYTES
        while bench.writer.waiting:
            bench.take()
            bench.wake()
        assert bench.now - began == pytest.approx(PACED_REST * size / PACED_BYTES)

    def test_what_is_queued_tells_how_long_the_next_one_waits(self) -> None:
        bench = Bench(receipts=False)
        assert bench.writer.wait(100, bench.now) < 0, "at once"
        for _ in range(50):
            bench.put(4_000)
        wait, began = bench.writer.wait(4_005, bench.now), bench.now
        bench.put(4_000)
        while bench.writer.waiting:
            bench.take()
            if bench.writer.waiting:
                bench.wake()
        assert bench.now - began == pytest.approx(wait, abs=PACED_REST)

    def test_what_is_dropped_is_not_written(self) -> None:
        bench = Bench(receipts=False)
        for _ in range(3):
            bench.put(100)
        assert [id_.index for id_ in bench.writer.drop(lambda id_: id_.index == 1)] == [1]
        bench.take()
        assert [id_.index for id_ in bench.read_ids] == [0, 2]
        assert bench.writer.wait(0, bench.now + 1) == pytest.approx(-PACED_REST)

    def test_a_long_frame_goes_alone(self) -> None:
        bench = Bench(receipts=False)
        for size in (30, 32_000, 30):
            bench.put(size)
        taken = []
        began = bench.now
        while frames := bench.take():
            taken.append(len(frames))
            bench.wake()
        assert taken == [1, 1, 1]
        assert bench.now - began > 4 * PACED_REST, "four times the allowance rests four times as long"

    def test_what_is_late_is_not_written_and_not_reported(self) -> None:
        bench = Bench(receipts=False)
        bench.put(until=bench.now)
        assert bench.take() == []
        assert (bench.read_ids, bench.writer.expired, bench.writer.waiting) == ([], 1, 0)

    def test_receipts_mean_nothing(self) -> None:
        bench = Bench(receipts=False)
        bench.put()
        bench.writer.synced("link0001:0", bench.now)
        bench.writer.synced("link0001:1", bench.now)
        assert bench.read_ids == []
        bench.writer.put(Outgoing(netstring.encode(b"{}"), FOREVER))
        bench.take()
        assert [id_.index for id_ in bench.read_ids] == [0]


class TestSegments:
    @given(st.integers(2, 32_000), st.one_of(st.sampled_from(SEGMENTS), st.integers(4, 40_000)))
    @settings(max_examples=examples(250), deadline=None)
    def test_no_segment_begins_at_the_comma_and_the_json_is_the_same(self, size: int, segment: int) -> None:
        payload = b'"' + b"x" * (size - 2) + b'"'
        frame = whole_in_segments(netstring.encode(payload), segment)
        assert len(frame) <= segment or len(frame) % segment != 1
        digits, _, rest = frame.partition(b":")
        assert int(digits) == len(rest) - 1
        assert rest.endswith(b",")
        assert rest[:-1].rstrip(b" ") == payload
        assert len(frame) - len(netstring.encode(payload)) <= 3

    @pytest.mark.parametrize(
        ("size", "segment"), [(32_000, 2_462), (32_000, 1_231), (31_999, 6_401), (9_999, 2_501), (999, 59)]
    )
    def test_padding_never_stops_the_link(self, size: int, segment: int) -> None:
        assert len(netstring.encode(b"x" * size)) % segment == 1
        bench = Bench(segment)
        bench.put(size)
        bench.put()
        for _ in range(10_000):
            if not bench.writer.waiting:
                break
            bench.take_all()
            bench.kamailio.read(1)
            bench.receipt()
        assert [frame.rstrip(b" ") for frame in bench.kamailio.received] == bench.payloads
        assert bench.kamailio.most_unread <= BUFFER

    @pytest.mark.parametrize("segment", [0, 1, 3, LOOPBACK])
    def test_a_frame_that_needs_none_is_left_as_it_is(self, segment: int) -> None:
        frame = netstring.encode(b"x" * 30_000)
        assert whole_in_segments(frame, segment) == frame


class TestPieces:
    @given(st.lists(st.integers(3, 200), max_size=40), st.sampled_from([0, 1, 64, 150, LOOPBACK]))
    def test_pieces_are_whole_frames_and_no_longer_than_a_segment(
        self, sizes: list[int], segment: int
    ) -> None:
        frames = [bytes([size]) * size for size in sizes]
        pieces = in_segments(frames, segment)
        assert b"".join(pieces) == b"".join(frames)
        ends = set(accumulate(sizes))
        assert set(accumulate(map(len, pieces))) <= ends
        assert all(len(piece) <= segment or piece in frames for piece in pieces)

    def test_as_many_frames_as_there_is_room_for(self) -> None:
        frames = [b"a" * 30, b"b" * 30, b"c" * 40, b"d"]
        assert in_segments(frames, 100) == [b"a" * 30 + b"b" * 30 + b"c" * 40, b"d"]
        assert in_segments(frames, 0) == frames


def test_a_timer_that_is_late_makes_the_pace_no_slower() -> None:
    bench = Bench(receipts=False)
    for _ in range(100):
        bench.put(3_900)
    began, queued = bench.now, bench.writer.wait(0, bench.now)
    while bench.writer.waiting:
        assert sum(map(len, bench.take())) <= PACED_BYTES
        if bench.writer.waiting:
            bench.wake()
            bench.now += 0.9 * PACED_REST if bench.writer.waiting % 8 == 0 else 0.0
    assert bench.now - began == pytest.approx(queued, abs=2 * PACED_REST)
