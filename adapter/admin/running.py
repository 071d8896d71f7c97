"""The adapter that runs on this machine without Redis, asked for what Redis and RabbitMQ would tell of it.

It stands in for both: ``ports.inspection.Inspection`` for the calls, and besides the services in its process.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from pamqp.commands import Basic

from adapter import contract
from adapter.admin.dead_letters import read
from adapter.admin.overview import Bus
from adapter.admin.rabbit import Message
from adapter.admin.services import Service
from adapter.errors import StoreUnavailable
from adapter.inflight import questions
from adapter.model.beat import heard
from adapter.ports.broker import DeadLetter

if TYPE_CHECKING:
    from adapter.admin.dead_letters import Letter
    from adapter.model.beat import Beat
    from adapter.model.transaction import Transaction, TransactionId

TIMEOUT: Final = 2.0
"""Seconds for an answer."""


def runs(port: int) -> bool:
    """Return True if an adapter that can be asked runs here, with this port in EVAPI_HTTP."""
    if sys.platform != "linux":
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(questions.address(port))
        except OSError:
            return False
        return questions.is_trusted(probe)


class RunningAdapter:
    """See above. Every verb raises StoreUnavailable if it does not answer, or refuses."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self._port = port
        self._timeout = timeout
        self._turn = asyncio.Lock()
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def snapshot(self) -> dict[str, Beat]:
        """See ``Inspection``: the one that is asked."""
        told = await self._ask("look")
        beat = heard(told["beat"])
        return {} if beat is None else {told["replica"]: beat}

    async def orders(self) -> dict[str, dict[str, Any]]:
        """See ``Inspection``: none, since they are given through Redis."""
        return {}

    async def journals(self) -> list[str]:
        """See ``Inspection``."""
        return [(await self._ask("look"))["replica"]]

    async def journal(self, replica: str, after: str = "0", most: int = 1000) -> list[tuple[str, bytes]]:
        """See ``Inspection``."""
        return [(id_, entry) for id_, entry in await self._ask("journal", after, most)]

    async def time(self) -> float:
        """See ``Inspection``."""
        return float((await self._ask("look"))["at"])

    async def scan(self, node: str) -> list[Transaction]:
        """See ``Inspection``."""
        return [questions.unpack_record(each) for each in await self._ask("scan", node)]

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``Inspection``."""
        found = await self._ask("get", list(id))
        return None if found is None else questions.unpack_record(found)

    async def count(self, node: str) -> int:
        """See ``Inspection``."""
        return sum(record.outcome is None for record in await self.scan(node))

    async def bus(self) -> Bus | None:
        """Return the services in its process, as RabbitMQ would tell of them; None if it has a RabbitMQ."""
        told = await self._ask("bus")
        if told is None:
            return None
        services = (
            Service(each["name"], each["queue"], each["messages"], 1, tuple(each["events"]))
            for each in told["services"]
        )
        letters = told["dead_letters"]
        return Bus(dead_letters=letters, services=tuple(services), complete=True, embedded=True)

    async def letters(self) -> list[Letter]:
        """Return its dead letters, the oldest first, as if they were on RabbitMQ; bodies are cut."""
        found = [DeadLetter(*each) for each in await self._ask("letters")]
        return [read(number, _as_message(each)) for number, each in enumerate(found, 1)]

    async def ask(self, event: str, node: str, data: dict[str, Any], seq: int, seconds: float) -> Any:
        """Ask its services a test question.

        Returns:
            body, status, service, rejected and detail of the reply; None if none came in time; a word for how
            it was not published (unroutable, refused, unavailable), else.
        """
        return await self._ask("ask", event, node, data, seq, seconds, within=seconds + self._timeout)

    async def command(self, target: str, body: bytes) -> list[str]:
        """Push a command to a node, or to all; return those that it goes to."""
        return [str(node) for node in await self._ask("command", target, body)]

    async def close(self) -> None:
        """Disconnect."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].close()

    async def _ask(self, verb: str, *arguments: Any, within: float | None = None) -> Any:
        async with self._turn:
            try:
                async with asyncio.timeout(within or self._timeout):
                    reader, writer = await self._connected()
                    writer.write(questions.frame([verb, arguments]))
                    await writer.drain()
                    good, told = await questions.read_frame(reader, questions.MOST_ANSWERED)
            except (OSError, EOFError, ValueError) as exc:  # TimeoutError is an OSError
                await self.close()
                where = f"the adapter at EVAPI_HTTP port {self._port}"
                raise StoreUnavailable(f"{where}: {str(exc) or 'no answer'}; does it run?") from exc
        if not good:
            raise StoreUnavailable(f"the adapter does not do this: {told}")
        return told

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is None:
            self._stream = await asyncio.open_unix_connection(questions.address(self._port))
            if not questions.is_trusted(self._stream[1].get_extra_info("socket")):
                raise ConnectionError("another user listens there")
        return self._stream


def _as_message(letter: DeadLetter) -> Message:
    headers: dict[str, Any] = {
        contract.HEADER_REASON: letter.reason,
        contract.HEADER_DETAIL: letter.detail,
        contract.HEADER_NODE: letter.node,
    }
    properties = Basic.Properties(
        headers=headers, correlation_id=letter.correlation_id, content_type=letter.content_type
    )
    return Message(0, False, contract.DEAD_EXCHANGE, "", properties, letter.body)
