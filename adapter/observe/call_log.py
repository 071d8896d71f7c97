"""The lines of the log about single calls: those that nobody decided, and each one if the level is debug."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import structlog

from adapter.model.correlation import Ids
from adapter.model.transaction import BY_SOMEBODY, Outcome, State, Transaction, TransactionId
from adapter.observe.sink import Sink
from adapter.observe.sparse import Sparse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.ports.broker import Reply

log = structlog.get_logger()

LINES: Final = 20
"""Lines a second about one outcome; of more, the number is told. An outage answers thousands alike."""


class CallLog(Sink):
    """``ids`` writes correlation ids as they stand on the bus."""

    def __init__(self, ids: Ids | None = None) -> None:
        self._ids = Ids() if ids is None else ids
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
