"""What is told of each step of a call: to the metrics, the journal, the log and the traces."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from adapter.model.correlation import Ids
from adapter.model.transaction import BY_SOMEBODY, Outcome, State, Transaction, TransactionId
from adapter.observe.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.observe.metrics import Metrics
    from adapter.ports.broker import Reply

log = structlog.get_logger()

LINES: Final = 20
"""Lines a second about one outcome; of more, the number is told. An outage answers thousands alike."""


class Traces(Protocol):
    """Who makes spans of the steps (see ``tracing``)."""

    def traceparent(self, transaction: Transaction) -> str:
        """What names the call's trace to a consumer and to Kamailio (W3C Trace Context); "" where the
        call is not traced."""
        ...

    def published(self, at: float, transactions: Sequence[Transaction]) -> str:
        """The broker has confirmed these (epoch seconds). Return one's trace, "" if none is traced."""
        ...

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came."""
        ...

    def resumed(self, at: float, transaction: Transaction, outcome: Outcome) -> str:
        """A resume was written: the trace is complete. Return its id, "" if the call is not traced."""
        ...


class Observer:
    """``clock`` gives epoch seconds."""

    def __init__(
        self,
        metrics: Metrics,
        journal: Journal | None = None,
        traces: Traces | None = None,
        clock: Callable[[], float] = time.time,
        ids: Ids | None = None,
    ) -> None:
        self._ids = Ids() if ids is None else ids
        self.journal = Journal(keeps=False) if journal is None else journal
        self._metrics = metrics
        self._traces = traces
        self._clock = clock
        self._debugs = log.is_enabled_for(logging.DEBUG)  # to ask at each call costs 2 us
        self._lines = {outcome: Sparse(LINES) for outcome in Outcome}

    def traceparent(self, transaction: Transaction) -> str:
        """See ``Traces``."""
        return "" if self._traces is None else self._traces.traceparent(transaction)

    def claimed(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """These are this replica's; the store was asked for them at that time."""
        now = self._clock()
        self._metrics.hop("claim", now - asked)
        self._metrics.claimed(transactions)
        self.journal.events(now, transactions)

    def published(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """The broker has confirmed these, which were handed to it at that time."""
        now = self._clock()
        ids = [transaction.id for transaction in transactions]
        self._metrics.hop("publish", now - asked)
        self._metrics.published(now, ids)
        self.journal.published(now, ids)
        if self._traces is not None and (trace := self._traces.published(now, transactions)):
            self._metrics.exemplify_hop("publish", now - asked, now, trace)

    def not_published(self, number: int) -> None:
        """The broker did not take so many."""
        self._metrics.failed("publish", number)

    def replied(self, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came that were understood. What somebody answers by hand is told in the log."""
        now = self._clock()
        for id_, reply in replies:
            if reply.by_operator:
                said = {"correlation_id": self._ids.text(id_), "by": reply.service, "reason": reply.detail}
                log.warning("answered by an operator", **said)
        self._metrics.replied(now, [id_ for id_, _ in replies])
        self.journal.replies(now, replies)
        if self._traces is not None:
            self._traces.replied(now, replies)

    def settled(self, asked: float) -> None:
        """The store has answered a batch of settlements."""
        self._metrics.hop("settle", self._clock() - asked)

    def adopted(
        self, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """These were taken over from other replicas."""
        number = len(transactions)
        self._metrics.adopted.labels(node, state.name.lower()).inc(number)
        if state is State.CLAIMED:
            self._metrics.claimed(transactions)
        log.warning("adopted", node=node, of=list(owners), state=state.name.lower(), count=number)
        self.journal.adopted(self._clock(), [transaction.id for transaction in transactions])

    def resumed(self, now: float, transaction: Transaction, outcome: Outcome, decision: bytes) -> None:
        """A resume was handed to the link (epoch seconds)."""
        seconds = max(now - transaction.claimed_at, 0.0)
        self._metrics.resumed(transaction, outcome, now, seconds)
        self.journal.resume(now, transaction, outcome, seconds, decision)
        if self._traces is not None and (trace := self._traces.resumed(now, transaction, outcome)):
            self._metrics.exemplify(transaction, outcome, now, seconds, trace)
        if outcome not in BY_SOMEBODY:
            hidden = self._lines[outcome].take(now)
            if hidden is not None:
                self._say(logging.WARNING, transaction, outcome, seconds, not_shown=hidden or None)
        elif self._debugs:
            self._say(logging.DEBUG, transaction, outcome, seconds)

    def _say(
        self, level: int, transaction: Transaction, outcome: Outcome, seconds: float, **more: Any
    ) -> None:
        told = {
            "correlation_id": self._ids.text(transaction.id),
            "call_id": transaction.call_id or None,
            "node": transaction.id.node,
            "event_name": transaction.event,
            "outcome": outcome.value,
            "seconds": round(seconds, 6),
            **more,
        }
        log.log(level, "resumed", **{key: value for key, value in told.items() if value is not None})

    def read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""
        self.journal.read(self._clock(), ids)

    def tick(self) -> None:
        """Tell how many lines were left out, once their second is over."""
        now = self._clock()
        self._metrics.tick(now)
        self._debugs = log.is_enabled_for(logging.DEBUG)
        for outcome, lines in self._lines.items():
            if hidden := lines.left_out(now):
                log.warning("resumed", outcome=outcome.value, not_shown=hidden)


class Sparse:
    """At most so many lines within a second; the rest is counted. Pure."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._until = float("-inf")
        self._shown = 0
        self._hidden = 0

    def take(self, now: float) -> int | None:
        """None: leave this one out. Else how many were left out before it and not told of."""
        if now >= self._until:
            self._until, self._shown = now + 1.0, 0
        if self._shown >= self._most:
            self._hidden += 1
            return None
        self._shown += 1
        hidden, self._hidden = self._hidden, 0
        return hidden

    def left_out(self, now: float) -> int:
        """How many were left out, where their second is over; told once."""
        if not self._hidden or now < self._until:
            return 0
        hidden, self._hidden = self._hidden, 0
        return hidden
