"""When a link flushes: once a turn, once more for the sync, and not for each receipt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from adapter.evapi.socket import Stream
from adapter.evapi.window import Window
from adapter.wire import netstring
from tests.evapi.peers import Peer, linked, send, synced, turns
from tests.harness.until import until

if TYPE_CHECKING:
    from adapter.evapi.link import Link


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of ``Window.take`` gave."""
    counts: list[int] = []
    take = Window.take

    def counted(self: Window, now: float) -> list[bytes]:
        frames = take(self, now)
        counts.append(len(frames))
        return frames

    monkeypatch.setattr(Window, "take", counted)
    return counts


ONE_STATUS: dict[str, Any] = {"status_interval": 60.0}


def hasten(link: Link) -> None:
    """The time has come at which the link wants to wake."""
    assert link._waking is not None
    link._waking.cancel()
    link._wake()


async def test_resumes_of_a_moment_share_a_receipt_and_its_coming_costs_no_flush(taken: list[int]) -> None:
    peer = Peer()
    async with linked(peer, receipt_timeout=3600.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        link.writer.sync_delay = 60.0
        taken.clear()
        for label in range(3):
            send(link, label)
            await turns()
        assert taken == [1, 1, 1]
        hasten(link)
        await until(lambda: len(owner.read) == 3)
        await turns()
        assert taken == [1, 1, 1, 1]
        asked = [told for told in peer.seen if "sync" in told.get("adapter", {})]
        assert len(asked) == 2, "one for the status, one for all three"


async def test_timers_are_not_set_anew_for_each_frame() -> None:
    async with linked(Peer(), **ONE_STATUS) as (link, _):
        link.writer.sync_delay = 60.0
        await until(lambda: link.sound)
        waking = set()
        for label in range(5):
            send(link, label)
            await turns()
            waking.add(link._waking)
        (timer,) = waking
        assert timer is not None
        assert not timer.cancelled()
        assert 59 < link._waking_at - asyncio.get_running_loop().time() <= 60


async def test_a_timer_for_a_receipt_gives_way_to_an_earlier_one_for_a_sync() -> None:
    async with linked(Peer(), receipt_timeout=60.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        for label in range(3):
            timer = link._waking
            assert timer is not None
            send(link, label)
            await until(lambda: len(owner.read) == label + 1)
            assert timer.cancelled()


async def test_a_timer_takes_along_what_was_queued_in_its_turn(taken: list[int]) -> None:
    async with linked(Peer(), receipt_timeout=3600.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        link.writer.sync_delay = 20.0
        send(link, 1)
        await turns()
        taken.clear()
        send(link, 2)
        hasten(link)
        await until(lambda: len(owner.read) == 2)
        assert taken == [2]


async def test_a_receipt_makes_room_for_what_waits() -> None:
    peer = Peer()
    async with linked(peer, receipt_timeout=60.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        peer.answering = False
        for label in range(1000):
            send(link, label)
        await turns()
        assert link.writer.unwritten
        peer.answering = True
        await until(lambda: len(peer.labels) > 100)
        for told in [each for each in peer.seen if "sync" in each.get("adapter", {})]:
            assert peer.writer is not None
            peer.writer.write(synced(told))
        await until(lambda: len(owner.read) == 1000)


async def test_once_a_late_receipt_came_the_next_is_looked_for_in_time() -> None:
    peer = Peer()
    async with linked(peer, receipt_timeout=60.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        peer.answering = False
        send(link, 1)
        await until(lambda: peer.labels and "adapter" in peer.seen[-1])
        token = peer.seen[-1]["adapter"]["sync"]
        hasten(link)
        assert link.writer.late
        loop = asyncio.get_running_loop()
        assert link._waking_at > loop.time() + 60.0
        assert peer.writer is not None
        peer.writer.write(synced({"adapter": {"sync": token}}))
        await until(lambda: owner.read)
        assert link._waking_at <= loop.time() + 60.0, "the probe's receipt is missing yet"


async def test_while_the_kernel_takes_no_more_it_looks_at_one_pace(
    monkeypatch: pytest.MonkeyPatch, taken: list[int]
) -> None:
    blocked = True
    async with linked(Peer(), held_interval=0.001, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        monkeypatch.setattr(Stream, "blocked", property(lambda _: blocked))
        taken.clear()
        send(link, 1)
        await turns()
        assert taken == []
        blocked = False
        await until(lambda: owner.read)


async def test_a_timer_that_comes_a_moment_early_counts_as_in_time(taken: list[int]) -> None:
    """uvloop's clock counts whole milliseconds; else the link would look again and again until then."""
    async with linked(Peer(), receipt_timeout=3600.0, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        link.writer.sync_delay = 60.0
        taken.clear()
        send(link, 1)
        await turns()
        hasten(link)
        assert taken == [1, 1], "the frame and its sync"
        await until(lambda: owner.read)


async def test_the_receipts_of_other_links_do_nothing(taken: list[int]) -> None:
    peer = Peer()
    async with linked(peer, **ONE_STATUS) as (link, owner):
        await until(lambda: link.sound and link.writer.all_read)
        taken.clear()
        assert peer.writer is not None
        peer.writer.write(synced({"adapter": {"sync": "other:1"}}) * 5 + netstring.encode(b"ended:::"))
        await until(lambda: owner.events)
        await turns()
        assert taken == []
