"""The netstring reader: alone, compared with the C code it stands for, and on a real socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.simulator import Counters, SimulatedKamailio
from adapter.simulator.reader import BUFFER, Reader
from tests.kamailio.recvs import CASES, PIECES, REFUSED, WRAPPED
from tests.simulator.client import Client, netstring


class InC:
    """evapi_recv_client, byte by byte, with its variables' names."""

    def __init__(self) -> None:
        self.rbuffer = bytearray(BUFFER + 1)
        self.rpos = 0

    def feed(self, data: bytes) -> list[bytes]:
        buf, k = self.rbuffer, 0
        frames: list[bytes] = []
        buf[self.rpos : self.rpos + len(data)] = data
        end = self.rpos + len(data)
        buf[end] = 0
        self.rpos = 0
        while k < end:
            length = 0
            while k < end and buf[k] in b" \t\r\n":
                k += 1
            if k == end:
                return frames
            sfp = k
            while k < end:
                if buf[k] in b"0123456789":
                    length = length * 10 + buf[k] - 0x30
                    length = (length + (1 << 31)) % (1 << 32) - (1 << 31)
                elif buf[k] == 0x3A:
                    break
                else:
                    return frames
                k += 1
            if k == end or length <= 0:
                return frames
            if length + k >= end:
                self.rpos = end - sfp
                buf[: self.rpos] = bytes(buf[sfp:end])
                return frames
            k += 1
            if buf[k + length] != 0x2C:
                return frames
            frames.append(bytes(buf[k : k + length]))
            k += length + 1
        return frames


pieces = st.sampled_from(PIECES)


@given(st.lists(st.lists(pieces | st.binary(max_size=3), max_size=6).map(b"".join), max_size=8))
def test_reader_does_as_the_c_code(chunks: list[bytes]) -> None:
    counters = Counters()
    reader, original = Reader(counters), InC()
    for chunk in filter(None, chunks):
        assert reader.feed(chunk) == original.feed(chunk)
        assert reader.room == BUFFER - original.rpos


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_reader_without_faults_loses_nothing(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(netstring, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    counters = Counters()
    reader = Reader(counters, faulty=False)
    got: list[bytes] = []
    for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[a:b])
    assert (got, counters.discards) == (sent, 0)


@pytest.mark.parametrize(("recvs", "delivered"), [*CASES, REFUSED])
def test_where_the_newer_one_loses_frames(recvs: list[bytes], delivered: list[bytes]) -> None:
    reader = Reader(Counters(), checks_lengths=True)
    assert [frame for data in recvs for frame in reader.feed(data)] == delivered


@pytest.mark.parametrize(("recvs", "delivered"), [*CASES, WRAPPED])
def test_where_the_reader_loses_frames(recvs: list[bytes], delivered: list[bytes]) -> None:
    reader = Reader(Counters())
    assert [frame for data in recvs for frame in reader.feed(data)] == delivered


async def test_frames_reach_the_event_route() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.say(b"{}", b'{"a":1}')
        await sim.until(lambda: sim.counters.frames_in == 2)
        assert sim.counters.bytes_in == len(netstring(b"{}") + netstring(b'{"a":1}'))


@pytest.mark.parametrize("cut", [1, 2, -1])
@pytest.mark.parametrize("faulty", [True, False])
async def test_a_recv_that_ends_in_the_wrong_place(cut: int, faulty: bool) -> None:
    frame = netstring(b'{"a":"b","c":1}')
    async with SimulatedKamailio(faulty_reader=faulty) as sim, Client(sim) as client:
        for part in (frame[:cut], frame[cut:], frame):
            before = sim.counters.bytes_in
            await client.send(part)
            await sim.until(lambda: sim.counters.bytes_in == before + len(part))
        assert sim.counters.frames_in == (1 if faulty else 2)
        assert sim.counters.discards == (2 if faulty else 0)


async def test_one_recv_takes_32767_bytes_and_loses_what_begins_at_its_end() -> None:
    first, second = netstring(b'"%b"' % (b"x" * (BUFFER - 10))), netstring(b"{}") * 100
    assert len(first) == BUFFER - 1
    async with SimulatedKamailio() as sim, Client(sim) as client:
        sim.stop_reading()
        await client.send(first + second)  # the first recv ends after one digit of the second frame
        sim.start_reading()
        await sim.until(lambda: sim.counters.bytes_in == len(first + second))
        assert sim.counters.frames_in == 1
        assert (sim.counters.discards, sim.counters.discarded_bytes) == (2, len(second))
        await client.say(b"{}")  # the next recv begins on a frame
        await sim.until(lambda: sim.counters.frames_in == 2)


@pytest.mark.parametrize(
    ("size", "delivered", "closed"),
    [(32_760, 1, False), (32_761, 0, False), (32_762, 0, True), (40_000, 0, True)],
)
async def test_the_longest_frame(size: int, delivered: int, closed: bool) -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        sim.stop_reading()
        await client.say(b"[%b]" % (b" " * (size - 2)))
        sim.start_reading()
        if closed:
            await sim.until(lambda: sim.counters.too_long == 1)
            assert sim.clients == 0
            with pytest.raises(ConnectionResetError):  # what was not read makes it a reset
                await client.read()
        else:
            await sim.until(lambda: sim.counters.bytes_in == size + 7)
            assert (sim.counters.frames_in, sim.clients) == (delivered, 1)
