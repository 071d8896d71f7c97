"""A relay between a recording broker and recording links, on the embedded store and a clock by hand."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from adapter import contract
from adapter.broker.base import Publication, Published, Reply
from adapter.errors import StoreUnavailable
from adapter.inflight.embedded import EmbeddedInFlight
from adapter.metrics import Metrics
from adapter.policy import Policy
from adapter.relay import Relay
from adapter.transaction import State, TransactionId
from adapter.wire import netstring
from adapter.wire.event import Suspended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.broker.base import DeadLetter
    from adapter.transaction import Transaction
    from adapter.wire.event import Malformed, Notice

NOW = 1_700_000_000.0
FALLBACK = {"action": "reject", "code": 503, "reason": "No decision"}


class Broker:
    """Takes everything, and answers as it is told by event name."""

    def __init__(self) -> None:
        self.ready = True
        self.answers: dict[str, Published] = {}
        self.broken: Exception | None = None
        self.published: list[Publication] = []
        self.letters: list[DeadLetter] = []

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        if self.broken is not None:
            raise self.broken
        self.published += publications
        return [self.answers.get(each.event, Published.CONFIRMED) for each in publications]

    def dead_letter(self, letter: DeadLetter) -> None:
        self.letters.append(letter)


class Links:
    """Keeps what is sent to the nodes that it has."""

    def __init__(self, *nodes: str) -> None:
        self.nodes = nodes
        self.gated = True
        self.longest = netstring.MAX_OUT
        self.waiting: set[TransactionId] = set()
        self.sent: list[tuple[str, bytes, float, TransactionId | None]] = []

    def send(self, node: str, payload: bytes, wait: float, id: TransactionId | None) -> bool:  # noqa: A002
        if node in self.nodes:
            self.sent.append((node, payload, wait, id))
        return node in self.nodes

    def max_payload(self, node: str) -> int:
        return self.longest if node in self.nodes else 0

    def unread(self, node: str) -> set[TransactionId]:
        return self.waiting

    def takes_commands(self, node: str) -> bool:
        return node in self.nodes and self.gated

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for _, payload, _, _ in self.sent]


class Store:
    """An in-flight store whose verbs in ``away`` raise; those in ``lost`` do so once it is done."""

    def __init__(self, inner: EmbeddedInFlight) -> None:
        self.inner = inner
        self.away: set[str] = set()
        self.lost: set[str] = set()

    def __getattr__(self, verb: str) -> Any:
        if verb in self.away:
            raise StoreUnavailable(f"no {verb}")
        call = getattr(self.inner, verb)
        return partial(self._lose, call) if verb in self.lost else call

    async def _lose(self, call: Any, *args: Any) -> None:
        await call(*args)
        raise StoreUnavailable("no answer")


class Bench:
    """One replica of the bridge without its sockets."""

    def __init__(
        self,
        policy: Policy | None = None,
        store: EmbeddedInFlight | None = None,
        nodes: Sequence[str] = ("sbc1",),
    ) -> None:
        self.now = NOW
        self.store = Store(store or EmbeddedInFlight("r1", clock=lambda: self.now))
        self.broker = Broker()
        self.links = Links(*nodes)
        self.metrics = Metrics()
        self.policy = policy or Policy()
        self.relay = Relay(
            self.store,  # type: ignore[arg-type]
            self.broker,  # type: ignore[arg-type]
            self.links,
            self.policy,
            self.metrics,
            clock=lambda: self.now,
        )

    async def events(self, *events: Suspended | Notice | Malformed, node: str = "sbc1") -> None:
        """Hand over the events of one read, and let all they lead to happen."""
        self.relay.on_events(node, events)
        await self.relay.idle()

    async def reply(self, *replies: Reply) -> None:
        await self.relay.on_replies(replies)
        await self.relay.idle()

    async def adopt(self, *dead: str, node: str = "sbc1") -> int:
        """How many were adopted, once what was claimed is published again."""
        adopted = await self.relay.adopt(node, dead)
        await self.relay.idle()
        return adopted

    async def read(self, *ids: TransactionId) -> None:
        """Kamailio's receipt."""
        self.relay.on_read(ids)
        await self.relay.idle()

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


def suspended(label: int = 1, event: str = "invite_request", seq: int = 1, data: Any = None) -> Suspended:
    return Suspended(event, 37, label, seq, {"user": "100"} if data is None else data)


def id_of(label: int = 1, seq: int = 1, node: str = "sbc1") -> TransactionId:
    return TransactionId(node, 37, label, seq)


def reply(label: int = 1, seq: int = 1, decision: Any = None, **fields: Any) -> Reply:
    body = contract.encode_reply({"action": "allow"} if decision is None else decision)
    return Reply(str(id_of(label, seq)), **{"body": body, "content_type": contract.MSGPACK, **fields})
