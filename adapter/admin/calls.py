"""Finds what became of calls: in the journals of all replicas, and in flight."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgpack

from adapter.admin.away import redis_away
from adapter.admin.commanded import Ended, with_commands
from adapter.admin.timelines import Noted, timelines
from adapter.errors import CodecError, StoreUnavailable
from adapter.model.correlation import parts
from adapter.observe.journal_entry import unpack, unpack_commands
from adapter.ports.store import NOTE_INTERVAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from adapter.admin.timelines import Timeline
    from adapter.model.beat import Beat
    from adapter.model.transaction import Transaction, TransactionId
    from adapter.observe.journal_entry import Step
    from adapter.ports.inspection import Inspection
    from adapter.settings import Settings

S = TypeVar("S", bound="Inspection")

PAGE: Final = 100
"""Entries of a journal that are read at once: 50 seconds of one replica."""
WRITTEN: Final = NOTE_INTERVAL + 0.2
"""Seconds after which what happened is in its journal."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Call-ID; or a correlation id, with or without its tag and the seq before that."""

    text: str
    transaction: tuple[str, int, int] | None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """What somebody asks for."""
        for given in (text, f"{text}:1"):
            with contextlib.suppress(ValueError):  # it is no id then, but may be a Call-ID
                return cls(text, parts(given)[0][:3])
        return cls(text, None)

    def takes(self, id: TransactionId, call_id: str) -> bool:  # noqa: A002
        """Whether it is meant."""
        return id[:3] == self.transaction or call_id == self.text


@dataclass(frozen=True, slots=True)
class Kept:
    """What there is in the journals at all: the time of the first entry, by Redis' clock, and whether
    any event had a Call-ID among those looked at."""

    since: float | None
    call_ids: bool


def node_names(settings: Settings, snapshot: Mapping[str, Beat]) -> list[str]:
    """Nodes that are configured here, where any are, and those that replicas have links to."""
    names = {node.name for node in settings.fixed_nodes} if "nodes" in settings.model_fields_set else set()
    for beat in snapshot.values():
        links = beat.about.get("links")
        names |= beat.nodes | set(links if isinstance(links, dict) else ())
    return sorted(names)


@contextlib.asynccontextmanager
async def opened(settings: Settings, store: S) -> AsyncIterator[S]:
    """The store, closed in the end; where it is away, that is said in full. Raises StoreUnavailable."""
    try:
        yield store
    except StoreUnavailable as exc:
        raise redis_away(settings, exc) from exc
    finally:
        await store.close()


async def entries(
    store: Inspection, replicas: Iterable[str], after: str = "0"
) -> AsyncIterator[tuple[str, str, bytes]]:
    """Replica, id and content of every entry of their journals. ``after``: the id after which to begin.

    Raises StoreUnavailable.
    """
    begin = after
    for replica in replicas:
        after, page = begin, PAGE
        while page == PAGE:
            found = await store.journal(replica, after, PAGE)
            page = len(found)
            for id_, entry in found:
                after = id_
                yield replica, id_, entry


async def find(
    store: Inspection, nodes: Sequence[str], replicas: Sequence[str], wanted: Wanted
) -> list[Timeline]:
    """The timelines of all that is meant, the earliest first. Raises StoreUnavailable.

    Looked at before the journals is what is in flight: so nothing falls between the two.
    """
    now, scanned = await asyncio.gather(store.time(), asyncio.gather(*map(store.scan, nodes)))
    records = [record for found in scanned for record in found if wanted.takes(record.id, record.call_id)]
    return await history(store, replicas, wanted, records, now)


async def history(
    store: Inspection,
    replicas: Sequence[str],
    wanted: Wanted,
    records: Sequence[Transaction],
    now: float,
) -> list[Timeline]:
    """The same, given what is in flight ``now``. Raises StoreUnavailable."""
    found = await _suspensions(store, replicas, wanted, records, now)
    call_ids = {each.call_id for each in found} - {""}
    return with_commands(found, await _commands(store, replicas, call_ids)) if call_ids else found


async def _suspensions(
    store: Inspection,
    replicas: Sequence[str],
    wanted: Wanted,
    records: Sequence[Transaction],
    now: float,
) -> list[Timeline]:
    meant = {record.id[:3] for record in records}
    if wanted.transaction is None:
        meant |= await _of_call(store, replicas, wanted.text)
    else:
        meant.add(wanted.transaction)
    found = timelines(await noted(store, replicas, meant), records, now)
    if found or wanted.transaction is None:
        return found
    meant = await _of_call(store, replicas, wanted.text)  # a Call-ID may look like an id
    return timelines(await noted(store, replicas, meant), records, now)


async def _of_call(store: Inspection, replicas: Sequence[str], call_id: str) -> set[tuple[str, int, int]]:
    found: set[tuple[str, int, int]] = set()
    packed = call_id.encode("utf-8", "surrogatepass")
    async for _, _, entry in entries(store, replicas):
        if packed in entry:  # a journal may hold 100,000 calls: to read them all takes many seconds
            found.update(step.id[:3] for step in read_entry(entry) if step.call_id == call_id)
    return found


async def _commands(store: Inspection, replicas: Sequence[str], call_ids: set[str]) -> list[Ended]:
    """Those that name one of these calls."""
    packed = [call_id.encode("utf-8", "surrogatepass") for call_id in call_ids]
    found: list[Ended] = []
    async for replica, _, entry in entries(store, replicas):
        if any(each in entry for each in packed):
            with contextlib.suppress(CodecError):
                ended = (Ended(replica, at, command) for at, command in unpack_commands(entry))
                found += (each for each in ended if each.command.call_id in call_ids)
    return found


async def noted(store: Inspection, replicas: Sequence[str], meant: set[tuple[str, int, int]]) -> list[Noted]:
    """What the journals have of these transactions (node, index, label). Raises StoreUnavailable."""
    found: list[Noted] = []
    if not meant:
        return found
    packed = [b"".join(map(msgpack.packb, each)) for each in meant]
    async for replica, _, entry in entries(store, replicas):
        if any(each in entry for each in packed):
            found += (Noted(replica, step) for step in read_entry(entry) if step.id[:3] in meant)
    return found


async def kept(store: Inspection, replicas: Sequence[str]) -> Kept:
    """See ``Kept``. Looks at the newest events of each replica. Raises StoreUnavailable."""
    since: float | None = None
    call_ids = False
    for replica in replicas:
        first = await store.journal(replica, "0", 1)
        last = await store.journal(replica, "$")
        if not first or not last:
            continue
        began = int(first[0][0].partition("-")[0]) / 1000
        since = began if since is None else min(since, began)
        before = f"{max(int(last[0][0].partition('-')[0]) - 10_000, 1)}"
        for _, entry in await store.journal(replica, before, 20):
            call_ids = call_ids or any(step.call_id for step in read_entry(entry))
    return Kept(since, call_ids)


def read_entry(entry: bytes) -> list[Step]:
    """Those of an entry; none of one that another version of the adapter wrote otherwise."""
    with contextlib.suppress(CodecError):
        return unpack(entry)
    return []
