"""What tests ask of a membership: who would be chosen, and what time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.cluster.role import decide
from adapter.cluster.seen import seen
from adapter.cluster.view import NEVER, Here, View

if TYPE_CHECKING:
    from adapter.cluster.membership import Membership
    from adapter.cluster.role import Decision


def here(able: bool = True) -> Here:
    """A replica that can do everything, or cannot publish."""
    return Here(
        asks=able,
        sound=True,
        plain=False,
        incarnation_known=True,
        claims=True,
        clock_wrong=False,
        broker_lost_at=None,
    )


def decision(found: Membership, node: str, able: bool = True, now: float = 0.0) -> Decision:
    return decide(View(here(able), seen(found, node, now, 0.0)), now)


def active(found: Membership, node: str, able: bool) -> str | None:
    """Who is to claim the node's suspensions; ``able``: whether this replica can serve it."""
    return decision(found, node, able).chosen


def served(found: Membership, node: str) -> bool:
    return decision(found, node).served


def linked(found: Membership, node: str) -> bool:
    return decision(found, node).resets


def writer(found: Membership, node: str, able: bool) -> str | None:
    """Who is to write what nobody else can; ``able``: whether this replica can write to it."""
    known = seen(found, node, 0.0, 0.0)
    writes = decide(View(here()._replace(sound=able), known), 0.0).writes_left
    return found.replica if writes else known.heir


def current(found: Membership, now: float) -> bool:
    """Whether this replica may go by the list."""
    return now <= found.lease_ends


def settling(found: Membership, now: float) -> bool:
    """Whether others' claims may not be in the store yet."""
    return now < found.settled_at


def unsure(found: Membership) -> bool:
    """Whether this process stood still, and does not know yet what the others did meanwhile."""
    return found.lease_ends == NEVER
