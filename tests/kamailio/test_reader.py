"""Kamailio's netstring reader, and that the model which other tests rest on reads as it does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapter.simulator import Counters
from adapter.simulator.reader import Reader
from tests.harness.evapi_client import EvapiClient
from tests.harness.kamailio import version
from tests.kamailio.recvs import CASES, CHECKS_LENGTHS, REFUSED, WRAPPED, drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.kamailio import KamailioServer

CHECKS = version() >= CHECKS_LENGTHS
KAMAILIO = {"cfg": Path(__file__).with_name("reading.cfg")}


async def read(kamailio: KamailioServer, recvs: Sequence[bytes]) -> list[bytes]:
    """The frames that it makes of so many recvs, all of one connection."""
    found: list[bytes] = []
    async with (
        await EvapiClient.connect(kamailio.evapi_port) as watcher,
        await EvapiClient.connect(kamailio.evapi_port) as writer,
    ):
        for data in (b"", *recvs):
            await writer.write_raw(data)
            for turn in range(3):  # one turn of its loop takes the connections in any order
                watcher.write(b"turn %d" % turn)
                while (frame := await told(watcher)) != b"turn %d" % turn:
                    found.append(frame)
    return found


async def told(watcher: EvapiClient) -> bytes:
    event = await watcher.event("read")
    return base64.b64decode(event["data"]["base64"])


@pytest.mark.parametrize(("recvs", "delivered"), [*CASES, REFUSED if CHECKS else WRAPPED])
async def test_what_it_delivers(kamailio: KamailioServer, recvs: list[bytes], delivered: list[bytes]) -> None:
    assert await read(kamailio, recvs) == delivered


async def test_the_model_reads_as_it_does(kamailio: KamailioServer) -> None:
    for seed in range(60):
        recvs = drawn(seed)
        reader = Reader(Counters(), checks_lengths=CHECKS)
        modelled = [frame for data in recvs for frame in reader.feed(data)]
        assert await read(kamailio, recvs) == modelled, recvs
