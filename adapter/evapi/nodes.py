"""Which Kamailios there are, and a Link to each that is this replica's.

One node's fault never touches another.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from adapter.evapi.link import Link
from adapter.evapi.measured import measure
from adapter.evapi.refusing import refusal
from adapter.wire import netstring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from adapter.cluster.roles import Roles
    from adapter.evapi.limits import LinkSettings
    from adapter.model.transaction import TransactionId
    from adapter.observe.metrics import Metrics
    from adapter.ports.broker import Broker
    from adapter.ports.recovery import Recovery
    from adapter.relay.trip import Trip
    from adapter.settings import Address, NodeAddress
    from adapter.wire import event


log = structlog.get_logger()


class Nodes:
    """Which nodes there are, and the links to those of them that are this replica's share: the ports
    ``Links`` and ``NodeView``. Made within the loop. A ``Connector`` makes the links."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()  # to ask for it costs a system call (Python 3.11)
        self._addresses: dict[str, Address] = {}
        self._links: dict[str, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def __repr__(self) -> str:
        return f"<Nodes {list(self._links.values())}>"

    # What the connector keeps here

    def add(self, link: Link) -> None:
        """Take in a link to a node that had none."""
        assert link.node not in self._links
        self._links[link.node] = link

    def remove(self, node: str) -> None:
        """Forget a node's link."""
        del self._links[node]

    def set_addresses(self, addresses: Mapping[str, Address]) -> None:
        """Take in which nodes there are, and where; links to nodes that have moved follow."""
        self._addresses = dict(addresses)
        for node, link in self._links.items():
            address = self._addresses.get(node, link.address)
            if address != link.address:
                log.info("node: has moved", node=node, address=str(address), before=str(link.address))
                link.address = address
                link.reset("its address has changed")

    def address(self, node: str) -> Address | None:
        """Return where a node is; None if there is none of this name."""
        return self._addresses.get(node)

    # What there is

    @property
    def known(self) -> tuple[str, ...]:
        """Every node that there is."""
        return tuple(self._addresses)

    @property
    def gone(self) -> list[str]:
        """The nodes that are no more, and whose link has ended."""
        return [link.node for link in self if link.node not in self._addresses and not link.up]

    def idle(self, node: str) -> bool:
        """Whether the node has read all that was written for it."""
        link = self._links[node]
        return link.writer.all_read and not link.unread and self._loop.time() >= link.handled_at

    @property
    def up(self) -> list[str]:
        """The nodes whose link stands."""
        return [link.node for link in self if link.up]

    @property
    def names(self) -> list[str]:
        """Every node that this replica connects to."""
        return list(self._links)

    @property
    def readers(self) -> list[str]:
        """The nodes that read what is written to them."""
        return [link.node for link in self if link.sound]

    @property
    def identities(self) -> dict[str, str]:
        """Which Kamailio each linked node is, as far as known."""
        return {link.node: found for link in self if (found := link.identity)}

    @property
    def unsound(self) -> list[str]:
        """The nodes whose link stands and that do not read."""
        return [link.node for link in self if link.writer.late and link.up]

    def set_status(self, status: Callable[[str], str]) -> None:
        """Tell every health gate what ``status`` gives for its node: ready, degraded or draining."""
        for link in self:
            link.set_status(status(link.node))

    def reset(self, node: str, reason: str) -> None:
        """Give the connection to a node up, with what Kamailio has not taken of it."""
        if node in self._links:
            self._links[node].reset(reason)

    async def flushed(self) -> None:
        """Return once every node that is up has read all that was written for it."""
        while any(link.up and not link.writer.all_read for link in self):
            await asyncio.sleep(0.01)

    async def handled(self) -> None:
        """Return once the nodes that give no receipts have had the time to handle what was written."""
        left = max((link.handled_at for link in self), default=0.0) - self._loop.time()
        if left > 0:
            await asyncio.sleep(left)

    # What the relay asks for

    def send(
        self,
        node: str,
        payload: bytes,
        wait: float,
        id: TransactionId | None,  # noqa: A002
        again: bool = False,
    ) -> bool:
        """Queue a payload, of use for ``wait`` seconds; ``again``: it may have been written before.

        False: there is no link to the node now.
        """
        link = self._links.get(node)
        if link is None or not link.up:
            return False
        link.send(payload, self._loop.time() + wait, id, again)
        return True

    def max_payload(self, node: str) -> int:
        """Bytes of the longest payload that the node can make use of; 0: there is no such node."""
        link = self._links.get(node)
        if link is not None:
            return link.max_payload
        return netstring.MAX_OUT if node in self._addresses else 0

    def drops_repeats(self, node: str) -> bool:
        """Whether the node's configuration drops a second answer to a question. Not known counts as no."""
        link = self._links.get(node)
        return link is None or link.drops_repeats

    def in_time(self, node: str, size: int, seconds: float) -> bool:
        """Whether a payload of so many bytes would be written within so many seconds."""
        link = self._links.get(node)
        return link is None or link.in_time(size, seconds)

    def unread(self, node: str) -> set[TransactionId]:
        """The resumes of a node that are queued, or written and not known to be read."""
        link = self._links.get(node)
        return set() if link is None else link.unread

    def waiting(self, node: str) -> int:
        """How many frames for the node are queued, or written and not known to be read."""
        link = self._links.get(node)
        return 0 if link is None else link.writer.waiting

    def sound(self, node: str) -> bool:
        """Whether what is written to the node is read."""
        link = self._links.get(node)
        return link is not None and link.sound

    def missed(self, node: str, ago: float) -> None:
        """Take in that another replica read an event of the node, and claimed it, so many seconds ago."""
        link = self._links.get(node)
        if link is not None:
            link.missed(ago)

    def incarnation(self, node: str) -> str:
        """Which incarnation of the node's Kamailio the link is to; empty where it does not say."""
        link = self._links.get(node)
        return "" if link is None else link.incarnation

    def takes_commands(self, node: str) -> bool:
        """Whether the node is up and its configuration tells frames that are pushed from resumes."""
        link = self._links.get(node)
        return link is not None and link.up and link.gated

    def refuses_commands(self, node: str) -> str:
        """Why a command cannot be written to the node, in words; empty if it can."""
        return refusal(self._links.get(node), node in self._addresses)

    def forget(self, node: str) -> None:
        """Give up the resumes that are not written yet."""
        if node in self._links:
            self._links[node].forget()


class Connector:
    """Connects to nodes, and keeps the way from each link to the relay and the broker. Made within the loop.

    Args:
        nodes: where the links are kept.
        trip: is told what the links bring.
        roles: what this replica does for a node.
        recovery: what is written when a link comes up.
        broker: of which replies are consumed while a node reads what is written to it.
        metrics: of the links.
        replica: the name that Kamailio is told.
        settings: limits of a link.
        on_result: is told what became of a command of a node.
    """

    def __init__(
        self,
        nodes: Nodes,
        trip: Trip,
        roles: Roles,
        recovery: Recovery,
        broker: Broker,
        metrics: Metrics,
        replica: str,
        settings: LinkSettings,
        on_result: Callable[[str, event.Result], None] = lambda *_: None,
    ) -> None:
        self._nodes = nodes
        self._on_result = on_result
        self._trip = trip
        self._roles = roles
        self._recovery = recovery
        self._broker = broker
        self._metrics = metrics
        self._replica = replica
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}  # of the links
        self._beside: set[asyncio.Task[None]] = set()
        self._attached: set[str] = set()
        self._priorities: dict[str, int] = {}
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises what ended a link that must not end."""

    def set_known(self, nodes: Sequence[NodeAddress]) -> None:
        """Take in which nodes there are.

        A link to one that is no more stands until the node ends it: a Kamailio that is about to end has
        still calls. One whose address has changed is another process by now.
        """
        before = self._nodes.known
        self._nodes.set_addresses({node.name: node.address for node in nodes})
        for node in set(before) - set(self._nodes.known):
            log.info("node: not known any more", node=node)
        for link in self._nodes:
            if self._nodes.address(link.node) is None:
                if not link.up:
                    self._tasks[link.node].cancel()
            elif self._tasks[link.node].cancelling():
                self._run(link)  # it has come back

    def connect(self, node: str) -> None:
        """Connect to a known node, and stay connected."""
        address = self._nodes.address(node)
        assert address is not None
        link = Link(node, address, self, self._replica, self._settings)
        link.writer.on_receipt = partial(self._metrics.trip.hop, "receipt")
        self._nodes.add(link)
        self._run(link)

    def disconnect(self, node: str) -> None:
        """Leave a node to other replicas, or forget one that is gone."""
        if node in self._attached:
            self._attached.discard(node)
            self._broker.detach(node)
        self._nodes.remove(node)
        self._priorities.pop(node, None)
        task = self._tasks.pop(node)
        task.cancel()
        self._keep(task)
        self._metrics.forget(node)

    def refresh(self) -> None:
        """Take in a node's replies while it reads what is written to it, and only then; read at once
        what this replica is to claim."""
        for link in self._nodes:
            link.set_relaxed(self._roles.of(link.node).relaxed)
            if link.sound and link.node not in self._attached:
                self._attached.add(link.node)
                self._broker.attach(link.node, self._priorities.get(link.node, 0))
                self._keep(asyncio.create_task(self._recovery.recover(link.node)))
            elif not link.sound and link.node in self._attached:
                self._attached.discard(link.node)
                self._broker.detach(link.node)
                if link.up:
                    log.warning("evapi link: Kamailio does not read", node=link.node, link=repr(link))

    def set_priority(self, node: str, priority: int) -> None:
        """Consume the node's replies before all other replicas that have a lower consumer priority."""
        self._priorities[node] = priority
        if node in self._attached:
            self._broker.attach(node, priority)

    async def close(self) -> None:
        """Disconnect."""
        tasks = [*self._tasks.values(), *self._beside]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def measure(self) -> None:
        """Bring the metrics of the links up to date."""
        measure(self._nodes, self._metrics.links)

    # What a link tells

    def may_write(self, node: str) -> bool:
        """Whether what is queued for a node is still this replica's to write: its lease lasts."""
        return self._roles.of(node).may_write

    def on_events(self, link: Link, events: Sequence[event.Handed]) -> None:
        """Hand on to the relay."""
        self._trip.on_events(link.node, events)

    def on_read(self, link: Link, ids: Sequence[TransactionId]) -> None:
        """Hand on to the relay."""
        self._trip.on_read(ids)

    def on_result(self, link: Link, result: event.Result) -> None:
        """Hand on to whoever has sent commands."""
        self._on_result(link.node, result)

    def on_link(self, link: Link) -> None:
        """Look at what has become of it."""
        self._roles.set_identities(self._nodes.identities)
        self.refresh()
        if not link.up and self._nodes.address(link.node) is None:
            self._tasks[link.node].cancel()  # nothing to connect to any more

    def _run(self, link: Link) -> None:
        task = asyncio.create_task(link.run(), name=f"link {link.node}")
        self._tasks[link.node] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self.broken.done():
            self.broken.set_exception(task.exception() or AssertionError("a link runs for ever"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
