"""Which Kamailios there are: a Link each. One node's fault never touches another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from adapter.evapi.link import Link, LinkSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adapter.broker.base import Broker
    from adapter.metrics import Metrics
    from adapter.relay import Relay
    from adapter.settings import NodeAddress
    from adapter.transaction import TransactionId
    from adapter.wire import event


class Nodes:
    """The links, and the way from each to the relay and back."""

    def __init__(
        self, addresses: Sequence[NodeAddress], replica: str, settings: LinkSettings, metrics: Metrics
    ) -> None:
        self._links = {
            node.name: Link(node.name, node.address, self, replica, settings) for node in addresses
        }
        self._metrics = metrics
        self._relay: Relay | None = None
        self._broker: Broker | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def __iter__(self) -> Iterator[Link]:
        return iter(self._links.values())

    def start(self, relay: Relay, broker: Broker) -> None:
        """Connect, and stay connected."""
        self._relay, self._broker = relay, broker
        self.tasks = [asyncio.create_task(link.run(), name=f"link {link.node}") for link in self]

    @property
    def up(self) -> list[str]:
        """The nodes whose link stands."""
        return [link.node for link in self if link.up]

    def set_status(self, status: str) -> None:
        """Tell every health gate: ready, degraded or draining."""
        for link in self:
            link.set_status(status)

    async def flushed(self) -> None:
        """Return once every node that is up has read all that was written for it."""
        while any(link.up and not link.writer.all_read for link in self):
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Disconnect."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def measure(self) -> None:
        """Bring the gauges of the links up to date."""
        metrics = self._metrics
        for link in self:
            metrics.link_up.labels(link.node).set(link.up)
            metrics.link_receipts.labels(link.node).set(link.up and link.writer.receipts)
            metrics.gate_open.labels(link.node).set(link.opens_gate)
            metrics.link_connects.labels(link.node).set(link.connects)
            metrics.receipts_missed.labels(link.node).set(link.writer.receipts_missed)
            metrics.frames_resent.labels(link.node).set(link.writer.resent)
            metrics.frames_expired.labels(link.node).set(link.writer.expired)
            metrics.frames_unread.labels(link.node).set(link.writer.waiting)

    # What the relay asks for

    def send(self, node: str, payload: bytes, wait: float, id: TransactionId | None) -> bool:  # noqa: A002
        """Queue a payload for a node, of use for ``wait`` seconds. False: no such node here."""
        link = self._links.get(node)
        if link is None:
            return False
        link.send(payload, asyncio.get_running_loop().time() + wait, id)
        return True

    def max_payload(self, node: str) -> int:
        """Bytes of the longest payload that the node can make use of; 0: no such node here."""
        link = self._links.get(node)
        return 0 if link is None else link.max_payload

    def unread(self, node: str) -> set[TransactionId]:
        """The resumes of a node that are queued, or written and not known to be read."""
        link = self._links.get(node)
        return set() if link is None else link.writer.ids

    def takes_commands(self, node: str) -> bool:
        """Whether the node is up and its configuration tells commands from resumes."""
        link = self._links.get(node)
        return link is not None and link.up and link.gated

    # What a link tells

    def on_events(
        self, link: Link, events: Sequence[event.Suspended | event.Notice | event.Malformed]
    ) -> None:
        """Hand on to the relay."""
        assert self._relay is not None
        self._relay.on_events(link.node, events)

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        """Hand on to the relay."""
        assert self._relay is not None
        self._relay.on_read(ids)

    def on_link(self, link: Link) -> None:
        """Take in a node's replies while its link stands, and only then."""
        assert self._broker is not None
        (self._broker.attach if link.up else self._broker.detach)(link.node)
