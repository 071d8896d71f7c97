"""Kamailio's netstring reader loses frames: the reason for our writer's window."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.evapi_client import EvapiClient
from tests.harness.kamailio import version
from tests.kamailio.conftest import settled
from tests.kamailio.recvs import CHECKS_LENGTHS

if TYPE_CHECKING:
    from tests.harness.kamailio import KamailioServer

KAMAILIO = {"cfg": Path(__file__).with_name("counting.cfg")}


def frames() -> list[bytes]:
    """Some of 80 to 700 bytes, the same in every run."""
    sizes = random.Random(1)
    return [b"%d:%b," % (size, b"y" * size) for size in (sizes.randint(80, 700) for _ in range(100))]


async def counted(link: EvapiClient) -> int:
    """The frames that were read since the last time. Asked again until a question itself is read."""
    while True:
        link.write({"count": "please"})
        try:
            found = await link.until_within(lambda told: told.get("event") == "counted", 0.5)
        except TimeoutError:
            continue
        number: int = found["data"]["frames"]
        return number


async def test_frames_written_one_by_one_all_arrive(kamailio: KamailioServer) -> None:
    async with await EvapiClient.connect(kamailio.evapi_port) as link:
        await link.json()
        for number, frame in enumerate(frames()):
            await link.write_raw(frame)
            await link.receipt(f"l:{number}")
        assert await counted(link) == 100


async def test_frames_in_one_write_do_not_all_arrive(kamailio: KamailioServer) -> None:
    """Three of four bytes are one after which a recv must not end. (Of longer frames so few are that
    sometimes all arrive: 20,000 of 80 to 700 bytes are some 240 recvs.)"""
    many = 100_000
    async with await EvapiClient.connect(kamailio.evapi_port) as link:
        await link.json()
        await link.write_raw(b"1:y," * many)
        assert 0 < await counted(link) < many


@pytest.mark.parametrize(
    ("size", "delivered", "closed"),
    [(32_760, 1, False), (32_761, 0, False), (32_762, 0, True), (40_000, 0, version() < CHECKS_LENGTHS)],
)
async def test_the_longest_frame(kamailio: KamailioServer, size: int, delivered: int, closed: bool) -> None:
    async with (
        await EvapiClient.connect(kamailio.evapi_port) as watcher,
        await EvapiClient.connect(kamailio.evapi_port) as writer,
    ):
        await settled(watcher)
        assert await counted(watcher) == 0
        await writer.write_raw(b"%d:%b," % (size, b"y" * size))
        await settled(watcher)
        assert await counted(watcher) == delivered
        if closed:
            with pytest.raises(EOFError):
                await writer.until(lambda _: False)
        else:
            await writer.receipt()
