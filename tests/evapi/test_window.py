"""The writer's window: how much may be unread, when a receipt is asked for, and what each one frees."""

from __future__ import annotations

import pytest

from adapter.evapi.window import SYNC_BYTES, SYNC_DELAY, WINDOW_BYTES
from adapter.simulator.reader import BUFFER
from adapter.wire import to_kamailio
from tests.evapi.model import Bench

STATUS = to_kamailio.status("ready", "r1", "sbc1")


def syncs(frames: list[bytes]) -> list[bool]:
    return [b'"sync"' in frame for frame in frames]


def indexes(bench: Bench) -> list[list[int]]:
    return [[id_.index for id_ in ids] for ids in bench.told]


def three_parts() -> Bench:
    """A frame in each."""
    bench = Bench()
    for _ in range(3):
        bench.put()
        assert syncs(bench.take_all()) == [False, True]
    return bench


class TestRoom:
    def test_more_is_written_before_the_receipt(self) -> None:
        bench = Bench()
        for _ in range(3):
            bench.put()
            assert syncs(bench.take()) == [False]
        bench.kamailio.read()
        assert bench.kamailio.received == bench.payloads
        assert (bench.read_ids, bench.writer.waiting) == ([], 3)

    def test_as_much_is_written_as_fits_with_its_syncs(self) -> None:
        bench = Bench()
        for _ in range(100):
            bench.put(600)
        assert syncs(bench.take()).count(False) == 49
        assert WINDOW_BYTES - 700 < bench.kamailio.unread <= WINDOW_BYTES
        assert bench.take() == []
        assert bench.writer.unwritten

    def test_a_receipt_makes_as_much_room_as_it_covers(self) -> None:
        bench = Bench()
        for _ in range(100):
            bench.put(600)
        bench.take()
        bench.kamailio.read()
        bench.receipt()
        assert len(bench.read_ids) == 13, "the frames of a quarter"
        assert syncs(bench.take()).count(False) == 13
        assert sum(map(len, bench.unknown)) <= WINDOW_BYTES

    def test_what_has_the_least_time_left_is_written_first(self) -> None:
        bench = Bench()
        for until in (9e3, 2e3, 9e3, 3e3, 2e3):
            bench.put(until=until)
        bench.take()
        bench.kamailio.read()
        assert bench.kamailio.numbers == [1, 4, 3, 0, 2]

    def test_a_long_frame_waits_until_nothing_is_unread_and_nothing_goes_behind_it(self) -> None:
        bench = Bench()
        for size in (100, 32_000, 100):
            bench.put(size)
        bench.writer.put_status(STATUS)
        windows = []
        for _ in range(3):
            windows.append([len(frame) > 32_000 for frame in bench.take_all()])
            bench.kamailio.read()
            bench.receipt()
        assert windows == [[False, False, False], [True, False], [False, False]]
        assert bench.writer.all_read
        assert bench.kamailio.most_unread <= BUFFER

    def test_it_waits_for_the_receipt_of_a_probe_too(self) -> None:
        bench = Bench()
        bench.put()
        bench.take_all()
        bench.wake()
        bench.take()
        bench.put(32_000)
        bench.kamailio.read()
        bench.receipt()
        assert bench.take() == []
        bench.receipt()
        assert syncs(bench.take()) == [False, True]

    def test_a_status_goes_before_what_waits_for_room(self) -> None:
        bench = Bench()
        bench.put()
        bench.put(32_000)
        bench.take()
        assert bench.writer.unwritten
        bench.writer.put_status(STATUS)
        assert [b"status" in frame for frame in bench.take_all()] == [True, False]

    def test_a_status_waits_for_room_too(self) -> None:
        bench = Bench()
        bench.put(29_900)
        assert syncs(bench.take()) == [False, True]
        assert not bench.writer.unwritten
        bench.writer.put_status(STATUS)
        assert bench.take() == []
        assert bench.writer.unwritten
        bench.kamailio.read()
        bench.receipt()
        assert [b"status" in frame for frame in bench.take()] == [True]
        assert not bench.writer.unwritten


class TestSync:
    def test_it_follows_each_quarter(self) -> None:
        bench = Bench()
        for _ in range(14):
            bench.put(600)
        assert syncs(bench.take()) == [False] * 13 + [True, False]
        assert 12 * 605 < SYNC_BYTES <= 13 * 605

    def test_the_quarter_may_be_written_bit_by_bit(self) -> None:
        bench = Bench()
        for _ in range(12):
            bench.put(600)
            assert syncs(bench.take()) == [False]
        bench.put(600)
        assert syncs(bench.take()) == [False, True]

    def test_else_it_follows_a_moment_after_the_first_frame(self) -> None:
        bench = Bench()
        bench.put()
        began = bench.now
        assert bench.writer.wake_at is None
        bench.take()
        assert bench.writer.wake_at == began + SYNC_DELAY
        bench.now += SYNC_DELAY / 2
        bench.put()
        bench.take()
        assert bench.writer.wake_at == began + SYNC_DELAY
        bench.now = began + SYNC_DELAY
        assert syncs(bench.take()) == [True]
        assert bench.writer.wake_at == bench.now + 1.0
        bench.kamailio.read()
        bench.receipt()
        assert bench.writer.wake_at is None
        assert indexes(bench) == [[0, 1]]

    def test_it_does_not_wait_for_the_receipt_under_way(self) -> None:
        bench = three_parts()
        bench.put()
        bench.take()
        assert bench.writer.wake_at == bench.now + SYNC_DELAY

    def test_what_is_queued_then_goes_before_it(self) -> None:
        bench = Bench()
        bench.put()
        bench.take()
        bench.put()
        bench.wake()
        assert syncs(bench.take()) == [False, True]

    def test_it_follows_at_once_where_the_queue_waits_and_no_receipt_is_under_way(self) -> None:
        bench = Bench()
        bench.put(600)
        bench.put(29_900)
        assert syncs(bench.take()) == [False, True]
        assert bench.take() == []

    def test_where_one_is_under_way_its_room_is_used_first(self) -> None:
        bench = Bench()
        for _ in range(60):
            bench.put(600)
        frames = bench.take()
        parts, rest = syncs(frames).count(True), len(frames) - 1 - syncs(frames)[::-1].index(True)
        assert (parts, syncs(frames)[rest + 1 :]) == (3, [False] * 10)
        bench.kamailio.read()
        bench.receipt()
        assert syncs(bench.take()) == [False] * 3 + [True] + [False] * 8
        bench.settle()
        assert bench.kamailio.received == bench.payloads

    def test_it_waits_for_nothing_that_is_late(self) -> None:
        """Its own moment is earlier than the receipt's timeout, and the other way round."""
        bench = Bench(timeout=SYNC_DELAY / 4)
        bench.put()
        bench.take_all()
        bench.put()
        bench.take()
        assert bench.writer.wake_at == bench.now + SYNC_DELAY / 4
        bench.wake()
        assert syncs(bench.take()) == [True]
        assert bench.writer.late


class TestReceipts:
    def test_each_tells_of_its_part_in_one_call(self) -> None:
        bench = three_parts()
        bench.kamailio.read()
        for _ in range(3):
            bench.receipt()
        assert indexes(bench) == [[0], [1], [2]]
        assert bench.writer.resent == 0

    def test_a_late_one_counts_from_the_last_that_came(self) -> None:
        bench = three_parts()
        bench.kamailio.read(2)
        bench.now += 0.9
        bench.receipt()
        assert bench.writer.wake_at == bench.now + 1.0
        bench.now += 0.9
        assert bench.take() == []
        bench.wake()
        assert syncs(bench.take()) == [True]
        assert bench.writer.receipts_missed == 1

    def test_a_later_one_has_all_up_to_it_written_again_in_order(self) -> None:
        bench = three_parts()
        bench.kamailio.read()
        bench.kamailio.receipts.popleft()
        bench.receipt()
        assert bench.read_ids == []
        assert bench.writer.resent == 2
        assert bench.writer.waiting == 3
        bench.receipt()
        assert indexes(bench) == [[2]], "what was behind it stays"
        bench.settle()
        assert bench.kamailio.received == [*bench.payloads, *bench.payloads[:2]]
        assert [id_.index for id_ in bench.read_ids] == [2, 0, 1]

    def test_what_is_written_again_goes_before_what_is_queued(self) -> None:
        bench = three_parts()
        bench.kamailio.lose(3)
        bench.put()
        bench.kamailio.read()
        bench.receipt()
        bench.settle()
        assert bench.kamailio.numbers == [2, 0, 1, 3]

    def test_one_that_comes_after_a_later_one_says_nothing(self) -> None:
        bench = three_parts()
        bench.kamailio.read()
        bench.kamailio.receipts.rotate(1)
        bench.receipt()
        assert bench.writer.resent == 3
        for _ in range(2):
            bench.receipt()
        assert bench.read_ids == []
        bench.settle()
        assert [id_.index for id_ in bench.read_ids] == [0, 1, 2]

    @pytest.mark.parametrize("lost", [1, 2])
    def test_what_is_lost_in_the_middle_is_found_out(self, lost: int) -> None:
        bench = three_parts()
        bench.kamailio.read(3)
        bench.kamailio.lose(lost)
        bench.settle()
        assert bench.kamailio.numbers[:2] == [0, 1]
        assert sorted(bench.kamailio.numbers) == [0, 1, 2]
        assert len(bench.read_ids) == 3

    def test_while_one_is_late_nothing_is_written_but_ever_rarer_probes(self) -> None:
        bench = three_parts()
        bench.wake()
        began, at = bench.now, []
        for _ in range(5):
            bench.put()
            bench.writer.put_status(STATUS)
            (probe,) = bench.take()
            assert b'"sync"' in probe
            assert len(probe) < 64
            assert bench.take() == []
            at.append(round(bench.now - began))
            bench.wake()
        assert at == [0, 1, 3, 7, 15]
        bench.kamailio.read()
        bench.receipt()
        assert not bench.writer.late
        assert len(bench.take()) == 6, "the status and five frames"
        bench.settle()
        assert bench.kamailio.received == bench.payloads
        assert (bench.writer.resent, bench.writer.receipts_missed) == (0, 5)

    def test_probes_that_waited_long_are_not_late_once_kamailio_reads_again(self) -> None:
        bench = three_parts()
        for _ in range(5):
            bench.wake()
            bench.take()
        bench.kamailio.read()
        while bench.kamailio.receipts:
            bench.receipt()
            assert bench.take() == []
        assert bench.writer.receipts_missed == 5
        assert bench.writer.wake_at is None
