"""The links as the rest of the bridge sees them: which nodes read, and whose replies are taken in."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from adapter.evapi import link as link_module
from adapter.evapi.socket import ReadCoalescing
from adapter.evapi.window import POLL, WINDOW_BYTES
from adapter.simulator import SimulatedKamailio
from adapter.wire import event, netstring
from tests.evapi.peers import resume, soon
from tests.evapi.running import refreshed, running
from tests.harness.process import free_port
from tests.harness.until import until

if TYPE_CHECKING:
    import pytest


async def test_a_node_without_receipts_is_left_once_it_has_handled_what_was_written() -> None:
    """From Kamailio 5.7 on workers poll, and what they find of a link that is closed by then is lost."""
    loop = asyncio.get_running_loop()
    async with (
        SimulatedKamailio() as first,
        SimulatedKamailio(configuration="plain") as second,
        running(0.01, include=first.address, plain=second.address) as (nodes, _, _, trip),
    ):
        await until(lambda: len(nodes.readers) == 2)
        await nodes.handled()  # nothing was written
        for node in ("include", "plain"):
            assert nodes.send(node, resume(node=node)[0], 30, resume(node=node)[1])
        written = loop.time()
        await nodes.flushed()
        assert len(trip.read) == 2
        assert (nodes.idle("include"), nodes.idle("plain")) == (True, False)
        await nodes.handled()
        assert loop.time() >= written + POLL
        assert nodes.idle("plain")


async def test_replies_are_taken_in_while_the_link_is_sound_and_at_the_same_rank_again() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, broker, trip):
        await until(lambda: nodes.readers == ["sbc1"])
        await until(lambda: trip.recovered)
        assert broker.calls == [("sbc1", 0)]
        connector.set_priority("sbc1", 7)
        sim.disconnect()
        await until(lambda: len(broker.calls) >= 4)
        assert broker.calls == [("sbc1", 0), ("sbc1", 7), ("sbc1", None), ("sbc1", 7)]
        await until(lambda: trip.recovered == ["sbc1", "sbc1"])
        connector.refresh()
        connector.refresh()
        assert len(broker.calls) == 4


async def test_a_rank_given_while_the_link_is_down_counts_once_it_is_up() -> None:
    async with SimulatedKamailio() as sim:
        sim.refuse()
        async with running(sbc1=sim.address) as (_, connector, broker, _):
            connector.set_priority("sbc1", 7)
            assert broker.calls == []
            sim.accept()
            await until(lambda: broker.calls)
            assert broker.calls == [("sbc1", 7)]


async def test_a_node_that_does_not_read_is_left_to_others_until_it_does() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, broker, trip):
        await until(lambda: nodes.readers)
        sim.stop_reading()
        assert nodes.send("sbc1", resume()[0], 30.0, resume()[1])
        await refreshed(connector, lambda: len(broker.calls) == 2)
        assert broker.calls == [("sbc1", 0), ("sbc1", None)]
        assert (nodes.readers, nodes.unsound, nodes.up) == ([], ["sbc1"], ["sbc1"])
        assert not nodes.sound("sbc1")
        assert nodes.unread("sbc1") == {resume()[1]}
        assert nodes.waiting("sbc1") >= 1
        sim.start_reading()
        await refreshed(connector, lambda: len(broker.calls) == 3)
        assert nodes.unsound == []
        await until(lambda: trip.read and len(trip.recovered) == 2)


async def test_one_that_is_reset_is_connected_to_again_without_what_was_queued() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, _, _):
        await until(lambda: nodes.readers)
        sim.stop_reading()
        assert nodes.send("sbc1", resume()[0], 30.0, resume()[1])
        await refreshed(connector, lambda: nodes.unsound)
        nodes.reset("sbc1", "as told")
        sim.start_reading()
        await refreshed(connector, lambda: nodes.readers)
        assert nodes.unread("sbc1") == set()


async def test_a_restart_of_kamailio_is_another_life() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, _, broker, _):
        await until(lambda: nodes.readers)
        incarnation = nodes.incarnation("sbc1")
        assert incarnation
        sim.disconnect()
        await until(lambda: len(broker.calls) == 3 and nodes.readers)
        assert nodes.incarnation("sbc1") == incarnation
        sim.restart()
        await until(lambda: len(broker.calls) == 5 and nodes.readers)
        assert nodes.incarnation("sbc1") not in ("", incarnation)


async def test_one_nodes_fault_is_not_anothers() -> None:
    async with SimulatedKamailio() as sim:
        nowhere = f"127.0.0.1:{free_port()}"
        async with running(sbc1=sim.address, sbc2=nowhere) as (nodes, _, broker, trip):
            await until(lambda: nodes.readers)
            assert (nodes.names, nodes.up, nodes.readers) == (["sbc1", "sbc2"], ["sbc1"], ["sbc1"])
            assert not nodes.send("sbc2", resume(node="sbc2")[0], 30.0, resume(node="sbc2")[1])
            assert not nodes.sound("sbc2")
            assert nodes.max_payload("sbc2") > 0, "its replies are settled here"
            assert not nodes.takes_commands("sbc2")
            assert nodes.takes_commands("sbc1")
            assert nodes.max_payload("sbc1") == netstring.MAX_OUT
            sim.notify("ended", {})
            await until(lambda: trip.events)
            assert trip.events == [("sbc1", event.Notice("ended", {}))]
            assert [call for call in broker.calls if call[0] == "sbc2"] == []


async def test_a_node_that_nobody_knows() -> None:
    async with running() as (nodes, _, _, _):
        assert not nodes.send("sbc9", b"{}", 1.0, None)
        assert nodes.max_payload("sbc9") == 0
        assert nodes.unread("sbc9") == set()
        assert nodes.waiting("sbc9") == 0
        assert not nodes.sound("sbc9")
        assert nodes.incarnation("sbc9") == ""
        assert not nodes.takes_commands("sbc9")


async def test_nothing_is_written_once_the_lease_is_over_and_what_is_given_up_never() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, _, _, trip):
        await until(lambda: nodes.readers)
        await nodes.flushed()
        trip.role.may_write = False
        assert nodes.send("sbc1", resume(1)[0], 30.0, resume(1)[1])
        nodes.forget("sbc1")
        assert nodes.send("sbc1", resume(2)[0], 30.0, resume(2)[1])
        trip.role.may_write = True
        await until(lambda: trip.read)
        assert trip.read == [resume(2)[1]]
        assert sim.counters.not_found == 1


def _there(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


async def test_what_another_replica_claims_is_read_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "READ_PAUSE", 3600.0)
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, _, trip):
        await until(lambda: nodes.readers)
        (link,) = nodes
        stream = link._stream
        assert stream is not None
        trip.role.relaxed = True
        connector.refresh()
        await sim.suspend("e", {"number": 0})
        await until(lambda: trip.events)
        await sim.suspend("e", {"number": 1})
        await until(lambda: _there(stream._socket))
        assert len(trip.events) == 1
        trip.role.relaxed = False
        connector.refresh()
        stream.read_on()
        for number in (2, 3):
            await until(lambda: len(trip.events) == number)
            await sim.suspend("e", {"number": number})
        await until(lambda: len(trip.events) == 4)
        (_, first), *others = trip.events
        found = [event.read_on(first), *(each for _, each in others)]
        assert [each.data["number"] for each in found] == [0, 1, 2, 3]
        trip.role.relaxed = True
        connector.refresh()
        await sim.suspend("e", {"number": 4})
        await until(lambda: len(trip.events) == 5)
    stream.read_on()  # its time comes after the end


async def test_a_pause_ends_where_resumes_wait_for_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 5,500 calls/s reads that gathered for 9 ms held up the receipts, and these the resumes."""
    monkeypatch.setattr(ReadCoalescing, "pause", lambda *_: 3600.0)
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, _, _, _):
        await until(lambda: nodes.readers)  # its hello was read
        (link,) = nodes
        for _ in range(3 * WINDOW_BYTES // 1000):
            link.send(b'{"x":"%b"}' % (b"x" * 1000), soon())
        await until(lambda: not link.writer.unwritten)


async def test_every_gate_is_told_what_is_so_for_its_node() -> None:
    async with (
        SimulatedKamailio() as one,
        SimulatedKamailio() as two,
        running(sbc1=one.address, sbc2=two.address) as (nodes, connector, _, _),
    ):
        nodes.set_status(lambda node: "ready" if node == "sbc1" else "degraded")
        await one.until(lambda: one.gate_open)
        await two.until(lambda: two.statuses)
        assert two.statuses["r1"].state == "degraded"
        await nodes.flushed()
        connector.measure()
        value = connector._metrics.registry.get_sample_value
        assert value("evapi_gate_open", {"node": "sbc1"}) == 1
        assert value("evapi_gate_open", {"node": "sbc2"}) == 0
        assert value("evapi_link_sound", {"node": "sbc2"}) == 1
        assert [link.node for link in nodes] == ["sbc1", "sbc2"]


async def test_its_end_ends_what_it_began() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (_, connector, _, trip):
        never = asyncio.Event()

        async def recover(node: str) -> None:
            trip.recovered.append(node)
            await never.wait()

        trip.recover = recover  # type: ignore[method-assign]
        await until(lambda: trip.recovered)
        await connector.close()
        assert connector._beside == set()
        assert not sim.clients
