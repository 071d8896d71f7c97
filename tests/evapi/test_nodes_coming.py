"""Nodes that come, go, move and turn out to be the same; links that are left to other replicas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adapter.settings import Address, NodeAddress
from adapter.simulator import SimulatedKamailio
from tests.evapi.peers import resume
from tests.evapi.running import refreshed, running
from tests.harness.until import until

if TYPE_CHECKING:
    from adapter.evapi.nodes import Connector


def node(name: str, sim: SimulatedKamailio) -> NodeAddress:
    return NodeAddress(name, Address.parse(sim.address))


def series(connector: Connector) -> set[str]:
    """The nodes of which metrics are told."""
    connector.measure()
    return {
        sample.labels["node"]
        for metric in connector._metrics.registry.collect()
        for sample in metric.samples
        if "node" in sample.labels
    }


async def test_only_what_is_known_can_be_connected_to() -> None:
    async with SimulatedKamailio() as sim, running() as (nodes, connector, _, _):
        assert (nodes.known, nodes.names) == ((), [])
        connector.set_known([node("sbc1", sim)])
        assert (nodes.known, nodes.names) == (("sbc1",), [])
        assert nodes.max_payload("sbc1") > 0, "its replies are settled here, whoever resumes"
        assert not nodes.send("sbc1", resume()[0], 30.0, resume()[1])
        connector.connect("sbc1")
        await until(lambda: nodes.readers == ["sbc1"])


async def test_what_is_left_to_others_touches_no_other_link() -> None:
    async with (
        SimulatedKamailio() as one,
        SimulatedKamailio() as two,
        running(sbc1=one.address, sbc2=two.address) as (nodes, connector, broker, _),
    ):
        await until(lambda: nodes.readers == ["sbc1", "sbc2"])
        assert series(connector) >= {"sbc1", "sbc2"}
        await nodes.flushed()
        assert nodes.idle("sbc1")
        connector.disconnect("sbc1")
        assert (nodes.known, nodes.names) == (("sbc1", "sbc2"), ["sbc2"])
        assert broker.calls[-1:] == [("sbc1", None)]
        await one.until(lambda: not one.clients)
        assert two.clients == 1
        assert "sbc1" not in series(connector)
        assert not connector.broken.done()
        connector.connect("sbc1")
        await until(lambda: nodes.readers == ["sbc2", "sbc1"])
        assert broker.calls[-1] == ("sbc1", 0)


async def test_one_with_something_unread_is_not_idle() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, _, _, _):
        await until(lambda: nodes.readers)
        await nodes.flushed()
        sim.stop_reading()
        assert nodes.send("sbc1", resume()[0], 30.0, resume()[1])
        assert not nodes.idle("sbc1")


async def test_a_link_to_a_node_that_is_gone_stands_until_the_node_ends_it() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, _, trip):
        await until(lambda: nodes.readers)
        connector.set_known([])
        assert (nodes.known, nodes.names, nodes.gone) == ((), ["sbc1"], [])
        sim.notify("ended", {})
        await until(lambda: trip.events)
        sim.disconnect()
        await until(lambda: nodes.gone == ["sbc1"])
        await until(lambda: connector._tasks["sbc1"].done())
        assert sim.clients == 0
        assert not connector.broken.done()
        connector.disconnect("sbc1")
        assert (nodes.names, nodes.gone) == ([], [])


async def test_one_that_is_gone_while_it_is_down_is_not_connected_to() -> None:
    async with SimulatedKamailio() as sim:
        sim.refuse()
        async with running(sbc1=sim.address) as (nodes, connector, _, _):
            connector.set_known([])
            await until(lambda: connector._tasks["sbc1"].done())
            assert nodes.gone == ["sbc1"]


@pytest.mark.parametrize("down", [False, True])
async def test_one_that_comes_back_is_the_same_node(down: bool) -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, _, trip):
        await until(lambda: nodes.readers)
        connector.set_known([])
        if down:
            sim.disconnect()
            await until(lambda: nodes.gone)
        connector.set_known([node("sbc1", sim)])
        assert nodes.gone == []
        await until(lambda: nodes.readers)
        (link,) = nodes
        before = link.connects
        sim.disconnect()
        await until(lambda: link.connects > before and nodes.readers)
        sim.notify("ended", {})
        await until(lambda: trip.events)


async def test_one_that_has_moved_is_followed() -> None:
    async with (
        SimulatedKamailio() as here,
        SimulatedKamailio() as there,
        running(sbc1=here.address) as (nodes, connector, _, trip),
    ):
        await until(lambda: nodes.readers)
        connector.set_known([node("sbc1", there)])
        await refreshed(connector, lambda: there.clients == 1 and nodes.readers)
        assert here.clients == 0
        there.notify("ended", {})
        await until(lambda: trip.events)


async def test_which_kamailio_a_name_stands_for_is_known_with_its_hello_and_as_long_as_it_is_linked() -> None:
    async with SimulatedKamailio() as sim, running(a=sim.address, b=sim.address) as (nodes, _, _, trip):
        seen: list[dict[str, str]] = []
        trip.roles.set_identities = seen.append
        await until(lambda: nodes.readers == ["a", "b"])
        first, second = (nodes.identities[name] for name in ("a", "b"))
        assert first == second
        assert first.startswith(f"{nodes.incarnation('a')}@{sim.address}")
        assert seen[-1] == nodes.identities, "told at once"
        sim.refuse()
        sim.disconnect()
        await until(lambda: not nodes.up)
        assert nodes.identities == seen[-1] == {}


async def test_a_link_that_ends_by_a_fault_is_told() -> None:
    async with SimulatedKamailio() as sim, running(sbc1=sim.address) as (nodes, connector, broker, _):
        await until(lambda: nodes.readers)
        broker.detach = None  # type: ignore[method-assign, assignment]
        sim.disconnect()
        with pytest.raises(TypeError):
            await asyncio.wait_for(connector.broken, 10)
