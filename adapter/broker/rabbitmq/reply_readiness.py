"""Which nodes' replies are consumed here, and since when not. Pure.

    begin ->  PREPARED  -- up ->  CONSUMED
                 |                   |
               broke               broke: prepared again, within the grace
                 v                   |
              REFUSED  <-- broke ----+
                 |
                 +--- up -> CONSUMED

A node that is prepared counts as taken for ``grace`` seconds, so that no call falls between a
reconnect and the answers to our declarations. One that was refused does not, until it is consumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREPARED: Final = "its replies are not consumed yet"


@dataclass(slots=True)
class _Unheard:
    """A node whose replies do not come at this instant. ``since``: in seconds of any one clock."""

    since: float
    why: str = PREPARED
    refused: bool = False


class ReplyReadiness:
    """The states of the nodes that are attached. Times are seconds of any one clock."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._consumed: set[str] = set()
        self._unheard: dict[str, _Unheard] = {}

    @property
    def unheard(self) -> Mapping[str, str]:
        """The nodes whose replies are not consumed at this instant, and why."""
        return {node: each.why for node, each in self._unheard.items()}

    @property
    def complete(self) -> bool:
        """Whether the replies of all the attached nodes are consumed."""
        return not self._unheard

    def begin(self, node: str, now: float) -> None:
        """A node is to be consumed, on a connection that is new."""
        self._consumed.discard(node)
        self._unheard[node] = _Unheard(now)

    def up(self, node: str) -> None:
        """Its replies are consumed."""
        if self._unheard.pop(node, None) is not None:
            self._consumed.add(node)

    def broke(self, node: str, why: str, now: float) -> None:
        """An attempt to consume it ended, or what was consumed broke."""
        if node in self._consumed:
            self._consumed.discard(node)
            self._unheard[node] = _Unheard(now, why)
        elif node in self._unheard:
            self._unheard[node].why, self._unheard[node].refused = why, True

    def forget(self, node: str) -> None:
        """It is not attached any more."""
        self._consumed.discard(node)
        self._unheard.pop(node, None)

    def takes(self, node: str, now: float) -> bool:
        """Return False once the node's replies cannot be consumed."""
        each = self._unheard.get(node)
        return each is None or not (each.refused or now >= each.since + self._grace)
