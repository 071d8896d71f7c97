"""A relay between a recording broker and recording links, on the embedded store and a clock by hand."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from adapter import contract
from adapter.cluster.membership import Membership
from adapter.cluster.roles import Roles
from adapter.errors import StoreUnavailable
from adapter.inflight.local import LocalStore
from adapter.model.beat import Beat, Snapshot
from adapter.model.transaction import State, TransactionId
from adapter.observe.journal import Journal
from adapter.observe.metrics import Metrics
from adapter.observe.observer import CallLog, Observer
from adapter.observe.sink import Sink
from adapter.ports.broker import Publication, Published, Reply
from adapter.relay.policy import LivePolicy, Policy
from adapter.relay.recovery import StoreRecovery
from adapter.relay.trip import Trip
from adapter.wire import netstring
from adapter.wire.event import Suspended

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from adapter.model.correlation import Ids
    from adapter.model.transaction import Transaction
    from adapter.ports.broker import DeadLetter
    from adapter.ports.cache import Kept
    from adapter.wire.event import LazySuspended, Malformed, Notice

NOW = 1_700_000_000.0
LEASE = 1.0
FALLBACK = {"action": "reject", "code": 503, "reason": "No decision"}


class Broker:
    """Takes everything, and answers as it is told by event name, or by queue."""

    def __init__(self) -> None:
        self.ready = True
        self.gone = False
        self.deaf: set[str] = set()
        self.beside: dict[str, str] = {}
        self.heard: Mapping[str, Collection[str]] = {}
        self.answers: dict[str, Published] = {}
        self.by_queue: dict[str, Published] = {}
        self.broken: Exception | None = None
        self.published: list[Publication] = []
        self.letters: list[DeadLetter] = []

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        if self.broken is not None:
            raise self.broken
        self.published += publications
        return [
            self.by_queue.get(each.queue) or self.answers.get(each.event, Published.CONFIRMED)
            for each in publications
        ]

    def dead_letter(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def takes_replies(self, node: str) -> bool:
        return node not in self.deaf

    @property
    def unheard(self) -> Mapping[str, str]:
        return dict.fromkeys(self.deaf, "refused")

    def hear(self, queues: Mapping[str, Collection[str]]) -> None:
        self.heard = queues

    @property
    def asked(self) -> list[str | None]:
        """The correlation ids of all that was published, in order."""
        return [each.correlation_id for each in self.published]


class Links:
    """Keeps what is sent to the nodes that it has."""

    def __init__(self, *nodes: str) -> None:
        self.nodes = set(nodes)
        self.unsound: set[str] = set()
        self.down: set[str] = set()
        self.incarnations: dict[str, str] = {}
        self.gated = True
        self.plain = False
        self.backlog = 0.0
        self.longest = netstring.MAX_OUT
        self.under_way: set[TransactionId] = set()
        self.commands_waiting = 0
        self.told_missed: list[tuple[str, float]] = []
        self.sent: list[tuple[str, bytes, float, TransactionId | None]] = []
        self.again: list[TransactionId | None] = []

    def send(
        self,
        node: str,
        payload: bytes,
        wait: float,
        id: TransactionId | None,  # noqa: A002
        again: bool = False,
    ) -> bool:
        up = node in self.nodes and node not in self.down
        if up:
            self.sent.append((node, payload, wait, id))
            self.again += [id] if again else []
        return up

    def max_payload(self, node: str) -> int:
        return self.longest if node in self.nodes else 0

    def drops_repeats(self, node: str) -> bool:
        return not self.plain

    def in_time(self, node: str, size: int, seconds: float) -> bool:
        return self.backlog <= seconds

    def unread(self, node: str) -> set[TransactionId]:
        return self.under_way

    def waiting(self, node: str) -> int:
        return len(self.under_way) + self.commands_waiting

    def sound(self, node: str) -> bool:
        return node in self.nodes and node not in self.unsound | self.down

    def missed(self, node: str, ago: float) -> None:
        self.told_missed.append((node, ago))

    def incarnation(self, node: str) -> str:
        return self.incarnations.get(node, "")

    def takes_commands(self, node: str) -> bool:
        return node in self.nodes and self.gated

    def refuses_commands(self, node: str) -> str:
        return "" if self.takes_commands(node) else "no link"

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for _, payload, _, _ in self.sent]


class Store:
    """An in-flight store that counts its calls, and one that is away: then a beat raises
    StoreUnavailable, and of others nothing is known.
    """

    def __init__(self, inner: LocalStore) -> None:
        self.inner = inner
        self.away = False
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.inner, verb)
        return partial(self._call, verb) if callable(found) else found

    def due(self, node: str) -> bool:
        return self.inner.due(node)

    async def _call(self, verb: str, *args: Any, **more: Any) -> Any:
        self.calls.append((verb, *args))
        if self.away and verb in ("beat", "leave"):
            raise StoreUnavailable("no store")
        if self.away and verb in ("unclaimed", "answered", "adopt"):
            return []
        return await getattr(self.inner, verb)(*args, **more)

    def called(self, verb: str) -> int:
        return sum(call[0] == verb for call in self.calls)


class Steps(Sink):
    """Notes each step of a course: the service, "" for the last, and what became of it."""

    def __init__(self, steps: list[tuple[str, str]]) -> None:
        self._steps = steps

    def stepped(
        self, at: float, id_: TransactionId, event: str, service: str, status: str, seconds: float
    ) -> None:
        self._steps.append((service, status))


class Cache:
    """The port ``Decisions``, as a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}

    def near(self, key: str) -> Kept | None:
        return self.kept.get(key)

    async def find(self, key: str) -> Kept | None:
        return self.kept.get(key)

    def keep(self, key: str, kept: Kept) -> None:
        self.kept[key] = kept

    async def close(self) -> None:
        pass


class Bench:
    """One replica of the bridge without its sockets. ``others``: what it knows of other replicas,
    as of each look that it takes before its events.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        store: LocalStore | None = None,
        nodes: Sequence[str] = ("sbc1",),
        name: str = "r1",
        ids: Ids | None = None,
    ) -> None:
        self.now = NOW
        self.name = store.replica if store else name
        self.store = Store(store or LocalStore(name, clock=lambda: self.now))
        self.broker = Broker()
        self.links = Links(*nodes)
        self.metrics = Metrics(policy.events if policy else ())
        self.policy = LivePolicy(policy or Policy(), lambda: self.now)
        self.membership = Membership(self.name, LEASE)
        self.others: dict[str, Beat] = {}
        clock = lambda: self.now  # noqa: E731
        self.roles = Roles(
            self.membership,
            cast("Any", self.broker),
            self.links,
            clock,
            lambda: self.policy.longest_deadline,
        )
        self.steps: list[tuple[str, str]] = []
        self.cache = Cache()
        sinks = (self.metrics.trip, self.metrics.courses, Journal(), CallLog(), Steps(self.steps))
        observer = Observer(sinks, clock=clock)
        self.trip = Trip(
            self.store,
            self.broker,  # type: ignore[arg-type]
            self.links,
            self.policy,
            self.metrics.trip,
            observer,
            self.membership,
            self.roles,
            clock=clock,
            ids=ids,
            services=self.metrics.courses,
            cache=self.cache,
        )
        self.recovery = StoreRecovery(self.trip, self.store, observer, self.metrics.trip, clock)
        self.roles._active_since = dict.fromkeys(nodes, float("-inf"))  # where it is active, it has long been

    def look(self, **others: Beat) -> None:
        """A beat that was answered: these are the others from now on, where any are given."""
        self.others.update(others)
        self.membership.update(Snapshot({**self.others, self.name: Beat()}, True), self.now, self.now)

    def lose_store(self) -> None:
        """A beat was not answered."""
        self.store.away = True
        self.membership.lost(self.now)

    async def events(
        self, *events: Suspended | Notice | Malformed | LazySuspended, node: str = "sbc1"
    ) -> None:
        """Hand over the events of one read, and let all they lead to happen. However far the clock was
        moved, ticks and beats have gone on meanwhile.
        """
        if not self.membership.away:
            self.roles.refresh(self.now)
            self.look()
        self.trip.on_events(node, events)
        await self.trip.idle()

    async def tick(self, seconds: float = 0.0) -> None:
        """Move the clock, and see what is done then."""
        self.now += seconds
        self.trip.tick()
        await self.trip.idle()

    async def reply(self, *replies: Reply) -> None:
        await self.trip.on_replies(replies)
        await self.trip.idle()

    async def adopt(self, *owners: str, state: State, node: str = "sbc1") -> int:
        """How many were adopted, once what was claimed is published again."""
        adopted = await self.recovery.adopt(node, owners, state)
        await self.trip.idle()
        return adopted

    async def recover(self, node: str = "sbc1") -> None:
        await self.recovery.recover(node)
        await self.trip.idle()

    async def read(self, *ids: TransactionId) -> None:
        """Kamailio's receipt."""
        self.trip.on_read(ids)
        await self.trip.idle()

    async def record(self, id_: TransactionId) -> Transaction | None:
        return await self.store.inner.get(id_)

    async def state(self, id_: TransactionId) -> State | None:
        found = await self.record(id_)
        return None if found is None else found.state

    @property
    def outcomes(self) -> list[tuple[int, str]]:
        """Label and outcome of every resume."""
        return [(frame["tm_trans"]["tm_label"], frame["outcome"]) for frame in self.links.frames]

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"evapi_{name}", labels) or 0.0


class Pair:
    """Two replicas on one store and one clock; both have a link to the node. Where they know each
    other, the first is active: rendezvous hashing prefers r1 to r2 for sbc1.
    """

    def __init__(self, known: bool = True) -> None:
        self.first = Bench()
        self.second = Bench(store=self.first.store.inner.beside("r2"))
        if known:
            self.meet()

    def meet(self, first: Beat | None = None, second: Beat | None = None) -> None:
        """Both have beaten, and seen each other's beat."""
        serving = Beat(nodes=frozenset(["sbc1"]))
        self.first.look(r2=second or serving)
        self.second.look(r1=first or serving)

    def move(self, seconds: float) -> None:
        for bench in (self.first, self.second):
            bench.now += seconds

    async def events(self, *events: Suspended | Notice | Malformed) -> None:
        """Both read the same."""
        await self.first.events(*events)
        await self.second.events(*events)

    async def tick(self, seconds: float = 0.0) -> None:
        self.move(seconds)
        await self.first.tick()
        await self.second.tick()

    @property
    def resumes(self) -> Counter[str]:
        both = self.first.links.frames + self.second.links.frames
        return Counter(frame["correlation_id"] for frame in both)


def suspended(label: int = 1, event: str = "invite_request", seq: int = 1, data: Any = None) -> Suspended:
    return Suspended(event, 37, label, seq, {"user": "100"} if data is None else data)


def id_of(label: int = 1, seq: int = 1, node: str = "sbc1") -> TransactionId:
    return TransactionId(node, 37, label, seq)


def reply(label: int = 1, seq: int = 1, decision: Any = None, **fields: Any) -> Reply:
    body = contract.encode_reply({"action": "allow"} if decision is None else decision)
    given: dict[str, Any] = {
        "correlation_id": str(id_of(label, seq)),
        "body": body,
        "content_type": contract.MSGPACK,
    }
    return Reply(**{**given, **fields})
