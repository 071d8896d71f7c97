"""Hello, receipts, and the gate that keeps calls from being suspended with nobody to resume them."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness.evapi_client import EvapiClient
from tests.kamailio.conftest import is_asked, ready_link, settled

if TYPE_CHECKING:
    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Caller

HELLO = {"adapter": {"hello": 1, "receipts": True, "gate": True}}


async def test_hello_reaches_the_new_link_and_the_others(kamailio: KamailioServer) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as first:
        assert await first.json() == HELLO
        async with await EvapiClient.connect(kamailio.evapi_port) as second:
            assert await second.json() == HELLO
            assert await first.json() == HELLO


@pytest.mark.parametrize("token", ["link-7:12", 'with "quotes" and \\'])
async def test_a_sync_is_answered_with_its_token(kamailio: KamailioServer, token: str) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as link:
        await link.receipt(token)


async def test_receipts_come_in_the_order_of_the_syncs(kamailio: KamailioServer) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as link:
        for number in range(5):
            link.write({"adapter": {"sync": f"l:{number}"}})
        before = await link.receipt("l:last")
        assert [found["adapter"].get("synced") for found in before[1:]] == [f"l:{n}" for n in range(5)]


async def test_closed_until_somebody_is_ready(kamailio: KamailioServer, caller: Caller) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as link:
        await settled(link)
        assert not await is_asked(caller, link)
        await link.status("ready")
        assert await is_asked(caller, link)


@pytest.mark.parametrize("state", ["degraded", "draining"])
async def test_the_only_replica_closes_it_at_once(link: EvapiClient, caller: Caller, state: str) -> None:
    assert await is_asked(caller, link)
    await link.status(state)
    assert not await is_asked(caller, link)
    await link.status("ready")
    assert await is_asked(caller, link)


async def test_one_of_two_replicas_does_not_close_it(
    kamailio: KamailioServer, link: EvapiClient, caller: Caller
) -> None:
    async with ready_link(kamailio, "r2") as second:
        await link.status("degraded", "r1")
        assert await is_asked(caller, second)
        await second.status("draining", "r2")
        assert not await is_asked(caller, second)


async def test_a_vanished_replica_closes_it_at_once(kamailio: KamailioServer, caller: Caller) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as watching:
        async with ready_link(kamailio) as link:
            assert await is_asked(caller, link)
        await settled(watching)
        assert not await is_asked(caller, watching)


async def test_a_reset_connection_closes_it_at_once(kamailio: KamailioServer, caller: Caller) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as watching:
        with socket.create_connection(("127.0.0.1", kamailio.evapi_port)) as raw:
            payload = b'{"adapter":{"status":"ready"}}'
            raw.sendall(b"%d:%s," % (len(payload), payload))
            while not await is_asked(caller, watching):
                pass  # not read yet
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await settled(watching)
        assert not await is_asked(caller, watching)


async def test_a_vanished_replica_leaves_it_open_for_the_other(
    kamailio: KamailioServer, link: EvapiClient, caller: Caller
) -> None:
    async with ready_link(kamailio, "r2"):
        pass
    await settled(link)
    assert await is_asked(caller, link)


async def test_a_heartbeat_older_than_three_seconds_closes_it(link: EvapiClient, caller: Caller) -> None:
    assert await is_asked(caller, link)
    while await is_asked(caller, link):
        await asyncio.sleep(0.2)  # between looks; the test ends by its time limit where it stays open


async def test_a_silent_replica_does_not_hold_it_open(
    kamailio: KamailioServer, link: EvapiClient, caller: Caller
) -> None:
    async with ready_link(kamailio, "silent") as silent:
        while True:
            await link.status("ready")
            await link.status("degraded")  # what is left open now is what the silent one said
            if not await is_asked(caller, silent):
                break
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"adapter":1}',
        b'{"adapter":{}}',
        b'{"adapter":{"status":7}}',
        b'{"adapter":{"hello":1}}',
        b'{"tm_trans":7}',
        b'{"tm_trans":{}}',
        b'{"tm_trans":{"tm_index":1.5,"tm_label":true,"seq":null}}',
        b'{"tm_trans":{"tm_index":-1,"tm_label":-1,"seq":-1}}',
        b'{"tm_trans":{"tm_index":99999,"tm_label":1,"seq":1},"decision":{"action":"allow"}}',
    ],
)
async def test_nonsense_changes_nothing(link: EvapiClient, caller: Caller, payload: bytes) -> None:
    call = caller.call()
    event = await link.event("invite_request")
    link.write(payload)
    await link.receipt()
    link.answer(event, {"action": "reject", "code": 486, "reason": "Busy Here"})
    assert (await call.final()).reason == "Busy Here"
