"""In flight in Redis: any replica may settle, adopt or expire what another has claimed.

Keys of a node, all with its hash tag so that one script may touch them (``lua/record.lua``)::

    <prefix>:{<node>}:records       hash     member -> record
    <prefix>:{<node>}:deadlines     sorted   what is claimed, by its deadline
    <prefix>:{<node>}:unreceipted   sorted   what is settled and has no receipt, by its deadline
    <prefix>:{<node>}:resumed       sorted   ids to be remembered, by when to forget them
    <prefix>:replicas               hash     replica -> when it beat last, and what it said (JSON)
    <prefix>:orders                 hash     what an operator ordered (``model.beat``) -> JSON
    <prefix>:journal:<replica>      stream   what became of calls there (``adapter.observe.journal_entry``)
    <prefix>:journals               sorted   replicas that have a journal, by when it is over
    <prefix>:cache:<key>            string   a decision for equal calls (``inflight.decisions``)
    <prefix>:memory                 string   at random: another one tells that Redis was emptied

Scores are milliseconds by the clock that all replicas share (``adapter.cluster.clock``), not by Redis' own:
where that jumps nothing is due earlier or later.
Each key lives for the retention after its latest deadline, even with every replica gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.inflight.pipeline import MOST, Pipeline, Script
from adapter.inflight.transport import connect, is_forbidden
from adapter.model.beat import Beat, Snapshot, heard, told
from adapter.model.transaction import Outcome, Settlement, State, Transaction, TransactionId
from adapter.ports.store import NOTE_INTERVAL, REPLICAS_KEPT, Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.inflight.pipeline import Argument
    from adapter.model.transaction import Progress

MEMORY_KEPT: Final = 600
"""Seconds for which the mark is kept that tells of an empty Redis."""
_RUN_ID: Final = re.compile(rb"run_id:([0-9a-f]+)")
SCAN_COUNT: Final = 500
"""Records to ask for in one step of a scan."""


def _script(name: str) -> Script:
    folder = resources.files("adapter.inflight") / "lua"
    text = "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("record", name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


CLAIM: Final = _script("claim")
SETTLE: Final = _script("settle")
PROGRESS: Final = _script("progress")
RESUMED: Final = _script("resumed")
RELEASE: Final = _script("release")
EXPIRE: Final = _script("expire")
UNCLAIMED: Final = _script("unclaimed")
ANSWERED: Final = _script("answered")
ADOPT: Final = _script("adopt")
BEAT: Final = _script("beat")

FIELDS: Final = 10
"""How many a record without a course has."""
COURSE: Final = 7
"""Where a record has its course."""

_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class RedisStore:
    """See ``ports.store.Store``. If the server is away, a verb waits for it for ``timeout`` at most."""

    def __init__(
        self,
        url: str,
        replica: str,
        *,
        prefix: str = "evapi",
        retention: float = 60.0,
        timeout: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connect when first asked.

        Args:
            url: of the servers, see ``transport.connect``.
            replica: the name under which this process owns what it claims.
            prefix: of all keys.
            retention: seconds, see ``ports.store.Store``.
            timeout: seconds within which every verb returns or raises.
            clock: gives epoch seconds, as the claims' deadlines have them.

        Raises:
            SettingsError: the URL cannot be used.
        """
        self.replica = replica
        self.retention = retention
        self._prefix = prefix
        self._clock = clock
        self._retention_ms = max(round(retention * 1000), 1)
        self._tells = "+cluster" not in url.partition("://")[0]  # there each server has a memory of its own
        self._shown = url.partition("://")[2].partition("?")[0].rpartition("@")[2]
        self._pipeline = Pipeline(connect(url, timeout), timeout, lambda: round(clock() * 1000))

    def __repr__(self) -> str:
        return f"<RedisStore {self.replica} at {self._shown}, keys {self._prefix}:*>"

    async def claim(
        self, transactions: Sequence[Transaction], limit: int, write_behind: bool = False
    ) -> list[Claim]:
        """See ``ports.store.Store``."""
        ids = [transaction.id for transaction in transactions]
        rest = [(round(each.deadline * 1000), _packed(each)) for each in transactions]
        replies = await self._of_each(CLAIM, (limit, self._retention_ms), ids, rest)
        return [Claim(reply) for reply in replies]

    async def settle(
        self, settlements: Sequence[Settlement], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``."""
        ids = [settlement.id for settlement in settlements]
        rest = [(_pack(each.outcome.value) + _pack(each.decision),) for each in settlements]
        replies = await self._of_each(SETTLE, (self.replica,), ids, rest)
        return _each_unpacked(ids, replies)

    async def progress(
        self, steps: Sequence[Progress], write_behind: bool = False
    ) -> list[Transaction | None]:
        """See ``ports.store.Store``."""
        ids = [step.id for step in steps]
        rest = [(each.course, 0 if each.deadline is None else round(each.deadline * 1000)) for each in steps]
        replies = await self._of_each(PROGRESS, (self._retention_ms,), ids, rest)
        return _each_unpacked(ids, replies)

    async def resumed(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``."""
        await self._of_each(RESUMED, (self._retention_ms,), ids, [()] * len(ids))

    async def release(self, ids: Sequence[TransactionId]) -> None:
        """See ``ports.store.Store``."""
        await self._of_each(RELEASE, (self.replica,), ids, [()] * len(ids))

    def due(self, node: str) -> bool:
        """See ``ports.store.Store``. Always, as far as this process knows."""
        return True

    async def expire(self, node: str, limit: int = 500, write_behind: bool = False) -> list[Transaction]:
        """See ``ports.store.Store``."""
        head = (self.replica, limit, self._retention_ms)
        return _records(node, await self._pipeline.ask(EXPIRE, self._of(node), head))

    async def unclaimed(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``."""
        return await self._those(UNCLAIMED, ids)

    async def answered(self, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """See ``ports.store.Store``."""
        return await self._those(ANSWERED, ids)

    async def adopt(
        self, node: str, owners: Sequence[str], state: State, limit: int = 500
    ) -> list[Transaction]:
        """See ``ports.store.Store``. Reads every record of the node: for deaths, not for every day."""
        head: tuple[Argument, ...] = (self.replica, limit, int(state), *owners)
        adopted = _records(node, await self._pipeline.ask(ADOPT, self._of(node), head))
        return [replace(record, again=True) for record in adopted]

    async def beat(self, beat: Beat) -> Snapshot:
        """See ``ports.store.Store``. Who has been silent for ``REPLICAS_KEPT`` is forgotten."""
        head = (self.replica, round(REPLICAS_KEPT * 1000), told(beat))
        mark = secrets.token_hex(8)
        asked = [self._pipeline.ask(BEAT, (self._replicas,), head), self._plain("HKEYS", self._orders)]
        if self._tells:
            kept = self._plain("SET", self._mark, mark, "NX", "GET")
            ends = self._plain("PEXPIRE", self._mark, MEMORY_KEPT * 1000)
            asked += [kept, self._plain("INFO", "server"), ends]
        answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
        for failed in filter(lambda each: isinstance(each, BaseException), answers[:2]):
            raise failed
        (known, at, *found), orders, *memory = answers
        ordered = frozenset(name.decode(errors="replace") for name in orders)
        remembers = self._memory(mark, memory)
        return Snapshot(beats_of(found, at / 1000), bool(known), ordered, at / 1000, remembers)

    def _memory(self, mark: str, answers: Sequence[Any]) -> str:
        """Return what neither another life of the server would answer nor an emptied one; "" if it tells
        nothing of itself."""
        if any(map(is_forbidden, answers)):
            self._tells = False  # asked again and again it would fill Redis' own log of refusals
        if not answers or any(isinstance(each, BaseException) for each in answers):
            return ""
        before, about, _ = answers
        run = _RUN_ID.search(about)
        return "" if run is None else f"{run[1].decode()} {mark if before is None else before.decode()}"

    async def note(self, entry: bytes, seconds: float) -> None:
        """See ``ports.store.Store``."""
        key = self._journal(self.replica)
        most = max(round(seconds / NOTE_INTERVAL), 1)
        added = self._plain("XADD", key, "MAXLEN", most, "*", "steps", entry)
        now, kept = round(self._clock() * 1000), max(round(seconds * 1000), 1)
        await asyncio.gather(
            added,
            self._plain("PEXPIRE", key, kept),
            self._plain("ZADD", self._journals, now + kept, self.replica),
            self._plain("ZREMRANGEBYSCORE", self._journals, "-inf", now),
            self._plain("PEXPIRE", self._journals, kept, "NX"),
            self._plain("PEXPIRE", self._journals, kept, "GT"),  # others may keep theirs for longer
        )

    async def remember(self, key: str, value: bytes, seconds: float) -> None:
        """See ``ports.store.Store``."""
        await self._plain("SET", self._cache(key), value, "PX", max(round(seconds * 1000), 1))

    async def recall(self, key: str) -> bytes | None:
        """See ``ports.store.Store``."""
        found: bytes | None = await self._plain("GET", self._cache(key))
        return found

    async def leave(self) -> None:
        """See ``ports.store.Store``."""
        await self._plain("HDEL", self._replicas, self.replica)

    async def count(self, node: str) -> int:
        """See ``ports.store.Store``."""
        found: int = await self._plain("ZCARD", self._of(node)[1])
        return found

    async def get(self, id: TransactionId) -> Transaction | None:  # noqa: A002
        """See ``ports.store.Store``."""
        record = await self._plain("HGET", self._of(id.node)[0], id.member)
        return None if record is None else _unpacked(id, record)

    async def scan(self, node: str) -> list[Transaction]:
        """See ``ports.store.Store``. What comes or goes meanwhile may be there or not."""
        found: dict[bytes, bytes] = {}  # a hash that grows meanwhile may show a member twice
        cursor: Argument = 0
        while True:
            cursor, page = await self._plain("HSCAN", self._of(node)[0], cursor, "COUNT", SCAN_COUNT)
            found.update(zip(page[::2], page[1::2], strict=True))
            if int(cursor) == 0:
                return [
                    _unpacked(TransactionId.of_member(node, member.decode()), record)
                    for member, record in found.items()
                ]

    async def close(self) -> None:
        """See ``ports.store.Store``."""
        await self._pipeline.close()

    @property
    def _replicas(self) -> str:
        return f"{self._prefix}:replicas"

    @property
    def _mark(self) -> str:
        return f"{self._prefix}:memory"

    @property
    def _orders(self) -> str:
        return f"{self._prefix}:orders"

    @property
    def _journals(self) -> str:
        return f"{self._prefix}:journals"

    def _cache(self, key: str) -> str:
        return f"{self._prefix}:cache:{key}"

    def _journal(self, replica: str) -> str:
        return f"{self._prefix}:journal:{replica}"

    def _of(self, node: str) -> tuple[str, str, str, str]:
        """The keys of a node, in the order in which the scripts take them."""
        at = f"{self._prefix}:{{{node}}}"
        return f"{at}:records", f"{at}:deadlines", f"{at}:unreceipted", f"{at}:resumed"

    def _plain(self, *command: Argument) -> asyncio.Future[Any]:
        return self._pipeline.ask(None, (), command)

    async def _those(self, script: Script, ids: Sequence[TransactionId]) -> list[TransactionId]:
        """Of the ids those for which the script says yes."""
        replies = await self._of_each(script, (), ids, [()] * len(ids))
        return [id_ for id_, reply in zip(ids, replies, strict=True) if reply]

    async def _of_each(
        self,
        script: Script,
        head: tuple[Argument, ...],
        ids: Sequence[TransactionId],
        rest: Sequence[tuple[Argument, ...]],
    ) -> list[Any]:
        """Ask about each of the ids, node by node, with the rest of its arguments after its member."""
        by_node: dict[str, list[int]] = {}
        for place, id_ in enumerate(ids):
            by_node.setdefault(id_.node, []).append(place)
        answers: list[tuple[list[int], asyncio.Future[Any]]] = []
        for node, everywhere in by_node.items():
            for at in range(0, len(everywhere), MOST):
                places = everywhere[at : at + MOST]
                members = [ids[place].member for place in places]
                arguments: list[Argument] = []
                for place, member in zip(places, members, strict=True):
                    arguments.append(member)
                    arguments += rest[place]
                answers.append((places, self._pipeline.ask(script, self._of(node), head, members, arguments)))
        if len(answers) == 1:  # nearly always
            found: list[Any] = await answers[0][1]
            return found
        replies: list[Any] = [None] * len(ids)
        await asyncio.gather(*(answer for _, answer in answers))
        for places, answer in answers:
            for place, reply in zip(places, answer.result(), strict=True):
                replies[place] = reply
        return replies


def _packed(transaction: Transaction) -> bytes:
    """The record. Its layout is that of ``lua/record.lua``."""
    fields: tuple[object, ...] = (
        int(transaction.state),
        transaction.owner,
        transaction.event,
        round(transaction.deadline * 1000),
        round(transaction.claimed_at * 1000),
        transaction.incarnation,
        transaction.call_id,
        transaction.request if transaction.state is State.CLAIMED else b"",
        None if transaction.outcome is None else transaction.outcome.value,
        transaction.decision,
    )
    if transaction.course:
        fields = (*fields[:COURSE], transaction.course.decode(), *fields[COURSE:])
    packed: bytes = _pack(fields)
    return packed


def _unpacked(id_: TransactionId, record: bytes) -> Transaction:
    fields, course = msgpack.unpackb(record), b""
    if len(fields) > FIELDS:
        course = fields.pop(COURSE).encode()
    state, owner, event, deadline, claimed_at, incarnation, call_id, request, outcome, decision = fields
    return Transaction(
        id_,
        event,
        deadline / 1000,
        claimed_at / 1000,
        request or b"",  # Lua packs an empty one as text
        owner,
        State(state),
        None if outcome is None else Outcome(outcome),
        decision,
        incarnation,
        call_id,
        course=course,
    )


def _each_unpacked(ids: Sequence[TransactionId], replies: Sequence[bytes | None]) -> list[Transaction | None]:
    return [None if reply is None else _unpacked(id_, reply) for id_, reply in zip(ids, replies, strict=True)]


def _records(node: str, found: Sequence[bytes]) -> list[Transaction]:
    """Members and records, alternating."""
    return [
        _unpacked(TransactionId.of_member(node, found[at].decode()), found[at + 1])
        for at in range(0, len(found), 2)
    ]


def beats_of(found: Sequence[Any], now: float) -> dict[str, Beat]:
    """Read what replicas said: names, ages of their beats in ms, and what they told, alternating.

    What is not understood is somebody else's, and left out. ``now``: Redis' clock, in epoch seconds.
    """
    beats: dict[str, Beat] = {}
    for at in range(0, len(found), 3):
        try:
            name = found[at].decode()
        except ValueError:
            continue
        beat = heard(found[at + 2])
        if beat is not None:
            age = found[at + 1] / 1000
            off = beat.at - (now - age) if beat.at else 0.0
            number = beat.number or round((now - age) * 1000)  # of a version that does not number them
            beats[name] = replace(beat, age=age, off=off, number=number)
    return beats
