"""What only an operator asks of Redis: everybody's beats, orders, journals, and the server itself."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from adapter.inflight.redis import RedisStore, beats_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.model.beat import Beat


class OperatorStore(RedisStore):
    """The store as an operator's tool sees it: it claims nothing, beats never and owns no record.

    Every verb raises StoreUnavailable within the timeout where Redis does not answer.
    """

    async def snapshot(self) -> dict[str, Beat]:
        """The last beat of every replica that is listed, silent ones, too; ages by Redis' clock."""
        listed, now = await asyncio.gather(self._plain("HGETALL", self._replicas), self.time())
        found: list[Any] = []
        for name, beaten in _pairs(listed):
            last, _, said = beaten.partition(b" ")
            if last.isdigit():
                found += name, max(round(now * 1000) - int(last), 0), said
        return beats_of(found, now)

    async def orders(self) -> dict[str, dict[str, Any]]:
        """What was ordered, by name (``model.beat``): order, by, at
        (epoch seconds), reason."""
        found = await self._plain("HGETALL", self._orders)
        return {name.decode(errors="replace"): _told(value) for name, value in _pairs(found)}

    async def order(self, name: str, told: Mapping[str, Any]) -> None:
        """Order it; every replica sees it with its next beat."""
        await self._plain("HSET", self._orders, name, json.dumps(told, separators=(",", ":")))

    async def countermand(self, name: str) -> bool:
        """Take an order back. Whether there was one."""
        return bool(await self._plain("HDEL", self._orders, name))

    async def journals(self) -> list[str]:
        """The replicas that have a journal, those among them that are gone, and all that are listed."""
        kept, listed = await asyncio.gather(
            self._plain("ZRANGE", self._journals, 0, -1), self._plain("HKEYS", self._replicas)
        )
        return sorted({name.decode(errors="replace") for name in (*kept, *listed)})

    async def journal(self, replica: str, after: str = "0", most: int = 1000) -> list[tuple[str, bytes]]:
        """Entries of a replica's journal after an id, with their ids, the earliest first.

        ``adapter.observe.journal.unpack`` reads them. ``after`` "$" gives none, but the id of the last one.
        """
        key = self._journal(replica)
        if after == "$":
            last = await self._plain("XREVRANGE", key, "+", "-", "COUNT", 1)
            return [(last[0][0].decode(), b"")] if last else []
        found = await self._plain("XRANGE", key, f"({after}" if after != "0" else "-", "+", "COUNT", most)
        return [(id_.decode(), _pairs(fields)[0][1]) for id_, fields in found]

    async def time(self) -> float:
        """Redis' clock, in epoch seconds."""
        seconds, micros = await self._plain("TIME")
        return int(seconds) + int(micros) / 1e6

    async def server(self) -> dict[str, Any]:
        """Of the server: name (``Redis``, ``Valkey``), version, time (epoch seconds), skew (seconds that it
        is ahead of this machine), memory (bytes used), max_memory (0: no limit), memory_policy."""
        asked = time.time()
        now = await self.time()
        took = time.time() - asked
        info: dict[str, str] = {}
        for section in ("server", "memory"):
            told = await self._plain("INFO", section)
            if isinstance(told, dict):  # of a cluster, by its library: one of its servers
                info.update((str(key), str(value)) for key, value in told.items())
                continue
            text = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
            lines = (line.partition(":") for line in text.splitlines() if ":" in line)
            info.update((key, value) for key, _, value in lines)
        valkey = info.get("valkey_version")  # its redis_version is that of the Redis it began from, for ever
        return {
            "name": "Redis" if valkey is None else "Valkey",
            "version": info.get("redis_version", "") if valkey is None else valkey,
            "time": now,
            "skew": now - asked - took / 2,
            "memory": int(info.get("used_memory", 0)),
            "max_memory": int(info.get("maxmemory", 0)),
            "memory_policy": info.get("maxmemory_policy", ""),
        }


def _pairs(found: Any) -> list[tuple[bytes, bytes]]:
    """Fields and values: a map by RESP3, else alternating."""
    if isinstance(found, dict):
        return list(found.items())
    return list(zip(found[::2], found[1::2], strict=True))


def _told(value: bytes) -> dict[str, Any]:
    """An order; one that is not understood (written by hand) counts as one without a reason."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
