"""Traces of calls (extra ``otel``): one trace for each call, the same by every replica.

A trace has for each suspension of the call::

    evapi <event>        from the event to the resume, by the replica that wrote the resume
      publish            until RabbitMQ has the request, by the replica that published it; of several
                         services on one call one for each
        decide <event>   by the consumer (``consumers.tracing``)
      ask <service>      of several services on one call, until what became of each was known
      resume             from the answer to the frame for Kamailio

The trace's id is made of node and Call-ID, and that of ``evapi <event>`` of the correlation id: so
all replicas and all suspensions of a call agree on them, and on whether the call is traced, with
nothing to be stored. Spans are made when they are over and exported in the background.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from adapter import contract
from adapter.errors import SettingsError
from adapter.model.correlation import Ids
from adapter.model.ladder import Rung, Status
from adapter.model.transaction import Outcome, State
from adapter.observe.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.model.transaction import Transaction, TransactionId
    from adapter.ports.broker import Reply

MOST: Final = 10_000
"""Calls of which something is remembered; the oldest gives way."""
_LOW: Final = 1 << 64
_BY_SOMEBODY: Final = frozenset({Outcome.DECIDED, Outcome.OPERATOR})
_NOT_PUBLISHED: Final = frozenset({Outcome.UNROUTABLE, Outcome.UNAVAILABLE})
_NOT_TAKEN: Final = frozenset({Status.UNROUTABLE, Status.UNAVAILABLE})
_WELL: Final = frozenset({Status.DECIDED, Status.EXTENDED, Status.NONE})
_RUNGS: Final = frozenset(Rung)
_V = TypeVar("_V")


class Spans(Protocol):
    """Who exports spans; ``consumers.exporting.Export`` is one."""

    def span(
        self,
        trace_id: int,
        span_id: int,
        parent: int | None,
        name: str,
        start: float,
        end: float,
        attributes: Mapping[str, str | int] | None = None,
        kind: str = "internal",
        error: str | None = None,
    ) -> None:
        """Export a span that is over; epoch seconds. Never waits."""
        ...

    def close(self) -> None:
        """Send what is left; blocks for a limited time."""
        ...


class Exemplars(Protocol):
    """Who names a trace beside what was counted; ``adapter.observe.metrics`` does."""

    def exemplify(
        self, transaction: Transaction, outcome: Outcome, now: float, seconds: float, trace: str
    ) -> None:
        """Name the trace of a call that was resumed."""
        ...

    def exemplify_hop(self, name: str, seconds: float, now: float, trace: str) -> None:
        """Name the trace of one call of a batch."""
        ...

    def exemplify_service(self, service: str, status: str, seconds: float, now: float, trace: str) -> None:
        """Name the trace of a call about which a service was asked."""
        ...


class _Publication(NamedTuple):
    """One that the broker has not confirmed yet. ``queue``: where it goes; "" for the exchange of events."""

    trace_id: int
    span_id: int
    asked: float
    queue: str


class Traces(Sink):
    """Makes the spans of each call that is traced, once they are over; names the traces, too (``Traced``).

    Args:
        share: of the calls, from 0 to 1.
        replica: its name.
        spans: who exports them.
        exemplars: who is told of a trace beside what was counted.
        clock: gives epoch seconds.
        ids: how correlation ids are written.
        messaging: gives what a span says of the broker (``Broker.messaging``).
    """

    def __init__(
        self,
        share: float,
        replica: str,
        spans: Spans,
        exemplars: Exemplars,
        clock: Callable[[], float] = time.time,
        ids: Ids | None = None,
        messaging: Callable[[], Mapping[str, str | int]] = dict,
    ) -> None:
        self._messaging = messaging
        self._ids = Ids() if ids is None else ids
        self._below = round(share * _LOW)
        self._replica = replica
        self._spans = spans
        self._exemplars = exemplars
        self._clock = clock
        self._publications: OrderedDict[TransactionId, dict[str, _Publication]] = OrderedDict()
        self._asked: OrderedDict[TransactionId, int] = OrderedDict()  # its trace, of what a consumer was told
        self._steps: OrderedDict[TransactionId, str] = OrderedDict()
        self._replies: OrderedDict[TransactionId, tuple[float, str | None]] = OrderedDict()
        self._resumed: OrderedDict[TransactionId, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Traces {len(self._publications)} unconfirmed, {len(self._replies)} unresumed>"

    def traceparent(self, transaction: Transaction, queue: str = "") -> str:
        """See ``observer.Traced``. Of one that is settled, for Kamailio; of any other, for the consumer
        that it is published to now, on that queue."""
        trace_id = self._trace_id(transaction)
        if not trace_id:
            return ""
        span_id = _span_id(transaction.id)
        if transaction.state is State.CLAIMED:
            # Of its own for each publication: an adopted or returned request is published again.
            span_id = random.getrandbits(64) or 1
            mine = self._publications.get(transaction.id)
            if mine is None:
                mine = {}
                _keep(self._publications, transaction.id, mine)
                _keep(self._asked, transaction.id, trace_id)
            mine[queue] = _Publication(trace_id, span_id, self._clock(), queue)
        return f"00-{trace_id:032x}-{span_id:016x}-01"

    def published(self, at: float, transactions: Sequence[Transaction], took: float = 0.0) -> None:
        """Export their spans at once: another replica may write the resume."""
        traced = 0
        for transaction in transactions:
            for publication in self._publications.pop(transaction.id, {}).values():
                self._publish(at, transaction.id, transaction.event, publication)
                traced = publication.trace_id
        if traced:
            self._exemplars.exemplify_hop("publish", took, at, _text(traced))

    def replied(self, at: float, replies: Sequence[tuple[TransactionId, Reply]]) -> None:
        """Keep when a reply came, and whose it is."""
        for id_, reply in replies:
            _keep(self._replies, id_, (at, reply.service))

    def stepped(
        self, at: float, id_: TransactionId, event: str, service: str, status: str, seconds: float
    ) -> None:
        """Export the span of a service that was asked; keep what decided, for that of the call."""
        if not service and status in _RUNGS:
            _keep(self._steps, id_, status)
            return
        trace_id = self._asked.get(id_)
        if trace_id is None:  # not traced, or over
            return
        error = None if status in _WELL else status
        if status in _NOT_TAKEN:
            queue = contract.service_queue(service) if service else ""
            publication = self._publications.get(id_, {}).pop(queue, None)
            if publication is not None:
                self._publish(at, id_, event, publication, status)
        self._exemplars.exemplify_service(service, status, seconds, at, _text(trace_id))
        attributes: dict[str, str | int] = {"evapi.status": status, "evapi.replica": self._replica}
        if service:
            attributes["evapi.service"] = service
        if error is not None:
            attributes["error.type"] = error
        own, parent = random.getrandbits(64) or 1, _span_id(id_)
        name = f"ask {service or 'anybody'}"
        self._spans.span(trace_id, own, parent, name, at - seconds, at, attributes, "client", error)

    def resumed(
        self, at: float, transaction: Transaction, outcome: Outcome, seconds: float, decision: bytes = b""
    ) -> None:
        """Export the spans of a complete trace. A resume that is written again gets a span of its own."""
        id_ = transaction.id
        publications = self._publications.pop(id_, {})
        self._asked.pop(id_, None)
        step = self._steps.pop(id_, None)
        answered, service = self._replies.pop(id_, (None, None))
        trace_id = self._trace_id(transaction)
        if not trace_id:
            return
        self._exemplars.exemplify(transaction, outcome, at, seconds, _text(trace_id))
        for publication in publications.values():
            why = outcome.value if outcome in _NOT_PUBLISHED else "unconfirmed"
            self._publish(at, id_, transaction.event, publication, why)
        if answered is None:
            answered = transaction.deadline if outcome is Outcome.TIMEOUT else at
        parent = _span_id(id_)
        attributes: dict[str, str | int] = {"evapi.outcome": outcome.value}
        own = random.getrandbits(64) or 1
        self._spans.span(trace_id, own, parent, "resume", min(answered, at), at, attributes)
        if id_ in self._resumed:
            return
        _keep(self._resumed, id_, None)
        attributes |= {
            "evapi.node": id_.node,
            "evapi.event": transaction.event,
            "evapi.correlation_id": self._ids.text(id_),
            "evapi.replica": self._replica,
        }
        if transaction.call_id:
            attributes["sip.call_id"] = transaction.call_id
        if step is not None:
            attributes["evapi.step"] = step
        if service is not None:
            attributes["evapi.service"] = service
        error = None if outcome in _BY_SOMEBODY else outcome.value
        if error is not None:
            attributes["error.type"] = error
        name, start = f"evapi {transaction.event}", transaction.claimed_at
        self._spans.span(trace_id, parent, None, name, min(start, at), at, attributes, "server", error)

    def close(self) -> None:
        """Send what is left; blocks for a limited time."""
        self._spans.close()

    def _publish(
        self,
        at: float,
        id_: TransactionId,
        event: str,
        publication: _Publication,
        error: str | None = None,
    ) -> None:
        trace_id, span_id, asked, queue = publication
        key = queue or contract.routing_key(event, id_.node)
        attributes: dict[str, str | int] = {
            **self._messaging(),
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            # exchange:key; the key alone where it goes by the exchange that has no name.
            "messaging.destination.name": queue or f"{contract.EVENTS_EXCHANGE}:{key}",
            "messaging.rabbitmq.destination.routing_key": key,
            "messaging.message.conversation_id": self._ids.text(id_),
            "evapi.replica": self._replica,
        }
        if error is not None:
            attributes["error.type"] = error
        parent = _span_id(id_)
        self._spans.span(trace_id, span_id, parent, "publish", asked, at, attributes, "producer", error)

    def _trace_id(self, transaction: Transaction) -> int:
        """0 where the call is not traced."""
        id_ = transaction.id
        trace_id = _trace_id(id_.node, transaction.call_id or f"{id_.index}:{id_.label}")
        return trace_id if trace_id % _LOW < self._below else 0


def start(
    share: float,
    replica: str,
    exemplars: Exemplars,
    clock: Callable[[], float],
    ids: Ids,
    messaging: Callable[[], Mapping[str, str | int]] = dict,
) -> Traces | None:
    """Trace this share of the calls; ``None``, with nothing loaded, where it is 0. Raises SettingsError."""
    if not share:
        return None
    from consumers import tracing

    try:
        spans = tracing.export(contract.APP_ID, **{"service.instance.id": replica})
    except tracing.TracesError as exc:
        raise SettingsError(tracing.TRACES_VARIABLE, str(exc)) from exc
    return Traces(share, replica, spans, exemplars, clock, ids, messaging)


@lru_cache(maxsize=MOST)
def _trace_id(node: str, call: str) -> int:
    return _digest(f"{node}\0{call}", 16)


def _text(trace_id: int) -> str:
    """As it is written everywhere; "" for 0, which stands for no trace."""
    return f"{trace_id:032x}" if trace_id else ""


def _span_id(id_: TransactionId) -> int:
    return _digest(str(id_), 8)


def _digest(text: str, size: int) -> int:
    """Never 0: that stands for no id."""
    return int.from_bytes(blake2b(text.encode(errors="replace"), digest_size=size).digest()) or 1


def _keep(kept: OrderedDict[TransactionId, _V], id_: TransactionId, value: _V) -> None:
    kept[id_] = value
    if len(kept) > MOST:
        kept.popitem(last=False)
