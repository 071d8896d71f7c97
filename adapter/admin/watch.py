"""Asks Redis and RabbitMQ how the whole is, once or again and again. A server that is away is told of."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Final, TypeVar

from adapter import contract
from adapter.admin.away import redis_away
from adapter.admin.management import Management, ManagementUnavailable
from adapter.admin.overview import Bus, Overview, Store, load, node_names
from adapter.admin.rabbit import Rabbit
from adapter.admin.recent import WINDOW, Recent
from adapter.admin.running import RunningAdapter
from adapter.admin.services import Service, services
from adapter.errors import BrokerUnavailable, CodecError, StoreUnavailable
from adapter.ports.store import NOTE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from adapter.ports.inspection import Inspection
    from adapter.settings import Settings

T = TypeVar("T")

PATIENCE: Final = 2.2
"""Seconds for all that is asked of one server in one look."""
MANAGEMENT: Final = 1.0
"""Seconds for RabbitMQ's management API: what it tells can be done without."""
BUDGET: Final = 4_000_000
"""Bytes of journals to read at the first look: some 20,000 calls. Where a minute holds more, the rest is
left out."""


class Watch:
    """Looks, and looks again. ``store`` or ``amqp`` are ``None`` where that server is not asked.

    ``also``: services to look for beside those that are known. ``patience``: seconds for one look;
    ``budget``: bytes of journals that the first may read. To be closed.
    """

    def __init__(
        self,
        settings: Settings,
        store: Inspection | None,
        amqp: str | None,
        also: Sequence[str] = (),
        *,
        journals: bool = True,
        patience: float = PATIENCE,
        budget: int = BUDGET,
    ) -> None:
        self._patience = patience
        self._budget = budget
        self._settings = settings
        self._store = store
        self._amqp = amqp
        self._also = tuple(also)
        self._recent = Recent() if journals and store is not None else None
        self._read: dict[str, str] = {}  # of each journal, the id of the entry that was read last
        self._looked: float | None = None
        self._rabbit: Rabbit | None = None
        self._managed = True
        self._nodes: tuple[str, ...] = ()
        if "nodes" in settings.model_fields_set:
            self._nodes = tuple(node.name for node in settings.fixed_nodes)

    async def look(self) -> Overview:
        """How it is now. Raises PolicyError, SettingsError; never Unavailable."""
        (store, store_problem), (bus, bus_problem) = await asyncio.gather(
            self._within("Redis", self._ask_store()), self._within("RabbitMQ", self._ask_bus())
        )
        return Overview(
            self._settings.lease, store, store_problem, bus, bus_problem, self._recent, self._nodes
        )

    async def close(self) -> None:
        """Disconnect."""
        await self._leave()
        if self._store is not None:
            await self._store.close()

    async def _ask_store(self) -> Store | None:
        store = self._store
        if store is None:
            return None
        try:
            return await self._ask_redis(store)
        except StoreUnavailable as exc:
            raise redis_away(self._settings, exc) from exc

    async def _ask_redis(self, store: Inspection) -> Store:
        at, beats, orders = await asyncio.gather(store.time(), store.snapshot(), store.orders())
        names = node_names(Overview(self._settings.lease, Store(at, beats, orders), nodes=self._nodes))
        records, _ = await asyncio.gather(
            asyncio.gather(*map(store.scan, names)), self._follow(store, at, beats)
        )
        loads = {node: load(found, at) for node, found in zip(names, records, strict=True)}
        return Store(at, beats, orders, loads, isinstance(store, RunningAdapter))

    async def _follow(self, store: Inspection, now: float, replicas: Iterable[str]) -> None:
        """Read on in the journals; at the first look back as far as is affordable."""
        recent = self._recent
        if recent is None:
            return
        if self._looked is None:
            await self._look_back(store, recent, now, list(replicas))
        else:
            await asyncio.gather(*(self._go_on(store, recent, replica, now) for replica in replicas))
            recent.covered += now - self._looked
        self._looked = now
        recent.look(now)

    async def _look_back(
        self, store: Inspection, recent: Recent, now: float, replicas: Sequence[str]
    ) -> None:
        end, span, read = now + 1.0, 2.0, 0
        while span > 0 and read < self._budget:
            begin = end - span
            found = await asyncio.gather(*(_between(store, replica, begin, end) for replica in replicas))
            for replica, entries in zip(replicas, found, strict=True):
                read += sum(len(entry) for _, entry in entries)
                for id_, entry in entries:
                    _take(recent, id_, entry)
                if entries and replica not in self._read:
                    self._read[replica] = entries[-1][0]
            end = begin
            affordable = (self._budget - read) / max(read / (now + 1.0 - end), 1.0)
            span = min(2 * span, affordable, WINDOW - (now - end))
        recent.covered = now - end

    async def _go_on(self, store: Inspection, recent: Recent, replica: str, now: float) -> None:
        after = self._read.get(replica, f"{int((now - WINDOW) * 1000)}")
        for id_, entry in await store.journal(replica, after):
            _take(recent, id_, entry)
            self._read[replica] = id_

    async def _ask_bus(self) -> Bus | None:
        if self._amqp is None:
            return await self._ask_running()
        kept = self._rabbit is not None
        try:
            return await self._ask_rabbit(self._amqp)
        except BrokerUnavailable:
            await self._leave()
            if not kept:
                raise
        return await self._ask_rabbit(self._amqp)  # the connection may have ended since the last look

    async def _ask_running(self) -> Bus | None:
        """What an adapter without RabbitMQ tells of the services in its process."""
        if not isinstance(self._store, RunningAdapter):
            return None
        with contextlib.suppress(StoreUnavailable):  # the store's problem tells
            return await self._store.bus()
        return None

    async def _ask_rabbit(self, amqp: str) -> Bus:
        if self._rabbit is None:
            self._rabbit = await Rabbit(amqp).__aenter__()
        rabbit = self._rabbit
        heard = () if self._recent is None else tuple(self._recent.services)
        found, complete = await self._services(rabbit, {*self._also, *heard})
        # Who replied may call itself otherwise than its queue: only what was asked for must be there.
        known = [each for each in found if not each.missing or each.name not in heard]
        dead = await rabbit.queue(contract.DEAD_QUEUE)
        return Bus(
            rabbit.version, rabbit.blocked, None if dead is None else dead.messages, tuple(known), complete
        )

    async def _services(self, rabbit: Rabbit, also: Iterable[str]) -> tuple[list[Service], bool]:
        if self._managed:
            with contextlib.suppress(ManagementUnavailable):  # told as ``complete``
                async with Management.of(self._settings, MANAGEMENT) as management:
                    return await services(self._settings, rabbit, management, also), True
            self._managed = False
        return await services(self._settings, rabbit, None, also), False

    async def _within(self, server: str, asking: Awaitable[T]) -> tuple[T | None, str]:
        """What it told, or what is the matter with it."""
        try:
            return await asyncio.wait_for(asking, self._patience), ""
        except (StoreUnavailable, BrokerUnavailable) as exc:
            return None, str(exc)
        except TimeoutError:
            return None, f"{server}: answers too slowly; within {self._patience:g} s not all that was asked"

    async def _leave(self) -> None:
        rabbit, self._rabbit = self._rabbit, None
        if rabbit is not None:
            await rabbit.__aexit__(None, None, None)


async def _between(store: Inspection, replica: str, begin: float, end: float) -> list[tuple[str, bytes]]:
    """The entries of a journal from one time to another, by the clock that gives them their ids."""
    most = math.ceil((end - begin) / NOTE_INTERVAL) + 1
    entries = await store.journal(replica, f"{max(int(begin * 1000), 1)}", most)
    return [(id_, entry) for id_, entry in entries if _time_of(id_) < end]


def _time_of(id_: str) -> float:
    return int(id_.partition("-")[0]) / 1000


def _take(recent: Recent, id_: str, entry: bytes) -> None:
    with contextlib.suppress(CodecError):  # of another version of the adapter: the rest goes on
        recent.add(_time_of(id_), entry)
