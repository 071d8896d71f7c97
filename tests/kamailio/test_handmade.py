"""A configuration that pastes callers' headers into JSON by hand, and a caller who writes a NUL."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from adapter.evapi.limits import LinkSettings
from adapter.evapi.link import Link
from adapter.model.transaction import Outcome, TransactionId
from adapter.settings import Address
from adapter.wire import event, to_kamailio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.harness.kamailio import KamailioServer
    from tests.harness.sip import Caller

KAMAILIO = {"cfg": Path(__file__).with_name("handmade.cfg")}
TIMEOUT = 10.0


class Answering:
    """Who answers each event by itself, as malformed where it is."""

    def __init__(self) -> None:
        self.up = asyncio.Event()

    def may_write(self, node: str) -> bool:
        return True

    def on_events(self, link: Link, events: Sequence[object]) -> None:
        for found in events:
            if isinstance(found, event.Suspended):
                ids, outcome = (found.index, found.label), Outcome.DECIDED
            else:
                assert isinstance(found, event.Malformed)
                assert found.ids is not None, found
                ids, outcome = found.ids[:2], Outcome.MALFORMED
            id_ = TransactionId("n", *ids, 1)
            until = asyncio.get_running_loop().time() + TIMEOUT
            link.send(to_kamailio.resume(id_, "invite_request", outcome, b"{}"), until, id_)

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None: ...

    def on_result(self, link: Link, result: object) -> None: ...

    def on_link(self, link: Link) -> None:
        if link.up:
            self.up.set()


async def test_a_nul_in_a_header_harms_the_caller_who_wrote_it_alone(
    kamailio: KamailioServer, caller: Caller
) -> None:
    owner = Answering()
    link = Link("n", Address("127.0.0.1", kamailio.evapi_port), owner, "r1", LinkSettings())
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(TIMEOUT):
            await owner.up.wait()
            while (await _final(caller, "first"))[0] != "decided":
                pass  # not taken yet: that call was told to nobody
            agents = [
                "phone",
                "scan\0ner",
                "phone",
                "phone",
                "a\0b",
                'x,9:{"a":"b\0c',
                "a" * 500,
                "phone",
            ] * 5
            calls = [caller.call("1", headers=f"User-Agent: {agent}\r\n") for agent in agents]
            ends = [(await call.final()).reason for call in calls]
        assert ends == ["malformed" if "\0" in agent else "decided" for agent in agents]
        assert link.connects == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _final(caller: Caller, user: str) -> list[str]:
    return [(await caller.call(user).final()).reason]
