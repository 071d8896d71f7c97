"""The writer: late receipts, what is given up, what a hello changes, and the health gate's frames."""

from __future__ import annotations

import pytest

from adapter.evapi.window import Outgoing
from adapter.simulator.reader import BUFFER
from adapter.wire import netstring, to_kamailio
from tests.evapi.model import FOREVER, Bench

STATUS = to_kamailio.status("ready", "r1", "sbc1")


class TestLate:
    """Kamailio has not read for longer than the receipt timeout."""

    def test_only_once_a_receipt_is_missed_and_until_one_comes(self) -> None:
        bench = Bench()
        assert not bench.writer.late
        bench.put()
        bench.take_all()
        bench.now += 0.999
        bench.take()
        assert not bench.writer.late
        bench.now += 0.001
        bench.take()
        assert bench.writer.late
        bench.wake()
        bench.take()
        assert bench.writer.late
        bench.kamailio.read()
        bench.receipt()
        assert not bench.writer.late
        bench.put()
        bench.take()
        assert not bench.writer.late

    def test_the_receipt_of_a_probe_ends_it_too(self) -> None:
        bench = Bench()
        bench.put()
        bench.take_all()
        bench.kamailio.lose()
        bench.wake()
        bench.take()
        assert bench.writer.late
        bench.kamailio.read()
        bench.receipt()
        assert not bench.writer.late
        bench.take()
        assert not bench.writer.late

    def test_a_new_connection_begins_anew(self) -> None:
        bench = Bench()
        bench.put()
        bench.take_all()
        bench.wake()
        bench.take()
        assert bench.writer.late
        bench.connect()
        assert not bench.writer.late
        bench.put()
        bench.take_all()
        assert bench.writer.wake_at == bench.now + 1.0

    def test_without_receipts_nothing_is(self) -> None:
        bench = Bench(receipts=False)
        bench.put()
        bench.take()
        bench.now += 60.0
        bench.take()
        assert not bench.writer.late


class TestForget:
    def test_what_is_not_written_yet_is_given_up_but_for_commands(self) -> None:
        bench = Bench()
        bench.put()
        bench.take()
        bench.put()
        bench.writer.put(Outgoing(netstring.encode(b'{"n":7}'), FOREVER))
        assert sorted(id_.index for id_ in bench.writer.ids) == [0, 1]
        bench.writer.forget()
        assert [id_.index for id_ in bench.writer.ids] == [0]
        assert bench.writer.waiting == 2
        bench.settle()
        assert bench.kamailio.numbers == [0, 7]
        assert [id_.index for id_ in bench.read_ids] == [0]


class TestHello:
    @pytest.mark.parametrize("size", [100, 7_900, 32_000])
    def test_what_was_paced_before_it_counts_as_unread(self, size: int) -> None:
        bench = Bench(receipts=False)
        bench.put(size)
        assert len(bench.take()) == 1
        for _ in range(50):
            bench.put(600)
        bench.put(32_000)
        bench.writer.receipts = True
        (sync,) = bench.take()
        assert b"sync" in sync
        assert bench.take() == []
        bench.settle()
        assert bench.kamailio.most_unread <= BUFFER
        assert bench.kamailio.received == bench.payloads
        assert len(bench.read_ids) == len(bench.payloads)

    def test_with_nothing_paced_the_first_window_goes_at_once(self) -> None:
        bench = Bench(receipts=False)
        assert bench.take() == []
        bench.put()
        bench.writer.receipts = True
        assert len(bench.take()) == 1
        assert bench.kamailio.arrived

    def test_what_was_paced_on_the_connection_before_is_forgotten(self) -> None:
        bench = Bench(receipts=False)
        bench.put()
        bench.take()
        bench.with_receipts = True
        bench.connect()
        bench.put()
        (frame,) = bench.take()
        assert b'"n":1' in frame


class TestStatus:
    def test_it_goes_first_and_only_the_latest(self) -> None:
        bench = Bench()
        bench.put()
        for state in ("ready", "degraded"):
            bench.writer.put_status(to_kamailio.status(state, "r1", "sbc1"))
        status, frame, sync = bench.take_all()
        assert b"degraded" in status
        assert b'"n":0' in frame
        assert b"sync" in sync

    def test_it_is_read_only_with_its_receipt(self) -> None:
        bench = Bench()
        assert bench.writer.all_read
        bench.writer.put_status(to_kamailio.status("draining", "r1", "sbc1"))
        assert not bench.writer.all_read
        assert len(bench.take()) == 1
        assert not bench.writer.status_read
        bench.wake()
        assert len(bench.take()) == 1
        assert not bench.writer.all_read
        bench.kamailio.read()
        bench.receipt()
        assert bench.writer.all_read
        bench.put()
        assert bench.writer.status_read
        assert not bench.writer.all_read
        bench.settle()
        assert bench.writer.all_read
        assert bench.writer.waiting == 0

    def test_it_is_never_written_again(self) -> None:
        bench = Bench()
        bench.writer.put_status(STATUS)
        bench.take()
        bench.connect()
        assert bench.writer.all_read
        assert bench.take() == []
        bench.writer.put_status(STATUS)
        bench.connect()
        assert bench.writer.all_read
        assert bench.take() == []

    def test_a_lost_one_is_left_to_the_next(self) -> None:
        bench = Bench()
        bench.writer.put_status(STATUS)
        bench.take_all()
        bench.kamailio.lose()
        bench.put()
        bench.take_all()
        bench.kamailio.read()
        bench.receipt()
        assert bench.writer.status_read
        assert not any(b"status" in frame for frame in bench.take_all())

    def test_a_later_one_is_read_with_its_own_receipt(self) -> None:
        bench = Bench()
        for _ in range(2):
            bench.writer.put_status(STATUS)
            bench.take_all()
        bench.kamailio.read()
        bench.receipt()
        assert not bench.writer.status_read
        bench.receipt()
        assert bench.writer.status_read
