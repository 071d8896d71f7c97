"""Rows in which names are not what they should be, and others with more or fewer replicas than two."""

from __future__ import annotations

from typing import Final

from adapter.cluster.identities import TWO_KAMAILIOS, TWO_NAMES, TWO_REPLICAS
from tests.chaos import faults, faults_names
from tests.chaos.report import Bounds
from tests.chaos.row import NEARLY, Row, told
from tests.chaos.servers import NODE, Kind
from tests.chaos.world import Setup

OTHER: Final = "sbc2"
SECONDS: Final = 15.0


def _told(text: str) -> Bounds:
    """Nobody unanswered, nobody twice, and a replica tells of it. A few come before every gate is open."""
    return Bounds(0.99, checks=(told(text),))


NAMES: Final = (
    Row(
        "two Kamailios under one name",
        faults.nothing,
        _told(TWO_KAMAILIOS),
        Setup(odd=True),
        lasts=0.0,
        kind=Kind.TWO,
        seconds=SECONDS,
    ),
    Row(
        "one Kamailio under two names, one replica",
        faults.nothing,
        _told(TWO_NAMES),
        Setup(replicas=1, names=(f"{NODE},{OTHER}",), odd=True),
        lasts=0.0,
        seconds=SECONDS,
    ),
    Row(
        "one Kamailio under two names, two replicas",
        faults.nothing,
        _told(TWO_NAMES),
        Setup(names=(NODE, OTHER), odd=True),
        lasts=0.0,
        seconds=SECONDS,
    ),
    Row(
        "one replica's name used twice",
        faults.nothing,
        _told(TWO_REPLICAS),
        Setup(one_name=True, odd=True),
        lasts=0.0,
        seconds=SECONDS,
    ),
    Row("three replicas, SIGKILL active", faults.kill_active, NEARLY, Setup(replicas=3)),
    Row("three replicas, all linked, SIGKILL active", faults.kill_active, NEARLY, Setup(3, links=0)),
    Row("2 -> 1 -> 3 replicas", faults_names.two_one_three, NEARLY, lasts=3.0),
    Row("2 -> 1 (SIGKILL) -> 3 replicas, all linked", faults_names.killed_one_three, NEARLY, Setup(links=0)),
)
