"""A Kamailio that has several workers: its receipts prove nothing."""

from __future__ import annotations

from tests.evapi.peers import Peer, hello, linked, send
from tests.harness.until import until


async def test_receipts_are_relied_on_no_more() -> None:
    peer = Peer()
    async with linked(peer, receipt_timeout=60.0) as (link, owner):
        await until(lambda: link.sound)
        peer.answering = False
        send(link, 1)
        send(link, 2, again=True)
        await until(lambda: peer.labels == [1] and peer.asked)
        assert (link.state, owner.read) == ("receipts", [])
        assert peer.writer is not None
        peer.writer.write(hello(receipts=False, unordered=True, version="6.1.5"))
        await until(lambda: link.state == "unordered" and len(owner.read) == 2)
        send(link, 3)
        send(link, 4, again=True)
        await until(lambda: len(peer.labels) == 4)
        assert (sorted(peer.labels), len(peer.asked)) == ([1, 2, 3, 4], 1)
        assert sorted(id_.label for id_ in owner.read) == [1, 2, 3, 4]
        assert (link.sound, link.gated, link.drops_repeats, link.version) == (True, True, True, "6.1.5")
        assert not link.unread
