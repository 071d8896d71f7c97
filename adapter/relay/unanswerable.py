"""Notices that look like questions: their data have a transaction's ids under names that nobody reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter.observe.trip_metrics import TripMetrics
    from adapter.wire.event import Notice

log = structlog.get_logger()

REMEDY: Final = (
    'send the ids as "tm_trans":{"tm_index":$T(id_index),"tm_label":$T(id_label)}, or as '
    "event:index:label:base64; evapi-adapter doctor --kamailio-cfg FILE names the line"
)
NOTICES: Final = frozenset({"call_cancelled", "call_started", "call_answered", "call_ended"})
"""Events of the shipped configuration that tell of a transaction, and ask nothing."""
MAX_NAMES: Final = 100
"""Events that are told apart: an event's name comes from outside."""
MAX_MEMBERS: Final = 64
"""Members of an event's data that are looked at."""
_LIKE_AN_ID: Final = re.compile(r"t(m|r|x|rans(action)?)?[_.-]?(id[_.-]?)?(index|idx|label)", re.IGNORECASE)


class Unanswerable:
    """Tells of them, each event's name once: Kamailio waits for an answer that never comes.

    Args:
        metrics: count each of them.
    """

    def __init__(self, metrics: TripMetrics) -> None:
        self._metrics = metrics
        self.told: dict[str, str] = {}
        """Event -> the member that looks like an id."""

    def look(self, node: str, notice: Notice) -> None:
        """Look at one notice of a node's."""
        member = None if notice.event in NOTICES else like_an_id(notice.data)
        if member is None:
            return
        self._metrics.unanswerable.labels(node).inc()
        if notice.event not in self.told and len(self.told) < MAX_NAMES:
            self.told[notice.event] = member
            about = {"event_name": notice.event, "member": member, "node": node}
            log.warning(
                "event without ids that looks like a question: nobody is answered", **about, do=REMEDY
            )


def like_an_id(data: Any) -> str | None:
    """The member of an event's data that looks like an id of a transaction: its path, or None."""
    for path, value in _members(data):
        name = path.rsplit(".", 1)[-1]
        number = type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit())
        if number and _LIKE_AN_ID.fullmatch(name):
            return path
    return None


def _members(data: Any) -> Iterator[tuple[str, Any]]:
    """The members of a map, and of maps in it."""
    if not isinstance(data, dict):
        return
    members: Mapping[Any, Any] = data
    for number, (key, value) in enumerate(members.items()):
        if number >= MAX_MEMBERS:
            return
        if isinstance(value, dict):
            inside = list(value.items())[:MAX_MEMBERS]
            yield from ((f"{key}.{name}", one) for name, one in inside)
        else:
            yield str(key), value
