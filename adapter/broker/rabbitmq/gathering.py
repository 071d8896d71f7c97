"""Requests for one service that go in one message. Pure."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final, NamedTuple

from adapter import batches
from adapter.ports.broker import Published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.ports.broker import Publication


_STEPS: Final = 8
"""Into how many steps each doubling of a wait is divided: a message is given up with the first of its
requests that nobody took, so none loses more than a step, 9 %, of the time in which it was to be taken."""


class Batch(NamedTuple):
    """A message of several.

    ``deadline``: the last of theirs, in epoch seconds; ``left``: milliseconds until then. ``expires``:
    milliseconds until the first of them is given up that nobody took; None: none is before its deadline.
    """

    first: Publication
    body: bytes
    deadline: float
    left: int
    expires: int | None


def groups(publications: Sequence[Publication], now: float) -> list[list[int]] | None:
    """Return the places of those that go together, in their order; None if each goes alone.

    Together go requests to one queue whose replies come to one node: as many as their policy lets, and no
    more bytes than ``batches.MAX_BYTES``. If they are to be taken before their deadline, they are to be at
    about the same time. What has no time left goes with nobody: it is not sent.
    """
    for each in publications:
        if each.batch > 1:
            break
    else:
        return None
    found: list[list[int]] = []
    open_: dict[tuple[str, str, int, int | None], tuple[list[int], int]] = {}  # with the bytes that are left
    for place, each in enumerate(publications):
        if not _may_join(each, now):
            found.append([place])
            continue
        key = each.queue, each.node, each.batch, _step(each, now)
        size = batches.size(each.body, each.correlation_id or "", each.traceparent)
        group, room = open_.get(key) or ([], 0)
        if not group or room < size or len(group) == each.batch:
            group, room = [], batches.MAX_BYTES - batches.HEAD
            found.append(group)
        group.append(place)
        open_[key] = group, room - size
    return found


def _may_join(each: Publication, now: float) -> bool:
    joins = each.batch > 1 and bool(each.queue) and each.correlation_id is not None
    return joins and each.deadline is not None and each.deadline - now >= 0.001 and batches.takes(each.body)


def _is_told(each: Publication) -> bool:
    """Whether the adapter hears of it if nobody takes it before its deadline."""
    return each.expires is not None and each.expires < (each.deadline or 0.0)


def _step(each: Publication, now: float) -> int | None:
    """About how long one waits to be taken until the adapter hears of it; None: until its deadline."""
    if each.expires is None or not _is_told(each):
        return None
    return round(_STEPS * log2(max(each.expires - now, 0.001)))


def batch(publications: Sequence[Publication], now: float) -> Batch:
    """Return the message of some that ``groups`` has put together."""
    deadlines = [each.deadline or now for each in publications]
    parts = [
        batches.request(each.body, each.correlation_id or "", int((until - now) * 1000), each.traceparent)
        for each, until in zip(publications, deadlines, strict=True)
    ]
    deadline, waits = max(deadlines), [each.expires or now for each in publications if _is_told(each)]
    expires = max(0, int((min(waits) - now) * 1000)) if waits else None
    return Batch(publications[0], batches.joined(parts), deadline, int((deadline - now) * 1000), expires)


def spread(groups: Sequence[Sequence[int]], results: Sequence[Published]) -> list[Published]:
    """Return the result of each publication, out of those of the messages."""
    found = [Published.UNAVAILABLE] * sum(map(len, groups))
    for group, result in zip(groups, results, strict=True):
        for place in group:
            found[place] = result
    return found
