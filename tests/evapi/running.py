"""The links of several nodes, run with a broker and a trip that keep what they are told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from adapter.evapi.limits import LinkSettings
from adapter.evapi.nodes import Connector, Nodes
from adapter.observe.metrics import Metrics
from adapter.settings import Address, NodeAddress
from tests.harness.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from adapter.model.transaction import TransactionId


class Broker:
    """Keeps who is attached, and every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def attach(self, node: str, priority: int = 0) -> None:
        self.calls.append((node, priority))

    def detach(self, node: str) -> None:
        self.calls.append((node, None))


class Trip:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.role = SimpleNamespace(may_write=True, relaxed=False)
        self.roles = SimpleNamespace(of=lambda _: self.role, set_identities=lambda _: None)
        self.recovered: list[str] = []
        self.events: list[tuple[str, Any]] = []
        self.read: list[TransactionId] = []

    async def recover(self, node: str) -> None:
        self.recovered.append(node)

    def on_events(self, node: str, events: Sequence[Any]) -> None:
        self.events += [(node, found) for found in events]

    def on_read(self, ids: Sequence[TransactionId]) -> None:
        self.read += ids


@asynccontextmanager
async def running(
    hello_wait: float = 1.0, **addresses: str
) -> AsyncIterator[tuple[Nodes, Connector, Broker, Trip]]:
    given = [NodeAddress(name, Address.parse(text)) for name, text in addresses.items()]
    settings = LinkSettings(backoff_min=0.001, backoff_max=0.01, receipt_timeout=0.3, hello_wait=hello_wait)
    nodes, broker, trip = Nodes(), Broker(), Trip()
    roles, metrics = trip.roles, Metrics()
    connector = Connector(nodes, trip, roles, trip, broker, metrics, "r1", settings)  # type: ignore[arg-type]
    connector.set_known(given)
    for name in addresses:
        connector.connect(name)
    try:
        yield nodes, connector, broker, trip
    finally:
        await connector.close()


async def refreshed(connector: Connector, condition: Any) -> None:
    """What the ticker does, until it has led to something."""

    def look() -> Any:
        connector.refresh()
        return condition()

    await until(look)
