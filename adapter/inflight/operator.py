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
    """The store as an operator's tool sees it: it claims nothing, never beats and owns no record.

    Every verb raises StoreUnavailable if Redis does not answer within the timeout.
    """

    async def snapshot(self) -> dict[str, Beat]:
        """Return the last beat of every replica that is listed, also of silent ones. Ages by Redis' clock."""
        listed, now = await asyncio.gather(self._plain("HGETALL", self._replicas), self.time())
        found: list[Any] = []
        for name, beaten in _pairs(listed):
            last, _, said = beaten.partition(b" ")
            if last.isdigit():
                found += name, max(round(now * 1000) - int(last), 0), said
        return beats_of(found, now)

    async def orders(self) -> dict[str, dict[str, Any]]:
        """Return the orders by name (see ``model.beat``): order, by, at (epoch seconds), reason."""
        found = await self._plain("HGETALL", self._orders)
        return {name.decode(errors="replace"): _order_of(value) for name, value in _pairs(found)}

    async def order(self, name: str, order: Mapping[str, Any]) -> None:
        """Give an order. Every replica sees it with its next beat."""
        await self._plain("HSET", self._orders, name, json.dumps(order, separators=(",", ":")))

    async def countermand(self, name: str) -> bool:
        """Take an order back. Return True if there was one."""
        return bool(await self._plain("HDEL", self._orders, name))

    async def journals(self) -> list[str]:
        """Return the replicas that have a journal, also those that are gone, and all that are listed."""
        kept, listed = await asyncio.gather(
            self._plain("ZRANGE", self._journals, 0, -1), self._plain("HKEYS", self._replicas)
        )
        return sorted({name.decode(errors="replace") for name in (*kept, *listed)})

    async def journal(self, replica: str, after: str = "0", most: int = 1000) -> list[tuple[str, bytes]]:
        """Read a replica's journal.

        Args:
            replica: whose.
            after: the id of the entry after which to begin. "$": no entry, only the id of the last one.
            most: how many entries.

        Returns:
            Ids and entries, the earliest first. ``adapter.observe.journal_entry.unpack`` reads an entry.
        """
        key = self._journal(replica)
        if after == "$":
            last = await self._plain("XREVRANGE", key, "+", "-", "COUNT", 1)
            return [(last[0][0].decode(), b"")] if last else []
        found = await self._plain("XRANGE", key, f"({after}" if after != "0" else "-", "+", "COUNT", most)
        return [(id_.decode(), _pairs(fields)[0][1]) for id_, fields in found]

    async def time(self) -> float:
        """Return the time by Redis' clock, in epoch seconds."""
        seconds, micros = await self._plain("TIME")
        return int(seconds) + int(micros) / 1e6

    async def server(self) -> dict[str, Any]:
        """Return what the server tells of itself.

        Returns:
            name (``Redis``, ``Valkey``), version, time (epoch seconds), skew (seconds by which its clock is
            ahead of this machine's), memory (bytes used), max_memory (bytes; 0: no limit), memory_policy.
        """
        asked = time.time()
        now = await self.time()
        took = time.time() - asked
        info: dict[str, str] = {}
        for section in ("server", "memory"):
            answer = await self._plain("INFO", section)
            if isinstance(answer, dict):  # of a cluster, by its library: one of its servers
                info.update((str(key), str(value)) for key, value in answer.items())
                continue
            text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
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


def _order_of(value: bytes) -> dict[str, Any]:
    """Read an order. One that cannot be read (written by hand) counts as one without a reason."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
