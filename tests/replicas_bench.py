"""Replicas without their sockets: each a relay and its beats, all on one store and one clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.cluster.beats import Beats
from adapter.cluster.clock_watch import ClockWatch
from adapter.cluster.heartbeat import Heartbeat
from adapter.cluster.placement import Placement
from adapter.cluster.takeover import Takeover
from tests.relay_bench import Bench

if TYPE_CHECKING:
    from collections.abc import Sequence


class Nodes:
    """The links of one replica, as its beats see them."""

    def __init__(self, bench: Bench, names: Sequence[str]) -> None:
        self._bench = bench
        self.known = tuple(names)
        self.names = list(names)
        self.addresses: dict[str, str] = {}
        self.busy: set[str] = set()
        self.gone: list[str] = []
        self.late: list[str] = []
        self.resets: list[str] = []
        self.priorities: list[tuple[str, int]] = []
        self.forgotten: list[str] = []

    @property
    def readers(self) -> list[str]:
        return [node for node in self.names if self._bench.links.sound(node)]

    @property
    def identities(self) -> dict[str, str]:
        links = self._bench.links
        return {
            node: f"{links.incarnations.get(node, '')}@{self.addresses.get(node, node)}"
            for node in self.readers
        }

    @property
    def unsound(self) -> list[str]:
        return self.late

    def connect(self, node: str) -> None:
        assert node not in self.names
        self.names.append(node)
        self._bench.links.nodes.add(node)

    def disconnect(self, node: str) -> None:
        self.names.remove(node)
        self._bench.links.nodes.discard(node)
        self.gone = [each for each in self.gone if each != node]

    def idle(self, node: str) -> bool:
        return node not in self.busy

    def reset(self, node: str, reason: str) -> None:
        assert reason
        self.resets.append(node)

    def set_priority(self, node: str, priority: int) -> None:
        self.priorities.append((node, priority))

    def forget(self, node: str) -> None:
        self.forgotten.append(node)


class Replica(Bench):
    """One replica, beside another where it is given; with ``share`` it has no link at first, and takes
    its share of so many links per node. ``store``: instead of a local one."""

    def __init__(
        self,
        name: str = "r1",
        beside: Replica | None = None,
        nodes: Sequence[str] = ("sbc1",),
        share: int = 0,
        store: Any = None,
    ) -> None:
        super().__init__(store=beside.store.inner.beside(name) if beside else store, nodes=nodes, name=name)
        self.nodes = Nodes(self, nodes)
        if share:
            self.links.nodes.clear()
            self.nodes.names.clear()
        clock = lambda: self.now  # noqa: E731
        broker: Any = self.broker
        inflight: Any = self.store
        view: Any = self.nodes
        membership, roles, metrics = self.membership, self.roles, self.metrics.cluster
        self.placement = Placement(share, view, view, membership, roles, self.recovery, inflight, clock)
        self.takeover = Takeover(membership, roles, broker, view, view, self.recovery, metrics, clock)
        self.clocks = ClockWatch(None, membership, roles, view, clock)
        self.beats = Beats(membership, roles, broker, view, self.clocks, clock=clock)
        self.replicas = Heartbeat(
            inflight, membership, self.beats, self.placement, self.takeover, view, metrics, clock
        )

    async def beat(self) -> None:
        await self.replicas.beat()
        await self.trip.idle()

    def drop(self, *nodes: str) -> None:
        """Lose the links to these nodes."""
        self.links.unsound.update(nodes)

    @property
    def priority(self) -> int:
        """With which it consumes the replies of the node that it asked for last."""
        return self.nodes.priorities[-1][1]

    @property
    def asked(self) -> list[int]:
        """The labels of what it published, in order."""
        return [int(str(each).split(":")[2]) for each in self.broker.asked]


class Group:
    """Some replicas that know each other. For sbc1 rendezvous hashing prefers r3, then r1, then r2."""

    def __init__(self, *names: str, nodes: Sequence[str] = ("sbc1",), share: int = 0) -> None:
        first = Replica(names[0], nodes=nodes, share=share)
        self.all = [first, *(Replica(name, first, nodes, share) for name in names[1:])]

    def __getitem__(self, name: str) -> Replica:
        return next(each for each in self.all if each.name == name)

    async def beat(self, *without: str, rounds: int = 2) -> None:
        """Everybody beats, and after two rounds knows of everybody."""
        for _ in range(rounds):
            for each in self.all:
                if each.name not in without:
                    await each.beat()

    def move(self, seconds: float) -> None:
        for each in self.all:
            each.now += seconds

    def active(self, node: str = "sbc1") -> list[str]:
        """Those that believe themselves to be it."""
        return [each.name for each in self.all if each.roles.of(node).is_active]
