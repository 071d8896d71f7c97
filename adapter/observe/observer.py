"""What happens to each call: told once by the relay, handed to every sink, and written to the log by one."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from adapter.model.correlation import Ids
from adapter.model.transaction import BY_SOMEBODY, Outcome
from adapter.observe.sink import Sink
from adapter.observe.sparse import Sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.transaction import State, Transaction, TransactionId
    from adapter.ports.broker import Reply

log = structlog.get_logger()

LINES: Final = 20
"""Lines a second about one outcome; of more, the number is told. An outage answers thousands alike."""


class Traced(Protocol):
    """Names traces; ``adapter.observe.traces.Traces`` is the one that makes them."""

    def traceparent(self, transaction: Transaction, queue: str = "") -> str:
        """Return what names the call's trace to a consumer and to Kamailio (W3C Trace Context); "" if the
        call is not traced.

        Args:
            transaction: the call.
            queue: where the request goes that carries it; "" for whoever is bound to the event, and for
                Kamailio.
        """
        ...


class Observer:
    """Tells all sinks of each step.

    Args:
        sinks: who is told, in this order.
        traced: who names the traces; None if no call is traced.
        clock: gives epoch seconds.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        traced: Traced | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Only those that are interested in a step are called for it: most are not, in most.
        self._claimed = tuple(each.claimed for each in sinks if type(each).claimed is not Sink.claimed)
        self._published = tuple(
            each.published for each in sinks if type(each).published is not Sink.published
        )
        self._replied = tuple(each.replied for each in sinks if type(each).replied is not Sink.replied)
        self._stepped = tuple(each.stepped for each in sinks if type(each).stepped is not Sink.stepped)
        self._adopted = tuple(each.adopted for each in sinks if type(each).adopted is not Sink.adopted)
        self._resumed = tuple(each.resumed for each in sinks if type(each).resumed is not Sink.resumed)
        self._read = tuple(each.read for each in sinks if type(each).read is not Sink.read)
        self._tick = tuple(each.tick for each in sinks if type(each).tick is not Sink.tick)
        self._traced = traced
        self._clock = clock

    def traceparent(self, transaction: Transaction, queue: str = "") -> str:
        """See ``Traced``."""
        return "" if self._traced is None else self._traced.traceparent(transaction, queue)

    def claimed(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """This replica has these to decide; it asked the store at that time (epoch seconds)."""
        now = self._clock()
        for tell in self._claimed:
            tell(now, transactions, now - asked)

    def published(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """The broker has confirmed these, which were handed to it at that time (epoch seconds)."""
        now = self._clock()
        for tell in self._published:
            tell(now, transactions, now - asked)

    def replied(self, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came that were understood."""
        now = self._clock()
        for tell in self._replied:
            tell(now, replies)

    def stepped(self, id_: TransactionId, event: str, service: str, status: str, seconds: float) -> None:
        """One service's part in a course is known, or what decided the call.

        Args:
            id_: the suspension.
            event: its name.
            service: who was asked; "" for whoever is bound to the event, and for the last step.
            status: what became of it; for the last step a ``model.ladder.Rung``.
            seconds: since that service was asked; for the last step, since the claim.
        """
        now, seconds = self._clock(), max(seconds, 0.0)
        for tell in self._stepped:
            tell(now, id_, event, service, status, seconds)

    def adopted(
        self, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """This replica has taken these over from other replicas."""
        now = self._clock()
        for tell in self._adopted:
            tell(now, node, owners, state, transactions)

    def resumed(self, now: float, transaction: Transaction, outcome: Outcome, decision: bytes) -> None:
        """A resume was handed to the link at that time (epoch seconds)."""
        seconds = max(now - transaction.claimed_at, 0.0)
        for tell in self._resumed:
            tell(now, transaction, outcome, seconds, decision)

    def read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""
        now = self._clock()
        for tell in self._read:
            tell(now, ids)

    def tick(self) -> None:
        """Let the sinks do what is due. To be called often."""
        now = self._clock()
        for tell in self._tick:
            tell(now)


class CallLog(Sink):
    """The lines of the log about calls: those that nobody decided, and each one if the level is debug.

    ``ids`` writes correlation ids as they stand on the bus. ``each``: tell each one at level info, too, as on
    a terminal, where somebody watches: of one outcome no more lines a second than of those.
    """

    def __init__(self, ids: Ids | None = None, each: bool = False) -> None:
        self._ids = Ids() if ids is None else ids
        self._each = each
        self._debugs = log.is_enabled_for(logging.DEBUG)  # to ask at each call costs 2 us
        self._lines = {outcome: Sparse(LINES) for outcome in Outcome}

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Tell what somebody answers by hand."""
        for id_, reply in replies:
            if reply.by_operator:
                said = {"correlation_id": self._ids.text(id_), "by": reply.service, "reason": reply.detail}
                log.warning("answered by an operator", **said)

    def adopted(
        self, at: float, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """Tell what was taken over, and from whom."""
        number = len(transactions)
        log.warning("adopted", node=node, of=list(owners), state=state.name.lower(), count=number)

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes
    ) -> None:
        """Tell of a call that nobody decided; of each one if the level is debug."""
        if outcome not in BY_SOMEBODY:
            hidden = self._lines[outcome].take(at)
            if hidden is not None:
                self._say(logging.WARNING, transaction, outcome, seconds, not_shown=hidden or None)
        elif self._debugs:
            self._say(logging.DEBUG, transaction, outcome, seconds)
        elif self._each and (hidden := self._lines[outcome].take(at)) is not None:
            self._say(logging.INFO, transaction, outcome, seconds, not_shown=hidden or None)

    def tick(self, at: float) -> None:
        """Tell how many lines were left out, once their second is over."""
        self._debugs = log.is_enabled_for(logging.DEBUG)
        for outcome, lines in self._lines.items():
            if hidden := lines.left_out(at):
                log.warning("resumed", outcome=outcome.value, not_shown=hidden)

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
