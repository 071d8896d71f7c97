"""A link to a peer that sends anything: it ends the connection or goes on, and the next one is sound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.settings import Address
from adapter.wire import netstring
from tests.fuzz.seeds import EVENTS
from tests.harness.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST = netstring.encode(b"the-last-one:1:2:eA==")
pieces = st.lists(
    st.sampled_from(EVENTS).map(netstring.encode)
    | st.sampled_from(EVENTS)
    | st.binary(max_size=40)
    | st.binary(max_size=40).map(netstring.encode)
    | st.sampled_from([b"9:", b"999999999:", b",", b"0:,", b"5000:" + b"x" * 5000, b"5000:" + b"x" * 5001]),
    max_size=6,
)


class Owner:
    """Waits for the event that only a sound connection gives."""

    def __init__(self) -> None:
        self.sound = asyncio.Event()

    def on_events(self, link: Link, events: Sequence[Any]) -> None:
        if any(found.event == "the-last-one" for found in events):
            self.sound.set()

    def on_read(self, link: Link, ids: Sequence[Any]) -> None:
        pass

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        pass

    def may_write(self, node: str) -> bool:
        return True


class Peer:
    """Sends what it was given on the first connection, a good frame on the others; then it closes."""

    def __init__(self, raw: bytes) -> None:
        self._now = raw

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._now)
        self._now = LAST
        writer.close()


@given(pieces)
@settings(max_examples=examples(60), deadline=None)
async def test_any_bytes(sent: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    owner, peer = Owner(), Peer(b"".join(sent))
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    limits = LinkSettings(backoff_min=0.0001, backoff_max=0.001, max_frame=4096)
    link = Link("sbc1", Address(*server.sockets[0].getsockname()), owner, "r1", limits)
    task = asyncio.create_task(link.run())
    try:
        sound = asyncio.create_task(owner.sound.wait())
        await asyncio.wait({task, sound}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert sound.done()
        assert not task.done()
        assert faults == []
    finally:
        for each in (task, sound):
            each.cancel()
        await asyncio.gather(task, sound, return_exceptions=True)
        server.close()
        loop.set_exception_handler(None)
