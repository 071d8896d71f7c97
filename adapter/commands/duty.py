"""What is done for commands by the clock: those of dead replicas, and of nodes without a link."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.errors import StoreUnavailable
from adapter.model.beat import Beat

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adapter.cluster.membership import Membership
    from adapter.commands.commands import Commands
    from adapter.ports.broker import Broker
    from adapter.ports.nodes import NodeView
    from adapter.ports.store import Store

log = structlog.get_logger()

EACH: Final = 1.0
"""Seconds between two looks."""
UNLINKED_AFTER: Final = 2.0
"""Seconds without a link after which commands to a node are answered ``unavailable``: until then they wait
for one, as after a start."""
GONE_FOR: Final = 60.0
"""Seconds for which a dead replica's commands are looked for; none is under way for longer."""


class CommandDuty:
    """``tick`` it often.

    Args:
        commands: has them carried out.
        store: holds them.
        broker: is told which nodes have no link.
        nodes: says which have one.
        membership: says who is dead.
        begin: does something in the background.
    """

    def __init__(
        self,
        commands: Commands,
        store: Store,
        broker: Broker,
        nodes: NodeView,
        membership: Membership,
        begin: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._commands = commands
        self._store = store
        self._broker = broker
        self._nodes = nodes
        self._membership = membership
        self._begin = begin
        self._next = 0.0
        self._busy = False
        self._unlinked: dict[str, float] = {}  # since when
        self._told: frozenset[str] = frozenset()
        self._dead: dict[str, float] = {}  # since when

    def tick(self, now: float) -> None:
        """Do what is due, by the monotonic clock's seconds."""
        if now < self._next:
            return
        self._next = now + EACH
        linked = set(self._nodes.readers)
        self._unlinked = {
            node: self._unlinked.get(node, now) for node in self._nodes.known if node not in linked
        }
        told = frozenset(node for node, since in self._unlinked.items() if now >= since + UNLINKED_AFTER)
        if told != self._told:
            self._told = told
            self._broker.know(told)
        if not self._busy:
            self._busy = True
            self._begin(self._look_after(sorted(linked)))

    async def _look_after(self, nodes: list[str]) -> None:
        try:
            await self._store.beat(Beat())  # by which a store that was away is found again
            now = time.monotonic()
            self._dead = {name: self._dead.get(name, now) for name in self._membership.dead}
            dead = [name for name, since in self._dead.items() if now < since + GONE_FOR]
            await self._commands.look_after(nodes, dead)
        except StoreUnavailable:
            pass  # its own log tells, and what this replica has under way goes on
        finally:
            self._busy = False
