"""The commands without servers: links that note what is written, a store in memory, a clock that is moved."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from adapter.command_contract import CommandReply, decode_reply
from adapter.commands.commands import Commands
from adapter.inflight.local import LocalStore
from adapter.observe.command_metrics import CommandMetrics
from adapter.observe.sink import Commanded, Sink
from adapter.ports.commands import Asked, ReplyAddress
from adapter.wire.event import Result, parse
from tests.relay_bench import Links


class Heard(Sink):
    def __init__(self) -> None:
        self.commands: list[Commanded] = []

    def commanded(self, at: float, command: Commanded) -> None:
        self.commands.append(command)


class Bench:
    """One replica. ``replies``: what came back, by correlation id; None: acknowledged without a reply."""

    def __init__(self, store: LocalStore | None = None) -> None:
        self.now = 1000.0
        self.links = Links("sbc1", "sbc2")
        self.store = store or LocalStore("r1", clock=lambda: self.now)
        self.registry = CollectorRegistry()
        self.heard = Heard()
        self.replies: list[tuple[str, CommandReply | None]] = []
        self.letters: list[tuple[str, str]] = []
        clock = lambda: self.now  # noqa: E731
        metrics = CommandMetrics(self.registry)
        self.commands = Commands(self.links, self.store, self, metrics, [self.heard], lambda: True, clock)

    def reply(self, node: str, to: ReplyAddress, body: bytes) -> None:
        self._answer(to.correlation_id, body)

    def _answer(self, id_: str, body: bytes | None) -> None:
        self.replies.append((id_, None if body is None else decode_reply(body)))

    def ask(
        self,
        body: dict[str, Any] | bytes,
        node: str = "sbc1",
        *,
        correlation_id: str = "c1",
        reply_to: str = "q",
        within: float | None = None,
        redelivered: bool = False,
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        to = ReplyAddress(reply_to, correlation_id)
        keep = lambda why, detail: self.letters.append((why, detail))  # noqa: E731
        answer = partial(self._answer, correlation_id)
        self.commands.on_command(Asked(node, raw, to, within, redelivered, answer, keep))

    async def asked(self, body: dict[str, Any] | bytes, node: str = "sbc1", **more: Any) -> None:
        """Ask, and let what follows at once be done."""
        self.ask(body, node, **more)
        await self.turn()

    async def turn(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        await self.commands.idle()

    async def told(self, told: dict[str, Any], node: str = "sbc1") -> None:
        """Kamailio tells something."""
        found = parse(json.dumps({"adapter": told}).encode())
        assert isinstance(found, Result)
        self.commands.on_result(node, found)
        await self.turn()

    async def later(self, seconds: float) -> None:
        self.now += seconds
        self.commands.tick()
        await self.turn()

    @property
    def written(self) -> list[dict[str, Any]]:
        """What was written to Kamailio, each once."""
        found = [json.loads(payload) for _, payload, _, _ in self.links.sent]
        self.links.sent.clear()
        return [each.get("adapter", each) for each in found]

    def counted(self, node: str, command: str, outcome: str) -> float:
        labels = {"node": node, "command": command, "outcome": outcome}
        return self.registry.get_sample_value("evapi_commands_total", labels) or 0.0

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(id_, "" if reply is None else reply.outcome.value) for id_, reply in self.replies]
