"""Whether a link without receipts notices that it brings nothing while another replica reads."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from adapter.evapi.half_open import CLOCKS, SILENT, HalfOpen
from adapter.wire import netstring
from tests.evapi.peers import Owner, Peer, linked
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapter.evapi.link import Link

EVENT = netstring.encode(b"invite:1:2:")


@pytest.fixture
def half_open() -> HalfOpen:
    """Of a connection that is there since second 10."""
    return HalfOpen(10.0)


class TestHalfOpen:
    def test_proven_by_what_another_has_read_since(self, half_open: HalfOpen) -> None:
        assert half_open.suspect(SILENT, 10.0 + 2 * SILENT)
        assert not half_open.proven
        assert half_open.confirm()
        assert half_open.proven

    def test_not_if_it_has_brought_something_meanwhile(self, half_open: HalfOpen) -> None:
        now = 10.0 + 2 * SILENT
        assert half_open.suspect(SILENT, now)
        half_open.read_at = now
        assert not half_open.confirm()
        assert not half_open.proven

    def test_not_if_it_was_read_after_the_event_or_about_then(self, half_open: HalfOpen) -> None:
        half_open.read_at = 20.0
        assert not half_open.suspect(60.0, 70.0), "it was suspended as this link read it"
        assert not half_open.suspect(50.0 - CLOCKS / 2, 70.0)
        assert not half_open.suspect(0.0, 20.0 + SILENT / 2), "it may be a little late"
        assert half_open.suspect(50.0 - 2 * CLOCKS, 70.0)

    def test_suspected_once_until_something_is_read(self, half_open: HalfOpen) -> None:
        assert half_open.suspect(0.0, 11.0)
        assert not half_open.suspect(0.0, 12.0)
        half_open.read_at = 12.0
        assert half_open.suspect(0.0, 13.0)


@asynccontextmanager
async def silent(peer: Peer) -> AsyncIterator[tuple[Link, Owner]]:
    """A link that has brought nothing for a while. It takes a peer without hello for a plain one at once."""
    async with linked(peer, hello_wait=0.001) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        await asyncio.sleep(SILENT)
        yield link, owner


class TestLink:
    async def test_a_plain_link_that_brings_nothing_is_given_up_and_proves_itself(self) -> None:
        async with silent(peer := Peer(b"")) as (link, owner):
            link.missed(0.0)
            await until(lambda: link.connects == 2 and link.up)
            await until(lambda: link.identity)  # it is known what configuration is there
            assert not link.sound
            assert peer.writer is not None
            peer.writer.write(EVENT)
            await until(lambda: link.sound and owner.events)

    async def test_one_that_brings_something_yet_is_kept(self) -> None:
        peer = Peer(b"")
        async with linked(peer, hello_wait=0.001, sure_after=0.1) as (link, owner):
            await until(lambda: link.sound)
            await asyncio.sleep(SILENT)
            link.missed(0.0)
            assert peer.writer is not None
            peer.writer.write(EVENT)
            await until(lambda: owner.events)
            await asyncio.sleep(0.2)
            assert (link.sound, link.connects) == (True, 1)

    async def test_with_receipts_these_tell(self) -> None:
        async with silent(Peer()) as (link, _):
            link.missed(0.0)
            await asyncio.sleep(0.2)
            assert (link.sound, link.connects) == (True, 1)
