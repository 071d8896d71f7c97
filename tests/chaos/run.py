"""One row under load: start the world, call, let it happen, count."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos import witness
from tests.chaos.probe import Probe
from tests.chaos.report import Report, summary
from tests.chaos.servers import Kind
from tests.chaos.world import World
from tests.harness.process import wait_until
from tests.harness.sipp import SippCaller

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.row import Row
    from tests.chaos.servers import Servers

PATIENCE: Final = 8.0
"""Seconds that a caller waits: above Kamailio's own timer."""
LAST_TRY: Final = 7.5
"""Seconds from a caller's INVITE to the last of its retransmissions within that: 0.5, 1, 2 and 4 apart
(RFC 3261, 17.1.1.2)."""


@dataclass(frozen=True, slots=True)
class Load:
    """``rate``: calls a second, for ``seconds``; ``at``: when it happens."""

    rate: float = 200.0
    seconds: float = 30.0
    at: float = 10.0

    @property
    def calls(self) -> int:
        """How many that makes."""
        return round(self.rate * self.seconds)


def run(row: Row, servers: Servers, folder: Path, load: Load, seed: int) -> Report:
    """Run a row; its logs stay in the folder. Raises HarnessError where something could not be run."""
    load = Load(load.rate * row.times, min(row.seconds or load.seconds, load.seconds), load.at)

    def happens(world: World) -> None:
        world.sleep(min(load.at, load.seconds / 2))
        row.does(world, row.lasts)

    with World(servers, prepared(servers, folder), row.setup, load.rate, seed) as world:
        return under_load(world, load, happens, unclaimed=row.unclaimed)


def prepared(servers: Servers, folder: Path) -> Path:
    """The folder, made, with the servers put right."""
    folder.mkdir(parents=True)
    servers.put_right()
    return folder


def under_load(
    world: World, load: Load, happens: Callable[[World], None], *, unclaimed: bool = False
) -> Report:
    """Call, let it happen, wait for the end of every call, and count. ``unclaimed``: see `Row`."""
    servers = world.servers
    offsets = servers.logged
    callers = [
        SippCaller(
            world.folder,
            kamailio.sip_port,
            calls=load.calls // len(servers.kamailios),
            rate=load.rate / len(servers.kamailios),
            timeout=load.seconds + 60,
            patience=PATIENCE,
            name=f"caller-{number}",
        )
        for number, kamailio in enumerate(servers.kamailios, 1)
    ]
    codes = Counter[int]()
    with Probe(world) as probe, contextlib.ExitStack() as calling:
        for caller in callers:
            calling.enter_context(caller)
        wait_until(lambda: servers.logged > offsets, "the first call")
        happens(world)
        for caller in callers:
            codes += Counter(caller.wait().codes)
        for heal in world.after:
            heal()
        recovered = world.recovered()
    lines = servers.log_since(offsets)
    (world.folder / "witness.log").write_text("\n".join(lines) + "\n")
    for replica in world.replicas:
        world.notes += replica.faults
    report = Report(
        witness.read(lines),
        world.marks,
        world.surged + codes,
        sum(caller.calls for caller in callers) + world.surged.total(),
        world.stale(),
        probe.memory,
        probe.options,
        recovered,
        world.notes,
        twice=world.tally.twice,
        written=world.tally.written,
        plain=servers.kind is Kind.PLAIN,
        told=[text for replica in world.replicas for text in replica.told],
        out_of_reach=round(load.rate * sum(max(away - LAST_TRY, 0) for away in world.kamailio_away)),
    )
    report.excused = _died_with_kamailio(world, report) | _excused(world, report)
    if unclaimed:
        report.excused |= _never_claimed(world, report)
    (world.folder / "report.json").write_text(json.dumps(summary(report), indent=1))
    return report


def _died_with_kamailio(world: World, report: Report) -> frozenset[str]:
    """Those that waited when Kamailio was killed: nobody can answer them."""
    return frozenset(
        call.key
        for call in report.calls
        if not call.end and any(killed - PATIENCE < call.asked < killed for killed in world.kamailio_killed)
    )


def _excused(world: World, report: Report) -> frozenset[str]:
    """Those that were asked while, by what happened, there may have been nobody to answer."""
    return frozenset(
        call.key for call in report.calls if any(begin < call.asked < end for begin, end in world.excuses)
    )


def _never_claimed(world: World, report: Report) -> frozenset[str]:
    """Those that were asked when no replica was there, and Kamailio did not know it yet."""
    begin, end = world.marks["fault"] - 0.1, world.marks["back"]
    asked = frozenset(call.key for call in report.calls if begin < call.asked < end)
    return asked - world.claimed_at_kill
