"""Whether a link without receipts notices that it brings nothing while another replica reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter.evapi import link as link_module
from adapter.evapi.hearing import CLOCKS, SILENT, Hearing
from adapter.wire import netstring
from tests.evapi.test_link import linked, until
from tests.evapi.test_sound import Peer

if TYPE_CHECKING:
    import pytest

EVENT = netstring.encode(b"invite:1:2:")


class TestHearing:
    def test_deaf_is_what_has_not_brought_what_another_has_read(self) -> None:
        hearing = Hearing()
        hearing.connected(10.0)
        now = 10.0 + 2 * SILENT
        assert hearing.missed(SILENT, now)
        assert not hearing.deaf
        assert hearing.lasts()
        assert hearing.deaf

    def test_not_what_has_brought_something_since(self) -> None:
        hearing = Hearing()
        hearing.connected(10.0)
        now = 10.0 + 2 * SILENT
        assert hearing.missed(SILENT, now)
        hearing.heard(now)
        assert not hearing.lasts()
        assert not hearing.deaf

    def test_not_what_came_later_than_the_event_or_about_when_it_did(self) -> None:
        hearing = Hearing()
        hearing.connected(10.0)
        hearing.heard(20.0)
        assert not hearing.missed(60.0, 70.0), "it was suspended as this link read it"
        assert not hearing.missed(60.0 - CLOCKS / 2, 70.0)
        assert not hearing.missed(61.0, 70.0)
        assert not hearing.missed(0.0, 20.0 + SILENT / 2), "it may be a little late"
        assert hearing.missed(50.0 - 2 * CLOCKS, 70.0)

    def test_asked_once_until_something_is_read(self) -> None:
        hearing = Hearing()
        hearing.connected(10.0)
        assert hearing.missed(0.0, 11.0)
        assert not hearing.missed(0.0, 12.0)
        hearing.heard(12.0)
        assert hearing.missed(0.0, 13.0)


class TestLink:
    async def test_a_plain_link_that_brings_nothing_is_given_up_and_proves_itself(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link_module, "HELLO_WAIT", 0.001)
        peer = Peer(b"")
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            await asyncio.sleep(SILENT)
            link.missed(0.0)
            await until(lambda: link.connects == 2 and link.up)
            await until(lambda: link.identity)  # it is known what configuration is there
            assert not link.sound
            assert peer.writer is not None
            peer.writer.write(EVENT)
            await until(lambda: link.sound and owner.events)

    async def test_one_that_brings_something_yet_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_module, "HELLO_WAIT", 0.001)
        monkeypatch.setattr(link_module, "SURE_AFTER", 0.1)
        peer = Peer(b"")
        async with linked(peer) as (link, owner):
            await until(lambda: link.sound)
            await asyncio.sleep(SILENT)
            link.missed(0.0)
            assert peer.writer is not None
            peer.writer.write(EVENT)
            await until(lambda: owner.events)
            await asyncio.sleep(2 * link_module.SURE_AFTER)
            assert (link.sound, link.connects) == (True, 1)

    async def test_with_receipts_these_tell(self) -> None:
        peer = Peer()
        async with linked(peer) as (link, _):
            await until(lambda: link.sound and link.writer.all_read)
            await asyncio.sleep(SILENT)
            link.missed(0.0)
            await asyncio.sleep(2 * link_module.SURE_AFTER)
            assert (link.sound, link.connects) == (True, 1)
