"""The Kamailios that run, by what the links to them tell: which version each is, and how soon it handles
what is written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapter.admin import overview as whole
from adapter.admin import tried
from adapter.admin.checks_finding import version_of
from adapter.admin.checks_nodes import NODES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter.admin.checks_finding import Finding
    from adapter.admin.overview import Overview

SLOW: Final = 0.1
"""Seconds, on average, from which a receipt is late: on an idle machine it takes some milliseconds."""
POLLS_SINCE: Final = (5, 7)
"""Kamailio since when EVAPI's workers handle frames, which they look for each ``wait_idle``."""


def check(overview: Overview) -> list[Finding]:
    """What each node's Kamailio says of itself, and how late its receipts are; nothing of a plain one."""
    return [finding for node in whole.node_names(overview) for finding in _node(overview, node)]


def _node(overview: Overview, node: str) -> Iterator[Finding]:
    version, took = _told(overview, node, "kamailio"), _told(overview, node, "receipts")
    if isinstance(version, str) and version_of(version):
        seen = tried.KAMAILIO.describe(version)
        if tried.KAMAILIO.supports(version):
            yield NODES.ok("version", seen, node)
        else:
            why = f"It is tested with {tried.KAMAILIO.since} and later."
            yield NODES.error("version", seen, why, f"upgrade to {tried.KAMAILIO.since} or later", node)
    if isinstance(took, int | float) and took > SLOW:
        yield _slow(node, took, version_of(version) if isinstance(version, str) else ())


def _told(overview: Overview, node: str, what: str) -> Any:
    """What the active replica's beat says of the node, else another's; None if none does."""
    live, active = whole.live(overview), whole.active(overview, node)
    for name in sorted(live, key=lambda name: name != active):
        of = live[name].about.get(what)
        if isinstance(of, dict) and node in of:
            return of[node]
    return None


def _slow(node: str, took: float, version: tuple[int, ...]) -> Finding:
    seen = f"it handles an answer {took * 1000:.0f} ms after it was written, on average"
    if version and version < POLLS_SINCE:
        why = "Each caller waits for that: something in route[RESUME] blocks EVAPI's process, or it is busy."
        todo = "evapi-adapter doctor --kamailio-cfg FILE    # blocking-resume"
    else:
        why = "Each caller waits for that: EVAPI's worker polls, by default each 0.5 s, or is busy."
        todo = 'modparam("evapi", "workers", 0)    # after the include; doctor --kamailio-cfg FILE tells more'
    return NODES.warning("slow-receipts", seen, why, todo, node)
