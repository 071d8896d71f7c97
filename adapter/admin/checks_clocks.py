"""The clocks of replicas and services, by what the journals say of the last calls.

Redis gives each entry of a journal its time, the replica each step in it, and a service says when it got a
request and when it replied: each of them comes before the next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from adapter.admin import overview as whole
from adapter.admin.checks_finding import Finding, Group, counted
from adapter.admin.checks_redis import CLOCKS_DIFFER, SKEW_ERROR, SKEW_WARNING
from adapter.errors import CodecError
from adapter.observe.journal_entry import Kind, unpack
from adapter.ports.store import NOTE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapter.admin.overview import Overview
    from adapter.inflight.operator import OperatorStore
    from adapter.model.transaction import TransactionId
    from adapter.observe.journal_entry import Step

REPLICAS: Final = Group("replicas")
SERVICES: Final = Group("services")
LOOK_BACK: Final = 3.0
"""Seconds of journals that are read."""
MOST: Final = 12
"""Entries of one journal."""
LATE: Final = NOTE_INTERVAL + 0.2
"""Seconds after the last step in it by which an entry may be written."""
_TODO: Final = "chronyc tracking    # on its machine; timedatectl set-ntp true"


async def check(overview: Overview, store: OperatorStore, now: float) -> list[Finding]:
    """Compare them; ``now`` is by Redis' clock. Raises StoreUnavailable."""
    live = whole.live(overview)
    names = whole.short(live)
    after = str(int((now - LOOK_BACK) * 1000))
    read = await asyncio.gather(*(store.journal(full, after, MOST) for full in live))
    journals = [[(_time_of(id_), _steps(entry)) for id_, entry in entries] for entries in read]
    found, compared = [], 0
    for full, journal in zip(live, journals, strict=True):
        off = skew(journal)
        compared += off is not None
        if off is not None and abs(off) > SKEW_WARNING:
            found.append(_skewed(REPLICAS, names[full], off, "Redis'"))
    steps = [step for journal in journals for _, each in journal for step in each]
    found += [
        _skewed(SERVICES, name, off, "the adapters'") for name, off in sorted(of_services(steps).items())
    ]
    if found:
        return found
    if not compared:
        seen = "no call in the last seconds by which to compare clocks (or EVAPI_JOURNAL is 0)"
        return [REPLICAS.unknown("clock", seen)]
    told = f"{counted(compared, 'replica')} within {SKEW_WARNING * 1000:.0f} ms of Redis', by the last calls"
    return [REPLICAS.ok("clock", told)]


def skew(journal: Sequence[tuple[float, Sequence[Step]]]) -> float | None:
    """Seconds by which its writer is ahead of the clock that gave the entries their times, at least;
    negative: behind. None where nothing can be said.
    """
    lags = [at - max(step.at for step in steps) for at, steps in journal if steps]
    if not lags:
        return None
    least = min(lags)
    return -least if least < 0 else -max(least - LATE, 0.0)


def of_services(steps: Iterable[Step]) -> dict[str, float]:
    """Services whose clock differs from the replicas': seconds as ``skew`` has them."""
    arrived: dict[TransactionId, float] = {}
    found: dict[str, float] = {}
    for step in sorted(steps, key=lambda step: step.kind is not Kind.EVENT):
        if step.kind is Kind.EVENT:
            arrived[step.id] = step.at
        if step.kind is not Kind.REPLY or not step.more.get("service"):
            continue
        service, received, replied = (step.more.get(key) for key in ("service", "received", "replied"))
        off = replied - step.at if isinstance(replied, int | float) else 0.0
        if off <= 0 and isinstance(received, int | float):
            off = min(received - arrived.get(step.id, received), 0.0)
        if abs(off) > max(SKEW_WARNING, abs(found.get(str(service), 0.0))):
            found[str(service)] = off
    return found


def _skewed(group: Group, name: str, off: float, than: str) -> Finding:
    seen = f"its clock is {abs(off):.2g} s {'ahead of' if off > 0 else 'behind'} {than}, at least"
    say = group.error if abs(off) > SKEW_ERROR else group.warning
    return say("clock", seen, CLOCKS_DIFFER, _TODO, name)


def _time_of(id_: str) -> float:
    return int(id_.partition("-")[0]) / 1000


def _steps(entry: bytes) -> list[Step]:
    """None, of an entry of another version."""
    try:
        return unpack(entry)
    except CodecError:
        return []
