"""Rows with a configuration of Kamailio that has not our include: nothing there drops a second answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos import faults, faults_plain, faults_together
from tests.chaos.report import Bounds
from tests.chaos.row import Row
from tests.chaos.servers import NODE, Kind
from tests.chaos.witness import DECIDED
from tests.chaos.world import Setup

if TYPE_CHECKING:
    from tests.chaos.report import Report

LARGE: Final = 6_000
"""Bytes of an answer, fewer than a frame there may have: 200 of them a second are 1.2 MB/s."""
ALMOST: Final = 0.8
"""The share of what the pace carries that is to be in time."""
SILENT: Final = 0.01
"""The share of calls that may be left to Kamailio's timer rather than be answered a second time."""
SLOW: Final = Setup(takes=0.3)
"""So that many calls wait when it happens."""


def carried(report: Report) -> str | None:
    """At least ALMOST of what Kamailio has read in its best second was read in any second of the load, and
    was a decision in time: what is too much costs the callers whose answers it is, and nobody else.
    """
    first = min(call.asked for call in report.calls)
    last = max(call.asked for call in report.calls)
    by_second = [0] * (int(last - first) + 1)
    for call in report.calls:
        if call.end == DECIDED and call.ended - first < len(by_second):
            by_second[int(call.ended - first)] += 1
    whole = by_second[1:-1]  # those in which calls came all the time, and their answers
    worst = min(whole, default=0)
    if not worst or worst < ALMOST * max(whole):
        return f"decided in a second: {worst} to {max(whole, default=0)}"
    return None


def none_unread(report: Report) -> str | None:
    """Kamailio's reader has lost no answer."""
    return f"{report.unread} answers never read" if report.unread else None


PLAIN: Final = (
    Row("plain: SIGKILL active", faults.kill_active, Bounds(0.99, silent=SILENT), SLOW, kind=Kind.PLAIN),
    Row(
        "plain: Redis emptied",
        faults_plain.empty_redis,
        Bounds(0.0, silent=SILENT, checks=(none_unread,)),
        SLOW,
        kind=Kind.PLAIN,
    ),
    Row(
        "plain: Redis crashes in a loop",
        faults_plain.redis_in_a_loop,
        Bounds(0.0, silent=SILENT, checks=(none_unread,)),
        SLOW,
        lasts=10.0,
        kind=Kind.PLAIN,
    ),
    Row(
        "plain: both start without Redis",
        faults_together.start_without_redis,
        Bounds(0.0, silent=SILENT),
        SLOW,
        lasts=4.0,
        kind=Kind.PLAIN,
    ),
    Row(
        "plain: replicas name the node differently",
        faults.nothing,
        Bounds(0.0, silent=SILENT),
        Setup(names=(NODE, "sbc2"), odd=True, one_address=True),  # it says nothing else of itself
        lasts=0.0,
        kind=Kind.PLAIN,
        seconds=15.0,
    ),
    Row(
        "plain: more answers than the pace carries",
        faults.nothing,
        Bounds(0.0, checks=(carried, none_unread)),
        Setup(replicas=1, pad=LARGE),
        lasts=0.0,
        kind=Kind.PLAIN,
        seconds=15.0,
    ),
)
