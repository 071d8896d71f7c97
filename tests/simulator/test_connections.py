"""Who is connected, and what everybody is told."""

from __future__ import annotations

import base64
import socket
import struct
from typing import Any

import pytest

from adapter.model.transaction import TransactionId
from adapter.simulator import NotResumed, SimTransaction, SimulatedKamailio, State
from adapter.wire import to_kamailio
from adapter.wire.event import Notice, Suspended, Synced
from tests.simulator.client import Client, netstring, resume_of, until_event

READY = to_kamailio.status("ready", "r1", "sbc1")


async def test_every_client_gets_every_event_and_every_hello() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as one:
        incarnation = await one.hello()
        async with Client(sim) as other:
            assert await other.hello() == incarnation
            assert await one.hello() == incarnation
            call = await sim.suspend("invite_request", {"ruri": "sip:a@b"})
            expected = Suspended("invite_request", call.index, call.label, 1, {"ruri": "sip:a@b"})
            assert await one.event() == expected
            assert await other.event() == expected
            assert sim.clients == 2
        await sim.until(lambda: sim.clients == 1)


async def test_a_plain_configuration_says_no_hello() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        sim.notify("call_ended", b"data")
        assert await client.frame() == b"call_ended:::ZGF0YQ=="


async def test_a_ninth_client_gets_eof() -> None:
    async with SimulatedKamailio() as sim:
        clients = [await Client(sim).__aenter__() for _ in range(8)]
        await sim.until(lambda: sim.clients == 8)
        async with Client(sim) as ninth:
            assert await ninth.read() == b""
        assert (sim.counters.turned_away, sim.counters.connects) == (1, 8)
        clients.pop().sock.close()
        await sim.until(lambda: sim.clients == 7)
        async with Client(sim) as tenth:
            assert await tenth.hello()
        for client in clients:
            client.sock.close()


async def test_an_event_without_a_client_is_emitted_to_nobody() -> None:
    async with SimulatedKamailio(fr_timer=0.01) as sim:
        call = await sim.suspend("e", {})
        with pytest.raises(NotResumed, match="unanswered"):
            await call.resumed()


async def test_disconnect_by_fin() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        sim.disconnect()
        assert await client.frame() == b""
        assert sim.clients == 0
        async with Client(sim) as again:
            assert await again.hello()


async def test_disconnect_by_reset() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        sim.disconnect(reset=True)
        with pytest.raises(ConnectionResetError):
            await client.read()


async def test_a_restart_is_another_life_which_knows_nothing_of_the_one_before() -> None:
    ended: list[SimTransaction] = []
    async with SimulatedKamailio(gate=True, fr_timer=0.05) as sim, Client(sim) as client:
        sim.on_end = ended.append
        incarnation = await client.hello()
        await client.say(READY)
        await sim.until(lambda: sim.gate_open)
        over, call = await sim.suspend("e", {}), await sim.suspend("e", {})
        sim.cancel(over, None)
        sim.restart()
        assert over.state is State.CANCELLED
        assert (call.state, sim.gate_open) == (State.UNANSWERED, False)
        with pytest.raises(NotResumed):
            await call.resumed()
        async with Client(sim) as again:
            assert await again.hello() != incarnation
            await again.say(resume_of(call))
            await sim.until(lambda: sim.counters.not_found)
            await again.say(READY)
            await sim.until(lambda: sim.gate_open)
            later = await sim.suspend("e", {})
            with pytest.raises(NotResumed):
                await later.resumed()
    assert ended == [over, later], "whom an earlier life has forgotten, nobody waited for"
    assert sim.counters.unanswered == 1


async def test_a_receipt_tells_whether_a_suspension_still_waits() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.hello()
        call = await sim.suspend("e", {})
        await client.frame()
        ids = TransactionId("sbc1", call.index, call.label, 1)
        unknown = TransactionId("sbc1", call.index, call.label, 2)
        await client.say(
            to_kamailio.still_open("l:1", ids), to_kamailio.still_open("l:2", unknown), resume_of(call)
        )
        await client.say(to_kamailio.still_open("l:3", ids), b'{"adapter":{"sync":"l:4","asked":"nonsense"}}')
        found = [await client.event() for _ in range(4)]
    assert found == [Synced("l:1", True), Synced("l:2", False), Synced("l:3", False), Synced("l:4")]


async def test_refused_connects_and_the_same_port_again() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        port = sim.port
        sim.refuse()
        sim.refuse()
        with pytest.raises(ConnectionRefusedError):
            await Client(sim).__aenter__()
        sim.notify("still_connected", {})
        assert await client.event() == Notice("still_connected", {})
        sim.accept()
        assert sim.port == port
        async with Client(sim) as again:
            assert await again.hello()
        with pytest.raises(OSError, match="in use"):
            sim.accept()


async def test_a_client_that_resets_is_forgotten() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()
        await sim.until(lambda: sim.clients == 0)


async def test_an_event_for_a_client_that_has_just_gone() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as other:
        client = await Client(sim).__aenter__()
        await sim.until(lambda: sim.clients == 2)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()
        assert sim.clients == 2
        sim.notify("e", {})
        assert not sim.stalled
        await until_event(other, "e")


async def test_its_end_closes_clients_and_port() -> None:
    async with SimulatedKamailio() as sim:
        client = await Client(sim).__aenter__()
        assert await client.hello()
    assert await client.frame() == b""
    with pytest.raises(ConnectionRefusedError):
        await Client(sim).__aenter__()
    client.sock.close()


async def test_address_and_repr() -> None:
    async with SimulatedKamailio() as sim:
        assert sim.address == f"127.0.0.1:{sim.port}"
        assert repr(sim) == f"<SimulatedKamailio include {sim.address} 0 clients, 0 suspended, 0 resumed>"
        call = await sim.suspend("e", {})
        assert repr(call) == f"<SimTransaction e {call.index}:{call.label}:1 suspended>"
    async with SimulatedKamailio(host="::1") as sim:
        assert sim.address == f"[::1]:{sim.port}"


@pytest.mark.parametrize("form", ["json", "colon", "cgrates"])
@pytest.mark.parametrize("configuration", ["include", "plain"])
async def test_forms_of_an_event(configuration: Any, form: Any) -> None:
    data = {"ua": 'we"ird\\ \t é'}
    async with SimulatedKamailio(configuration) as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        call = await sim.suspend("invite_request", data, form=form)
        sim.notify("call_ended", data, form=form)
        if configuration == "include":
            await client.hello()
        found = await client.event()
        seq = 1 if (configuration, form) == ("include", "json") else None
        assert found == Suspended("invite_request", call.index, call.label, seq, data)
        assert await client.event() == Notice("call_ended", data)


async def test_the_colon_form_as_kamailio_writes_it() -> None:
    async with SimulatedKamailio("plain") as sim, Client(sim) as client:
        await sim.until(lambda: sim.clients == 1)
        call = await sim.suspend("invite_request", b"\x00binary")
        encoded = base64.b64encode(b"\x00binary").decode()
        assert await client.frame() == f"invite_request:{call.index}:{call.label}:{encoded}".encode()
        with pytest.raises(TypeError, match="colon form only"):
            await sim.suspend("invite_request", b"bytes", form="json")


async def test_ids_are_like_those_of_tm() -> None:
    async with SimulatedKamailio() as sim:
        calls = [await sim.suspend("e", {}) for _ in range(200)]
        assert len({(call.index, call.label) for call in calls}) == 200
        assert max(call.index for call in calls) < 1 << 16
        assert max(call.label for call in calls) > 1 << 24


async def test_raw_bytes_and_any_payload() -> None:
    async with SimulatedKamailio() as sim, Client(sim) as client:
        await client.frame()
        sim.emit_payload(b"\xff not understood")
        assert await client.frame() == b"\xff not understood"
        sim.emit_raw(b"garbage")
        assert await client.read() == b"garbage"
        sim.emit_raw(netstring(b"half a frame")[:7])
        assert await client.read() == b"12:half"


async def test_ids_in_use_are_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedKamailio() as sim:
        labels = iter([7, 7, 8])
        monkeypatch.setattr("random.randrange", lambda _: 5)
        monkeypatch.setattr("random.getrandbits", lambda _: next(labels))
        first, second = await sim.suspend("e", {}), await sim.suspend("e", {})
        assert ((first.index, first.label), (second.index, second.label)) == ((5, 7), (5, 8))
