"""The journal: what became of each call, step by step, for an operator to look up. Pure.

A replica gathers what it does and has it written each half second, all in one entry (``journal_entry``): so
much costs 2 to 3 us a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack

from adapter.contract import STATUS_FAILED
from adapter.observe.journal_entry import Kind
from adapter.observe.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.transaction import Outcome, State, Transaction, TransactionId
    from adapter.observe.sink import Commanded
    from adapter.ports.broker import Reply

MALFORMED: Final = "malformed"
"""The status of a reply that is not understood."""
REJECTED: Final = "rejected"
MAX_DETAIL: Final = 255
"""Characters of what a service says of its failure that are kept."""
MOST: Final = 50_000
"""Items of one entry; of more, what comes later is counted and lost: no Redis should have to keep it."""

_pack = msgpack.Packer(use_bin_type=True, autoreset=True, unicode_errors="surrogatepass").pack


class Journal(Sink):
    """What happened since it was last taken. ``keeps`` False: nothing is noted.

    ``payloads``: keep events' data and decisions, too. ``revision_of``: gives the revision of the policy by
    which a suspension was claimed.
    """

    def __init__(
        self,
        keeps: bool = True,
        payloads: bool = False,
        revision_of: Callable[[Transaction], str] = lambda _: "",
    ) -> None:
        self.keeps = keeps
        self.payloads = payloads
        self._revision_of = revision_of
        self.dropped = 0
        self._batches: list[tuple[Any, ...]] = []
        self._packed: list[bytes] = []
        self._items = 0

    def claimed(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """The events of these were claimed."""
        if transactions and self._takes(len(transactions)):
            keep = self.payloads
            items = [
                (t.id, t.event, t.call_id, t.claimed_at, t.request if keep else None) for t in transactions
            ]
            self._batches.append((Kind.EVENT, at, items))

    def published(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """The broker has confirmed these."""
        self._note(Kind.PUBLISHED, at, [transaction.id for transaction in transactions])

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came."""
        if replies and self._takes(len(replies)):
            items = [(id_, each.service, each.received, each.replied, _fault(each)) for id_, each in replies]
            self._batches.append((Kind.REPLY, at, items))

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes
    ) -> None:
        """A resume was written."""
        if self._takes(1):
            kept = decision if self.payloads else None
            t = transaction
            item = (t.id, t.event, t.call_id, outcome.value, seconds, kept)
            revision = self._revision_of(transaction)
            last = self._batches[-1] if self._batches else None
            if last is not None and last[0] == Kind.RESUME and last[1] == at and last[3] == revision:
                last[2].append(item)
            else:
                self._batches.append((Kind.RESUME, at, [item], revision))

    def read(self, at: float, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""
        self._note(Kind.READ, at, ids)

    def adopted(
        self, at: float, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """Taken over from another replica."""
        self._note(Kind.ADOPTED, at, [transaction.id for transaction in transactions])

    def stepped(
        self, at: float, id_: TransactionId, event: str, service: str, status: str, seconds: float
    ) -> None:
        """A course went on."""
        if self._takes(1):
            item = (id_, event, service, status, seconds)
            last = self._batches[-1] if self._batches else None
            if last is not None and last[0] == Kind.STEP and last[1] == at:
                last[2].append(item)
            else:
                self._batches.append((Kind.STEP, at, [item]))

    def commanded(self, at: float, command: Commanded) -> None:
        """A command has its outcome."""
        if self._takes(1):
            self._batches.append((Kind.COMMAND, at, [command]))

    def take(self) -> bytes | None:
        """An entry of all that was noted since the last one; None of nothing."""
        self.pack()
        if not self._packed:
            return None
        packed, self._packed, self._items = self._packed, [], 0
        head: bytes = msgpack.Packer().pack_array_header(len(packed))
        return head + b"".join(packed)

    def pack(self) -> None:
        """Pack what was noted so far. To be called often: all of half a second in one go is 10 ms in which
        every call stands still."""
        batches, self._batches = self._batches, []
        self._packed += [_pack(batch) for batch in batches]

    def _note(self, kind: Kind, at: float, ids: Sequence[TransactionId]) -> None:
        if ids and self._takes(len(ids)):
            self._batches.append((kind, at, ids))

    def _takes(self, number: int) -> bool:
        if not self.keeps:
            return False
        if self._items >= MOST:
            self.dropped += number
            return False
        self._items += number
        return True


def _fault(reply: Reply) -> str | None:
    """Why a reply is no decision, in words; None if it is one, or leaves it open."""
    if reply.status is None and reply.rejected is None:
        return None
    if reply.rejected is not None:
        return f"{REJECTED}: {reply.rejected}"
    if reply.status in (STATUS_FAILED, MALFORMED):
        return f"{reply.status}: {reply.detail[:MAX_DETAIL]}" if reply.detail else reply.status
    return None
