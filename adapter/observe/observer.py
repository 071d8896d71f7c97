"""What happens to each call, told once by the relay and handed to every sink."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.transaction import Outcome, State, Transaction, TransactionId
    from adapter.observe.sink import Sink
    from adapter.ports.broker import Reply


class Traced(Protocol):
    """Names traces; ``adapter.observe.traces.Traces`` is the one that makes them."""

    def traceparent(self, transaction: Transaction) -> str:
        """Return what names the call's trace to a consumer and to Kamailio (W3C Trace Context); "" if the
        call is not traced."""
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
        self._sinks = tuple(sinks)
        self._traced = traced
        self._clock = clock

    def traceparent(self, transaction: Transaction) -> str:
        """See ``Traced``."""
        return "" if self._traced is None else self._traced.traceparent(transaction)

    def claimed(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """This replica has these to decide; it asked the store at that time (epoch seconds)."""
        now = self._clock()
        for sink in self._sinks:
            sink.claimed(now, transactions, now - asked)

    def published(self, asked: float, transactions: Sequence[Transaction]) -> None:
        """The broker has confirmed these, which were handed to it at that time (epoch seconds)."""
        now = self._clock()
        for sink in self._sinks:
            sink.published(now, transactions, now - asked)

    def replied(self, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Replies came that were understood."""
        now = self._clock()
        for sink in self._sinks:
            sink.replied(now, replies)

    def adopted(
        self, node: str, owners: Sequence[str], state: State, transactions: Sequence[Transaction]
    ) -> None:
        """This replica has taken these over from other replicas."""
        now = self._clock()
        for sink in self._sinks:
            sink.adopted(now, node, owners, state, transactions)

    def resumed(self, now: float, transaction: Transaction, outcome: Outcome, decision: bytes) -> None:
        """A resume was handed to the link at that time (epoch seconds)."""
        seconds = max(now - transaction.claimed_at, 0.0)
        for sink in self._sinks:
            sink.resumed(now, transaction, outcome, seconds, decision)

    def read(self, ids: Sequence[TransactionId]) -> None:
        """Kamailio has read these resumes."""
        now = self._clock()
        for sink in self._sinks:
            sink.read(now, ids)

    def tick(self) -> None:
        """Let the sinks do what is due. To be called often."""
        now = self._clock()
        for sink in self._sinks:
            sink.tick(now)
