"""What is said of connections that are not kept, and how long until the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from adapter.evapi.redial import AT_ONCE, TELL_AGAIN, Redial, Told
from tests.evapi.peers import linked
from tests.harness.until import until

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

CLOSED = "closed by Kamailio"


def test_the_same_end_is_told_once_and_then_by_the_minute_with_a_count() -> None:
    redial = Redial(0.1, 0.5)
    assert redial.ended(CLOSED, 0.001, False, 0.0) == Told(CLOSED, None)
    assert [redial.ended(CLOSED, 0.001, False, 1.0 + each) for each in range(50)] == [None] * 50
    assert redial.ended(CLOSED, 0.001, False, TELL_AGAIN) == Told(CLOSED, 51)
    assert redial.ended("reset", 0.001, False, TELL_AGAIN + 1) == Told("reset", None)
    assert redial.failed("refused", TELL_AGAIN + 2) == Told("refused", None)
    assert redial.failed("refused", TELL_AGAIN + 3) is None
    assert redial.failed("timed out", TELL_AGAIN + 4) == Told("timed out", None)


def test_who_is_not_wanted_asks_ever_more_rarely_and_who_was_served_at_once() -> None:
    redial = Redial(0.1, 0.5)
    pauses = []
    for _ in range(7):
        redial.ended(CLOSED, AT_ONCE / 2, False, 0.0)
        pauses.append(redial.pause)
    assert pauses == [0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5], (
        "behind a proxy a Kamailio that restarts looks like this"
    )
    assert redial.refused
    assert redial.ended(CLOSED, 60.0, True, 1.0) == Told(CLOSED, None), "it was kept: that is news"
    assert (redial.pause, redial.refused) == (0.1, False)
    redial.ended(CLOSED, AT_ONCE / 2, True, 2.0)
    assert not redial.refused, "it greets: it was wanted"
    for _ in range(5):
        redial.failed("refused", 3.0)
    assert redial.pause == 0.5


async def test_a_link_that_is_closed_at_once_says_so_once_and_what_it_may_be() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with structlog.testing.capture_logs() as logged:
        async with linked(peer, backoff_min=0.001, backoff_max=0.001) as (link, _):
            await until(lambda: link.connects > 6)

    def said(what: str) -> list[Mapping[str, object]]:
        return [
            line for line in logged if line["event"] == f"evapi link: {what}" and line["log_level"] != "debug"
        ]

    (line,) = said("lost")
    assert "max_clients" in str(line["do"])
    assert "firewall" in str(line["do"])
    assert len(said("up")) <= 1
