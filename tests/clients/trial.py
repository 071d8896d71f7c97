"""Tries one program: calls of a simulated Kamailio, through a real adapter and a real RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aio_pika

from adapter import contract
from adapter.simulator import SimulatedKamailio
from tests.harness import node
from tests.harness.process import Process
from tests.system.conftest import bridged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from pamqp.common import FieldTable

    from tests.clients.rows import Kind, Row
    from tests.harness.rabbitmq import RabbitServer

FOLDER: Final = Path(__file__).parent
ALLOWED: Final = {"action": "allow"}
DEADLINE: Final = 2.0
START: Final = 40.0
"""Seconds for a program to be there: a compiler among them."""
CALLS: Final = 4
"""Of which the last counts, unless one before it was decided: a program may not listen yet."""
_GO: Final = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "-buildvcs=false"}
ENDED: Final = "ended"


class Seen(NamedTuple):
    """What became of its calls; of a program that ends by itself ``ENDED``, and what it said last."""

    outcome: str
    decision: Any = None

    @property
    def decides(self) -> bool:
        return self == ("decided", ALLOWED)

    def __str__(self) -> str:
        if self.outcome == ENDED:
            return f"ends: {self.decision}"
        if self.outcome != "decided" or self.decides:
            return self.outcome
        return f"decided, as `{json.dumps(self.decision, separators=(',', ':'))}`"


def command(kind: Kind, python: str = sys.executable) -> list[str]:
    """What runs a program of this kind."""
    return {
        "python": [python],
        "node": ["node"],
        "go": ["go", "run"],
        "java": ["java", "-cp", "/usr/share/java/*"],
        "ruby": ["ruby"],
        "php": ["php", "-d", "include_path=/usr/share/php"],
    }[kind]


@dataclass
class Trials:
    """An adapter that stands. ``names``: the event of each row and way, which is its service's name, too."""

    rabbitmq: RabbitServer
    sim: SimulatedKamailio
    folder: Path
    python: str

    async def seen(self, row: Row, way: str, name: str) -> Seen:
        """Start the program, and ask it."""
        if not row.own_queue:
            await self._declare(name)
        place = node.CLIENTS if row.kind == "node" else FOLDER / "programs"
        words = [*command(row.kind, self.python), str(place / row.program), way]
        env = {"EVAPI_AMQP_URL": self.rabbitmq.url, "SERVICE": name, "EVENT": name, **_GO}
        env["STOMP_PORT"] = str(self.rabbitmq.ports["stomp"])
        process = Process(name, words, self.folder, env)
        await asyncio.to_thread(process.start)
        try:
            return await self._ask(process, name)
        finally:
            await asyncio.to_thread(process.stop)

    async def _ask(self, process: Process, event: str) -> Seen:
        async with asyncio.timeout(START):
            while (first := await self._call(event)).outcome == "unroutable" and process.running:
                await asyncio.sleep(0.1)
        if first.outcome == "unroutable":
            return Seen(ENDED, _last_words(process.log))
        for _ in range(CALLS - 1):
            if first.outcome == "decided":
                break
            first = await self._call(event)
        return first

    async def _call(self, event: str) -> Seen:
        told = await (await self.sim.suspend(event, {"user": "442079460000"})).resumed()
        return Seen(told["outcome"], told.get("decision"))

    async def _declare(self, name: str) -> None:
        async with await aio_pika.connect(self.rabbitmq.url) as connection:
            channel = await connection.channel()
            to_dead: FieldTable = {"x-dead-letter-exchange": contract.DEAD_EXCHANGE}
            queue = await channel.declare_queue(contract.service_queue(name), durable=True, arguments=to_dead)
            await queue.bind(contract.EVENTS_EXCHANGE, f"{name}.*")


@contextlib.asynccontextmanager
async def standing(
    rabbitmq: RabbitServer, formats: Iterable[tuple[str, str]], folder: Path, python: str = sys.executable
) -> AsyncIterator[Trials]:
    """An adapter whose policy has these formats, by event."""
    rules: dict[str, dict[str, Any]] = {"default": {"deadline": DEADLINE}}
    rules["events"] = {event: {"format": form} for event, form in formats}
    async with (
        SimulatedKamailio() as sim,
        bridged(sim, f"clients-{rabbitmq.port}", {"amqp_url": rabbitmq.url}, rules),
    ):
        yield Trials(rabbitmq, sim, folder, python)


def _last_words(log: Path) -> str:
    """What it said last of an error, or at all."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line]
    return (errors or lines or ["without a word"])[-1].rpartition("': ")[2]  # Ruby says where, before that
