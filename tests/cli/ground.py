"""What an operator works on: replicas between simulated Kamailios and the real servers, and the command."""

from __future__ import annotations

import asyncio
import io
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pika
import structlog

from adapter.simulator import SimulatedKamailio
from tests.cli.command import evapi_adapter
from tests.harness.pika_service import PikaService
from tests.harness.until import until
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from adapter.app import Bridge
    from tests.cli.command import Done

LEASE = "2"
"""Seconds; after two of them a replica counts as silent, which none is to that a busy machine holds up."""
PATIENCE = 15.0
"""Seconds within which what is waited for must be so."""


async def in_thread(*words: str, **variables: str) -> Done:
    """Run the command to its end in a thread of this process."""
    return await asyncio.to_thread(evapi_adapter, *words, **variables)


@dataclass
class Ground:
    """One simulated Kamailio, ``node``; all that is named for it is named so. ``env`` is the operator's."""

    sim: SimulatedKamailio
    redis_url: str
    amqp_url: str
    api: str
    stack: AsyncExitStack
    node: str = field(default_factory=lambda: f"sbc-{uuid4().hex[:8]}")

    @property
    def env(self) -> dict[str, str]:
        return {
            "EVAPI_REDIS_URL": self.redis_url,
            "EVAPI_REDIS_PREFIX": self.node,
            "EVAPI_LEASE": LEASE,
            "EVAPI_AMQP_URL": self.amqp_url,
            "EVAPI_AMQP_API": self.api,
        }

    async def replica(
        self, name: str, *, ready: bool = True, rules: dict[str, object] | None = None, **options: str
    ) -> Bridge:
        """Start one."""
        given = {"redis_url": self.redis_url, "amqp_url": self.amqp_url, "lease": LEASE, "replica": name}
        return await self.stack.enter_async_context(
            bridged(self.sim, self.node, {**given, **options}, rules, ready=ready)
        )

    async def pair(self, *names: str) -> list[Bridge]:
        """Start some, each of which knows that another serves the node, as their beats in Redis say."""
        made = [await self.replica(name) for name in names]
        await until(lambda: all(each.roles.of(self.node).served for each in made))
        for each in made:  # they may know it from RabbitMQ alone
            await each.replicas.beat()
        return made

    def service(
        self,
        name: str = "lcr",
        decide: Callable[[dict[str, Any]], Any] | None = None,
        events: Sequence[str] = ("invite",),
    ) -> PikaService:
        """Start one that decides ``events``; it allows, unless told otherwise."""
        service = PikaService(self.amqp_url, name, [*events], decide or (lambda _: {"action": "allow"}))
        return self.stack.enter_context(service)

    def abandoned(self, name: str = "lcr") -> None:
        """The queue of a service that decides ``invite`` and does not run any more."""
        with pika.BlockingConnection(pika.URLParameters(self.amqp_url)) as connection:
            channel = connection.channel()
            channel.queue_declare(f"evapi.decide.{name}", durable=True)
            channel.queue_bind(f"evapi.decide.{name}", "evapi.events", "invite.*")

    async def run(self, *words: str, **variables: str) -> Done:
        """Run the command as this operator."""
        return await in_thread(*words, **{**self.env, **variables})

    async def calls(self, number: int, event: str = "invite") -> list[dict[str, Any]]:
        """Suspend so many, and give what became of each."""
        made = []
        for at in range(number):
            made.append(await self.sim.suspend(event, {"call_id": f"{at}@{self.node}"}))
        return [await call.resumed() for call in made]


@asynccontextmanager
async def on_ground(redis_url: str, amqp_url: str, api: str) -> AsyncIterator[Ground]:
    """All that is started on it is ended with it."""
    # The replicas are in this process as well: what they log is not to be taken for a command's output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    try:
        async with SimulatedKamailio() as sim, AsyncExitStack() as stack:
            yield Ground(sim, redis_url, amqp_url, api, stack)
    finally:
        structlog.reset_defaults()
