"""A raw EVAPI client for tests: reads and writes frames as they are, in place of the adapter."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 10.0
REPEAT = 1.0
"""Seconds between two words to the health gate."""


class EvapiClient:
    """One connection. A task of its own always reads, as Kamailio needs it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._read_all(reader))
        self.seen: list[bytes] = []
        self._status: dict[str, Any] = {}

    @classmethod
    async def connect(cls, port: int) -> EvapiClient:
        """Connect to 127.0.0.1:port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def _read_all(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = int((await reader.readuntil(b":"))[:-1])
                self._frames.put_nowait((await reader.readexactly(length + 1))[:-1])
        except (asyncio.IncompleteReadError, ConnectionError):
            self._frames.put_nowait(None)

    async def frame(self, within: float = TIMEOUT) -> bytes:
        """The next payload. Raises TimeoutError, or EOFError once Kamailio has closed."""
        async with asyncio.timeout(within):
            found = await self._frames.get()
        if found is None:
            raise EOFError("Kamailio closed the connection")
        self.seen.append(found)
        return found

    async def json(self, within: float = TIMEOUT) -> dict[str, Any]:
        """The next payload, which must be a JSON object."""
        found = json.loads(await self.frame(within))
        assert isinstance(found, dict), found
        return found

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next JSON payload for which ``wanted`` holds; passes over the others."""
        while True:
            found = await self.json()
            if wanted(found):
                return found

    async def until_within(self, wanted: Callable[[dict[str, Any]], object], within: float) -> dict[str, Any]:
        """As ``until``, but raises TimeoutError after ``within`` seconds in all."""
        async with asyncio.timeout(within):
            return await self.until(wanted)

    async def event(self, name: str) -> dict[str, Any]:
        """The next event or notice of that name; passes over hellos, receipts and other events."""
        return await self.until(lambda found: found.get("event") == name)

    async def receipt(self, token: str = "test:1") -> list[dict[str, Any]]:
        """Ask for a receipt and wait for it: all earlier frames were read. Gives what came before it."""
        self.write({"adapter": {"sync": token}})
        before: list[dict[str, Any]] = []
        while True:
            found = await self.json()
            if found == {"adapter": {"synced": token}}:
                return before
            before.append(found)

    async def status(self, state: str, replica: str = "r1", node: str = "n1") -> None:
        """Tell the health gate; returns once Kamailio has read it."""
        self._status = {"adapter": {"status": state, "replica": replica, "node": node}}
        self.write(self._status)
        await self.receipt(f"{replica}:{state}")

    async def repeat_status(self) -> None:
        """Tell the gate the same again and again, as an adapter does: after 3 s of silence it closes."""
        while True:
            await asyncio.sleep(REPEAT)
            self.write(self._status)

    def answer(self, event: dict[str, Any], decision: dict[str, Any], outcome: str = "decided") -> None:
        """Resume the transaction of an event."""
        self.write(resume(event, decision, outcome))

    def write(self, payload: dict[str, Any] | bytes) -> None:
        """Send one frame, by one ``send``."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
        self._writer.write(b"%d:%b," % (len(raw), raw))

    async def write_raw(self, data: bytes) -> None:
        """Send bytes as they are, framing included; returns when the kernel has them all."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """Close the connection."""
        self._task.cancel()
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # Kamailio was killed meanwhile
            await self._writer.wait_closed()

    async def __aenter__(self) -> EvapiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def resume(event: dict[str, Any], decision: dict[str, Any], outcome: str = "decided") -> dict[str, Any]:
    """The resume frame that answers a JSON event."""
    ids = event["tm_trans"]
    return {
        "tm_trans": ids,
        "event": event["event"],
        "outcome": outcome,
        "correlation_id": f"n1:{ids['tm_index']}:{ids['tm_label']}:{ids.get('seq', 1)}",
        "decision": decision,
    }
