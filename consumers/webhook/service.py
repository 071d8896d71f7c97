"""The service: what RabbitMQ's requests come to, and the settings as they are now."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from adapter.contract import HEADER_TRACEPARENT, Request
from adapter.watched import TableError, Watched
from consumers import tracing
from consumers.decisions import NO_ANSWER, NoAnswer
from consumers.service import Service
from consumers.webhook import files
from consumers.webhook.client import Client
from consumers.webhook.message import Call

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator
    from pathlib import Path

    from adapter.contract import Decision
    from consumers.webhook.files import Loaded
    from consumers.webhook.settings import Hook

_FIXED = ("name", "events", "requests")
"""What a running service cannot take up: its queue, bindings and prefetch are made of it."""


class Asker:
    """Asks by the settings as they are now. To be made, used and closed in one event loop.

    Args:
        table: Gives the settings.
        asked: Counts the attempts, by URL and outcome.
    """

    def __init__(self, table: Watched[Loaded], asked: Counter[tuple[str, str]]) -> None:
        self._table = table
        self._asked = asked
        self._loaded = table.current()
        self._client = Client(self._loaded, asked)
        self._retiring: set[asyncio.Task[None]] = set()

    async def decide(self, request: Request) -> Decision | NoAnswer:
        """Return the decision, or NO_ANSWER. Raises NotDecided."""
        loaded = self._table.current()
        if loaded is not self._loaded:
            self._renew(loaded)
        received = request.headers.get(HEADER_TRACEPARENT)
        traceparent = tracing.passed_on(received if isinstance(received, str) else "")
        decision = await self._client.decide(Call(request, request.correlation_id, traceparent))
        return NO_ANSWER if decision is None else decision

    def _renew(self, loaded: Loaded) -> None:
        old, self._loaded = self._client, loaded
        self._client = Client(loaded, self._asked)
        retiring = asyncio.ensure_future(old.retire())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Close all connections: nobody asks any more."""
        await self._client.close()
        await asyncio.gather(*self._retiring)


def make_service(path: Path) -> Service:
    """Make the service of a settings file, which is followed while the service runs.

    Raises:
        TableError: The file, or one that it names, cannot be used.
    """
    running: list[Hook] = []

    def parse(text: str) -> Loaded:
        loaded = files.load(text, path.parent)
        if running:
            _unchanged(running[0], loaded.hook)
        return loaded

    table = Watched(path, parse, names=partial(files.names, folder=path.parent))
    hook = table.load().hook
    running.append(hook)
    made = Service(hook.name, prefetch=hook.requests)

    @made.lifespan
    async def asker() -> AsyncIterator[Asker]:
        opened = Asker(table, made.asked)
        try:
            yield opened
        finally:
            await opened.close()

    @made.on(*hook.events)
    async def decide(request: Request, asker: Asker) -> Decision | NoAnswer:
        return await asker.decide(request)

    return made


def _unchanged(running: Hook, found: Hook) -> None:
    for key in _FIXED:
        if getattr(running, key) != getattr(found, key):
            raise TableError(f"{key}: has changed, which takes a restart of the service")
