"""What happens to each call, told once by the relay and handed to every sink."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from adapter.observe.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.model.transaction import Outcome, State, Transaction, TransactionId
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
        # Only those that are interested in a step are called for it: most are not, in most.
        self._claimed = tuple(each.claimed for each in sinks if type(each).claimed is not Sink.claimed)
        self._published = tuple(
            each.published for each in sinks if type(each).published is not Sink.published
        )
        self._replied = tuple(each.replied for each in sinks if type(each).replied is not Sink.replied)
        self._adopted = tuple(each.adopted for each in sinks if type(each).adopted is not Sink.adopted)
        self._resumed = tuple(each.resumed for each in sinks if type(each).resumed is not Sink.resumed)
        self._read = tuple(each.read for each in sinks if type(each).read is not Sink.read)
        self._tick = tuple(each.tick for each in sinks if type(each).tick is not Sink.tick)
        self._traced = traced
        self._clock = clock

    def traceparent(self, transaction: Transaction) -> str:
        """See ``Traced``."""
        return "" if self._traced is None else self._traced.traceparent(transaction)

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
