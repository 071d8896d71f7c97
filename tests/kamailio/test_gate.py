"""Hello, receipts, and the gate that keeps calls from being suspended with nobody to resume them."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapter.model.transaction import TransactionId
from adapter.wire import event, to_kamailio
from tests.harness.evapi_client import EvapiClient
from tests.harness.kamailio import KamailioServer, version
from tests.kamailio.conftest import is_asked, ready_link, settled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.sip import Caller


@pytest.fixture
async def link(kamailio: KamailioServer) -> AsyncIterator[EvapiClient]:
    """Ready, and silent from then on."""
    async with ready_link(kamailio) as made:
        yield made


async def hello(link: EvapiClient) -> str:
    """The life of Kamailio that the next frame, a hello, names."""
    told = (await link.json())["adapter"]
    number = ".".join(map(str, version()))
    fixed = {"hello": 1, "receipts": True, "gate": True, "version": number}
    assert told == {**fixed, "life": told.get("life")}
    assert isinstance(told["life"], str)
    assert told["life"]
    found = event.parse(json.dumps({"adapter": told}).encode())
    known = event.Hello(receipts=True, gate=True, incarnation=told["life"], version=told["version"])
    assert found == known, "no longer than is kept of it"
    return told["life"]


def is_of_kamailio(process: str) -> bool:
    return Path("/proc", process, "comm").read_text() == "kamailio\n"


async def test_hello_reaches_the_new_link_and_the_others(kamailio: KamailioServer) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as first:
        incarnation = await hello(first)
        assert is_of_kamailio(incarnation.partition("-")[2]), "or two may have one name, of one microsecond"
        async with await EvapiClient.connect(kamailio.evapi_port) as second:
            assert await hello(second) == incarnation
            assert await hello(first) == incarnation


async def test_each_start_of_kamailio_is_a_life_of_its_own(tmp_path: Path) -> None:
    server = KamailioServer(tmp_path)
    lives = []
    for _ in range(2):
        with server:
            async with await EvapiClient.connect(server.evapi_port) as link:
                lives.append(await hello(link))
            async with await EvapiClient.connect(server.evapi_port) as link:
                assert await hello(link) == lives[-1]
    assert len(set(lives)) == 2


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


async def still_open(link: EvapiClient, ids: dict[str, Any], seq: int) -> object:
    """What a receipt says of a suspension; None: nothing."""
    id_ = TransactionId("sbc1", ids["tm_index"], ids["tm_label"], seq)
    link.write(to_kamailio.still_open(f"l:?{seq}", id_))
    before = await link.receipt()
    (found,) = (each for each in before if each.get("adapter", {}).get("synced") == f"l:?{seq}")
    return found["adapter"].get("open")


async def test_a_receipt_tells_whether_a_suspension_still_waits(link: EvapiClient, caller: Caller) -> None:
    call = caller.call()
    asked = await link.event("invite_request")
    ids = asked["tm_trans"]
    assert await still_open(link, ids, ids["seq"]) is True
    assert await still_open(link, ids, ids["seq"] + 1) is False
    assert await still_open(link, {"tm_index": 99_999, "tm_label": 1}, 1) is False
    link.answer(asked, {"action": "reject", "code": 486, "reason": "Busy Here"})
    assert (await call.final()).code == 486
    assert await still_open(link, ids, ids["seq"]) is False


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


async def test_without_commands_one_is_told_to_be_unavailable(link: EvapiClient) -> None:
    link.write({"adapter": {"command": "c1", "name": "calls", "args": {}}})
    told = await link.until(lambda frame: "result" in frame.get("adapter", {}))
    assert (told["adapter"]["result"], told["adapter"]["outcome"]) == ("c1", "unavailable")
