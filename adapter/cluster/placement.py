"""Which of the known nodes this replica connects to.

With many replicas each takes only a share: the first few of each node by rendezvous hashing. Make before
break: whoever is one of them connects at once, and who no longer is leaves only when all of them read
the node and consume its replies, and nothing of it is its own any more. So no suspension is ever without an
active replica, and a Kamailio has few clients (evapi takes 8, ``max_clients``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from adapter.cluster.rendezvous import preference

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.cluster.membership import Membership
    from adapter.cluster.roles import Roles
    from adapter.ports.nodes import Connecting, NodeView
    from adapter.ports.recovery import Recovery
    from adapter.ports.store import Store

log = structlog.get_logger()

LEAVE_AFTER: Final = 3.0
"""Seconds for which a link is kept that others have instead: a replica that has lost its broker for a
moment gets its nodes back before anybody has taken leave."""
GONE_AFTER: Final = 10.0
"""Seconds after which a node that is neither known nor connected is given up. Who comes back earlier
gets the answers that wait for it."""


class Placement:
    """To be ``update``\\ d after each beat.

    Args:
        count: how many replicas connect to each node; 0: all.
        nodes: which nodes there are, and those that this replica is linked to.
        connector: connects to a node, and leaves it.
        membership: who else is there.
        roles: what this replica does for each node: one that it is active for is not left.
        recovery: forgets what is in flight of a node that is gone.
        inflight: whether anything of a node is this replica's own.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        count: int,
        nodes: NodeView,
        connector: Connecting,
        membership: Membership,
        roles: Roles,
        recovery: Recovery,
        inflight: Store,
        clock: Callable[[], float],
    ) -> None:
        self._count = count
        self._nodes = nodes
        self._connector = connector
        self._membership = membership
        self._roles = roles
        self._recovery = recovery
        self._inflight = inflight
        self._clock = clock
        self._unwanted: dict[str, float] = {}  # links that others have instead, and since when
        self._gone: dict[str, float] = {}  # nodes that are no more, and since when
        self.wanted: frozenset[str] = frozenset()
        """The nodes that this replica is to connect to."""

    async def update(self, able: bool) -> None:
        """Connect to what is this replica's share, and leave what no longer is, where that can be done.

        ``able``: whether this replica may and can take a suspension all the way. Raises StoreUnavailable.
        """
        me, linked, wanted = self._membership.replica, set(self._nodes.names), set()
        for node in self._nodes.known:
            chosen = assignees(self._membership, node, self._count, able)
            if me in chosen:
                wanted.add(node)
                if node not in linked:
                    log.info("connects to a node", node=node, among=chosen)
                    self._connector.connect(node)
            elif node in linked and await self._may_leave(node, chosen):
                log.info("leaves a node to others", node=node, to=chosen)
                self._connector.disconnect(node)
        self.wanted = frozenset(wanted)
        self._unwanted = {node: since for node, since in self._unwanted.items() if node not in wanted}
        await self._give_up()

    async def _may_leave(self, node: str, chosen: list[str]) -> bool:
        membership = self._membership
        if membership.away or not all(carries(membership, each, node) for each in chosen):
            self._unwanted.pop(node, None)
            return False
        since = self._unwanted.setdefault(node, self._clock())
        if (
            self._clock() < since + LEAVE_AFTER
            or self._roles.of(node).is_active
            or not self._nodes.idle(node)
        ):
            return False
        return not any(record.owner == membership.replica for record in await self._inflight.scan(node))

    async def _give_up(self) -> None:
        """Forget nodes that are gone for good: nobody waits for their answers any more."""
        now = self._clock()
        self._gone = {node: self._gone.get(node, now) for node in self._nodes.gone}
        for node, since in list(self._gone.items()):
            if now >= since + GONE_AFTER:
                given_up = await self._recovery.forget_node(node)
                log.info("node: gone", node=node, given_up=given_up)
                self._connector.disconnect(node)


def assignees(membership: Membership, node: str, count: int, able: bool) -> list[str]:
    """Return the replicas that are to connect to a node: the first that live, by rendezvous hashing.

    Those that can take a suspension all the way go before the others.

    Args:
        membership: who lives.
        node: the node.
        count: how many there are to be; 0: all.
        able: whether this replica can take a suspension all the way.
    """

    def order(replica: str) -> tuple[bool, tuple[bytes, str]]:
        beat = membership.others.get(replica)
        serves = able if beat is None else beat.broker and beat.accepting
        return serves, preference(node, replica)

    return sorted(membership.replicas, key=order, reverse=True)[: count or None]


def carries(membership: Membership, replica: str, node: str) -> bool:
    """Return True if another replica has a link to the node that is read, and consumes its replies now."""
    beat = membership.others.get(replica)
    return beat is not None and node in beat.nodes and node not in beat.unheard
